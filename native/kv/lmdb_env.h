/* The embedded engine's environment: one LMDB directory in this process, shared by
 * everyone who opens it, with a map that grows and stamps that do not go back. */
#ifndef MV_LMDB_ENV_H
#define MV_LMDB_ENV_H

#include <lmdb.h>
#include <pthread.h>
#include <sys/types.h>

#include "gate.h"
#include "kv_engine.h"

typedef struct lmdb_txn lmdb_txn;
typedef struct lmdb_job lmdb_job;

typedef struct lmdb_engine {
    kv_engine base;
    struct lmdb_engine *next; /* in the process's list of open environments */
    unsigned references;
    pid_t owner; /* the process that opened it; after fork a child may not use it */
    dev_t device;
    ino_t inode; /* of the directory: its identity */
    char *directory;

    kvi_gate *gate;   /* taken before every write transaction; NULL: only to be read from */
    unsigned wait_ms; /* how long to wait for it */
    MDB_env *env;
    MDB_dbi dbi;
    pthread_rwlock_t map; /* shared by transactions, exclusive while the map is resized */

    pthread_mutex_t readers_lock; /* guards: readers */
    lmdb_txn *readers;            /* finished read transactions, ready to be renewed */

    pthread_mutex_t queue_lock; /* guards: queue, queue_end, leading */
    pthread_cond_t queue_moved;
    lmdb_job *queue, **queue_end;
    int leading; /* a thread is running a batch */
    int has_block; /* this opening has committed a block of versions; the leader's */
    int dead_readers; /* slots of dead processes, freed when the environment was opened */
} lmdb_engine;

/* Opens or shares the environment in the directory that `rest` names. */
int kvi_lmdb_env_open(const char *rest, lmdb_engine **engine);
/* The same to look at, making no file: MV_NOTFOUND if there is no store. Where nobody has
 * made lock files (a copy, say) it is opened only to be read from. */
int kvi_lmdb_env_look(const char *rest, lmdb_engine **engine);
/* Drops one reference; the last one closes and frees. */
void kvi_lmdb_env_close(lmdb_engine *engine);

/* Makes the map larger (twice), or as large as another process made it.
 * Call without holding `map`. */
int kvi_lmdb_grow(lmdb_engine *engine);
int kvi_lmdb_adopt_size(lmdb_engine *engine);

/* Whether there is a commit newer than the read transaction's snapshot. LMDB may not tell
 * of it: its writer is about to, or died. */
int kvi_lmdb_overtaken(const lmdb_engine *engine, MDB_txn *txn);
/* Makes LMDB tell of the commit of a process that died before it could: takes the gate
 * (kvi_gate_enter says how wait_ms is meant) and begins a write transaction in vain.
 * Call without holding `map`. */
int kvi_lmdb_settle(lmdb_engine *engine, unsigned wait_ms);

/* The stamp version of the write transaction `top`; records a new block of
 * versions in it when the old one is used up, or of an earlier opening. */
int kvi_lmdb_version(lmdb_engine *engine, MDB_txn *top, uint64_t *version);

/* lmdb_describe.c: the operation behind kv_describe. */
int kvi_lmdb_describe(kv_engine *engine, mvi_buf *json);

/* kv_raise_stamps: a greater base. */
int kvi_lmdb_raise_stamps(kv_engine *engine, const kv_stamp *above);

/* Turns an LMDB or errno result into an mv_code with a message. */
int kvi_lmdb_error(const lmdb_engine *engine, int rc, const char *doing);

#endif
