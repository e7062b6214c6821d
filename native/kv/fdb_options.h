/* The address of a cluster: "[/path/fdb.cluster][?name=value[&name=value]...]".
 *
 * Without a path the client's own search decides: $FDB_CLUSTER_FILE, ./fdb.cluster,
 * /etc/foundationdb/fdb.cluster. Values may hold %XX.
 *
 *   prefix        of every key: stores in one cluster are told apart by it
 *   wait_ms       how long to wait for the cluster before giving up (10,000)
 *   retry_limit   how often a transaction may be run again (no limit but wait_ms)
 *   readahead     how many pages to read ahead of need at most (256; 0: none)
 *
 * Of the client library, so the same for all clusters of a process and set by the first
 * address that is opened; FDB_NETWORK_OPTION_<NAME> in the environment sets any other:
 *
 *   tls_certificate, tls_key, tls_ca   paths of PEM files (also FDB_TLS_CERTIFICATE_FILE, ...)
 *   tls_verify_peers, tls_password     as in FoundationDB's TLS documentation
 *   trace                              a directory for the client's trace files
 *   clients                            a directory of further client libraries, for servers
 *                                      of other versions (the multi-version client) */
#ifndef MV_FDB_OPTIONS_H
#define MV_FDB_OPTIONS_H

#include <limits.h>
#include <stddef.h>

#define KVI_FDB_PREFIX_MAX 200 /* a key of the store has up to 271 bytes and an engine takes 500 */
#define KVI_FDB_NETWORK_OPTIONS 7

typedef struct kvi_fdb_network_option {
    const char *name;
    int code;          /* FDBNetworkOption */
    char *value;       /* owned; NULL: not given */
} kvi_fdb_network_option;

typedef struct kvi_fdb_options {
    char cluster[PATH_MAX]; /* "": the client's own search */
    char prefix[KVI_FDB_PREFIX_MAX];
    size_t prefix_size;
    unsigned wait_ms, retry_limit, readahead;
    kvi_fdb_network_option network[KVI_FDB_NETWORK_OPTIONS];
} kvi_fdb_options;

/* Reads an address, without its "fdb:". MV_URL names what is wrong; MV_NOMEM. What it
 * holds is released by kvi_fdb_options_free, also after a failure. */
int kvi_fdb_options_read(const char *rest, kvi_fdb_options *options);
void kvi_fdb_options_free(kvi_fdb_options *options);

#endif
