/* The lower seam: an ordered, transactional key space.
 *
 * Keys and values are byte strings; keys sort bytewise. An engine is opened by
 * URL and may be used from any number of threads. There are two ways in:
 *
 *   - a read transaction: one consistent snapshot, cheap to begin, meant to be
 *     held for one short piece of work (an engine may refuse one older than
 *     five seconds; the store above reads old states by version, not by holding
 *     a transaction open);
 *   - kv_transact: runs a function in a read-write transaction and commits. The
 *     function may run more than once and must do the same work each time.
 *
 * The functions fit FoundationDB's C API one to one and an embedded B-tree
 * without effort: reads can be started ahead (futures), ranges stream, reads
 * inside kv_transact add no read conflict unless one is asked for, the commit's
 * stamp is known to the writer only after the commit, and an engine that cannot
 * tell whether a commit happened asks the function instead of guessing.
 *
 * Limits a caller must keep, the narrowest of the engines: key 500 bytes, value
 * 100,000 bytes, about 10 MB written in one transaction, five seconds.
 *
 * All functions return an mv_code (base/error.h).
 */
#ifndef MV_KV_H
#define MV_KV_H

#include "../base/bytes.h"
#include "../base/error.h"

/* A commit's versionstamp: ten bytes, big-endian, growing with every commit of
 * the key space, never reused, never going backwards. */
#define KV_STAMP_SIZE 10
typedef struct kv_stamp {
    uint8_t bytes[KV_STAMP_SIZE];
} kv_stamp;

typedef struct kv_engine kv_engine; /* one open key space; owned by the opener */
typedef struct kv_txn kv_txn;       /* one transaction; used by one thread */
typedef struct kv_cursor kv_cursor; /* one range read in flight */

/* What the store may use to fit its values to the engine's. */
typedef struct kv_traits {
    size_t transaction_bytes; /* how much one transaction should write at most */
    int many_hosts;           /* transactions of other hosts may commit between ours */
    size_t inline_value;      /* values up to this size share a block with others */
    size_t value_block;       /* larger ones take whole blocks of this size (0: any size fits) */
    size_t value_overhead;    /* bytes of the first block that are not the caller's */
    unsigned hold_ms;         /* beginning a read costs a round trip: keep one for so long (0: it costs nothing) */
    unsigned ahead;           /* how many keys to read ahead of need at most (0: reads have no latency) */
    const char *lock_directory; /* a local directory for lock files; lives as long as the engine */
} kv_traits;

/* Opens `url`: "lmdb:/directory[?map_bytes=N][&wait_ms=N]", "fdb:[/cluster/file][?options]"
 * (fdb_options.h), "fault:<inner url>". map_bytes: the map's first size; wait_ms: how long to
 * wait for another process's commit (10,000).
 * MV_URL, MV_PERM, MV_CORRUPT, MV_IO, MV_FULL, MV_NOMEM. One directory opened twice
 * in a process is one engine; each kv_open is undone by one kv_close. */
int kv_open(const char *url, kv_engine **engine);
void kv_close(kv_engine *engine);
const kv_traits *kv_get_traits(kv_engine *engine);

/* A read transaction. MV_FORKED after fork: open again in the child. End it
 * before calling kv_transact in the same thread. A read in it that answers MV_STALE (too
 * old, or the engine wants it done over) ends its use: begin another. */
int kv_read_begin(kv_engine *engine, kv_txn **txn);
/* The same, but the snapshot may be up to max_age_ms old if the engine has one at hand;
 * *age_ms says how old it is. */
int kv_read_recent(kv_engine *engine, unsigned max_age_ms, unsigned *age_ms, kv_txn **txn);
void kv_read_end(kv_txn *txn);
/* Lets go of the values read so far: a transaction that is kept would pile them up. */
void kv_read_release(kv_txn *txn);

/* Runs fn(txn, ctx) and commits; once more when the engine says so.
 *   - fn returns 0: commit. The commit's stamp is left in *stamp (may be NULL).
 *   - fn returns KV_NOTHING: success without a commit; *stamp is all zero.
 *   - fn returns another code: nothing is written, kv_transact returns the code.
 * If kv_maybe_committed(txn) is true inside fn, an earlier run may have been
 * committed: fn must look (by an id it wrote) and return KV_NOTHING if it was.
 * Errors of the engine: MV_IO, MV_FULL, MV_UNREACHABLE, MV_NOMEM, MV_UNKNOWN (only
 * when the engine gave up asking). */
#define KV_NOTHING (-1)
typedef int (*kv_fn)(kv_txn *txn, void *ctx);
int kv_transact(kv_engine *engine, kv_fn fn, void *ctx, kv_stamp *stamp);
int kv_maybe_committed(kv_txn *txn);

/* The same, ending the read transaction `reader` (may be NULL): where beginning has a cost,
 * the first run of fn works in it, on its snapshot, and kv_on_reader says so. */
int kv_transact_from(kv_engine *engine, kv_txn *reader, kv_fn fn, void *ctx, kv_stamp *stamp);
int kv_on_reader(kv_txn *txn);

/* Reads. A value stays readable until the next write in the transaction or its
 * end, whichever is first. MV_NOTFOUND leaves *value empty. */
int kv_get(kv_txn *txn, mv_slice key, mv_slice *value);

/* Starts reading n keys without waiting; a later kv_get of one finds its answer
 * on the way. A hint: engines without latency ignore it. */
void kv_prefetch(kv_txn *txn, const mv_slice *keys, size_t n);

/* Starts reading the keys of [begin, end) in order, at most `limit` of them
 * (0: all). kv_next returns MV_OK with the next pair or MV_NOTFOUND at the end;
 * the pair stays readable until the next kv_next, write, or end. Close the
 * cursor before the transaction ends and before the first write after it. */
#define KV_REVERSE 1
#define KV_BULK 2 /* all of it will be read: ask for large pieces */
int kv_range(kv_txn *txn, mv_slice begin, mv_slice end, size_t limit, int flags, kv_cursor **cursor);
int kv_next(kv_cursor *cursor, mv_slice *key, mv_slice *value);
void kv_cursor_close(kv_cursor *cursor);

/* Writes, inside kv_transact only. With a stamp offset, the KV_STAMP_SIZE bytes
 * at that place of the key or value become the stamp of this commit; such a key
 * or value cannot be read in the same transaction. */
int kv_set(kv_txn *txn, mv_slice key, mv_slice value);
int kv_set_stamped_key(kv_txn *txn, mv_slice key, size_t offset, mv_slice value);
int kv_set_stamped_value(kv_txn *txn, mv_slice key, mv_slice value, size_t offset);
int kv_clear(kv_txn *txn, mv_slice key);
int kv_clear_range(kv_txn *txn, mv_slice begin, mv_slice end);

/* The commit fails and fn runs again if a key of [begin, end) is changed by a
 * transaction that commits between this one's snapshot and its commit. */
int kv_add_read_conflict(kv_txn *txn, mv_slice begin, mv_slice end);

/* Makes every later stamp greater than `above`, durably. MV_MISUSE: this engine cannot. */
int kv_raise_stamps(kv_engine *engine, const kv_stamp *above);

/* Waits until the value of `key` is not `*known` (by stamp of change, not only
 * by content), at most timeout_ms. MV_OK: changed; MV_UNREACHABLE: time is up. */
int kv_watch(kv_engine *engine, mv_slice key, mv_slice known, unsigned timeout_ms);

/* What the engine counted since it was opened: the index-th name (static) and number.
 * MV_NOTFOUND past the last; engines without a network count nothing. */
int kv_counter(kv_engine *engine, size_t index, const char **name, uint64_t *value);

/* Facts about an engine, for people: appends members to the JSON object that `json` has
 * begun, "engine" (its scheme) and one of that name. It waits at most wait_ms; what could
 * not be learned is left out. MV_NOMEM. */
int kv_describe(kv_engine *engine, mvi_buf *json);

/* The same for an address, which need not be usable: nothing is made that is not there.
 * What stopped it stands in the object as "failed": {"step", "code", "message"}, the steps
 * being "address", "client library", "cluster file", "permissions", "database". *engine
 * (undone by kv_close) is to be read from, and NULL if it failed. MV_NOMEM. */
int kv_examine(const char *url, mvi_buf *json, kv_engine **engine);

#endif
