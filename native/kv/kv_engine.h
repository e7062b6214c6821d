/* What an engine implements; kv.c dispatches kv.h to it. */
#ifndef MV_KV_ENGINE_H
#define MV_KV_ENGINE_H

#include "kv.h"

typedef struct kv_ops {
    void (*close)(kv_engine *);
    int (*read_begin)(kv_engine *, kv_txn **);
    int (*read_recent)(kv_engine *, unsigned, unsigned *, kv_txn **); /* NULL: as read_begin */
    void (*read_end)(kv_txn *);
    void (*read_release)(kv_txn *); /* NULL: nothing piles up */
    int (*transact)(kv_engine *, kv_txn *, kv_fn, void *, kv_stamp *); /* ends the reader, if there is one */
    int (*on_reader)(kv_txn *); /* NULL: never */
    int (*maybe_committed)(kv_txn *);
    int (*get)(kv_txn *, mv_slice, mv_slice *);
    void (*prefetch)(kv_txn *, const mv_slice *, size_t);
    int (*range)(kv_txn *, mv_slice, mv_slice, size_t, int, kv_cursor **);
    int (*next)(kv_cursor *, mv_slice *, mv_slice *);
    void (*cursor_close)(kv_cursor *);
    int (*set)(kv_txn *, mv_slice, mv_slice);
    int (*set_stamped_key)(kv_txn *, mv_slice, size_t, mv_slice);
    int (*set_stamped_value)(kv_txn *, mv_slice, mv_slice, size_t);
    int (*clear)(kv_txn *, mv_slice);
    int (*clear_range)(kv_txn *, mv_slice, mv_slice);
    int (*add_read_conflict)(kv_txn *, mv_slice, mv_slice);
    int (*raise_stamps)(kv_engine *, const kv_stamp *);
    int (*watch)(kv_engine *, mv_slice, mv_slice, unsigned);
    int (*counter)(kv_engine *, size_t, const char **, uint64_t *); /* NULL: none */
    int (*describe)(kv_engine *, mvi_buf *);
} kv_ops;

/* Every engine, transaction and cursor begins with its operations. */
struct kv_engine {
    const kv_ops *ops;
    kv_traits traits;
};
struct kv_txn {
    const kv_ops *ops;
};
struct kv_cursor {
    const kv_ops *ops;
};

/* The engines. Each takes the URL without its scheme and colon. */
int kv_lmdb_open(const char *rest, kv_engine **engine);
int kv_fault_open(const char *rest, kv_engine **engine);
int kv_fdb_open(const char *rest, kv_engine **engine);

/* The same for kv_examine. */
int kv_lmdb_examine(const char *rest, mvi_buf *json, kv_engine **engine);
int kv_fault_examine(const char *rest, mvi_buf *json, kv_engine **engine);
int kv_fdb_examine(const char *rest, mvi_buf *json, kv_engine **engine);

#endif
