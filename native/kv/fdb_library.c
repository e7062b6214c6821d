#include "fdb_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/error.h"
#include "../base/settings.h"

#define API_VERSION 730
enum { API_VERSION_SET = 2201 }; /* an error of the client's: it is set already */

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static kvi_fdb loaded; /* guarded by load_lock until it is complete */
static pid_t owner;    /* the process whose network thread runs; 0: none */
static pthread_t network;
static uint64_t network_set; /* hash of the network options in force */
static char path[4096]; /* of the library first loaded */
static pthread_once_t at_fork_once = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    pthread_mutex_init(&load_lock, NULL);
}

static void register_at_fork(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

static void *run_network(void *unused)
{
    (void)unused;
    (void)loaded.fdb_run_network();
    return NULL;
}

static void stop_at_exit(void)
{
    if (owner != getpid())
        return;
    owner = 0;
    if (loaded.fdb_stop_network() == 0)
        pthread_join(network, NULL);
}

void kvi_fdb_arm_exit(kvi_fdb_moment moment)
{
    static _Atomic pid_t armed[KVI_FDB_MOMENTS];
    pid_t here = getpid();
    if (atomic_load_explicit(&armed[moment], memory_order_relaxed) != here &&
        atomic_exchange(&armed[moment], here) != here)
        atexit(stop_at_exit);
}

/* A private copy of the library's file, which the loader takes for another library. */
static void *open_copy(void)
{
    char copy_path[64];
    struct stat st;
    int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("libfdb_c", MFD_CLOEXEC);
    off_t done = 0;
    int good = from >= 0 && to >= 0 && fstat(from, &st) == 0;
    while (good && done < st.st_size)
        good = sendfile(to, from, &done, (size_t)(st.st_size - done)) > 0;
    snprintf(copy_path, sizeof copy_path, "/proc/self/fd/%d", to);
    void *library = good ? dlopen(copy_path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return library;
}

static void *open_library(void)
{
    const char *named = mvi_setting("MVSQLITE_FDB_CLIENT");
    if (owner)
        return open_copy();
    return dlopen(named && *named ? named : "libfdb_c.so", RTLD_NOW | RTLD_LOCAL);
}

static int resolve(void *library, kvi_fdb *out)
{
    const char *missing = NULL;
#define RESOLVE(result, name, arguments)              \
    *(void **)(&out->name) = dlsym(library, #name);     \
    missing = out->name ? missing : #name;
    KVI_FDB_FUNCTIONS(RESOLVE)
#undef RESOLVE
    if (missing)
        return mv_fail(MV_URL, "the FoundationDB client library lacks %s: version 7.3 or later is needed", missing);
    Dl_info info;
    if (!owner && dladdr(*(void **)&out->fdb_setup_network, &info) && info.dli_fname)
        snprintf(path, sizeof path, "%s", info.dli_fname);
    return MV_OK;
}

/* FNV-1a of the network options that are given. */
static uint64_t hash_options(const kvi_fdb_options *o)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < KVI_FDB_NETWORK_OPTIONS; i++)
        for (const char *c = o->network[i].value; c && *c; c++)
            hash = (hash ^ (uint8_t)*c ^ (uint64_t)i << 8) * 1099511628211u;
    return hash;
}

static int set_network_options(const kvi_fdb_options *o)
{
    for (size_t i = 0; i < KVI_FDB_NETWORK_OPTIONS; i++) {
        const char *value = o->network[i].value;
        int error = value ? loaded.fdb_network_set_option(o->network[i].code, (const uint8_t *)value,
                                                          (int)strlen(value))
                          : 0;
        if (error)
            return mv_fail(MV_URL, "the FoundationDB client does not take %s=%s: %s", o->network[i].name, value,
                           loaded.fdb_get_error(error));
    }
    return MV_OK;
}

/* Given options must be those in force; an address without any takes what there is. */
static int check_options(const kvi_fdb_options *o)
{
    static const kvi_fdb_options none;
    uint64_t asked = hash_options(o);
    if (asked == network_set || asked == hash_options(&none))
        return MV_OK;
    return mv_fail(MV_URL, "this process has opened a cluster with other tls, trace or clients options: the client "
                           "library takes them once, so give all addresses the same");
}

static int start(const kvi_fdb_options *options)
{
    int error = loaded.fdb_select_api_version_impl(API_VERSION, API_VERSION);
    if (error && error != API_VERSION_SET) /* an earlier start that failed afterwards has set it */
        return mv_fail(MV_URL, "the FoundationDB client library %s does not know API version %d: 7.3 or later is "
                               "needed (%s)", path, API_VERSION, loaded.fdb_get_error(error));
    int rc = set_network_options(options);
    if (rc)
        return rc;
    network_set = hash_options(options);
    error = loaded.fdb_setup_network();
    if (error)
        return mv_fail(MV_IO, "the FoundationDB client cannot start: %s", loaded.fdb_get_error(error));
    if (pthread_create(&network, NULL, run_network, NULL) != 0)
        return mv_fail(MV_NOMEM, "no thread for the FoundationDB client's network");
    if (!owner)
        atexit(stop_at_exit);
    owner = getpid();
    return MV_OK;
}

static int load(const kvi_fdb_options *options)
{
    if (owner == getpid())
        return check_options(options);
    void *library = open_library();
    if (!library)
        return mv_fail(MV_URL,
                       "no FoundationDB client library (%s): install the foundationdb-clients package of "
                       "FoundationDB's releases, or set MVSQLITE_FDB_CLIENT to the path of libfdb_c.so",
                       dlerror());
    int rc = resolve(library, &loaded);
    return rc ? rc : start(options);
}

int kvi_fdb_load(const kvi_fdb_options *options, const kvi_fdb **fdb)
{
    pthread_once(&at_fork_once, register_at_fork);
    pthread_mutex_lock(&load_lock);
    int rc = load(options);
    pthread_mutex_unlock(&load_lock);
    *fdb = &loaded;
    return rc;
}
