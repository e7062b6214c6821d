/* What the files of the cluster engine share.
 *
 * Reads are snapshot reads: they add no conflict unless kv_add_read_conflict asks for
 * one. A range's request is sent when the cursor is opened and a prefetched key's at
 * once; both are waited for when they are needed. kv_transact is the client's own retry
 * loop: what fdb_transaction_on_error calls retryable is run again after its back-off,
 * and after a result that is not known the function is asked whether it happened.
 *
 *   kv_fdb.c       transactions, the retry loop, watches, the table of operations
 *   fdb_reads.c    keys and ranges
 *   fdb_writes.c   writes and conflicts
 *   fdb_open.c     opening, counters
 *   fdb_options.c  addresses; fdb_library.c the client library */
#ifndef MV_FDB_ENGINE_H
#define MV_FDB_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "fdb_library.h"
#include "kv_engine.h"

/* X(name): what is counted.
 *   read_versions   transactions that asked the cluster for its newest version
 *   rounds          round trips waited for, beside those: answers that travelled together are one
 *   keys, ranges    asked for
 *   commits         acknowledged
 *   retries         runs of a transaction after its first
 *   ahead, ahead_used   keys asked for ahead of need; of these, those that were needed
 *   error_...       errors met, by FoundationDB's number */
#define KVI_FDB_COUNTERS(X)                                                                                   \
    X(read_versions) X(rounds) X(keys) X(ranges) X(commits) X(retries) X(ahead) X(ahead_used)                 \
    X(error_1007_too_old) X(error_1009_future_version) X(error_1020_not_committed) X(error_1021_unknown)      \
    X(error_1031_timed_out) X(error_1037_behind) X(error_1039_version_changed) X(error_other)
enum {
#define KVI_FDB_COUNTER(name) COUNT_##name,
    KVI_FDB_COUNTERS(KVI_FDB_COUNTER)
#undef KVI_FDB_COUNTER
        COUNTERS
};

/* Errors of the client that the engine tells apart (error_definitions.h). */
enum {
    FDB_TOO_OLD = 1007,
    FDB_FUTURE_VERSION = 1009,
    FDB_NOT_COMMITTED = 1020,
    FDB_UNKNOWN_RESULT = 1021,
    FDB_TIMED_OUT = 1031,
    FDB_BEHIND = 1037,
    FDB_VERSION_CHANGED = 1039,
    FDB_NO_COMMIT_VERSION = 2021,
    FDB_TOO_LARGE = 2101,
};

typedef struct fdb_engine {
    kv_engine base;
    const kvi_fdb *fdb;
    FDBDatabase *db;
    pid_t owner;
    kvi_fdb_options options;
    char lock_directory[512];
    pthread_mutex_t recent_lock; /* guards recent_version, recent_at */
    int64_t recent_version;      /* a version that was the newest at recent_at; 0: none */
    uint64_t recent_at;
    atomic_int wants_recent; /* somebody asks for recent snapshots */
    _Atomic uint64_t counters[COUNTERS];
} fdb_engine;

/* A key asked for ahead of need. */
typedef struct fdb_ahead {
    mvi_buf key;
    FDBFuture *future;
    unsigned round;
} fdb_ahead;

typedef struct fdb_txn {
    kv_txn base;
    fdb_engine *engine;
    FDBTransaction *tr;
    int writing, maybe_committed, on_reader;
    int versioned;         /* the snapshot was given, not asked for */
    fdb_error_t error;     /* the client's, for the retry loop */
    uint64_t born, timeout_at; /* ms: beginning, and when the client's timeout was set last */
    unsigned round;        /* answers waited for so far */
    size_t bytes;          /* read, and so kept by the client */
    FDBFuture **held;      /* whose values the caller may still read */
    size_t held_n, held_room;
    fdb_ahead *ahead;
    size_t ahead_n, ahead_room;
} fdb_txn;

typedef struct fdb_cursor {
    kv_cursor base;
    fdb_txn *txn;
    FDBFuture *future;
    const kvi_fdb_pair *pairs;
    int n, next, iteration, reverse, mode;
    fdb_bool_t more;
    unsigned round;
    size_t left;
    mvi_buf begin, end; /* with the prefix */
} fdb_cursor;

extern const kv_ops kvi_fdb_ops;

static inline void kvi_fdb_count(fdb_engine *engine, int counter, uint64_t n)
{
    atomic_fetch_add_explicit(&engine->counters[counter], n, memory_order_relaxed);
}

uint64_t kvi_fdb_now_ms(void); /* of the monotonic clock */

/* Turns the client's error into an mv_code with a message; counts it. */
int kvi_fdb_error(fdb_engine *engine, fdb_error_t error, const char *doing);
int kvi_fdb_no_memory(void);
/* A failed read: remembered for the retry loop, or MV_STALE where another snapshot helps. */
int kvi_fdb_failed(fdb_txn *txn, fdb_error_t error, const char *doing);
int kvi_fdb_check_owner(const fdb_engine *engine); /* MV_FORKED in a child */
/* Waits for an answer asked for in `round`; the error it brought. */
fdb_error_t kvi_fdb_await(fdb_txn *txn, FDBFuture *future, unsigned round);
mvi_buf kvi_fdb_key(const fdb_engine *engine, mv_slice key); /* with the prefix; owned by the caller */
void kvi_fdb_forget_ahead(fdb_txn *txn);

/* ---- fdb_reads.c, fdb_writes.c, fdb_open.c: operations ------------------- */
int kvi_fdb_get(kv_txn *txn, mv_slice key, mv_slice *value);
void kvi_fdb_prefetch(kv_txn *txn, const mv_slice *keys, size_t n);
int kvi_fdb_range(kv_txn *txn, mv_slice from, mv_slice to, size_t limit, int flags, kv_cursor **cursor);
int kvi_fdb_next(kv_cursor *cursor, mv_slice *key, mv_slice *value);
void kvi_fdb_cursor_close(kv_cursor *cursor);
int kvi_fdb_set(kv_txn *txn, mv_slice key, mv_slice value);
int kvi_fdb_set_stamped_key(kv_txn *txn, mv_slice key, size_t offset, mv_slice value);
int kvi_fdb_set_stamped_value(kv_txn *txn, mv_slice key, mv_slice value, size_t offset);
int kvi_fdb_clear(kv_txn *txn, mv_slice key);
int kvi_fdb_clear_range(kv_txn *txn, mv_slice from, mv_slice to);
int kvi_fdb_add_read_conflict(kv_txn *txn, mv_slice from, mv_slice to);
void kvi_fdb_close(kv_engine *engine);
int kvi_fdb_counter(kv_engine *engine, size_t index, const char **name, uint64_t *value);

/* fdb_describe.c: the operation behind kv_describe. */
int kvi_fdb_describe(kv_engine *engine, mvi_buf *json);

#endif
