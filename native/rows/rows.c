/* Where rows of a b-tree may differ between two versions.
 *
 * Call a page of the b-tree different if it changed, or is not of the b-tree in the other version.
 * A row on a page that is not different has the same cell in both. The different pages are those
 * changed pages that are found below the root, and what hangs on different interior pages (or is
 * the root) in one version only: a page whose number stands on no different interior page of the
 * other version, and did not change, has left the b-tree or is new in it. */
#include "internal.h"

/* Where more than half of a database has changed, looking page by page saves nothing. */
#define FEW 256

static int read_changed(mv_rows *rows)
{
    int rc = mv_db_differing(rows->sides[0].db, rows->sides[1].db, &rows->changed, &rows->n);
    for (size_t i = 0; i < rows->n && !rc; i++)
        rc = mvi_pageset_add(&rows->set, rows->changed[i]);
    return rc;
}

int mv_rows_open(mv_db *before, mv_db *after, mv_rows **out)
{
    mv_rows *rows = calloc(1, sizeof *rows);
    if (!rows)
        return mv_fail(MV_NOMEM, "out of memory comparing two versions");
    int rc = mvr_side_open(rows, &rows->sides[0], before);
    if (!rc)
        rc = mvr_side_open(rows, &rows->sides[1], after);
    if (!rc)
        rc = read_changed(rows);
    mvr_side *b = &rows->sides[0], *a = &rows->sides[1];
    rows->doubt |= b->page_size != a->page_size || b->usable != a->usable;
    if (rc) {
        mv_rows_close(rows);
        rows = NULL;
    }
    *out = rows;
    return rc;
}

void mv_rows_close(mv_rows *rows)
{
    if (!rows)
        return;
    mvr_side_close(&rows->sides[0]);
    mvr_side_close(&rows->sides[1]);
    mvi_pageset_clear(&rows->set);
    mv_free(rows->changed);
    for (size_t i = 0; i < rows->n_answers; i++)
        mvi_buf_free(&rows->answers[i]);
    free(rows->answers);
    free(rows);
}

void mv_rows_figures(const mv_rows *rows, mv_rows_cost *cost)
{
    *cost = (mv_rows_cost){rows->n, rows->read, (uint64_t)rows->sides[0].pages + rows->sides[1].pages};
}

int mv_rows_has_changed(const mv_rows *rows, uint32_t pgno)
{
    return mvi_pageset_has(&rows->set, pgno);
}

static int kind_of(mvr_side *side, uint32_t root, uint32_t *kind)
{
    *kind = 0;
    if (!root || root > side->pages)
        return MV_OK;
    uint8_t *page = mvr_buffer(side);
    int rc = page ? mvr_read(side, root, page) : MV_NOMEM;
    if (!rc)
        *kind = page[mvi_btree_at(root)];
    free(page);
    return rc;
}

static int is_table(uint32_t kind)
{
    return kind == MVI_TABLE_INTERIOR || kind == MVI_TABLE_LEAF;
}

int mvr_by_rowid(mv_rows *rows, int which, uint32_t root, int *by_rowid)
{
    uint32_t kind;
    int rc = kind_of(&rows->sides[which], root, &kind);
    *by_rowid = is_table(kind);
    return rc || mvi_btree_is_page(kind) ? rc : mv_fail(MV_CORRUPT, "page %u is not the root of a b-tree", root);
}

/* ---- different pages ------------------------------------------------------------------ */

/* Of one b-tree in one version. */
typedef struct half {
    mvr_side *side;
    mvi_pageset different, children; /* children of different interior pages */
    mvi_pageset fresh;               /* different ones whose children are not known yet */
    mvi_buf *ranges;
    uint8_t *page; /* owned */
} half;

static int add_different(half *h, uint32_t pgno)
{
    int rc = mvi_pageset_has(&h->different, pgno) ? MV_OK : mvi_pageset_add(&h->fresh, pgno);
    return rc ? rc : mvi_pageset_add(&h->different, pgno);
}

static int add_range(half *h, const mvi_btree *b)
{
    mv_rowids range;
    if (!b->cells)
        return MV_OK;
    if (!mvr_rowid(b, mvi_btree_cell(b, 0), &range.low) ||
        !mvr_rowid(b, mvi_btree_cell(b, b->cells - 1), &range.high) || range.low > range.high) {
        h->side->rows->doubt = 1;
        return MV_OK;
    }
    mvi_buf_add(h->ranges, &range, sizeof range);
    return h->ranges->failed ? mv_fail(MV_NOMEM, "out of memory for ranges of rows") : MV_OK;
}

/* Takes a different page in: a leaf's rowids, or an interior page's children. */
static int expand(half *h, uint32_t pgno)
{
    mvi_btree b;
    mvr_side *side = h->side;
    int rc = mvr_read(side, pgno, h->page);
    if (rc)
        return rc;
    if (!mvi_btree_read(h->page, side->usable, pgno, &b) || !is_table(b.kind)) {
        side->rows->doubt = 1;
        return MV_OK;
    }
    if (b.kind == MVI_TABLE_LEAF)
        return add_range(h, &b);
    for (uint32_t i = 0; i <= b.cells && !rc; i++) {
        uint32_t child = mvi_btree_child(&b, i);
        if (child < 2 || child > side->pages)
            side->rows->doubt = 1;
        else
            rc = mvi_pageset_add(&h->children, child);
    }
    return rc;
}

static int expand_fresh(half *h)
{
    int rc = MV_OK;
    mvi_pageset fresh = h->fresh;
    h->fresh = (mvi_pageset){0};
    for (uint32_t p = mvi_pageset_next(&fresh, 0); p && !rc; p = mvi_pageset_next(&fresh, p))
        rc = expand(h, p);
    mvi_pageset_clear(&fresh);
    return rc;
}

/* Children that are in one version's b-tree only, and changed ones. */
static int add_children(half *mine, const half *other)
{
    int rc = MV_OK;
    const mvi_pageset *changed = &mine->side->rows->set;
    for (uint32_t p = mvi_pageset_next(&mine->children, 0); p && !rc; p = mvi_pageset_next(&mine->children, p))
        if (mvi_pageset_has(changed, p) || !mvi_pageset_has(&other->children, p))
            rc = add_different(mine, p);
    return rc;
}

static int start(half *h, mv_rows *rows, int which, uint32_t root, int moved, mvi_buf *ranges)
{
    h->side = &rows->sides[which];
    h->ranges = ranges;
    h->page = mvr_buffer(h->side);
    int rc = h->page ? mvr_search(h->side, root) : MV_NOMEM;
    for (size_t i = 0; i < h->side->n && !rc; i++)
        if (h->side->entries[i].root == root)
            rc = add_different(h, h->side->entries[i].pgno);
    if (!rc && (moved || mvi_pageset_has(&rows->set, root)))
        rc = add_different(h, root);
    return rc;
}

static void finish(half *h)
{
    mvi_pageset_clear(&h->different);
    mvi_pageset_clear(&h->children);
    mvi_pageset_clear(&h->fresh);
    free(h->page);
}

static int find_ranges(mv_rows *rows, uint32_t root_before, uint32_t root_after, mvi_buf *ranges)
{
    half b = {.side = NULL}, a = {.side = NULL};
    int moved = root_before != root_after, rc = start(&b, rows, 0, root_before, moved, ranges);
    if (!rc)
        rc = start(&a, rows, 1, root_after, moved, ranges);
    while (!rc && !rows->doubt && (a.fresh.count || b.fresh.count)) {
        rc = expand_fresh(&b);
        if (!rc)
            rc = expand_fresh(&a);
        if (!rc)
            rc = add_children(&b, &a);
        if (!rc)
            rc = add_children(&a, &b);
    }
    finish(&b);
    finish(&a);
    return rc;
}

/* Looks at the changed pages, once. */
static int look(mv_rows *rows)
{
    const mvr_side *b = &rows->sides[0], *a = &rows->sides[1];
    uint32_t most = a->pages > b->pages ? a->pages : b->pages;
    int rc = MV_OK;
    if (rows->looked)
        return MV_OK;
    rows->doubt |= rows->n > FEW && rows->n > most / 2;
    for (int s = 0; s < 2 && !rc && !rows->doubt; s++)
        rc = mvr_read_changed(&rows->sides[s]);
    if (!rc && !rows->doubt)
        rc = mvr_explain(rows);
    rows->looked = !rc;
    return rc;
}

/* ---- answers ------------------------------------------------------------------------------ */

static int by_low(const void *a, const void *b)
{
    const mv_rowids *left = a, *right = b;
    return (left->low > right->low) - (left->low < right->low);
}

/* Sorts and joins those that touch; returns how many are left. */
static size_t join(mv_rowids *ranges, size_t n)
{
    size_t kept = 0;
    qsort(ranges, n, sizeof *ranges, by_low);
    for (size_t i = 1; i < n; i++) {
        mv_rowids *last = &ranges[kept];
        if (last->high == INT64_MAX || ranges[i].low <= last->high + 1)
            last->high = ranges[i].high > last->high ? ranges[i].high : last->high;
        else
            ranges[++kept] = ranges[i];
    }
    return n ? kept + 1 : 0;
}

static int tables(mv_rows *rows, uint32_t root_before, uint32_t root_after, mv_suspects *suspects)
{
    mvi_buf *answers = realloc(rows->answers, (rows->n_answers + 1) * sizeof *answers);
    if (!answers)
        return mv_fail(MV_NOMEM, "out of memory for ranges of rows");
    rows->answers = answers;
    mvi_buf *ranges = &answers[rows->n_answers++];
    *ranges = (mvi_buf){0};
    int rc = find_ranges(rows, root_before, root_after, ranges);
    if (rc || rows->doubt)
        return rc;
    size_t n = ranges->size / sizeof(mv_rowids);
    suspects->ranges = (mv_rowids *)(void *)ranges->data;
    suspects->n = n ? join(suspects->ranges, n) : 0;
    suspects->answer = suspects->n ? MV_SOME : MV_NOTHING;
    return MV_OK;
}

enum { FOUND = -1, ENOUGH = -2 }; /* no code of the library is negative */

typedef struct budget {
    const mv_rows *rows;
    size_t left;
} budget;

static int is_changed(void *ctx, uint32_t pgno)
{
    budget *b = ctx;
    if (mvi_pageset_has(&b->rows->set, pgno))
        return FOUND;
    return b->left-- ? 0 : ENOUGH;
}

/* A b-tree none of whose pages changed, overflow pages included, is the same in both versions. To
 * read all of a small one is cheaper than to look at many changed pages. */
static int is_untouched(mv_rows *rows, uint32_t root, int *untouched)
{
    budget b = {rows, rows->n / 4 + 4};
    *untouched = 0;
    if (rows->looked || !rows->n)
        return MV_OK;
    int rc = mvr_walk_all(&rows->sides[1], root, is_changed, &b);
    *untouched = !rc && !rows->doubt;
    return rc == FOUND || rc == ENOUGH ? MV_OK : rc;
}

/* Without its collations no page of such a b-tree can be looked for, so its interior pages are
 * read, if pages of that kind changed at all. */
static int others(mv_rows *rows, uint32_t root_before, uint32_t root_after, mv_suspects *suspects)
{
    budget b = {rows, SIZE_MAX};
    int rc = MV_OK;
    if (root_before != root_after)
        return MV_OK;
    if (rows->sides[0].has_index_pages || rows->sides[1].has_index_pages)
        rc = mvr_walk(&rows->sides[1], root_after, is_changed, &b);
    if (!rc && !rows->doubt)
        suspects->answer = MV_NOTHING;
    return rc == FOUND ? MV_OK : rc;
}

int mv_rows_suspects(mv_rows *rows, uint32_t root_before, uint32_t root_after, mv_suspects *suspects)
{
    uint32_t kinds[2];
    *suspects = (mv_suspects){.answer = MV_EVERYTHING};
    if (rows->doubt)
        return MV_OK;
    int rc = kind_of(&rows->sides[0], root_before, &kinds[0]);
    if (!rc)
        rc = kind_of(&rows->sides[1], root_after, &kinds[1]);
    if (rc || !mvi_btree_is_page(kinds[0]) || !mvi_btree_is_page(kinds[1]) || is_table(kinds[0]) != is_table(kinds[1]))
        return rc;
    int untouched = 0;
    if (root_before == root_after)
        rc = is_untouched(rows, root_after, &untouched);
    if (untouched)
        suspects->answer = MV_NOTHING;
    if (!rc && !untouched)
        rc = look(rows);
    if (!rc && !untouched && !rows->doubt)
        rc = (is_table(kinds[0]) ? tables : others)(rows, root_before, root_after, suspects);
    if (rows->doubt)
        suspects->answer = MV_EVERYTHING;
    return rc;
}
