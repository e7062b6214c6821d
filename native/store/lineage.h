/* Branches. A branch shares the pages of its parent, as they were in the version it began at (its
 * base), until it writes its own; its history is its own versions, and before them the parent's up
 * to the base. Stamps are of the whole store, so they order the versions of a line too.
 *
 * A page that a branch has written has a head there for ever: one that the database no longer
 * reaches, and that the base has, is kept as zeros, so that a missing head always means "as in the
 * base". History entries of a branch hold only images that the branch itself wrote. */
#ifndef MV_LINEAGE_H
#define MV_LINEAGE_H

#include "record.h"

typedef struct mvi_line {
    uint32_t ns;
    mvi_latest base;         /* the parent's version it began at; means nothing without a parent */
    int for_ever;            /* when this was read, the policy kept everything */
    struct mvi_line *parent; /* owned; NULL: no branch */
} mvi_line;

/* The database and those it came from; freed with mvi_line_free. MV_CORRUPT, MV_NOMEM. */
int mvi_line_read(kv_txn *txn, uint32_t ns, mvi_line **line);
void mvi_line_free(mvi_line *line);

/* Which of them recorded the version, if there is one of that stamp. */
static inline const mvi_line *mvi_line_of(const mvi_line *line, const mv_stamp *stamp)
{
    while (line->parent && mvi_stamp_cmp(stamp, &line->base.stamp) <= 0)
        line = line->parent;
    return line;
}

/* Whether the page, where the branch has not written it, is one of the base. */
static inline int mvi_line_inherits(const mvi_line *line, uint32_t pgno)
{
    return line->parent && pgno <= line->base.pages;
}

/* Walks over the ranges of versions of a line that lie in (after, until], newest first:
 * begin with *line the newest, 0 when there are no more. */
typedef struct mvi_span {
    const mvi_line *line; /* whose versions; set to the newest of the line at first */
    mv_stamp after, until; /* of the part of it */
    mv_stamp low, high;   /* bounds of the walk */
    int begun;
} mvi_span;
mvi_span mvi_spans(const mvi_line *line, const mv_stamp *after, const mv_stamp *until);
int mvi_span_next(mvi_span *span);

#endif
