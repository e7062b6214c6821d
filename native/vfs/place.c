/* What stands at a path that an application opens, and which database that means. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "../base/logging.h"
#include "../base/settings.h"
#include "../route/map.h"
#include "../route/stub.h"
#include "vfs.h"

/* An opening under way. */
typedef struct opening {
    mvv_copy *copy;
    const char *path; /* as SQLite made it: absolute, without symbolic links, URI parameters behind it */
    int flags;
    char url[4096];
    int mapped; /* a route names this path */
    char name[MV_NAME_MAX + 1]; /* the database's: what the route says, then what is so */
    int put_stub, by_stub;
    struct stat file; /* of what stood there before; st_mode 0: nothing */
} opening;

static int exists(const opening *o, const char *name, int *found)
{
    mv_store *store = NULL;
    mv_db *db = NULL;
    int rc = mv_store_open(o->url, &store);
    if (!rc)
        rc = mv_db_open(store, name, 0, &db);
    *found = rc == MV_OK;
    mv_db_close(db);
    mv_store_close(store);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* ---- a stub ----------------------------------------------------------------------- */

static int refuse_copy(const opening *o, const mvr_stub *stub)
{
    return mv_fail(MV_MISUSE,
                   "%.200s is a copy of what stands at %.200s and holds no data: get a copy with mvsqlite export or "
                   "mvsqlite branch; if the file was moved, name its new place in a route to \"%.100s\"",
                   o->path, stub->path, stub->name);
}

/* The stub and the route name different databases: one was renamed, in the store or in the route. */
static int settle_names(opening *o, const mvr_stub *stub)
{
    int old_exists, new_exists;
    int rc = exists(o, stub->name, &old_exists);
    if (!rc)
        rc = exists(o, o->name, &new_exists);
    if (rc)
        return rc;
    if (new_exists && !old_exists) {
        o->put_stub = 1;
        return MV_OK;
    }
    if (strcmp(stub->path, o->path) != 0)
        return refuse_copy(o, stub);
    if (new_exists)
        return mv_fail(MV_MISUSE,
                       "%.200s stands for the database \"%.60s\", its route says \"%.60s\", and the store has both: "
                       "set the route right, or rename one of them",
                       o->path, stub->name, o->name);
    mvi_log(MVI_LOG_WARN, "%s stays the database \"%s\": its route says \"%s\", which the store does not have", o->path,
            stub->name, o->name);
    snprintf(o->name, sizeof o->name, "%s", stub->name);
    return MV_OK;
}

/* Without a route a renamed file's database is named after its path (files.c): the stub may tell the
 * name before still. */
static int by_path(opening *o, const mvr_stub *stub)
{
    const char *path = o->path + 1;
    int found = 1, rc = strcmp(stub->name, path) == 0 ? MV_OK : exists(o, stub->name, &found);
    snprintf(o->name, sizeof o->name, "%s", stub->name);
    if (rc || found || strlen(path) > MV_NAME_MAX)
        return rc;
    rc = exists(o, path, &found);
    if (!rc && found) {
        snprintf(o->name, sizeof o->name, "%s", path);
        o->put_stub = 1;
    }
    return rc;
}

static int by_stub(opening *o, const mvr_stub *stub)
{
    int same_path = strcmp(stub->path, o->path) == 0;
    o->by_stub = 1;
    o->flags &= ~SQLITE_OPEN_CREATE; /* it was there: nothing begins anew in its place */
    if (!o->mapped)
        return same_path ? by_path(o, stub) : refuse_copy(o, stub);
    if (strcmp(stub->name, o->name) != 0)
        return settle_names(o, stub);
    o->put_stub = !same_path;
    return MV_OK;
}

/* ---- no stub yet -------------------------------------------------------------------- */

static int may_write_beside(const char *path)
{
    char copy[MVR_PATH_MAX + 1];
    snprintf(copy, sizeof copy, "%s", path);
    return faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) == 0;
}

static int from_ordinary_file(opening *o)
{
    const char *wanted = mvi_setting("MVSQLITE_IMPORT");
    if (!wanted || !*wanted || strcmp(wanted, "0") == 0)
        return mv_fail(MV_MISUSE,
                       "%.300s is an ordinary file, and its route makes it the database \"%.100s\": let it be taken in "
                       "(mvsqlite run --import, or MVSQLITE_IMPORT=1), or move it away",
                       o->path, o->name);
    o->put_stub = 1;
    return mvv_import(o->copy, o->path, o->url, o->name);
}

/* As SQLite opens a file: one that is missing is made if that was asked, an empty one is a database. */
static int first_open(opening *o)
{
    int missing = stat(o->path, &o->file) != 0;
    if (missing && errno != ENOENT)
        return mv_fail(MV_IO, "cannot look at %.300s: %s", o->path, strerror(errno));
    if (missing && !(o->flags & SQLITE_OPEN_CREATE))
        return mv_fail(MV_NOTFOUND, "there is no file %.300s", o->path);
    if (!missing && !S_ISREG(o->file.st_mode))
        return mv_fail(MV_IO, "%.300s is not a file", o->path);
    if (!missing && o->file.st_size)
        return from_ordinary_file(o);
    if (!may_write_beside(o->path))
        return mv_fail(MV_IO, "cannot make %.300s: %s", o->path, strerror(errno));
    o->flags |= SQLITE_OPEN_CREATE;
    o->put_stub = 1;
    return MV_OK;
}

/* ---- opening -------------------------------------------------------------------------- */

/* Who may not write the stub may not write the database, as with a file. */
static void respect_permissions(opening *o)
{
    if (!o->put_stub && o->flags & SQLITE_OPEN_READWRITE && faccessat(AT_FDCWD, o->path, W_OK, AT_EACCESS) != 0)
        o->flags = (o->flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
}

static int put_stub(const opening *o)
{
    mvr_stub stub = {0};
    if (!o->put_stub)
        return MV_OK;
    snprintf(stub.name, sizeof stub.name, "%s", o->name);
    snprintf(stub.path, sizeof stub.path, "%s", o->path);
    return mvr_stub_put(&stub, o->file.st_mode ? &o->file : NULL);
}

static int refuse(const opening *o, int rc)
{
    if (rc == MV_NOTFOUND) { /* what a program asks to find out, as with a file */
        mvi_log(MVI_LOG_INFO, "%s", mv_error_text());
        return SQLITE_CANTOPEN;
    }
    int sqlite = mvv_error(o->copy, rc);
    if (rc == MV_BUSY)
        mvi_log(MVI_LOG_WARN, "%s", mv_error_text());
    return rc == MV_BUSY || rc == MV_FULL || rc == MV_NOMEM ? sqlite : SQLITE_CANTOPEN;
}

/* A program that opens its database for each request would open the store as often, and find
 * nothing in its cache: the first store of a process stays open for as long as the process runs.
 * A child of fork does not know its parent's stores and keeps one of its own. */
static void keep_store(const char *url)
{
    static _Atomic pid_t keeper;
    static mv_store *kept; /* never closed */
    if (atomic_exchange(&keeper, getpid()) != getpid() && mv_store_open(url, &kept) != MV_OK)
        atomic_store(&keeper, 0);
}

static int open_file(opening *o, mvv_file *file, int *out_flags)
{
    keep_store(o->url);
    int rc = mvv_file_open(o->copy, o->path, o->name, file, o->flags, out_flags);
    if (rc && o->by_stub && mv_error_code() == MV_NOTFOUND)
        mvv_error(o->copy, mv_fail(MV_NOTFOUND,
                                   "%.200s stands for the database \"%.100s\", which the store %.150s does not have: name "
                                   "the right store, bring it back with mvsqlite undelete, or remove the file",
                                   o->path, o->name, o->url));
    if (rc)
        return rc;
    if (put_stub(o) == MV_OK) {
        file->place = mvv_place_enter(o->copy, o->path);
        if (file->place) {
            mvi_log(MVI_LOG_INFO, "%s is the database \"%s\" of %s", o->path, o->name, o->url);
            return SQLITE_OK;
        }
        mv_fail(MV_NOMEM, "out of memory opening %.300s", o->path);
    }
    rc = refuse(o, mv_error_code());
    file->base.pMethods->xClose(&file->base);
    file->base.pMethods = NULL;
    return rc;
}

/* Tells whoever started the program, in the file MVSQLITE_WITNESS, that its paths are routed. */
static void bear_witness(void)
{
    static atomic_flag done = ATOMIC_FLAG_INIT;
    const char *witness = atomic_flag_test_and_set(&done) ? NULL : mvi_setting("MVSQLITE_WITNESS");
    int fd = witness && *witness ? open(witness, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0)
        close(fd);
}

static _Thread_local int at_work;

int mvr_is_at_work(void)
{
    return at_work != 0;
}

static int place_open(mvv_copy *copy, const char *path, mvv_file *file, int flags, int *out_flags, int *routed)
{
    const mvr_map *map;
    mvr_stub stub;
    opening o = {.copy = copy, .path = path, .flags = flags};
    int found = mvr_map_of_process(&map);
    if (!found)
        found = map ? mvr_map_find(map, path, o.name) : MV_NOTFOUND;
    int stood = found == MV_OK || found == MV_NOTFOUND ? mvr_stub_at(path, &stub) : found;
    if (found == MV_NOTFOUND && stood == MV_NOTFOUND)
        return SQLITE_OK;
    *routed = 1;
    bear_witness();
    o.mapped = found == MV_OK;
    int rc = stood == MV_NOTFOUND ? MV_OK : stood;
    if (!rc)
        rc = mvv_store_url(copy, path, o.url, sizeof o.url);
    if (!rc)
        rc = stood == MV_OK ? by_stub(&o, &stub) : first_open(&o);
    if (rc)
        return refuse(&o, rc);
    respect_permissions(&o);
    return open_file(&o, file, out_flags);
}

int mvv_place_open(mvv_copy *copy, const char *path, mvv_file *file, int flags, int *out_flags, int *routed)
{
    at_work++;
    int rc = place_open(copy, path, file, flags, out_flags, routed);
    at_work--;
    return rc;
}
