#include "walk.h"

#include "internal.h"

/* Of FoundationDB's five seconds some are left for the reads under way when a piece ends. */
#define PIECE_MS 2000
#define PIECE_BYTES ((size_t)1 << 20)

int mvi_piece_is_spent(const mvi_piece *piece)
{
    return piece->keys >= piece->store->piece_keys || piece->bytes >= PIECE_BYTES ||
           mvi_monotonic_ms() - piece->begun_ms >= PIECE_MS;
}

int mvi_piece_begin(mvi_piece *piece)
{
    if (piece->txn && !mvi_piece_is_spent(piece))
        return MV_OK;
    mvi_piece_end(piece);
    piece->keys = piece->bytes = 0;
    piece->begun_ms = mvi_monotonic_ms();
    piece->number++;
    int rc = kv_read_begin(piece->store->kv, &piece->txn);
    if (rc)
        piece->txn = NULL;
    return rc;
}

void mvi_piece_end(mvi_piece *piece)
{
    kv_read_end(piece->txn);
    piece->txn = NULL;
}

int mvi_read_in(mv_store *store, kv_fn fn, void *ctx)
{
    kv_txn *txn;
    int rc, tries = 0;
    do {
        rc = kv_read_begin(store->kv, &txn);
        if (rc)
            return rc;
        rc = fn(txn, ctx);
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    return rc;
}

mvi_walk mvi_walk_over(mvi_piece *piece, const mvi_key *begin, const mvi_key *end, int flags)
{
    return (mvi_walk){.piece = piece, .begin = *begin, .end = *end, .flags = flags};
}

mvi_walk mvi_walk_kind(mvi_piece *piece, uint32_t ns, char kind)
{
    mvi_key begin = mvi_key_meta(ns);
    begin.bytes[3] = (uint8_t)kind;
    mvi_key end = mvi_key_after(begin);
    return mvi_walk_over(piece, &begin, &end, KV_BULK);
}

void mvi_walk_close(mvi_walk *walk)
{
    kv_cursor_close(walk->cursor);
    walk->cursor = NULL;
}

/* What was handed out last is behind us: the range begins (or ends) there. */
static void advance(mvi_walk *walk)
{
    if (!walk->last.size)
        return;
    if (walk->flags & KV_REVERSE) {
        walk->end = walk->last;
    } else {
        walk->begin = walk->last;
        walk->begin.bytes[walk->begin.size++] = 0;
    }
    walk->last.size = 0;
    walk->tries = 0;
}

static int open_cursor(mvi_walk *walk)
{
    int rc = walk->cursor ? MV_OK : mvi_piece_begin(walk->piece);
    if (rc || walk->cursor)
        return rc;
    return kv_range(walk->piece->txn, mvi_key_slice(&walk->begin), mvi_key_slice(&walk->end), 0, walk->flags,
                    &walk->cursor);
}

/* Ends the transaction; MV_OK if it is worth another try. */
static int give_up_piece(mvi_walk *walk, int rc)
{
    mvi_walk_close(walk);
    mvi_piece_end(walk->piece);
    return mvi_again(rc, &walk->tries) ? MV_OK : rc;
}

int mvi_walk_next(mvi_walk *walk, mv_slice *key, mv_slice *value)
{
    mvi_piece *piece = walk->piece;
    int rc;
    advance(walk);
    if (piece->txn && mvi_piece_is_spent(piece))
        mvi_walk_close(walk);
    do {
        rc = open_cursor(walk);
        if (!rc)
            rc = kv_next(walk->cursor, key, value);
    } while (rc && rc != MV_NOTFOUND && (rc = give_up_piece(walk, rc)) == MV_OK);
    if (rc)
        return rc;
    if (key->size >= sizeof walk->last.bytes)
        return mv_fail(MV_CORRUPT, "the store has a key of %zu bytes, longer than any it writes", key->size);
    memcpy(walk->last.bytes, key->data, key->size);
    walk->last.size = key->size;
    piece->keys++;
    piece->bytes += key->size + value->size;
    return MV_OK;
}

int mvi_walk_again(mvi_walk *walk, int rc)
{
    if (rc != MV_STALE)
        return rc;
    rc = give_up_piece(walk, rc);
    if (!rc)
        walk->last.size = 0;
    return rc;
}
