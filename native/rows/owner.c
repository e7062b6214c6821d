/* The row that a changed overflow page belongs to, where its leaf did not change.
 *
 * A database with auto-vacuum has pointer maps, which lead from an overflow page back to its leaf.
 * In others nothing does; but pages that were written together lie together, so it is looked for
 * nearby. Either is only a guess where to look: a leaf counts if it is in use and the chain of one
 * of its cells has the page. */
#include "internal.h"

#define NEAR 48      /* pages on each side of a chain's beginning that are looked at */
#define STEPS 20000  /* of a chain, backwards */
#define OWNERS 64    /* so many are looked for; more changes of this kind are no small change */

enum { MAP_FIRST = 3, MAP_LATER = 4 }; /* what a pointer map says of overflow pages */

/* The entry of a page in its pointer map. */
static int read_map(mvr_side *side, uint32_t pgno, uint8_t *page, uint8_t *kind, uint32_t *parent)
{
    uint32_t map = (pgno - 2) / side->map_every * side->map_every + 2, at = 5 * (pgno - map - 1);
    *kind = 0;
    if (pgno <= map || at + 5 > side->usable)
        return MV_OK;
    int rc = mvr_read(side, map, page);
    *kind = rc ? 0 : page[at];
    *parent = rc ? 0 : mvi_get32(page + at + 1);
    return rc;
}

/* Goes back to the first page of a chain, as far as can be seen. *leaf: where it hangs, if known. */
static int go_back(mvr_side *side, uint32_t *pgno, uint8_t *page, uint32_t *leaf)
{
    int rc = MV_OK;
    *leaf = 0;
    for (int steps = 0; !rc && steps < STEPS; steps++) {
        uint32_t before = *pgno - 1;
        if (side->map_every) {
            uint8_t kind;
            rc = read_map(side, *pgno, page, &kind, &before);
            if (kind == MAP_FIRST)
                *leaf = before;
            if (rc || kind != MAP_LATER || before < 2 || before > side->pages)
                break;
        } else {
            if (before < 2)
                break;
            rc = mvr_read(side, before, page);
            if (rc || mvi_get32(page) != *pgno)
                break;
        }
        *pgno = before;
    }
    return rc;
}

/* Whether a page is one of a b-tree, in use, with a cell whose chain begins with this page. */
static int bears(mvr_side *side, uint32_t pgno, uint32_t first, uint8_t *page, int *yes)
{
    mvi_btree b;
    *yes = 0;
    if (pgno < 1 || pgno > side->pages || mvr_is_map(side, pgno) || mvi_pageset_has(&side->free, pgno))
        return MV_OK;
    int rc = mvr_read(side, pgno, page);
    if (rc || !mvi_btree_read(page, side->usable, pgno, &b) || mvr_may_be_overflow(side, (uint8_t)b.kind))
        return rc;
    for (uint32_t i = 0; i < b.cells && !*yes; i++) {
        uint32_t spill;
        *yes = mvr_spill(&b, mvi_btree_cell(&b, i), &spill) && spill == first;
    }
    return MV_OK;
}

static int find_leaf(mvr_side *side, uint32_t first, uint32_t guess, uint8_t *page, uint32_t *leaf)
{
    int yes = 0, rc = guess ? bears(side, guess, first, page, &yes) : MV_OK;
    *leaf = guess;
    for (uint32_t i = 1; i <= NEAR && !rc && !yes && !guess; i++) {
        *leaf = first > i ? first - i : 0;
        rc = bears(side, *leaf, first, page, &yes);
        if (!rc && !yes) {
            *leaf = first + i;
            rc = bears(side, *leaf, first, page, &yes);
        }
    }
    if (!yes)
        *leaf = 0;
    return rc;
}

static int take_away(void *ctx, uint32_t pgno)
{
    mvi_pageset_remove(ctx, pgno);
    return 0;
}

/* The leaf counts as changed from now on, and so its rows are compared. */
static int count_as_changed(mv_rows *rows, uint32_t leaf)
{
    int rc = mvi_pageset_add(&rows->set, leaf);
    for (int s = 0; s < 2 && !rc; s++)
        if (leaf <= rows->sides[s].pages)
            rc = mvr_take(&rows->sides[s], leaf);
    return rc;
}

int mvr_find_owners(mv_rows *rows, mvi_pageset *left)
{
    mvr_side *side = &rows->sides[1];
    uint8_t *page = mvr_buffer(side);
    int rc = page ? MV_OK : MV_NOMEM;
    if (left->count > OWNERS)
        goto done;
    for (uint32_t p = mvi_pageset_next(left, 0); p && !rc && !rows->doubt; p = mvi_pageset_next(left, p)) {
        uint32_t first = p, guess, leaf;
        rc = go_back(side, &first, page, &guess);
        if (!rc)
            rc = find_leaf(side, first, guess, page, &leaf);
        if (rc || !leaf)
            break;
        rc = mvr_overflow(side, leaf, 0, take_away, left);
        if (rc || mvi_pageset_has(left, p))
            break;
        rc = count_as_changed(rows, leaf);
    }
done:
    free(page);
    return rc;
}
