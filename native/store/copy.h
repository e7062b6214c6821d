/* A copy of a database into another store, as its files share it.
 *
 * It goes through steps; each batch of keys is one transaction of the destination, which
 * also writes how far the copy has come (mv/x). So it goes on exactly there, whatever
 * happened between. */
#ifndef MV_COPY_H
#define MV_COPY_H

#include "internal.h"

/* mv/x: newest version copied 10 | its txid 16 | keys done 8 | renamed 1 | step 1 | last key of
 *       the source */
typedef enum mvi_step { MVI_RECORDS, MVI_PAST, MVI_HEADS, MVI_CHANGED, MVI_WHOLE } mvi_step;

typedef struct mvi_copied {
    mv_stamp version; /* in the source */
    uint8_t txid[MV_TXID_SIZE];
    uint64_t done;
    uint8_t renamed, step;
    mvi_key last; /* size 0: at the beginning of the step */
} mvi_copied;

typedef struct mvi_put {
    mvi_key key;
    size_t at, size; /* of the value in `bytes` */
    int image;
} mvi_put;

typedef struct mvi_copier {
    mv_copy *copy;
    mv_store *from, *to;
    uint32_t source, target; /* ids */
    mvi_meta meta;           /* of the source */
    uint32_t parent;         /* of a branch: the parent's id in the destination */
    mvi_latest base;         /* and the version it begins at, there */
    char name[MV_NAME_MAX + 1], hidden[64];
    mvi_latest newest;      /* in the source, of the version copied */
    mvi_copied copied;      /* so far, batch included */
    mvi_buf wrote;          /* mv/x as it is in the destination; size 0: not yet */
    mvi_piece piece;        /* of the source */
    mv_stamp *stamps;       /* of all versions in the source, ascending */
    uint8_t *stands;        /* for each: whether it stands for forgotten ones too */
    mvi_buf tags;           /* for each: stamp here, name, 0 */
    size_t stamps_n, stamps_room;
    uint64_t images_of;     /* that the records name */
    mvi_put *puts;          /* the batch */
    size_t n, room;
    mvi_buf bytes;
    uint8_t *page;          /* MVI_PAGE_MAX */
} mvi_copier;

/* The version's name in the destination; of a forgotten one, if versions get new names, that of the
 * one that stands for it, which answers for it everywhere. MV_CORRUPT: the source has no such version. */
int mvi_copy_stamp(const mvi_copier *c, const mv_stamp *stamp, mv_stamp *out);
/* The same for what a revert or promotion went to, which may be another database's version, or a
 * forgotten one: zero if it has no name there. */
mv_stamp mvi_copy_target(const mvi_copier *c, const mv_stamp *stamp);
/* The branch has no version of its own. */
static inline int mvi_copy_is_bare(const mvi_copier *c)
{
    return c->meta.parent && mvi_stamp_is_zero(&c->copied.version);
}

/* ---- copy_branch.c */
/* Of a branch: finds the copy of its parent (MV_NOTFOUND). */
int mvi_copy_find_parent(mvi_copier *c);
/* Makes the hidden database as a branch of that. MV_EXISTS. */
int mvi_copy_hide_branch(mvi_copier *c);

/* Reads all records: the versions, and how much there is to do. */
int mvi_copy_plan(mvi_copier *c);
/* In the transaction that shows the copy: the tags. */
int mvi_copy_put_tags(kv_txn *txn, const mvi_copier *c);
/* Takes the steps that are left: all keys, hidden. */
int mvi_copy_keys(mvi_copier *c);
/* Writes the batch, with how far it goes. */
int mvi_copy_flush(mvi_copier *c);
int mvi_copy_tell(const mvi_copier *c, int verifying, uint64_t done, uint64_t of);
/* Compares the copy with the source. MV_CORRUPT. */
int mvi_copy_verify(mvi_copier *c);

#endif
