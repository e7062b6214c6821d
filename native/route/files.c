#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/logging.h"
#include "../base/settings.h"
#include "aside.h"
#include "map.h"
#include "stub.h"

/* What stands at a path. */
typedef struct place {
    const char *path;
    struct stat st;
    int exists, is_stub;
    int is_own; /* a stub that stands for its database, not a copy of it */
    mvr_stub stub;
    char name[MV_NAME_MAX + 1]; /* the database that the path means */
    int name_known;             /* 0: such a path cannot be a name */
} place;

/* ---- files ----------------------------------------------------------------------- */

static int remove_file(const char *path)
{
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0) == 0 ? 0 : errno;
}

static int move_file(const char *from, const char *to, unsigned flags)
{
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags) == 0 ? 0 : errno;
}

static int check_directory(const char *path)
{
    char copy[MVR_PATH_MAX + 1];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return ENAMETOOLONG;
    return faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

static int errno_of(int code)
{
    switch (code) {
    case MV_OK:
        return 0;
    case MV_BUSY:
    case MV_CONFLICT:
    case MV_MISUSE:
    case MV_EXISTS:
        return EBUSY;
    case MV_PERM:
        return EACCES;
    case MV_FULL:
        return ENOSPC;
    case MV_NOMEM:
        return ENOMEM;
    case MV_NAME:
        return EINVAL;
    default:
        return EIO;
    }
}

/* The errno of a failure whose sentence was left, which is told. */
static int failed(const char *what, const char *path, int code)
{
    mvi_log(MVI_LOG_ERROR, "%s %s: %s", what, path, mv_error_text());
    return errno_of(code);
}

/* A stub as the file that `like` was: its owner and mode. */
static int put_stub(const char *path, const char *name, const struct stat *like)
{
    mvr_stub stub = {.name = ""};
    snprintf(stub.name, sizeof stub.name, "%s", name);
    snprintf(stub.path, sizeof stub.path, "%s", path);
    return mvr_stub_put(&stub, like);
}

/* ---- what stands at a path --------------------------------------------------------- */

/* A program may copy the file of its database, and delete the copy: that must not delete the
 * database. A copy is one whose stub is still at its place; else the file was moved. */
static int is_own(const place *p)
{
    struct stat st;
    mvr_stub other;
    if (p->st.st_nlink > 1)
        return 0;
    if (strcmp(p->stub.path, p->path) == 0)
        return 1;
    int stands = lstat(p->stub.path, &st) == 0 && mvr_stub_at(p->stub.path, &other) == MV_OK;
    return !stands || (st.st_dev == p->st.st_dev && st.st_ino == p->st.st_ino) ||
           strcmp(other.name, p->stub.name) != 0;
}

/* The name that the routes give a path; without a route, the path itself. */
static void name_path(place *p)
{
    const mvr_map *map;
    int rc = mvr_map_of_process(&map);
    if (!rc)
        rc = map ? mvr_map_find(map, p->path, p->name) : MV_NOTFOUND;
    if (rc == MV_NOTFOUND)
        rc = strlen(p->path) > MV_NAME_MAX + 1 ? MV_NAME : MV_OK;
    else if (!rc)
        p->name_known = 1;
    if (!rc && !p->name_known) {
        snprintf(p->name, sizeof p->name, "%s", p->path + 1);
        p->name_known = 1;
    }
}

static int look_at(const char *path, place *p)
{
    memset(p, 0, sizeof *p);
    p->path = path;
    p->exists = lstat(path, &p->st) == 0;
    if (!p->exists && errno != ENOENT)
        return errno;
    if (p->exists && mvr_stub_fits(&p->st))
        p->is_stub = mvr_stub_at(path, &p->stub) == MV_OK;
    if (p->is_stub)
        p->is_own = is_own(p);
    name_path(p);
    return 0;
}

static int has_database(mv_store *store, const char *name)
{
    mv_db *db = NULL;
    int rc = mv_db_open(store, name, 0, &db);
    mv_db_close(db);
    return rc == MV_OK;
}

/* The database of a stub; of two names, the one that the store has (place.c of the VFS judges likewise). */
static const char *database_of(mv_store *store, const place *p)
{
    int renamed = p->name_known && !has_database(store, p->stub.name) && has_database(store, p->name);
    return renamed ? p->name : p->stub.name;
}

static int open_default(mv_store **store)
{
    char url[4096];
    int rc = mv_default_url(url, sizeof url);
    return rc ? rc : mv_store_open(url, store);
}

/* ---- deleting ------------------------------------------------------------------------ */

/* The file goes first: should the process die then, the database is there as before. */
static int delete_both(mv_store *store, const place *p)
{
    char name[MV_NAME_MAX + 1];
    mvr_stub again;
    snprintf(name, sizeof name, "%s", database_of(store, p));
    int error = remove_file(p->path);
    if (error)
        return error;
    int rc = mv_delete(store, name);
    if (rc == MV_NOTFOUND)
        return 0;
    if (rc) {
        error = failed("cannot delete the database of", p->path, rc);
        if (put_stub(p->path, name, &p->st))
            failed("cannot put back", p->path, MV_IO);
        return error;
    }
    /* one that was opened in between has put its stub there */
    if (mvr_stub_at(p->path, &again) == MV_OK && strcmp(again.name, name) == 0 && !has_database(store, name))
        remove_file(p->path);
    mvi_log(MVI_LOG_INFO, "the database \"%s\" was deleted with %s: mvsqlite undelete brings it back", name, p->path);
    return 0;
}

int mvr_file_unlink(const char *path)
{
    place p;
    mv_store *store = NULL;
    int error = look_at(path, &p);
    if (error || !p.is_own)
        return error ? error : remove_file(path);
    int rc = open_default(&store);
    error = rc ? failed("cannot delete the database of", path, rc) : delete_both(store, &p);
    mv_store_close(store);
    return error;
}

/* ---- renaming ------------------------------------------------------------------------- */

/* Takes back what moved the stub, whose database could not be renamed. */
static int stay(const place *from, const place *to, const char *name, const char *aside, int code)
{
    int error = failed("cannot rename the database of", from->path, code);
    if (put_stub(from->path, name, &from->st))
        failed("cannot put back", from->path, MV_IO);
    remove_file(to->path);
    if (to->exists)
        move_file(aside, to->path, 0);
    return error;
}

/* At each step a stub stands that names the database, or lies where its name leads to it (place.c of the
 * VFS). So whoever opens the one path or the other in between, or after a crash, finds it. */
static int move_database(mv_store *store, const place *from, const place *to)
{
    char aside[MVR_PATH_MAX + 40], old[MV_NAME_MAX + 1];
    snprintf(old, sizeof old, "%s", database_of(store, from));
    snprintf(aside, sizeof aside, "%s.replaced-%ld", to->path, (long)getpid());
    int error = to->exists ? move_file(to->path, aside, 0) : 0;
    if (error)
        return error;
    int rc = put_stub(to->path, old, &from->st);
    error = rc ? 0 : remove_file(from->path);
    if (rc || error) {
        if (rc)
            error = failed("cannot rename", from->path, rc);
        remove_file(to->path);
        if (to->exists)
            move_file(aside, to->path, 0);
        return error;
    }
    if (strcmp(old, to->name) != 0)
        rc = mv_rename(store, old, to->name);
    if (rc)
        return stay(from, to, old, aside, rc);
    if (strcmp(old, to->name) != 0 && put_stub(to->path, to->name, &from->st))
        failed("the database was renamed, but cannot be written", to->path, MV_IO); /* the next open does it */
    if (to->exists)
        remove_file(aside);
    mvi_log(MVI_LOG_INFO, "the database \"%s\" was renamed to \"%s\" with %s", old, to->name, from->path);
    return 0;
}

static int replace_database(mv_store *store, const place *from, const place *to, const char *name)
{
    char source[MV_NAME_MAX + 1];
    snprintf(source, sizeof source, "%s", database_of(store, from));
    int rc = mvr_replace_by_database(store, name, source);
    if (!rc && (!to->is_stub || strcmp(to->stub.name, name) != 0 || strcmp(to->stub.path, to->path) != 0))
        rc = put_stub(to->path, name, &from->st);
    if (rc)
        return failed("cannot rename over", to->path, rc);
    mvi_log(MVI_LOG_INFO, "the database \"%s\" has taken over the contents of \"%s\": mvrevert undo takes that back",
            name, source);
    return delete_both(store, from);
}

static int rename_database(mv_store *store, const place *from, const place *to)
{
    int error = check_directory(from->path);
    if (!error)
        error = check_directory(to->path);
    if (error)
        return error;
    if (!has_database(store, database_of(store, from))) {
        mv_fail(MV_NOTFOUND, "the store has no database \"%.100s\", for which it stands", from->stub.name);
        return failed("cannot rename", from->path, MV_NOTFOUND);
    }
    if (to->is_stub && to->is_own && has_database(store, database_of(store, to)) &&
        strcmp(database_of(store, to), database_of(store, from)) != 0) /* equal: this was begun before */
        return replace_database(store, from, to, database_of(store, to));
    if (!to->name_known) {
        mv_fail(MV_NAME, "no name of a database can be made of that path: add a route for it");
        return failed("cannot rename to", to->path, MV_NAME);
    }
    if (has_database(store, to->name) && strcmp(to->name, database_of(store, from)) != 0)
        return replace_database(store, from, to, to->name);
    return move_database(store, from, to);
}

/* A copied stub holds nothing that could replace a database. */
static int rename_copy(const place *from, const place *to, unsigned flags)
{
    if (!to->is_own)
        return move_file(from->path, to->path, flags);
    mv_fail(MV_MISUSE,
            "it is a copy of the file that stands for \"%.100s\" and holds no data: get a state back with mvrevert to",
            from->stub.name);
    if (strcmp(from->stub.name, to->stub.name) != 0)
        return failed("cannot rename", from->path, MV_MISUSE);
    mvi_log(MVI_LOG_WARN, "%s was renamed over %s and changes nothing: %s", from->path, to->path, mv_error_text());
    return remove_file(from->path);
}

static int rename_file_over(mv_store *store, const place *from, const place *to)
{
    char aside[MVR_PATH_MAX + 40];
    const char *wanted = mvi_setting("MVSQLITE_IMPORT");
    const char *name = database_of(store, to);
    if (!S_ISREG(from->st.st_mode)) {
        mv_fail(MV_MISUSE, "there stands the database \"%.100s\", which only a file can replace", name);
        return failed("cannot rename over", to->path, MV_MISUSE);
    }
    if (!wanted || !*wanted || strcmp(wanted, "0") == 0) {
        mv_fail(MV_BUSY,
                "there stands the database \"%.100s\", which a file does not replace by itself: set MVSQLITE_IMPORT=1 "
                "(mvsqlite run --import) and its contents become a commit of the database, or delete the database first",
                name);
        return failed("cannot rename over", to->path, MV_BUSY);
    }
    int rc = from->st.st_dev == to->st.st_dev ? mvr_replace_by_file(store, name, from->path) : MV_OK;
    if (rc)
        return failed("cannot rename over", to->path, rc);
    if (from->st.st_dev != to->st.st_dev)
        return EXDEV;
    int error = mvr_move_aside(from->path, to->path, aside, sizeof aside);
    if (error) {
        mvi_log(MVI_LOG_WARN, "%s was taken over by the database \"%s\" but cannot be moved aside: %s", from->path,
                name, strerror(error));
        return error;
    }
    mvi_log(MVI_LOG_INFO, "the database \"%s\" has taken over the contents of %s, which is kept as %s", name,
            from->path, aside);
    return 0;
}

int mvr_file_rename(const char *from_path, const char *to_path, unsigned flags)
{
    place from, to;
    mv_store *store = NULL;
    int error = look_at(from_path, &from);
    if (!error)
        error = look_at(to_path, &to);
    if (error || !from.exists)
        return error ? error : ENOENT;
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return EINVAL;
    if (to.exists && flags & RENAME_NOREPLACE)
        return EEXIST;
    if (to.exists && from.st.st_dev == to.st.st_dev && from.st.st_ino == to.st.st_ino)
        return 0; /* as rename(2) says of two links to one file */
    if (S_ISDIR(from.st.st_mode) || (to.exists && S_ISDIR(to.st.st_mode)))
        return move_file(from_path, to_path, flags); /* fails as it should */
    if (!from.is_own && !(to.is_stub && to.is_own))
        return move_file(from_path, to_path, flags);
    if (from.is_stub && !from.is_own)
        return rename_copy(&from, &to, flags);
    int rc = open_default(&store);
    if (rc)
        error = failed("cannot rename", from_path, rc);
    else
        error = from.is_stub ? rename_database(store, &from, &to) : rename_file_over(store, &from, &to);
    mv_store_close(store);
    return error;
}
