/* Reading for longer than a read transaction may live. An engine refuses one that is
 * old (FoundationDB: five seconds), or an old one keeps pages from being used again
 * (LMDB). So long work is done in pieces, each in a transaction of its own.
 *
 * What is read in one piece may have changed in the next. Work that goes on must
 * therefore be about what does not change: history, commit records, a page as of a
 * version; or it looks at what belongs together in one piece. */
#ifndef MV_WALK_H
#define MV_WALK_H

#include "keys.h"

#define MVI_PIECE_KEYS 1000

/* A read transaction that is ended when it has served long enough. Begin with .store set. */
typedef struct mvi_piece {
    mv_store *store;
    kv_txn *txn; /* NULL: none is open */
    uint64_t begun_ms, number; /* a new transaction has a new number */
    size_t keys, bytes; /* read in it */
} mvi_piece;

/* Makes sure that piece->txn is open and young: the one there was, or a new one. Values
 * read before are then no longer readable. No walk over the piece may be open. */
int mvi_piece_begin(mvi_piece *piece);
void mvi_piece_end(mvi_piece *piece);
int mvi_piece_is_spent(const mvi_piece *piece); /* it has served long enough */

/* Runs fn in a short read transaction of its own, and again while that cannot go on: it
 * must do the same work each time. */
int mvi_read_in(mv_store *store, kv_fn fn, void *ctx);

/* A range read that goes on after the last key in the next piece. */
typedef struct mvi_walk {
    mvi_piece *piece;
    mvi_key begin, end; /* what is still to be read */
    mvi_key last;       /* handed out, still in the range; size 0: none */
    kv_cursor *cursor;
    int flags;
    int tries; /* at one place */
} mvi_walk;

/* A walk over [begin, end), with flags as of kv_range. Nothing is read yet. */
mvi_walk mvi_walk_over(mvi_piece *piece, const mvi_key *begin, const mvi_key *end, int flags);
/* A walk over all keys of a database of one kind ('h', 'v', 'c', 't', 's'). */
mvi_walk mvi_walk_kind(mvi_piece *piece, uint32_t ns, char kind);

/* The next pair, or MV_NOTFOUND at the end. It stays readable until the next call, and
 * what belongs to it may be read in walk->piece->txn. */
int mvi_walk_next(mvi_walk *walk, mv_slice *key, mv_slice *value);

/* After an error of the caller's own reading for an entry. MV_OK: the transaction was too
 * old; mvi_walk_next hands the same entry out again, in a new one. Else the code given. */
int mvi_walk_again(mvi_walk *walk, int rc);

/* Closes the cursor; the piece stays. The walk can go on from where it was. */
void mvi_walk_close(mvi_walk *walk);

#endif
