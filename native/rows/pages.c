/* Reading pages of one version: cells, overflow chains' beginnings, the list of free pages. */
#include "internal.h"

#define PAGE_SIZE_LEAST 512
#define HEADER_TRUNK 32
#define HEADER_AUTO_VACUUM 52
#define HEADER_RESERVED 20

int mvr_read(mvr_side *side, uint32_t pgno, uint8_t *page)
{
    side->rows->read++;
    return mv_db_read(side->db, pgno, page);
}

uint8_t *mvr_buffer(const mvr_side *side)
{
    uint8_t *page = malloc(side->page_size);
    if (!page)
        mv_fail(MV_NOMEM, "out of memory comparing pages");
    return page;
}

int mvr_side_open(mv_rows *rows, mvr_side *side, mv_db *db)
{
    mv_snapshot snapshot;
    mv_db_snapshot(db, &snapshot);
    side->rows = rows;
    side->db = db;
    side->pages = snapshot.pages;
    side->page_size = snapshot.page_size;
    if (!side->pages || side->page_size < PAGE_SIZE_LEAST) {
        rows->doubt = 1; /* the empty database */
        return MV_OK;
    }
    uint8_t *page = mvr_buffer(side);
    int rc = page ? mvr_read(side, 1, page) : MV_NOMEM;
    if (!rc) {
        side->usable = side->page_size - page[HEADER_RESERVED];
        side->trunk = mvi_get32(page + HEADER_TRUNK);
        side->map_every = mvi_get32(page + HEADER_AUTO_VACUUM) ? side->usable / 5 + 1 : 0;
        rows->doubt |= memcmp(page, "SQLite format 3", 16) != 0 || side->usable < 480;
    }
    free(page);
    return rc;
}

void mvr_side_close(mvr_side *side)
{
    free(side->entries);
    mvi_pageset_clear(&side->searched);
    mvi_pageset_clear(&side->free);
    mvi_pageset_clear(&side->trees);
    mvi_pageset_clear(&side->loose);
}

int mvr_is_map(const mvr_side *side, uint32_t pgno)
{
    return side->map_every && pgno >= 2 && (pgno - 2) % side->map_every == 0;
}

int mvr_may_be_overflow(const mvr_side *side, uint8_t first)
{
    return first <= side->pages >> 24;
}

/* ---- cells ------------------------------------------------------------------------- */

/* SQLite's own: most significant bits first, the ninth byte has eight. 0: beyond the page. */
static int varint(const mvi_btree *b, uint32_t *at, uint64_t *value)
{
    uint64_t v = 0;
    for (int i = 0; i < 9; i++) {
        if (*at >= b->size)
            return 0;
        uint8_t byte = b->page[(*at)++];
        if (i == 8) {
            *value = v << 8 | byte;
            return 1;
        }
        v = v << 7 | (byte & 0x7f);
        if (byte < 0x80)
            break;
    }
    *value = v;
    return 1;
}

int mvr_rowid(const mvi_btree *b, uint32_t cell, int64_t *rowid)
{
    uint64_t value;
    uint32_t at = b->kind == MVI_TABLE_INTERIOR ? cell + 4 : cell;
    if (!cell || (b->kind == MVI_TABLE_LEAF && !varint(b, &at, &value)) || !varint(b, &at, &value))
        return 0;
    memcpy(rowid, &value, sizeof *rowid);
    return 1;
}

/* "B-tree Cell Format": U is the usable size, P the payload's, X the most that stays on the page,
 * M the least, K what is tried. */
int mvr_spill(const mvi_btree *b, uint32_t cell, uint32_t *pgno)
{
    uint64_t payload, rowid;
    uint32_t usable = b->size, at = b->kind == MVI_INDEX_INTERIOR ? cell + 4 : cell;
    *pgno = 0;
    if (b->kind == MVI_TABLE_INTERIOR)
        return 1;
    if (!cell || !varint(b, &at, &payload) || (b->kind == MVI_TABLE_LEAF && !varint(b, &at, &rowid)))
        return 0;
    uint32_t most = b->kind == MVI_TABLE_LEAF ? usable - 35 : (usable - 12) * 64 / 255 - 23;
    uint32_t least = (usable - 12) * 32 / 255 - 23;
    if (payload <= most)
        return 1;
    uint32_t local = least + (uint32_t)((payload - least) % (usable - 4));
    at += local <= most ? local : least;
    if (at + 4 > usable)
        return 0;
    *pgno = mvi_get32(b->page + at);
    return *pgno != 0;
}

/* ---- free pages ---------------------------------------------------------------------- */

static int add_trunk(mvr_side *side, const uint8_t *page, int *damaged)
{
    uint32_t n = mvi_get32(page + 4);
    int rc = MV_OK;
    *damaged = n > side->usable / 4 - 2;
    for (uint32_t i = 0; i < n && !rc && !*damaged; i++) {
        uint32_t pgno = mvi_get32(page + 8 + 4 * i);
        *damaged = pgno < 2 || pgno > side->pages;
        if (!*damaged)
            rc = mvi_pageset_add(&side->free, pgno);
    }
    return rc;
}

int mvr_read_free(mvr_side *side)
{
    int damaged = 0, rc = MV_OK;
    if (side->free_known)
        return MV_OK;
    uint8_t *page = mvr_buffer(side);
    if (!page)
        return MV_NOMEM;
    for (uint32_t trunk = side->trunk; trunk && !rc && !damaged; trunk = mvi_get32(page)) {
        damaged = trunk > side->pages || mvi_pageset_has(&side->free, trunk);
        rc = damaged ? MV_OK : mvi_pageset_add(&side->free, trunk);
        if (!rc && !damaged)
            rc = mvr_read(side, trunk, page);
        if (!rc && !damaged)
            rc = add_trunk(side, page, &damaged);
    }
    free(page);
    side->free_known = !rc;
    side->rows->doubt |= damaged;
    return rc;
}
