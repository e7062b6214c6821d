/* Every key of the store, encoded and decoded here and nowhere else.
 *
 *   mv/f                       the store's format number
 *   mv/i                       the next database id
 *   mv/n <name>                id of the database of that name
 *   mv/m <ns>                  metadata
 *   mv/l <ns>                  the newest commit (record.h: mvi_latest)
 *   mv/w <ns>                  write lease: who may commit, and until when
 *   mv/h <ns> <pgno>           head: the newest image of a page
 *   mv/v <ns> <pgno> <stamp>   history: the image that commit <stamp> replaced
 *   mv/c <ns> <stamp> [chunk]  commit record; a long page set goes on in chunks
 *   mv/t <ns> <ms> <stamp>     time index
 *   mv/x <ns>                  how far a copy from another store has come
 *   mv/g <ns> <tag>            a tag: the stamp of the version that bears the name
 *   mv/b <ns> <child>          a branch of the database: the stamp it began at
 *   mv/r <ns> <holder>         an open snapshot of a reader that may be on another host
 *   mv/y <ns>                  forgetting that is under way
 *   mv/s <ns> <txid> <pgno>    a staged page of a large commit
 *   mv/p <ns> <txid>           the record of that large commit
 *
 * ns, pgno, child: 4 bytes; ms: 8; stamp: 10; txid, holder: 16; chunk: 2. All big-endian.
 * An image too long for its place (image.h) goes on under its key with one more
 * byte, MVI_MORE. */
#ifndef MV_KEYS_H
#define MV_KEYS_H

#include "../kv/kv.h"
#include "mvstore.h"

#define MVI_MORE 0x01
#define MVI_KEY_ROOM (MV_NAME_MAX + 16)

typedef struct mvi_key {
    uint8_t bytes[MVI_KEY_ROOM];
    size_t size;
} mvi_key;

static inline mv_slice mvi_key_slice(const mvi_key *k)
{
    return mvi_slice(k->bytes, k->size);
}

/* Offsets of the stamp in stamped keys. */
#define MVI_STAMP_IN_HISTORY 12
#define MVI_STAMP_IN_COMMIT 8
#define MVI_STAMP_IN_TIME 16

mvi_key mvi_key_format(void);
mvi_key mvi_key_next_id(void);
mvi_key mvi_key_name(const char *name);
mvi_key mvi_key_meta(uint32_t ns);
mvi_key mvi_key_latest(uint32_t ns);
mvi_key mvi_key_lease(uint32_t ns);
mvi_key mvi_key_copying(uint32_t ns);
mvi_key mvi_key_head(uint32_t ns, uint32_t pgno);
mvi_key mvi_key_history(uint32_t ns, uint32_t pgno, const mv_stamp *stamp);
mvi_key mvi_key_commit(uint32_t ns, const mv_stamp *stamp);
mvi_key mvi_key_chunk(uint32_t ns, const mv_stamp *stamp, uint16_t chunk);
mvi_key mvi_key_time(uint32_t ns, uint64_t ms, const mv_stamp *stamp);
mvi_key mvi_key_tag(uint32_t ns, const char *tag);
mvi_key mvi_key_branch(uint32_t ns, uint32_t child);
mvi_key mvi_key_hold(uint32_t ns, const uint8_t *holder);
mvi_key mvi_key_forgetting(uint32_t ns);
/* The first key of a kind of a database; mvi_key_after of it ends them. */
mvi_key mvi_key_kind(char kind, uint32_t ns);
mvi_key mvi_key_staged(uint32_t ns, const uint8_t *txid, uint32_t pgno);
mvi_key mvi_key_pending(uint32_t ns, const uint8_t *txid);

/* The key's continuation (MVI_MORE), and the first key after every key that begins
 * with it: the end of a range. */
mvi_key mvi_key_more(mvi_key key);
mvi_key mvi_key_after(mvi_key key);

/* Parts of keys read back. `key` must be of that kind. */
uint32_t mvi_key_get_ns(mv_slice key);
uint32_t mvi_key_get_pgno(mv_slice key); /* head or history */
uint32_t mvi_key_get_staged_pgno(mv_slice key);
int mvi_key_is_more(mv_slice key, size_t full_size);
mv_stamp mvi_key_get_stamp(mv_slice key, size_t offset);

/* Sizes of whole keys, to tell continuations and chunks from them. */
#define MVI_HEAD_KEY_SIZE 12
#define MVI_HISTORY_KEY_SIZE 22
#define MVI_COMMIT_KEY_SIZE 18
#define MVI_TIME_KEY_SIZE 26
#define MVI_STAGED_KEY_SIZE 28

extern const mv_stamp mvi_zero_stamp;
extern const mv_stamp mvi_last_stamp;

static inline int mvi_stamp_cmp(const mv_stamp *a, const mv_stamp *b)
{
    return memcmp(a->bytes, b->bytes, MV_STAMP_SIZE);
}

static inline int mvi_stamp_is_zero(const mv_stamp *a)
{
    return mvi_stamp_cmp(a, &mvi_zero_stamp) == 0;
}

#endif
