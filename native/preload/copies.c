/* The copies of SQLite in this process, and which of them a caller means.
 *
 * A program may hold several: the one it links, one that a module of its interpreter brings
 * along. The caller's own object tells: the copy is the one its library dependencies lead to,
 * as the dynamic linker would have bound it without us. An extension of SQLite has its functions
 * from a table of pointers and no dependency: it means the copy that called it. What was found
 * for a place in the code is kept for it. No lock is taken, for the dynamic linker may hold its own
 * here. */
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>

#include "preload.h"

#define SITES 1024 /* a power of two; places beyond are looked up each time */
#define PROBES 8

typedef struct site {
    const void *address;
    mvp_copy *copy; /* NULL: the code there does not lead to one */
} site;

static _Atomic(mvp_copy *) copies[MVP_COPIES]; /* from the first on; never released */
static _Atomic(site *) sites[SITES];           /* never released */

_Thread_local mvp_copy *mvp_inside __attribute__((tls_model("initial-exec")));

mvp_copy *mvp_copy_at(int index)
{
    return atomic_load(&copies[index]);
}

int mvp_copy_index(const mvp_copy *copy)
{
    for (int i = 0; i < MVP_COPIES; i++)
        if (atomic_load(&copies[i]) == copy)
            return i;
    return -1;
}

static mvp_copy *publish(mvp_copy *made)
{
    for (int i = 0; i < MVP_COPIES; i++) {
        mvp_copy *there = NULL;
        if (atomic_compare_exchange_strong(&copies[i], &there, made))
            return made;
        if (there->range.begin == made->range.begin) {
            free(made); /* another thread was first; it keeps the object loaded as well */
            return there;
        }
    }
    free(made);
    return NULL;
}

static mvp_copy *add_copy(const void *function)
{
    Dl_info object;
    void *(*open_library)(const char *, int) = (void *(*)(const char *, int))mvp_next("dlopen");
    mvp_copy *copy = calloc(1, sizeof *copy);
    if (!copy || !open_library || !dladdr(function, &object)) {
        free(copy);
        return NULL;
    }
    copy->range = mvp_range_of(function);
    /* What is registered in it must not go with it. */
    copy->handle = open_library(object.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    if (copy->handle) {
        copy->open = (int (*)(const char *, sqlite3 **))mvp_dlsym(copy->handle, "sqlite3_open");
        copy->open_v2 = (int (*)(const char *, sqlite3 **, int, const char *))mvp_dlsym(copy->handle, "sqlite3_open_v2");
        copy->open16 = (int (*)(const void *, sqlite3 **))mvp_dlsym(copy->handle, "sqlite3_open16");
        copy->step = (int (*)(sqlite3_stmt *))mvp_dlsym(copy->handle, "sqlite3_step");
        copy->shutdown = (int (*)(void))mvp_dlsym(copy->handle, "sqlite3_shutdown");
    }
    int whole = copy->open && copy->open_v2 && copy->step && copy->shutdown;
    if (!whole || !mvp_holds(&copy->range, (void *)copy->open_v2)) {
        free(copy);
        return NULL;
    }
    return publish(copy);
}

/* The copy, of those that are known, whose object holds an address. */
static mvp_copy *known_at(const void *address)
{
    for (int i = 0; i < MVP_COPIES; i++) {
        mvp_copy *copy = mvp_copy_at(i);
        if (!copy)
            break;
        if (mvp_holds(&copy->range, address))
            return copy;
    }
    return NULL;
}

mvp_copy *mvp_copy_of_function(const void *function)
{
    mvp_copy *copy = function ? known_at(function) : NULL;
    if (copy || !function)
        return copy;
    mvp_range range = mvp_range_of(function);
    return mvp_holds(&range, &mvp_enabled) ? NULL : add_copy(function);
}

/* The object's own dependencies come first: a copy that was loaded privately is found only so. */
static void *function_of_object(const char *object)
{
    void *(*open_library)(const char *, int) = (void *(*)(const char *, int))mvp_next("dlopen");
    void *handle = *object && open_library ? open_library(object, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    void *found = handle ? mvp_dlsym(handle, "sqlite3_open_v2") : NULL;
    if (handle)
        dlclose(handle);
    return found;
}

/* NULL: the code there leads to no copy by itself. *lasting: it is a file's, and will stay so. */
static mvp_copy *look_up(const void *address, int *lasting)
{
    Dl_info info;
    struct link_map *map = NULL;
    *lasting = dladdr1((const char *)address - 1, &info, (void **)&map, RTLD_DL_LINKMAP) && map;
    if (!*lasting)
        return NULL;
    return mvp_copy_of_function(*map->l_name ? function_of_object(map->l_name) : mvp_next("sqlite3_open_v2"));
}

static mvp_copy *find_caller(const void *address)
{
    size_t slot = ((uintptr_t)address * 0x9e3779b97f4a7c15u) >> 32;
    int lasting = 0;
    for (int i = 0; i < PROBES; i++, slot++) {
        site *known = atomic_load_explicit(&sites[slot % SITES], memory_order_acquire);
        if (known && known->address == address)
            return known->copy;
        if (known)
            continue;
        mvp_copy *copy = look_up(address, &lasting);
        site *made = lasting ? malloc(sizeof *made) : NULL;
        if (made) {
            *made = (site){address, copy};
            if (!atomic_compare_exchange_strong(&sites[slot % SITES], &known, made))
                free(made);
        }
        return copy;
    }
    return look_up(address, &lasting);
}

mvp_copy *mvp_copy_of_caller(const void *address)
{
    mvp_copy *copy = find_caller(address);
    if (!copy)
        copy = mvp_inside;
    if (!copy)
        copy = mvp_copy_of_function(mvp_next("sqlite3_open_v2"));
    return copy ? copy : mvp_copy_at(0);
}

int mvp_is_ours(const void *address)
{
    const mvp_copy *copy = known_at((const char *)address - 1);
    return copy ? atomic_load(&copy->state) == MVP_ROUTED : mvp_is_core((const char *)address - 1);
}
