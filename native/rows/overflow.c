/* Overflow pages that changed while their row's leaf did not.
 *
 * SQLite overwrites a row's overflow pages in place if the new row is as long, and then the leaf may
 * stay as it is. Such a page is an overflow page in both versions. A changed page is none of these
 * if in either version it is beyond the end, of a b-tree, a pointer map, free, or an overflow page
 * of a cell on a changed b-tree page (whose rows are compared anyway). Of all others the leaf must be
 * found, or everything is in doubt. */
#include "internal.h"

/* ---- chains -------------------------------------------------------------------------- */

typedef struct chain {
    mvr_side *side;
    uint8_t *page; /* a buffer */
    int changed;
    int (*each)(void *ctx, uint32_t pgno);
    void *ctx;
} chain;

static int follow(chain *c, uint32_t pgno)
{
    mvr_side *side = c->side;
    int rc = MV_OK;
    for (uint32_t steps = 0; pgno && !rc; steps++) {
        if (pgno > side->pages || steps > side->pages) {
            side->rows->doubt = 1;
            break;
        }
        if (c->changed && !mvi_pageset_has(&side->rows->set, pgno))
            break;
        rc = c->each(c->ctx, pgno);
        if (!rc)
            rc = mvr_read(side, pgno, c->page);
        pgno = mvi_get32(c->page);
    }
    return rc;
}

int mvr_overflow(mvr_side *side, uint32_t pgno, int changed, int (*each)(void *ctx, uint32_t pgno), void *ctx)
{
    mvi_btree b;
    uint8_t *page = mvr_buffer(side);
    chain c = {side, page ? mvr_buffer(side) : NULL, changed, each, ctx};
    int rc = c.page ? mvr_read(side, pgno, page) : MV_NOMEM;
    int sound = !rc && mvi_btree_read(page, side->usable, pgno, &b);
    for (uint32_t i = 0; sound && !rc && i < b.cells; i++) {
        uint32_t first;
        sound = mvr_spill(&b, mvi_btree_cell(&b, i), &first);
        if (sound && first)
            rc = follow(&c, first);
    }
    side->rows->doubt |= !rc && !sound;
    free(c.page);
    free(page);
    return rc;
}

/* ---- what is left ---------------------------------------------------------------------- */

enum { STOP = -1 }; /* nothing is left: no code of the library is negative */

static int take_away(void *ctx, uint32_t pgno)
{
    mvi_pageset *left = ctx;
    mvi_pageset_remove(left, pgno);
    return left->count ? 0 : STOP;
}

static int without_free(mv_rows *rows, mvi_pageset *left)
{
    for (int s = 0; s < 2; s++) {
        int rc = mvr_read_free(&rows->sides[s]);
        if (rc)
            return rc;
        for (uint32_t p = mvi_pageset_next(left, 0); p; p = mvi_pageset_next(left, p))
            if (mvi_pageset_has(&rows->sides[s].free, p))
                mvi_pageset_remove(left, p);
    }
    return MV_OK;
}

/* A changed page that looks like one of a b-tree and is not free is one. */
static int without_chains(mv_rows *rows, mvi_pageset *left, int changed)
{
    int rc = MV_OK;
    for (int s = 1; s >= 0 && !rc; s--) {
        mvr_side *side = &rows->sides[s];
        for (uint32_t p = mvi_pageset_next(&side->trees, 0); p && !rc; p = mvi_pageset_next(&side->trees, p))
            if (!mvi_pageset_has(&side->free, p) && left->count)
                rc = mvr_overflow(side, p, changed, take_away, left);
    }
    return rc == STOP ? MV_OK : rc;
}

int mvr_explain(mv_rows *rows)
{
    mvi_pageset left = {0};
    int rc = MV_OK;
    const mvi_pageset *b = &rows->sides[0].loose, *a = &rows->sides[1].loose;
    for (uint32_t p = mvi_pageset_next(b, 0); p && !rc; p = mvi_pageset_next(b, p))
        if (mvi_pageset_has(a, p))
            rc = mvi_pageset_add(&left, p);
    if (!rc && left.count)
        rc = without_free(rows, &left);
    /* first only along pages that changed: most new chains have no others */
    for (int changed = 1; changed >= 0 && !rc && left.count; changed--)
        rc = without_chains(rows, &left, changed);
    if (!rc && left.count)
        rc = mvr_find_owners(rows, &left);
    rows->doubt |= !rc && left.count != 0;
    mvi_pageset_clear(&left);
    return rc;
}
