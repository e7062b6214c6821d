/* libmvsqlite.so: found beside this library, loaded when something of a route is touched. */
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/logging.h"
#include "../base/settings.h"
#include "../route/map.h"
#include "../route/stub.h"
#include "preload.h"

#define CORE "libmvsqlite.so"
#define SETTINGS 32 /* at most so many variables are kept */

int mvp_enabled;

static const char *kept[SETTINGS + 1];
static _Atomic(void *) core;
static mvp_range core_range; /* from the moment that `core` is set */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

/* A program may clear its environment, or write its title over it, before it opens anything. */
static void keep_settings(char **environment)
{
    size_t n = 0;
    for (char **entry = environment; entry && *entry && n < SETTINGS; entry++)
        if (strncmp(*entry, "MVSQLITE_", 9) == 0 && (kept[n] = strdup(*entry)) != NULL)
            n++;
    mv_settings_keep(kept);
}

/* Another thread may have been loading at the moment of fork; the child has no such thread. */
static void in_child(void)
{
    pthread_mutex_init(&loading, NULL);
}

__attribute__((constructor)) static void begin(int argc, char **argv, char **environment)
{
    const char *map = getenv("MVSQLITE_MAP");
    (void)argc, (void)argv;
    mvp_enabled = map && *map;
    if (!mvp_enabled)
        return;
    keep_settings(environment);
    pthread_atfork(NULL, NULL, in_child);
}

/* One that the program has itself comes first: two would open a store twice. */
static void *load(void)
{
    void *(*open_library)(const char *, int) = (void *(*)(const char *, int))mvp_next("dlopen");
    Dl_info info;
    char here[PATH_MAX], path[PATH_MAX + sizeof CORE + 1];
    if (!open_library || !dladdr((void *)&mvp_enabled, &info) || !info.dli_fname)
        return NULL;
    void *handle = open_library(CORE, RTLD_NOW | RTLD_NOLOAD);
    if (handle)
        return handle;
    if (!realpath(info.dli_fname, here))
        return NULL;
    snprintf(path, sizeof path, "%s/%s", dirname(here), CORE);
    return open_library(path, RTLD_LAZY | RTLD_LOCAL);
}

static void *load_once(void)
{
    static int told;
    pthread_mutex_lock(&loading);
    void *handle = atomic_load(&core);
    if (!handle && (handle = load()) != NULL) {
        void (*keep)(const char *const *) = (void (*)(const char *const *))mvp_dlsym(handle, "mv_settings_keep");
        if (keep)
            keep(kept);
        core_range = mvp_range_of((void *)keep);
        atomic_store(&core, handle);
    }
    if (!handle && !told) {
        const char *why = dlerror();
        told = 1;
        mvi_log(MVI_LOG_ERROR, "no route works in this process: %s cannot be loaded: %s", CORE,
                why ? why : "it is not beside the preload library");
    }
    pthread_mutex_unlock(&loading);
    return handle;
}

void *mvp_core_if_loaded(const char *name)
{
    void *(*open_library)(const char *, int) = (void *(*)(const char *, int))mvp_next("dlopen");
    void *handle = atomic_load(&core);
    if (!handle && open_library && open_library(CORE, RTLD_NOW | RTLD_NOLOAD))
        handle = load_once(); /* the program has loaded it itself, as an extension */
    return handle ? mvp_dlsym(handle, name) : NULL;
}

int mvp_is_core(const void *address)
{
    return atomic_load(&core) && mvp_holds(&core_range, address);
}

void *mvp_core(const char *name)
{
    void *handle = atomic_load(&core);
    if (!handle)
        handle = load_once();
    void *found = handle ? mvp_dlsym(handle, name) : NULL;
    if (handle && !found)
        mvi_log(MVI_LOG_ERROR, "%s is not of this release: it has no %s", CORE, name);
    return found;
}

int mvp_is_routed(const char *path, char *real, size_t room)
{
    const mvr_map *map;
    mvr_stub stub;
    char found[PATH_MAX], name[MV_NAME_MAX + 1];
    if (mvr_map_of_process(&map))
        return -1;
    if (realpath(path, found))
        snprintf(real, room, "%s", found);
    else if (mvp_absolute(AT_FDCWD, path, real, room) != 0)
        return 0;
    return (map && mvr_map_find(map, real, name) != MV_NOTFOUND) || mvr_stub_at(real, &stub) != MV_NOTFOUND;
}
