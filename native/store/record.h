/* The small records: newest commit, metadata, commit record, large commit.
 * Each begins with what a reader needs first; numbers are big-endian or varints. */
#ifndef MV_RECORD_H
#define MV_RECORD_H

#include "keys.h"
#include "pageset.h"

/* mv/l: stamp 10 | pages 4 | log2(page size) 1 | ms 8 | flags 1 | txid 16 if MVI_PENDING */
enum { MVI_DELETED = 1, MVI_PENDING = 2 };
#define MVI_LATEST_ROOM 40
typedef struct mvi_latest {
    mv_stamp stamp;
    uint32_t pages, page_size; /* 0, 0: empty */
    uint64_t ms;
    uint8_t flags;
    uint8_t pending[MV_TXID_SIZE]; /* the large commit whose pages still move */
} mvi_latest;
size_t mvi_latest_encode(const mvi_latest *latest, uint8_t *out);
int mvi_latest_decode(mv_slice value, mvi_latest *latest);

/* mv/m: created ms 8 | deleted ms 8 | name | then, if there is more to say, 0 and for each part:
 *       tag 1, size 1, bytes. MVI_BASE: of a branch: parent's id 4 | version it began at 10 | its
 *       pages 4 | log2(page size) 1 | ms 8. MVI_POLICY: what mv_policy holds, in its order. */
enum { MVI_BASE = 1, MVI_POLICY = 2 };
#define MVI_BASE_SIZE 27
#define MVI_POLICY_SIZE 37
#define MVI_META_ROOM (16 + MV_NAME_MAX + 1 + 2 + MVI_BASE_SIZE + 2 + MVI_POLICY_SIZE)
typedef struct mvi_meta {
    uint64_t created_ms, deleted_ms;
    char name[MV_NAME_MAX + 1];
    uint32_t parent; /* of a branch; 0: it is none */
    mvi_latest base; /* the parent's version it began at (flags 0) */
    int has_policy;  /* else the policy is the default one */
    mv_policy policy;
} mvi_meta;
size_t mvi_meta_encode(const mvi_meta *meta, uint8_t *out);
int mvi_meta_decode(mv_slice value, mvi_meta *meta);

/* mv/p: ms of the last sign of life 8 | pages after the commit 4 | log2(page size) 1 |
 *       lock domain of the writer 8 (0: it held no lock) */
#define MVI_PENDING_ROOM 21
typedef struct mvi_pending {
    uint64_t ms;
    uint32_t pages, page_size;
    uint64_t domain;
} mvi_pending;
size_t mvi_pending_encode(const mvi_pending *pending, uint8_t *out);
int mvi_pending_decode(mv_slice value, mvi_pending *pending);

/* mv/c: txid 16 | previous stamp 10 | ms 8 | pages 4 | log2(page size) 1 | kind 1 |
 *       target 10 unless an ordinary commit | pages changed varint | chunks varint |
 *       set of pages: size varint, bytes (empty if it stands in chunks) |
 *       then for each text: tag 1, size varint, bytes | checksum 4 of all before it
 * Where versions before this one were forgotten (gc.c), the previous stamp is that of the last one
 * kept, the set has the pages of the forgotten ones too, and MVI_MERGED says how many they are. */
enum { MVI_HOST = 1, MVI_PROGRAM = 2, MVI_PID = 3, MVI_MESSAGE = 4, MVI_STATEMENTS = 5, MVI_MERGED = 6, MVI_STATEMENTS_PACKED = 7 };
typedef struct mvi_record {
    const uint8_t *txid;
    mv_stamp previous, target;
    uint64_t ms, changed, chunks, pid, merged;
    uint32_t pages, page_size;
    uint8_t kind;
    mv_slice set, host, program, message, statements; /* borrowed from the value */
    mv_slice packed; /* the statements as texts.h packs them, instead of the others; borrowed too */
} mvi_record;
#define MVI_SET_CHUNK 60000 /* bytes of a page set in one value */
#define MVI_RECORD_ADVISED 95000 /* bytes of texts and set in one value; a cluster takes 100,000 */
/* In how many chunks the set stands beside the record; 0: in it. */
size_t mvi_record_chunks(const mvi_record *record, size_t set_size);
/* Appends the record; `set_bytes` is the encoded page set, left out if it needs chunks. */
void mvi_record_encode(const mvi_record *record, mv_slice set_bytes, mvi_buf *out);
int mvi_record_decode(mv_slice value, mvi_record *record);

/* Appends the text of a record's statements, which may be packed. MV_CORRUPT, MV_NOMEM. */
int mvi_record_statements(const mvi_record *record, mvi_buf *out);

/* Writes a record whose stamp is known, in the place of the one there was; `txn` NULL: only counts.
 * Adds the bytes of its keys and values. */
int mvi_record_put(kv_txn *txn, uint32_t ns, const mv_stamp *stamp, const mvi_record *record, mv_slice set,
                   uint64_t *bytes);

/* Gives an encoded record other stamps: of the version before and, of a revert, of its target. */
void mvi_record_restamp(uint8_t *value, size_t size, const mv_stamp *previous, const mv_stamp *target);

/* Calls `each` for every page of a record's set, in ascending order; its non-zero
 * answer ends the walk and is returned. */
int mvi_record_pages(kv_txn *txn, uint32_t ns, const mv_stamp *stamp, const mvi_record *record,
                     int (*each)(void *ctx, uint32_t pgno), void *ctx);

/* The range of the keys of the records, with their chunks, in (after, until]. */
void mvi_record_range(uint32_t ns, const mv_stamp *after, const mv_stamp *until, mvi_key *begin, mvi_key *end);

/* Calls `each` for the commit records in (after, until], ascending or (KV_REVERSE)
 * descending, at most `limit` (0: all); its non-zero answer ends the walk and is
 * returned. */
typedef int (*mvi_each_record)(void *ctx, kv_txn *txn, const mv_stamp *stamp, const mvi_record *record);
int mvi_records(kv_txn *txn, uint32_t ns, const mv_stamp *after, const mv_stamp *until, size_t limit, int flags,
                mvi_each_record each, void *ctx);
/* The same in two steps, for who asks before it needs the answer: *cursor is the caller's
 * to close, NULL where nothing can be. */
int mvi_records_open(kv_txn *txn, uint32_t ns, const mv_stamp *after, const mv_stamp *until, int flags,
                     kv_cursor **cursor);
int mvi_records_each(kv_txn *txn, kv_cursor *cursor, size_t limit, mvi_each_record each, void *ctx);

#endif
