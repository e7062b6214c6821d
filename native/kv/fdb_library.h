/* libfdb_c, found at run time: without it everything else works.
 *
 * The client library has one network thread for a process, started once and stopped at
 * exit. That thread does not live in a forked child, and the library cannot be set up
 * twice; so a child loads a private copy of the file, as the library's own multi-version
 * client does. The functions' meaning: FoundationDB's C API documentation, API version 730. */
#ifndef MV_FDB_LIBRARY_H
#define MV_FDB_LIBRARY_H

#include <stdint.h>

#include "fdb_options.h"

typedef struct FDB_future FDBFuture;
typedef struct FDB_database FDBDatabase;
typedef struct FDB_transaction FDBTransaction;
typedef int fdb_error_t;
typedef int fdb_bool_t;

#pragma pack(push, 1) /* the same places as in the client, which does not align its arrays */
typedef struct kvi_fdb_pair {
    const uint8_t *key;
    int key_length;
    const uint8_t *value;
    int value_length;
} kvi_fdb_pair;
#pragma pack(pop)

/* X(result, name, arguments) */
#define KVI_FDB_FUNCTIONS(X)                                                                                      \
    X(fdb_error_t, fdb_select_api_version_impl, (int runtime, int header))                                        \
    X(const char *, fdb_get_error, (fdb_error_t))                                                                 \
    X(fdb_bool_t, fdb_error_predicate, (int, fdb_error_t))                                                        \
    X(const char *, fdb_get_client_version, (void))                                                               \
    X(fdb_error_t, fdb_network_set_option, (int, const uint8_t *, int))                                           \
    X(fdb_error_t, fdb_setup_network, (void))                                                                     \
    X(fdb_error_t, fdb_run_network, (void))                                                                       \
    X(fdb_error_t, fdb_stop_network, (void))                                                                      \
    X(void, fdb_future_destroy, (FDBFuture *))                                                                    \
    X(fdb_error_t, fdb_future_block_until_ready, (FDBFuture *))                                                   \
    X(fdb_bool_t, fdb_future_is_ready, (FDBFuture *))                                                             \
    X(fdb_error_t, fdb_future_get_error, (FDBFuture *))                                                           \
    X(fdb_error_t, fdb_future_get_int64, (FDBFuture *, int64_t *))                                                \
    X(fdb_error_t, fdb_future_get_key, (FDBFuture *, const uint8_t **, int *))                                    \
    X(fdb_error_t, fdb_future_get_value, (FDBFuture *, fdb_bool_t *, const uint8_t **, int *))                    \
    X(fdb_error_t, fdb_future_get_keyvalue_array, (FDBFuture *, const kvi_fdb_pair **, int *, fdb_bool_t *))      \
    X(fdb_error_t, fdb_create_database, (const char *, FDBDatabase **))                                           \
    X(void, fdb_database_destroy, (FDBDatabase *))                                                                \
    X(fdb_error_t, fdb_database_create_transaction, (FDBDatabase *, FDBTransaction **))                           \
    X(void, fdb_transaction_destroy, (FDBTransaction *))                                                          \
    X(fdb_error_t, fdb_transaction_set_option, (FDBTransaction *, int, const uint8_t *, int))                     \
    X(FDBFuture *, fdb_transaction_get_read_version, (FDBTransaction *))                                          \
    X(void, fdb_transaction_set_read_version, (FDBTransaction *, int64_t))                                        \
    X(fdb_error_t, fdb_transaction_get_committed_version, (FDBTransaction *, int64_t *))                          \
    X(FDBFuture *, fdb_transaction_get, (FDBTransaction *, const uint8_t *, int, fdb_bool_t))                     \
    X(FDBFuture *, fdb_transaction_get_range,                                                                     \
      (FDBTransaction *, const uint8_t *, int, fdb_bool_t, int, const uint8_t *, int, fdb_bool_t, int, int, int, \
       int, int, fdb_bool_t, fdb_bool_t))                                                                         \
    X(void, fdb_transaction_set, (FDBTransaction *, const uint8_t *, int, const uint8_t *, int))                  \
    X(void, fdb_transaction_atomic_op, (FDBTransaction *, const uint8_t *, int, const uint8_t *, int, int))       \
    X(void, fdb_transaction_clear, (FDBTransaction *, const uint8_t *, int))                                      \
    X(void, fdb_transaction_clear_range, (FDBTransaction *, const uint8_t *, int, const uint8_t *, int))          \
    X(FDBFuture *, fdb_transaction_watch, (FDBTransaction *, const uint8_t *, int))                               \
    X(FDBFuture *, fdb_transaction_commit, (FDBTransaction *))                                                    \
    X(FDBFuture *, fdb_transaction_get_versionstamp, (FDBTransaction *))                                          \
    X(FDBFuture *, fdb_transaction_on_error, (FDBTransaction *, fdb_error_t))                                     \
    X(fdb_error_t, fdb_transaction_add_conflict_range,                                                            \
      (FDBTransaction *, const uint8_t *, int, const uint8_t *, int, int))

typedef struct kvi_fdb {
#define KVI_FDB_POINTER(result, name, arguments) result(*name) arguments;
    KVI_FDB_FUNCTIONS(KVI_FDB_POINTER)
#undef KVI_FDB_POINTER
} kvi_fdb;

/* The library with its network running, loaded on first use: $MVSQLITE_FDB_CLIENT, or
 * libfdb_c.so where the system finds libraries; the first call's network options hold for
 * the process. MV_URL if there is no library, or other options are asked for later; MV_IO. */
int kvi_fdb_load(const kvi_fdb_options *options, const kvi_fdb **fdb);

/* The network is stopped at exit, before the client's static objects go. It makes some of them
 * only when it first needs them (for traces, say), and what was made last goes first: so the
 * handler is registered again after the first answer and after the first commit. */
typedef enum kvi_fdb_moment { KVI_FDB_ANSWERED, KVI_FDB_COMMITTED, KVI_FDB_MOMENTS } kvi_fdb_moment;
void kvi_fdb_arm_exit(kvi_fdb_moment moment);

#endif
