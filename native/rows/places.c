/* What the changed pages are in one version. */
#include "internal.h"

typedef struct map {
    mv_rows *rows;
    mvr_side *side;
    mv_place *places; /* of rows->changed, in the same order */
    uint32_t root;
    int use;
} map;

static mv_place *find(map *m, uint32_t pgno)
{
    size_t low = 0, high = m->rows->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->places[middle].pgno < pgno)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->rows->n && m->places[low].pgno == pgno ? &m->places[low] : NULL;
}

static int set(void *ctx, uint32_t pgno)
{
    map *m = ctx;
    mv_place *place = find(m, pgno);
    if (place) {
        place->use = m->use;
        place->root = m->root;
    }
    return 0;
}

/* The changed pages of a b-tree. */
static int trees(map *m, const uint32_t *roots, size_t n)
{
    int rc = MV_OK, by_rowid;
    m->use = MV_USE_BTREE;
    for (size_t i = 0; i < n && !rc; i++) {
        m->root = roots[i];
        rc = mvr_by_rowid(m->rows, (int)(m->side - m->rows->sides), roots[i], &by_rowid);
        if (!rc && by_rowid)
            rc = mvr_search(m->side, roots[i]);
        else if (!rc && m->side->has_index_pages)
            rc = mvr_walk(m->side, roots[i], set, m);
        if (!rc && by_rowid)
            set(m, roots[i]);
    }
    for (size_t i = 0; i < m->side->n; i++) {
        m->root = m->side->entries[i].root;
        if (m->root)
            set(m, m->side->entries[i].pgno);
    }
    return rc;
}

/* The overflow pages of cells on them; whether one hangs on a page that did not change is not known. */
static int overflow(map *m)
{
    int rc = MV_OK;
    m->use = MV_USE_OVERFLOW;
    for (size_t i = 0; i < m->rows->n && !rc; i++) {
        m->root = m->places[i].root;
        if (m->places[i].use == MV_USE_BTREE)
            rc = mvr_overflow(m->side, m->places[i].pgno, 0, set, m);
    }
    return rc;
}

static int rest(map *m)
{
    uint8_t first = 0, *page = mvr_buffer(m->side);
    int rc = page ? MV_OK : MV_NOMEM;
    for (size_t i = 0; i < m->rows->n && !rc; i++) {
        mv_place *place = &m->places[i];
        if (place->use != MV_USE_NONE || place->pgno > m->side->pages)
            continue;
        if (mvr_is_map(m->side, place->pgno)) {
            place->use = MV_USE_POINTERS;
            continue;
        }
        rc = mvr_read(m->side, place->pgno, page);
        first = rc ? 0 : page[0];
        if (!rc)
            place->use = mvi_pageset_has(&m->side->free, place->pgno)    ? MV_USE_FREE
                         : mvr_may_be_overflow(m->side, first) ? MV_USE_OVERFLOW
                                                               : MV_USE_NONE;
    }
    free(page);
    return rc;
}

int mv_rows_places(mv_rows *rows, int which, const uint32_t *roots, size_t n_roots, mv_place **places, size_t *n)
{
    map m = {.rows = rows, .side = &rows->sides[which]};
    *places = NULL;
    *n = 0;
    if (!(m.places = calloc(rows->n + 1, sizeof *m.places)))
        return mv_fail(MV_NOMEM, "out of memory listing pages");
    for (size_t i = 0; i < rows->n; i++)
        m.places[i].pgno = rows->changed[i];
    int rc = mvr_read_changed(m.side);
    if (!rc)
        rc = trees(&m, roots, n_roots);
    if (!rc)
        rc = overflow(&m);
    if (!rc)
        rc = mvr_read_free(m.side);
    if (!rc)
        rc = rest(&m);
    if (rc) {
        free(m.places);
        return rc;
    }
    *places = m.places;
    *n = rows->n;
    return MV_OK;
}
