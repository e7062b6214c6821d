/* Opening the cluster engine: address, lock files, client library. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fdb_engine.h"

#define DEFAULT_WAIT_MS 10000

/* "[/path/fdb.cluster][?prefix=TEXT][&wait_ms=N]" */
int kvi_fdb_parse(const char *rest, fdb_engine *e, char *cluster, size_t room)
{
    const char *query = strchr(rest, '?');
    size_t n = query ? (size_t)(query - rest) : strlen(rest);
    if (n >= room)
        return mv_fail(MV_URL, "store address \"fdb:%.80s...\": the path is too long", rest);
    memcpy(cluster, rest, n);
    cluster[n] = 0;
    e->wait_ms = DEFAULT_WAIT_MS;
    while (query && *query) {
        size_t size = strcspn(++query, "&");
        unsigned wait;
        if (strncmp(query, "prefix=", 7) == 0 && size - 7 < sizeof e->prefix) {
            e->prefix_size = size - 7;
            memcpy(e->prefix, query + 7, e->prefix_size);
        } else if (sscanf(query, "wait_ms=%9u", &wait) == 1 && wait > 0) {
            e->wait_ms = wait;
        } else {
            return mv_fail(MV_URL, "store address \"fdb:%s\": the options are prefix and wait_ms", rest);
        }
        query += size;
    }
    return MV_OK;
}

/* Writers of one host take turns by lock files: a directory for each cluster and prefix. */
static int make_lock_directory(fdb_engine *e, const char *cluster)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char base[300], content[1024] = "";
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    FILE *f = fopen(*cluster ? cluster : "/etc/foundationdb/fdb.cluster", "re");
    size_t n = f ? fread(content, 1, sizeof content - 1, f) : 0;
    if (f)
        fclose(f);
    const char *at = memchr(content, '@', n); /* the addresses may change, the cluster does not */
    n = at ? (size_t)(at - content) : n;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)content[i]) * 1099511628211u;
    for (size_t i = 0; i < e->prefix_size; i++)
        hash = (hash ^ (uint8_t)e->prefix[i]) * 1099511628211u;
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

int kv_fdb_open(const char *rest, kv_engine **out)
{
    char cluster[4096];
    fdb_engine *e = calloc(1, sizeof *e);
    if (!e)
        return mv_fail(MV_NOMEM, "out of memory opening a cluster");
    e->base.ops = &kvi_fdb_ops;
    e->owner = getpid();
    int rc = kvi_fdb_parse(rest, e, cluster, sizeof cluster);
    if (!rc && *cluster && access(cluster, R_OK) != 0)
        rc = mv_fail(MV_URL, "cannot read cluster file %s", cluster);
    if (!rc)
        rc = make_lock_directory(e, cluster);
    if (!rc)
        rc = kvi_fdb_load(&e->fdb);
    fdb_error_t error = rc ? 0 : e->fdb->fdb_create_database(*cluster ? cluster : NULL, &e->db);
    if (error)
        rc = kvi_fdb_error(e, error, "opening");
    e->base.traits = (kv_traits){
        .transaction_bytes = (size_t)2 << 20,
        .many_hosts = 1,
        .lock_directory = e->lock_directory,
    };
    if (rc)
        kv_close(&e->base);
    else
        *out = &e->base;
    return rc;
}
