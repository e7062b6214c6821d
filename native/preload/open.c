/* sqlite3_open and sqlite3_step: the router comes before the first, another try behind the second. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "../base/logging.h"
#include "preload.h"

#define UNOPENABLE "/dev/null/this path is routed to mvsqlite, which could not be loaded"
#define STAND_INS 4

typedef int (*step_function)(sqlite3_stmt *);
typedef int (*again_function)(sqlite3_stmt *, int, step_function);

static pthread_mutex_t attaching;
static _Thread_local int attaching_here __attribute__((tls_model("initial-exec")));
static _Atomic(again_function) step_again;

static void make_lock(void)
{
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&attaching, &recursive);
    pthread_mutexattr_destroy(&recursive);
}

static void make_locks(void)
{
    make_lock();
    pthread_atfork(NULL, NULL, make_lock);
}

/* ---- the router ---------------------------------------------------------------- */

/* A copy that the core knows is begun anew, after sqlite3_shutdown, without a connection: on that
 * the program's own extensions of all connections would run, before there are any routes. */
static int attach_again(const mvp_copy *copy)
{
    typedef int (*again_entry)(const void *);
    again_entry again = (again_entry)mvp_core("mvv_preload_again");
    atomic_store(&step_again, (again_function)mvp_core("mvv_step_again"));
    return again ? again(mvp_dlsym(copy->handle, "sqlite3_vfs_register")) : SQLITE_ERROR;
}

/* Only an extension is given the copy's own table of functions, and a connection to load it into
 * there is none before the first: so it is one of all connections for the time of one. */
static int attach(mvp_copy *copy)
{
    typedef void (*entry)(void);
    int (*add)(entry) = (int (*)(entry))mvp_dlsym(copy->handle, "sqlite3_auto_extension");
    int (*cancel)(entry) = (int (*)(entry))mvp_dlsym(copy->handle, "sqlite3_cancel_auto_extension");
    int (*close)(sqlite3 *) = (int (*)(sqlite3 *))mvp_dlsym(copy->handle, "sqlite3_close");
    const char *(*errmsg)(sqlite3 *) = (const char *(*)(sqlite3 *))mvp_dlsym(copy->handle, "sqlite3_errmsg");
    entry core = (entry)mvp_core("mvv_preload_entry");
    sqlite3 *db = NULL;
    if (!core)
        return SQLITE_ERROR;
    if (attach_again(copy) == SQLITE_OK)
        return SQLITE_OK;
    int rc = add && cancel && close && errmsg ? add(core) : SQLITE_MISUSE;
    if (!rc) {
        rc = copy->open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
        cancel(core);
    }
    if (rc)
        mvi_log(MVI_LOG_ERROR, "no route works with this program's SQLite: %s", db ? errmsg(db) : "it is too old");
    if (db)
        close(db);
    return rc;
}

static void prepare(mvp_copy *copy)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!mvp_enabled || atomic_load_explicit(&copy->state, memory_order_acquire) == MVP_ROUTED || attaching_here)
        return;
    pthread_once(&once, make_locks);
    pthread_mutex_lock(&attaching);
    if (atomic_load(&copy->state) == MVP_NEW) {
        attaching_here = 1;
        atomic_store(&copy->state, attach(copy) ? MVP_FAILED : MVP_ROUTED);
        attaching_here = 0;
    }
    pthread_mutex_unlock(&attaching);
}

/* "file:/a%20b?mode=ro" is /a b; anything else is what it says. */
static void path_of_uri(const char *name, char *path, size_t room)
{
    size_t n = 0;
    int hex = -1;
    if (strncmp(name, "file:", 5) == 0)
        name += strncmp(name, "file://", 7) == 0 && strchr(name + 7, '/') ? (size_t)(strchr(name + 7, '/') - name) : 5;
    for (; *name && *name != '?' && *name != '#' && n + 1 < room; name++) {
        if (*name == '%' && name[1] && name[2] && sscanf(name + 1, "%2x", (unsigned *)&hex) == 1) {
            path[n++] = (char)hex;
            name += 2;
        } else {
            path[n++] = *name;
        }
    }
    path[n] = 0;
}

/* A path that is routed, in a copy that could not be given the router: the plain file that SQLite
 * would make there is a second life of the database, which nobody asked for. */
static int must_refuse(const mvp_copy *copy, const char *name)
{
    char path[PATH_MAX], real[PATH_MAX];
    if (!mvp_enabled || atomic_load(&copy->state) != MVP_FAILED || !name || !*name || strcmp(name, ":memory:") == 0)
        return 0;
    path_of_uri(name, path, sizeof path);
    if (mvp_is_routed(name, real, sizeof real) == 0 && (!*path || mvp_is_routed(path, real, sizeof real) == 0))
        return 0;
    mvi_log(MVI_LOG_ERROR, "%s is not opened: it is routed, and no route works in this process", name);
    return 1;
}

/* ---- the functions, of one copy ----------------------------------------------------- */

static int open_v2_in(mvp_copy *copy, const char *name, sqlite3 **db, int flags, const char *vfs)
{
    if (!copy)
        return SQLITE_MISUSE;
    prepare(copy);
    mvp_copy *outer = mvp_inside;
    mvp_inside = copy;
    int rc = must_refuse(copy, name) ? copy->open_v2(UNOPENABLE, db, SQLITE_OPEN_READONLY, NULL)
                                     : copy->open_v2(name, db, flags, vfs);
    mvp_inside = outer;
    return rc;
}

static int open_in(mvp_copy *copy, const char *name, sqlite3 **db)
{
    if (!copy)
        return SQLITE_MISUSE;
    prepare(copy);
    mvp_copy *outer = mvp_inside;
    mvp_inside = copy;
    int rc = must_refuse(copy, name) ? copy->open_v2(UNOPENABLE, db, SQLITE_OPEN_READONLY, NULL) : copy->open(name, db);
    mvp_inside = outer;
    return rc;
}

static int open16_in(mvp_copy *copy, const void *name, sqlite3 **db)
{
    if (!copy || !copy->open16)
        return SQLITE_MISUSE;
    prepare(copy);
    mvp_copy *outer = mvp_inside;
    mvp_inside = copy;
    /* without a router every file is refused: which it is need not be found out */
    int is_file = name && *(const unsigned short *)name && *(const unsigned short *)name != ':';
    int refused = mvp_enabled && atomic_load(&copy->state) == MVP_FAILED && is_file;
    int rc = refused ? copy->open_v2(UNOPENABLE, db, SQLITE_OPEN_READONLY, NULL) : copy->open16(name, db);
    mvp_inside = outer;
    return rc;
}

static inline int step_in(mvp_copy *copy, sqlite3_stmt *statement)
{
    if (!copy)
        return SQLITE_MISUSE;
    mvp_copy *outer = mvp_inside;
    mvp_inside = copy;
    int rc = copy->step(statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        again_function again = atomic_load_explicit(&step_again, memory_order_relaxed);
        if (again && ((rc & 0xff) == SQLITE_BUSY || rc == SQLITE_ERROR))
            rc = again(statement, rc, copy->step);
    }
    mvp_inside = outer;
    return rc;
}

/* SQLite forgets its auto extensions, and its own VFS will be the default. */
static int shutdown_of(mvp_copy *copy)
{
    if (!copy)
        return SQLITE_OK;
    atomic_store(&copy->state, MVP_NEW);
    return copy->shutdown();
}

MVP_EXPORTED int sqlite3_open(const char *name, sqlite3 **db)
{
    return open_in(mvp_copy_of_caller(MVP_CALLER), name, db);
}

MVP_EXPORTED int sqlite3_open_v2(const char *name, sqlite3 **db, int flags, const char *vfs)
{
    return open_v2_in(mvp_copy_of_caller(MVP_CALLER), name, db, flags, vfs);
}

MVP_EXPORTED int sqlite3_open16(const void *name, sqlite3 **db)
{
    return open16_in(mvp_copy_of_caller(MVP_CALLER), name, db);
}

MVP_EXPORTED int sqlite3_step(sqlite3_stmt *statement)
{
    return step_in(mvp_copy_of_caller(MVP_CALLER), statement);
}

MVP_EXPORTED int sqlite3_shutdown(void)
{
    return shutdown_of(mvp_copy_of_caller(MVP_CALLER));
}

/* ---- for dlsym: the same, each knowing its copy --------------------------------------- */

#define FOR(i)                                                                             \
    static int open_##i(const char *name, sqlite3 **db)                                    \
    {                                                                                      \
        return open_in(mvp_copy_at(i), name, db);                                          \
    }                                                                                      \
    static int open_v2_##i(const char *name, sqlite3 **db, int flags, const char *vfs)     \
    {                                                                                      \
        return open_v2_in(mvp_copy_at(i), name, db, flags, vfs);                           \
    }                                                                                      \
    static int open16_##i(const void *name, sqlite3 **db)                                  \
    {                                                                                      \
        return open16_in(mvp_copy_at(i), name, db);                                        \
    }                                                                                      \
    static int step_##i(sqlite3_stmt *statement)                                           \
    {                                                                                      \
        return step_in(mvp_copy_at(i), statement);                                         \
    }                                                                                      \
    static int shutdown_##i(void)                                                          \
    {                                                                                      \
        return shutdown_of(mvp_copy_at(i));                                                \
    }
FOR(0) FOR(1) FOR(2) FOR(3)
#undef FOR

void *mvp_stand_in(const char *name, const mvp_copy *copy)
{
    static const char *const names[] = {"sqlite3_open", "sqlite3_open_v2", "sqlite3_open16", "sqlite3_step",
                                        "sqlite3_shutdown"};
    void *const functions[STAND_INS][5] = {
        {(void *)open_0, (void *)open_v2_0, (void *)open16_0, (void *)step_0, (void *)shutdown_0},
        {(void *)open_1, (void *)open_v2_1, (void *)open16_1, (void *)step_1, (void *)shutdown_1},
        {(void *)open_2, (void *)open_v2_2, (void *)open16_2, (void *)step_2, (void *)shutdown_2},
        {(void *)open_3, (void *)open_v2_3, (void *)open16_3, (void *)step_3, (void *)shutdown_3},
    };
    int index = mvp_copy_index(copy);
    for (int i = 0; i < 5; i++)
        if (strcmp(names[i], name) == 0 && index >= 0 && index < STAND_INS)
            return functions[index][i];
    return NULL;
}
