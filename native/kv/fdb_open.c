/* The cluster engine: opening, lock files, counters. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fdb_engine.h"

/* A commit of at most 1 MB keeps clear of the cluster's limit of 10 MB with what goes along
 * (old images, records) and is what its documentation advises. */
#define TRANSACTION_BYTES (1u << 20)

/* The cluster refuses reads five seconds after a transaction's version was taken. */
#define HOLD_MS 4000

/* Writers of one host take turns by lock files: a directory for each cluster and prefix. */
static int make_lock_directory(fdb_engine *e)
{
    const kvi_fdb_options *o = &e->options;
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *named = getenv("FDB_CLUSTER_FILE");
    const char *cluster = *o->cluster                        ? o->cluster
                          : named && *named                  ? named
                          : access("fdb.cluster", R_OK) == 0 ? "fdb.cluster"
                                                             : "/etc/foundationdb/fdb.cluster";
    char base[300], content[1024] = "";
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    FILE *f = fopen(cluster, "re");
    size_t n = f ? fread(content, 1, sizeof content - 1, f) : 0;
    if (f)
        fclose(f);
    const char *at = memchr(content, '@', n); /* the addresses may change, the cluster does not */
    n = at ? (size_t)(at - content) : n;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)content[i]) * 1099511628211u;
    for (size_t i = 0; i < o->prefix_size; i++)
        hash = (hash ^ (uint8_t)o->prefix[i]) * 1099511628211u;
    if (runtime && *runtime == '/')
        snprintf(base, sizeof base, "%.250s/mvsqlite", runtime);
    else
        snprintf(base, sizeof base, "/tmp/mvsqlite-%ld", (long)getuid());
    snprintf(e->lock_directory, sizeof e->lock_directory, "%s/%016llx", base, (unsigned long long)hash);
    mkdir(base, 0700);
    mkdir(e->lock_directory, 0700);
    if (access(e->lock_directory, W_OK) != 0)
        return mv_fail(MV_PERM, "cannot write lock files in %s", e->lock_directory);
    return MV_OK;
}

static int open_cluster(const char *rest, fdb_engine *e)
{
    int rc = kvi_fdb_options_read(rest, &e->options);
    const char *cluster = e->options.cluster;
    if (!rc && *cluster && access(cluster, R_OK) != 0)
        rc = mv_fail(MV_URL, "cannot read cluster file %s", cluster);
    if (!rc)
        rc = make_lock_directory(e);
    if (!rc)
        rc = kvi_fdb_load(&e->options, &e->fdb);
    fdb_error_t error = rc ? 0 : e->fdb->fdb_create_database(*cluster ? cluster : NULL, &e->db);
    if (error)
        rc = kvi_fdb_error(e, error, "opening");
    e->base.traits = (kv_traits){
        .transaction_bytes = TRANSACTION_BYTES,
        .many_hosts = 1,
        .hold_ms = HOLD_MS,
        .ahead = e->options.readahead,
        .lock_directory = e->lock_directory,
    };
    return rc;
}

int kv_fdb_open(const char *rest, kv_engine **out)
{
    fdb_engine *e = calloc(1, sizeof *e);
    if (!e)
        return kvi_fdb_no_memory();
    e->base.ops = &kvi_fdb_ops;
    e->owner = getpid();
    pthread_mutex_init(&e->recent_lock, NULL);
    int rc = open_cluster(rest, e);
    if (rc)
        kv_close(&e->base);
    else
        *out = &e->base;
    return rc;
}

void kvi_fdb_close(kv_engine *base)
{
    fdb_engine *e = (fdb_engine *)base;
    if (e->db && e->owner == getpid())
        e->fdb->fdb_database_destroy(e->db);
    pthread_mutex_destroy(&e->recent_lock);
    kvi_fdb_options_free(&e->options);
    free(e);
}

int kvi_fdb_counter(kv_engine *base, size_t index, const char **name, uint64_t *value)
{
    static const char *const names[COUNTERS] = {
#define KVI_FDB_COUNTER_NAME(counter) #counter,
        KVI_FDB_COUNTERS(KVI_FDB_COUNTER_NAME)
#undef KVI_FDB_COUNTER_NAME
    };
    fdb_engine *e = (fdb_engine *)base;
    if (index >= COUNTERS)
        return MV_NOTFOUND;
    *name = names[index];
    *value = atomic_load_explicit(&e->counters[index], memory_order_relaxed);
    return MV_OK;
}
