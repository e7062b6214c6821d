/* The default VFS where paths are routed: ours for routed files, the one before for all others. */
#include "vfs.h"

/* A routed path in use: its journals are ours too. */
struct mvv_place {
    mvv_place *next;
    size_t n, users;
    char path[]; /* n bytes */
};

static mvv_copy *copy_of(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

/* ---- routed paths in use; under the copy's lock --------------------------------- */

static mvv_place *find(mvv_copy *copy, const char *path, size_t n)
{
    mvv_place *place = copy->places;
    while (place && !(place->n == n && memcmp(place->path, path, n) == 0))
        place = place->next;
    return place;
}

static mvv_place *add(mvv_copy *copy, const char *path, size_t n)
{
    mvv_place *place = calloc(1, sizeof *place + n + 1);
    if (!place)
        return NULL;
    memcpy(place->path, path, n);
    place->n = n;
    place->next = copy->places;
    return copy->places = place;
}

mvv_place *mvv_place_enter(mvv_copy *copy, const char *path)
{
    size_t n = strlen(path);
    pthread_mutex_lock(&copy->lock);
    mvv_place *place = find(copy, path, n);
    if (!place)
        place = add(copy, path, n);
    if (place)
        place->users++;
    pthread_mutex_unlock(&copy->lock);
    return place;
}

void mvv_place_leave(mvv_copy *copy, mvv_place *place)
{
    if (!place)
        return;
    pthread_mutex_lock(&copy->lock);
    if (--place->users == 0) {
        mvv_place **link = &copy->places;
        while (*link != place)
            link = &(*link)->next;
        *link = place->next;
        free(place);
    }
    pthread_mutex_unlock(&copy->lock);
}

/* Whether a file stands beside a routed path that is in use: its journal, log or super-journal
 * (SQLite appends "-journal", "-wal" or "-mj" and hexadecimal digits). */
static int is_beside(mvv_copy *copy, const char *name)
{
    const char *dash = strrchr(name, '-');
    if (!dash || (strcmp(dash, "-journal") != 0 && strcmp(dash, "-wal") != 0 && strncmp(dash, "-mj", 3) != 0))
        return 0;
    pthread_mutex_lock(&copy->lock);
    int found = find(copy, name, (size_t)(dash - name)) != NULL;
    pthread_mutex_unlock(&copy->lock);
    return found;
}

/* ---- the VFS -------------------------------------------------------------------- */

static int router_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    mvv_copy *copy = copy_of(vfs);
    int routed = 0;
    file->pMethods = NULL;
    if (name && flags & SQLITE_OPEN_MAIN_DB) {
        int rc = mvv_place_open(copy, name, (mvv_file *)file, flags, out_flags, &routed);
        if (routed)
            return rc;
    } else if (name && is_beside(copy, name)) {
        return copy->vfs.xOpen(&copy->vfs, name, file, flags, out_flags);
    }
    return copy->fallback->xOpen(copy->fallback, name, file, flags, out_flags);
}

static int router_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    mvv_copy *copy = copy_of(vfs);
    sqlite3_vfs *to = is_beside(copy, name) ? &copy->vfs : copy->fallback;
    return to->xDelete(to, name, sync);
}

static int router_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    mvv_copy *copy = copy_of(vfs);
    sqlite3_vfs *to = is_beside(copy, name) ? &copy->vfs : copy->fallback;
    return to->xAccess(to, name, flags, result);
}

static int router_full_pathname(sqlite3_vfs *vfs, const char *name, int room, char *out)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    return to->xFullPathname(to, name, room, out);
}

static int router_last_error(sqlite3_vfs *vfs, int room, char *out)
{
    sqlite3_vfs *to = copy_of(vfs)->fallback;
    return to->xGetLastError ? to->xGetLastError(to, room, out) : 0;
}

static int register_locked(mvv_copy *copy)
{
    sqlite3_vfs *router = &copy->router, *fallback = copy->fallback;
    if (router->zName) /* after sqlite3_shutdown SQLite's own is the default again */
        return copy->api->vfs_find(NULL) == fallback ? copy->api->vfs_register(router, 1) : SQLITE_OK;
    *router = copy->vfs;
    router->pNext = NULL;
    router->zName = MVV_ROUTER_NAME;
    router->szOsFile = fallback->szOsFile > copy->vfs.szOsFile ? fallback->szOsFile : copy->vfs.szOsFile;
    router->mxPathname = fallback->mxPathname;
    router->xOpen = router_open;
    router->xDelete = router_delete;
    router->xAccess = router_access;
    router->xFullPathname = router_full_pathname;
    router->xGetLastError = router_last_error;
    return copy->api->vfs_register(router, 1);
}

/* Threads may load the extension at the same moment. */
int mvv_router_register(mvv_copy *copy)
{
    pthread_mutex_lock(&copy->lock);
    int rc = register_locked(copy);
    pthread_mutex_unlock(&copy->lock);
    return rc;
}
