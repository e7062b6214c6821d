/* The VFS object of each copy of SQLite, and the extension's entry point. */
#include <dlfcn.h>
#include <stdio.h>

#include "../base/logging.h"
#include "../route/map.h"
#include "vfs.h"

static pthread_mutex_t copies_lock = PTHREAD_MUTEX_INITIALIZER;
static mvv_copy copies[MVV_COPIES]; /* the first `copy_count` are in use; guarded by copies_lock */
static int copy_count;

mvv_copy *mvv_copy_at(int index)
{
    return &copies[index];
}

int mvv_error(mvv_copy *copy, int code)
{
    int sqlite = mv_error_sqlite(code);
    if (code != MV_BUSY && code != MV_CONFLICT) {
        copy->api->log(sqlite, "mvsqlite: %s", mv_error_text());
        /* a program that knows nothing of us cannot ask for the sentence */
        mvi_log(copy->router.zName ? MVI_LOG_ERROR : MVI_LOG_DEBUG, "%s", mv_error_text());
    }
    return sqlite;
}

static mvv_copy *copy_of(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    mvv_copy *copy = copy_of(vfs);
    file->pMethods = NULL;
    if (flags & SQLITE_OPEN_MAIN_DB && name)
        return mvv_file_open(copy, name, name, (mvv_file *)file, flags, out_flags);
    if (flags & SQLITE_OPEN_SUPER_JOURNAL && name) {
        int rc = flags & SQLITE_OPEN_CREATE ? mvv_super_begin(copy, name) : SQLITE_OK;
        if (rc)
            return rc;
        if (!(flags & SQLITE_OPEN_CREATE))
            mvv_super_give_up(copy, name);
    }
    if (out_flags)
        *out_flags = flags;
    return mvv_memfile_open(file, flags);
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)sync;
    return mvv_super_commit(copy_of(vfs), name); /* every other file lives and dies with its handle */
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    (void)flags;
    *result = mvv_super_exists(copy_of(vfs), name); /* no other journal outlives its handle */
    return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int room, char *out)
{
    (void)vfs;
    size_t length = strlen(name);
    if (length > MV_NAME_MAX) {
        mv_fail(MV_NAME, "a database name has 1 to %d bytes, this one %zu", MV_NAME_MAX, length);
        return SQLITE_CANTOPEN;
    }
    int n = snprintf(out, (size_t)room, "%s", name);
    return n >= 0 && n < room ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    return to->xRandomness(to, n, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    return to->xSleep(to, microseconds);
}

static int vfs_current_time(sqlite3_vfs *vfs, double *now)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    return to->xCurrentTime(to, now);
}

static int vfs_current_time64(sqlite3_vfs *vfs, sqlite3_int64 *now)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    if (to->iVersion >= 2 && to->xCurrentTimeInt64)
        return to->xCurrentTimeInt64(to, now);
    double days;
    int rc = to->xCurrentTime(to, &days);
    *now = (sqlite3_int64)(days * 86400000.0);
    return rc;
}

static int vfs_last_error(sqlite3_vfs *vfs, int room, char *out)
{
    (void)vfs;
    if (room > 0)
        snprintf(out, (size_t)room, "%s", mv_error_text());
    return 0;
}

static void *vfs_dl_open(sqlite3_vfs *vfs, const char *path)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    return to->xDlOpen(to, path);
}

static void vfs_dl_error(sqlite3_vfs *vfs, int room, char *out)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    to->xDlError(to, room, out);
}

static void (*vfs_dl_sym(sqlite3_vfs *vfs, void *library, const char *symbol))(void)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    return to->xDlSym(to, library, symbol);
}

static void vfs_dl_close(sqlite3_vfs *vfs, void *library)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    to->xDlClose(to, library);
}

/* A program may unload a library that holds a copy of SQLite, as Node does with an addon when the
 * last thread that uses it ends. It would come back without our VFS, while we held pointers into it. */
static void keep_loaded(const sqlite3_api_routines *api)
{
    Dl_info place;
    int (*inside)(sqlite3_vfs *, int) = api->vfs_register;
    if (!dladdr(*(void **)&inside, &place) || !place.dli_fname)
        return;
    void *library = dlopen(place.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    if (library)
        dlclose(library);
}

static int fill(mvv_copy *copy, const sqlite3_api_routines *api, int index)
{
    size_t size = sizeof(mvv_file) > mvv_memfile_size() ? sizeof(mvv_file) : mvv_memfile_size();
    copy->index = index;
    copy->api = api;
    copy->fallback = api->vfs_find(NULL);
    if (!copy->fallback)
        return SQLITE_ERROR;
    keep_loaded(api);
    pthread_mutex_init(&copy->lock, NULL);
    copy->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = (int)size,
        .mxPathname = 512,
        .zName = MVV_NAME,
        .pAppData = copy,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xDlOpen = vfs_dl_open,
        .xDlError = vfs_dl_error,
        .xDlSym = vfs_dl_sym,
        .xDlClose = vfs_dl_close,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_current_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_current_time64,
    };
    return api->vfs_register(&copy->vfs, 0);
}

/* Every copy of SQLite has its own table of functions, but may hand out copies of the
 * table: a function in it tells them apart. */
static int register_locked(const sqlite3_api_routines *api, mvv_copy **out)
{
    for (int i = 0; i < copy_count; i++)
        if (copies[i].api->vfs_register == api->vfs_register) {
            *out = &copies[i];
            return SQLITE_OK;
        }
    if (copy_count == MVV_COPIES)
        return SQLITE_FULL;
    int rc = fill(&copies[copy_count], api, copy_count);
    if (!rc)
        *out = &copies[copy_count++];
    return rc;
}

/* Another thread may have held a lock at the moment of fork; the child has no such thread. */
static void in_child(void)
{
    pthread_mutex_init(&copies_lock, NULL);
    for (int i = 0; i < copy_count; i++)
        pthread_mutex_init(&copies[i].lock, NULL);
}

static void register_at_fork(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

int mvv_register(const sqlite3_api_routines *api, mvv_copy **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_at_fork);
    pthread_mutex_lock(&copies_lock);
    int rc = register_locked(api, out);
    pthread_mutex_unlock(&copies_lock);
    return rc;
}

int mv_vfs_alias(const char *name)
{
    int rc = SQLITE_OK;
    pthread_mutex_lock(&copies_lock);
    for (int i = 0; i < copy_count && !rc; i++) {
        sqlite3_vfs *vfs = malloc(sizeof *vfs); /* SQLite's from now on */
        char *kept = strdup(name);
        if (!vfs || !kept) {
            free(vfs);
            free(kept);
            rc = SQLITE_NOMEM;
            break;
        }
        *vfs = copies[i].vfs;
        vfs->zName = kept;
        vfs->pNext = NULL;
        rc = copies[i].api->vfs_register(vfs, 0);
    }
    pthread_mutex_unlock(&copies_lock);
    return rc;
}

/* Runs for every new connection of a copy: those with a main database of ours are set up. */
static int on_new_connection(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    mvv_copy *copy = NULL;
    (void)message;
    int rc = mvv_register(api, &copy);
    if (rc || !mvv_file_of(copy, db, "main"))
        return rc;
    return mvv_connection_setup(copy, db);
}

int mvv_preload_again(const void *vfs_register)
{
    mvv_copy *copy = NULL;
    pthread_mutex_lock(&copies_lock);
    for (int i = 0; i < copy_count && !copy; i++) {
        int (*known)(sqlite3_vfs *, int) = copies[i].api->vfs_register;
        if (*(void **)&known == vfs_register)
            copy = &copies[i];
    }
    pthread_mutex_unlock(&copies_lock);
    int rc = copy ? mvv_router_register(copy) : SQLITE_NOTFOUND;
    return rc ? rc : copy->api->auto_extension((void (*)(void))on_new_connection);
}

/* The extension's entry point: SQLite derives this name from libmvsqlite.so. */
MV_API int sqlite3_mvsqlite_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    mvv_copy *copy = NULL;
    const mvr_map *map;
    int rc = mvv_register(api, &copy);
    if (rc == SQLITE_FULL)
        *message = api->mprintf("mvsqlite serves at most %d copies of SQLite in one process", MVV_COPIES);
    /* Routes that cannot be read are no reason to fail: a program may go on all the same, and
     * begin anew. The router opens nothing then, and says why. */
    if (!rc && (mvr_map_of_process(&map) || map))
        rc = mvv_router_register(copy);
    if (!rc)
        rc = api->auto_extension((void (*)(void))on_new_connection);
    if (!rc)
        rc = mvv_connection_setup(copy, db);
    return rc ? rc : SQLITE_OK_LOAD_PERMANENTLY;
}
