/* The preload library: brings a program's own copy of SQLite to the store.
 *
 * LD_PRELOAD puts its functions before those of the same names in every object that is bound
 * the usual way:
 *
 *   sqlite3_open, _v2, 16   the first call in a copy of SQLite makes the router that copy's default
 *                           VFS (copies.c); then the copy's own function does the work
 *   sqlite3_shutdown        after it the next call is a first one again
 *   sqlite3_step            runs a statement again that lost a race (native/vfs/retry.c)
 *   dlopen, dlsym           so that copies that are bound in an unusual way are met too (loader.c)
 *   unlink, rename, ...     of a routed path are deletions and renamings of the database (files.c)
 *   open, copying           are watched: who goes past us is named in the log (watch.c)
 *
 * It needs nothing but libc, and loads libmvsqlite.so, which lies beside it, only when something
 * of a route is touched (core.c). Where MVSQLITE_MAP is unset every function only passes on.
 * No function aborts, none writes to standard output, and errno is libc's. */
#ifndef MV_PRELOAD_H
#define MV_PRELOAD_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

#define MVP_EXPORTED __attribute__((visibility("default")))
#define MVP_CALLER __builtin_return_address(0)

/* ---- real.c: what comes after us ------------------------------------------------- */
/* libc's dlsym, and its function of a name (NULL: it has none), of what is loaded after us. */
void *mvp_dlsym(void *handle, const char *name);
void *mvp_next(const char *name);
void *mvp_real_dlsym(void);

/* The type of a function of libc and, in `variable`, libc's own; looked up once. */
#define MVP_REAL(variable, name)                                                 \
    static _Atomic(__typeof__(&name)) variable##_kept;                           \
    __typeof__(&name) variable = atomic_load_explicit(&variable##_kept, memory_order_relaxed); \
    if (!variable) {                                                             \
        variable = (__typeof__(&name))mvp_next(#name);                           \
        atomic_store_explicit(&variable##_kept, variable, memory_order_relaxed); \
    }

/* Where an object is in memory. */
typedef struct mvp_range {
    const char *begin, *end;
} mvp_range;
/* That of the object which holds an address; empty: there is none. */
mvp_range mvp_range_of(const void *address);
static inline int mvp_holds(const mvp_range *range, const void *address)
{
    return (const char *)address >= range->begin && (const char *)address < range->end;
}

/* ---- core.c: libmvsqlite.so ------------------------------------------------------- */
/* Whether paths are routed in this process. */
extern int mvp_enabled;
/* A function of libmvsqlite.so, which is loaded if need be; NULL (and it is logged): it cannot be. */
void *mvp_core(const char *name);
/* The same of what is loaded already; NULL: it is not. */
void *mvp_core_if_loaded(const char *name);
/* Whether code of libmvsqlite.so is at an address. */
int mvp_is_core(const void *address);
/* 1: a route names the path, or a stub stands there; -1: the routes cannot be read. `path` as an
 * application gives it, seen from the working directory; `room` bytes of where that is. */
int mvp_is_routed(const char *path, char *real, size_t room);

/* ---- copies.c: copies of SQLite ---------------------------------------------------- */
#define MVP_COPIES 8

typedef struct mvp_copy {
    mvp_range range; /* of the object that holds it */
    void *handle;    /* of that object, which stays loaded */
    int (*open)(const char *, sqlite3 **);
    int (*open_v2)(const char *, sqlite3 **, int, const char *);
    int (*open16)(const void *, sqlite3 **);
    int (*step)(sqlite3_stmt *);
    int (*shutdown)(void);
    atomic_int state; /* of its router: MVP_NEW ... */
} mvp_copy;
enum { MVP_NEW, MVP_ROUTED, MVP_FAILED };

/* The copy whose function this thread is in; NULL: in none. */
extern _Thread_local mvp_copy *mvp_inside __attribute__((tls_model("initial-exec")));

/* The copy that the code at an address calls; NULL: there is none. */
mvp_copy *mvp_copy_of_caller(const void *address);
/* The copy in the object that holds a function; NULL: that object holds none. */
mvp_copy *mvp_copy_of_function(const void *function);
int mvp_copy_index(const mvp_copy *copy);
mvp_copy *mvp_copy_at(int index);
/* Whether the code at an address is part of a copy that routes, or of libmvsqlite.so. */
int mvp_is_ours(const void *address);

/* ---- open.c -------------------------------------------------------------------------- */
/* What stands for a copy's own function of that name where it is asked for by dlsym; NULL: nothing. */
void *mvp_stand_in(const char *name, const mvp_copy *copy);

/* ---- files.c -------------------------------------------------------------------------- */
/* The absolute path of what `path` means below the directory `at`. 0, or an errno. */
int mvp_absolute(int at, const char *path, char *out, size_t room);

#endif
