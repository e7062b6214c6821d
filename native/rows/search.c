/* Which changed pages belong to a table's b-tree: each is looked for by a rowid that leads to it,
 * all at once, so that no interior page is read twice. */
#include "internal.h"

/* ---- entries ----------------------------------------------------------------------- */

/* A rowid in the part of the b-tree below a page. An interior page may have no cell, but a child;
 * 0 in *found: there is none below. */
static int some_rowid(mvr_side *side, const mvi_btree *top, int64_t *rowid, int *found)
{
    mvi_btree b = *top;
    uint8_t *page = NULL;
    int rc = MV_OK;
    *found = 0;
    for (int depth = 0; depth < MVR_DEPTH && !rc && !b.cells && b.kind == MVI_TABLE_INTERIOR; depth++) {
        uint32_t child = b.right;
        if (!page && !(page = mvr_buffer(side)))
            return MV_NOMEM;
        rc = child && child <= side->pages ? mvr_read(side, child, page) : MV_OK;
        if (rc || !child || child > side->pages || !mvi_btree_read(page, side->usable, child, &b))
            break;
    }
    if (!rc && b.cells && (b.kind == MVI_TABLE_INTERIOR || b.kind == MVI_TABLE_LEAF))
        *found = mvr_rowid(&b, mvi_btree_cell(&b, 0), rowid);
    free(page);
    return rc;
}

/* Adds an entry for a page of a table's b-tree. */
static int note(mvr_side *side, uint32_t pgno, const uint8_t *page)
{
    mvi_btree b;
    int64_t rowid = 0;
    int found = 0;
    if (!mvi_btree_read(page, side->usable, pgno, &b)) {
        side->rows->doubt = 1;
        return MV_OK;
    }
    if (!b.cells && b.kind == MVI_TABLE_LEAF)
        return MV_OK; /* an empty root, found by its number; or a free page */
    int rc = some_rowid(side, &b, &rowid, &found);
    if (rc)
        return rc;
    side->rows->doubt |= !found;
    if (side->n == side->room) {
        size_t room = side->room ? side->room * 2 : 64;
        mvr_entry *entries = realloc(side->entries, room * sizeof *entries);
        if (!entries)
            return mv_fail(MV_NOMEM, "out of memory comparing pages");
        side->entries = entries;
        side->room = room;
    }
    side->entries[side->n++] = (mvr_entry){rowid, pgno, 0};
    return MV_OK;
}

static int by_rowid(const void *a, const void *b)
{
    const mvr_entry *left = a, *right = b;
    return (left->rowid > right->rowid) - (left->rowid < right->rowid);
}

static int read_changed_page(mvr_side *side, uint32_t pgno, uint8_t *page)
{
    int rc = mvr_read(side, pgno, page);
    if (rc)
        return rc;
    uint32_t kind = page[mvi_btree_at(pgno)];
    if (mvi_btree_is_page(kind))
        rc = mvi_pageset_add(&side->trees, pgno);
    if (!rc && pgno != 1 && mvr_may_be_overflow(side, (uint8_t)kind))
        rc = mvi_pageset_add(&side->loose, pgno);
    if (!rc && (kind == MVI_TABLE_INTERIOR || kind == MVI_TABLE_LEAF))
        rc = note(side, pgno, page);
    side->has_index_pages |= kind == MVI_INDEX_INTERIOR || kind == MVI_INDEX_LEAF;
    return rc;
}

static void sort(mvr_side *side)
{
    if (side->n)
        qsort(side->entries, side->n, sizeof *side->entries, by_rowid);
}

int mvr_read_changed(mvr_side *side)
{
    const mv_rows *rows = side->rows;
    int rc = MV_OK;
    if (side->entries_known)
        return MV_OK;
    uint8_t *page = mvr_buffer(side);
    if (!page)
        return MV_NOMEM;
    for (size_t i = 0; i < rows->n && !rc; i++)
        if (rows->changed[i] <= side->pages && !mvr_is_map(side, rows->changed[i]))
            rc = read_changed_page(side, rows->changed[i], page);
    free(page);
    sort(side);
    side->entries_known = !rc;
    return rc;
}

int mvr_take(mvr_side *side, uint32_t pgno)
{
    uint8_t *page = mvr_buffer(side);
    int rc = page ? read_changed_page(side, pgno, page) : MV_NOMEM;
    free(page);
    sort(side);
    return rc;
}

/* ---- searching ---------------------------------------------------------------------- */

/* How many levels of interior pages a b-tree has; -1, and rows->doubt, if that cannot be told. */
static int height_of(mvr_side *side, uint32_t root, uint8_t *page, int *height)
{
    mvi_btree b;
    uint32_t pgno = root;
    for (*height = 0; *height < MVR_DEPTH; ++*height) {
        int rc = pgno && pgno <= side->pages ? mvr_read(side, pgno, page) : MV_CORRUPT;
        if (rc && rc != MV_CORRUPT)
            return rc;
        if (rc || !mvi_btree_read(page, side->usable, pgno, &b))
            break;
        if (!mvi_btree_is_interior(b.kind))
            return MV_OK;
        pgno = mvi_btree_child(&b, 0);
    }
    side->rows->doubt = 1;
    *height = -1;
    return MV_OK;
}

typedef struct run {
    mvr_entry *entries;
    size_t n;
} run;

/* Notes the entry that is the page itself; 1: others may lie below it. */
static int claim(run r, uint32_t pgno, uint32_t root)
{
    int more = 0;
    for (size_t i = 0; i < r.n; i++) {
        if (r.entries[i].pgno == pgno)
            r.entries[i].root = root;
        more |= !r.entries[i].root;
    }
    return more;
}

/* The entries up to a rowid, cut off the front of a run. */
static run cut(run *r, int64_t upto)
{
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r->entries[middle].rowid <= upto)
            low = middle + 1;
        else
            high = middle;
    }
    run front = {r->entries, low};
    r->entries += low;
    r->n -= low;
    return front;
}

/* Looks for the entries of the run below an interior page `height` levels above the leaves. */
static int search_below(mvr_side *side, uint32_t root, uint32_t pgno, int height, run r)
{
    mvi_btree b;
    uint8_t *page = mvr_buffer(side);
    int rc = page ? mvr_read(side, pgno, page) : MV_NOMEM;
    int sound = !rc && mvi_btree_read(page, side->usable, pgno, &b) && b.kind == MVI_TABLE_INTERIOR;
    for (uint32_t i = 0; sound && !rc && r.n && i <= b.cells; i++) {
        int64_t upto = INT64_MAX;
        uint32_t child = mvi_btree_child(&b, i);
        sound = child > 1 && child <= side->pages && (i == b.cells || mvr_rowid(&b, mvi_btree_cell(&b, i), &upto));
        run front = sound ? cut(&r, upto) : (run){NULL, 0};
        if (front.n && claim(front, child, root) && height > 1)
            rc = search_below(side, root, child, height - 1, front);
    }
    side->rows->doubt |= !rc && !sound;
    free(page);
    return rc;
}

int mvr_search(mvr_side *side, uint32_t root)
{
    int height, left = 0;
    if (mvi_pageset_has(&side->searched, root))
        return MV_OK;
    int rc = mvi_pageset_add(&side->searched, root);
    for (size_t i = 0; i < side->n; i++) {
        if (side->entries[i].pgno == root)
            side->entries[i].root = root;
        left |= !side->entries[i].root;
    }
    if (rc || !left)
        return rc;
    uint8_t *page = mvr_buffer(side);
    rc = page ? height_of(side, root, page, &height) : MV_NOMEM;
    free(page);
    if (rc || height < 1)
        return rc;
    return search_below(side, root, root, height, (run){side->entries, side->n});
}

/* ---- all pages ------------------------------------------------------------------------ */

typedef struct walk {
    mvr_side *side;
    int (*each)(void *ctx, uint32_t pgno);
    void *ctx;
    int overflow; /* the pages of overflow chains, too */
    uint64_t steps;
} walk;

static int walk_below(walk *w, uint32_t pgno, int height)
{
    mvi_btree b;
    mvr_side *side = w->side;
    int rc = w->each(w->ctx, pgno);
    if (!rc && w->overflow)
        rc = mvr_overflow(side, pgno, 0, w->each, w->ctx);
    if (rc || !height)
        return rc;
    uint8_t *page = mvr_buffer(side);
    rc = page ? mvr_read(side, pgno, page) : MV_NOMEM;
    int sound = !rc && mvi_btree_read(page, side->usable, pgno, &b) && mvi_btree_is_interior(b.kind) &&
                w->steps++ < side->pages;
    for (uint32_t i = 0; sound && !rc && i <= b.cells; i++) {
        uint32_t child = mvi_btree_child(&b, i);
        sound = child > 1 && child <= side->pages;
        rc = sound ? walk_below(w, child, height - 1) : MV_OK;
    }
    side->rows->doubt |= !rc && !sound;
    free(page);
    return rc;
}

static int start_walk(walk *w, uint32_t root)
{
    int height;
    uint8_t *page = mvr_buffer(w->side);
    int rc = page ? height_of(w->side, root, page, &height) : MV_NOMEM;
    free(page);
    return rc || height < 0 ? rc : walk_below(w, root, height);
}

int mvr_walk(mvr_side *side, uint32_t root, int (*each)(void *ctx, uint32_t pgno), void *ctx)
{
    walk w = {side, each, ctx, 0, 0};
    return start_walk(&w, root);
}

int mvr_walk_all(mvr_side *side, uint32_t root, int (*each)(void *ctx, uint32_t pgno), void *ctx)
{
    walk w = {side, each, ctx, 1, 0};
    return start_walk(&w, root);
}
