/* What a commit will write, worked out before the engine's transaction: comparing
 * with the snapshot, compressing, encoding. */
#include "internal.h"
#include "page1.h"
#include "texts.h"

#define AHEAD_PAGES 128 /* of those that change, read together where that saves round trips */

static int is_zero(const uint8_t *page, uint32_t size)
{
    return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

int mvi_change_encode(mv_store *store, const mvi_line *line, uint32_t pgno, const uint8_t *page, uint32_t size,
                      const uint8_t *old, const mvi_origin *origin, const mvi_image *encoded, mvi_change *change)
{
    static const uint8_t zeros[MVI_PAGE_MAX];
    int rc = MV_OK, delta = 0;
    *change = (mvi_change){.pgno = pgno, .had_base = origin->size && !origin->inherited, .base = origin->stamp};
    if (change->had_base) {
        /* Zeros teach nothing, and those that keep a place (db.c) are of no certain size. */
        int may_delta = page && size == origin->size && !is_zero(page, size) && origin->depth + 1 < store->full_every;
        rc = mvi_image_encode(&change->history, old, origin->size, pgno, &origin->stamp, may_delta ? page : NULL,
                              &delta);
    }
    if (!rc && encoded)
        rc = mvi_image_copy(&change->head, encoded);
    else if (!rc && (page || mvi_line_inherits(line, pgno))) /* zeros: else the base's page would show */
        rc = mvi_image_encode(&change->head, page ? page : zeros, size, pgno, &mvi_zero_stamp, NULL, NULL);
    if (!rc && page && delta)
        mvi_image_set_depth(change->head.data, (uint8_t)(origin->depth + 1));
    if (rc)
        mvi_change_free(change);
    return rc;
}

void mvi_change_free(mvi_change *change)
{
    mvi_buf_free(&change->head);
    mvi_buf_free(&change->history);
}

/* The stored head must be the image the history entry was made from. That follows from the
 * commit records, which were checked, or the head was just read (a move); where a read costs
 * a round trip it is not asked once more, and mv_db_verify is what would notice a damaged one. */
static int check_head(kv_txn *txn, const mvi_key *key, const mvi_change *change)
{
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(key), &value);
    if (rc == MV_NOTFOUND)
        rc = change->had_base ? mv_fail(MV_CORRUPT, "page %u: its newest image is missing", change->pgno) : MV_OK;
    else if (!rc && (!change->had_base || value.size < MVI_IMAGE_HEADER ||
                     memcmp(value.data, change->base.bytes, MV_STAMP_SIZE) != 0))
        rc = mv_fail(MV_CORRUPT, "page %u: its newest image is not of the commit the records name", change->pgno);
    return rc;
}

int mvi_change_put(kv_txn *txn, const kv_traits *traits, uint32_t ns, mvi_change *change, const mv_stamp *stamp)
{
    mvi_key head = mvi_key_head(ns, change->pgno);
    mvi_key history = mvi_key_history(ns, change->pgno, stamp ? stamp : &mvi_zero_stamp);
    int rc = traits->hold_ms ? MV_OK : check_head(txn, &head, change);
    if (!rc && change->history.size)
        rc = mvi_image_put(txn, traits, &history, stamp ? MVI_PLAIN : MVI_STAMP_KEY, change->history.data,
                           change->history.size);
    if (rc)
        return rc;
    if (!change->head.size)
        return change->had_base ? mvi_image_clear(txn, &head) : MV_OK;
    if (stamp)
        memcpy(change->head.data, stamp->bytes, MV_STAMP_SIZE);
    return mvi_image_put(txn, traits, &head, stamp ? MVI_PLAIN : MVI_STAMP_VALUE, change->head.data,
                         change->head.size);
}

void mvi_part_free(mvi_part *part)
{
    for (size_t i = 0; i < part->n; i++)
        mvi_change_free(&part->changes[i]);
    free(part->changes);
    mvi_pageset_clear(&part->changed);
    mvi_buf_free(&part->set_bytes);
    mvi_buf_free(&part->packed);
    memset(part, 0, sizeof *part);
}

/* ---- page 1, page size, holes ------------------------------------------- */

/* VACUUM with a new page size writes a file of new pages through the old ones:
 * cut the file's bytes again, into pages of the size page 1 now names. */
static int repack(mv_db *db, uint32_t page_size)
{
    mvi_writes fresh = {.active = 1, .page_size = page_size, .size = db->writes.size};
    uint32_t pages = mvi_pages_of(&fresh);
    int rc = MV_OK;
    for (uint32_t p = 1; p <= pages && !rc; p++) {
        uint8_t *page = mvi_pagemap_make(&fresh.dirty, p, page_size);
        size_t got = 0;
        if (!page)
            rc = mv_fail(MV_NOMEM, "out of memory changing the page size");
        else
            rc = mv_db_read_bytes(db, (uint64_t)(p - 1) * page_size, page, page_size, &got);
        if (!rc && got < page_size)
            memset(page + got, 0, page_size - got);
        if (!rc && fresh.dirty.count * page_size > db->store->buffer_bytes)
            rc = mvi_stage_flush(db, &fresh);
    }
    mvi_writes *drop = rc ? &fresh : &db->writes;
    if (drop->has_txid)
        mvi_stage_discard(db, drop);
    mvi_pagemap_clear(&drop->dirty);
    mvi_pageset_clear(&drop->staged);
    mvi_pageset_clear(&drop->trimmed);
    if (!rc)
        db->writes = fresh; /* lowest 0: every page is written */
    return rc;
}

static int prepare_page1(mv_db *db)
{
    mvi_writes *w = &db->writes;
    uint8_t *page = mvi_pagemap_find(&w->dirty, 1);
    if (!page && mvi_pageset_has(&w->staged, 1)) {
        int found = mvi_writes_find(db, 1, db->scratch);
        if (found < 0)
            return -found;
        page = mvi_pagemap_make(&w->dirty, 1, w->page_size);
        if (!page)
            return mv_fail(MV_NOMEM, "out of memory for page 1");
        memcpy(page, db->scratch, w->page_size);
    }
    if (!page || !mvi_page1_is_sqlite(page))
        return MV_OK;
    mvi_page1_normalise(page);
    uint32_t named = mvi_page1_page_size(page);
    if (named < 512 || named > MVI_PAGE_MAX || (named & (named - 1)) != 0 || named == w->page_size)
        return MV_OK;
    return repack(db, named);
}

/* Pages cut off and grown over again without being written read as zeros from now on. */
static int fill_holes(mv_db *db)
{
    mvi_writes *w = &db->writes;
    if (!w->page_size || w->page_size != db->snap.page_size)
        return MV_OK;
    uint32_t last = mvi_pages_of(w), first = (uint32_t)((w->lowest + w->page_size - 1) / w->page_size) + 1;
    if (last > db->snap.pages)
        last = db->snap.pages;
    for (uint32_t p = first; p <= last; p++) {
        if (mvi_pagemap_find(&w->dirty, p) || mvi_pageset_has(&w->staged, p))
            continue;
        uint8_t *page = mvi_pagemap_make(&w->dirty, p, w->page_size);
        if (!page)
            return mv_fail(MV_NOMEM, "out of memory for page %u", p);
        memset(page, 0, w->page_size);
    }
    return MV_OK;
}

/* ---- changes ------------------------------------------------------------ */

static int same(uint32_t pgno, const uint8_t *a, const uint8_t *b, uint32_t size)
{
    if (pgno == 1 && mvi_page1_is_sqlite(a) && mvi_page1_is_sqlite(b))
        return mvi_page1_same(a, b, size);
    return memcmp(a, b, size) == 0;
}

/* One page: `page` NULL when the database ends before it. */
static int add_change(mvi_part *part, uint32_t pgno, const uint8_t *page, uint8_t *old)
{
    mvi_origin origin = {.size = 0};
    mv_db *db = part->db;
    int stored = pgno <= db->snap.pages || mvi_line_inherits(db->line, pgno); /* maybe zeros beyond the end */
    int rc = stored ? mvi_base(db, pgno, old, &origin) : MV_OK;
    if (rc)
        return rc;
    if (page && origin.size == part->page_size && same(pgno, page, old, origin.size))
        return MV_OK;
    if (origin.size == 0 && (!page || is_zero(page, part->page_size)))
        return MV_OK;
    if (!page && mvi_line_inherits(db->line, pgno) && is_zero(old, origin.size))
        return MV_OK; /* as if it were not there */
    if (part->n == part->room) {
        size_t room = part->room ? part->room * 2 : 16;
        mvi_change *changes = realloc(part->changes, room * sizeof *changes);
        if (!changes)
            return mv_fail(MV_NOMEM, "out of memory preparing a commit");
        part->changes = changes;
        part->room = room;
    }
    rc = mvi_change_encode(db->store, db->line, pgno, page, part->page_size, old, &origin, NULL, &part->changes[part->n]);
    if (!rc) {
        part->n++;
        rc = mvi_pageset_add(&part->changed, pgno);
    }
    return rc;
}

static int prepare_small(mvi_part *part)
{
    mvi_writes *w = &part->db->writes;
    uint8_t *old = malloc(MVI_PAGE_MAX);
    uint32_t *numbers = mvi_pagemap_sorted(&w->dirty);
    int rc = old && (numbers || !w->dirty.count) ? MV_OK : mv_fail(MV_NOMEM, "out of memory preparing a commit");
    for (size_t i = 0; i < w->dirty.count && !rc; i++) {
        if (i % AHEAD_PAGES == 0)
            mvi_ahead_pages(part->db, numbers + i,
                            w->dirty.count - i < AHEAD_PAGES ? w->dirty.count - i : AHEAD_PAGES);
        rc = add_change(part, numbers[i], mvi_pagemap_find(&w->dirty, numbers[i]), old);
    }
    for (uint32_t p = part->pages + 1; p <= part->db->snap.pages && !rc; p++)
        rc = add_change(part, p, NULL, old);
    free(numbers);
    free(old);
    return rc;
}

/* Pages of the base that a branch does not reach any more are zeros, staged like others. */
static int stage_zeros(mv_db *db, uint32_t pages)
{
    mvi_writes *w = &db->writes;
    int rc = MV_OK;
    for (uint32_t p = pages + 1; !rc && p <= db->snap.pages && mvi_line_inherits(db->line, p); p++) {
        uint8_t *page = mvi_pagemap_make(&w->dirty, p, w->page_size);
        if (!page)
            return mv_fail(MV_NOMEM, "out of memory for page %u", p);
        memset(page, 0, w->page_size);
        if (w->dirty.count * w->page_size > db->store->buffer_bytes)
            rc = mvi_stage_flush(db, w);
    }
    return rc;
}

static int prepare_large(mvi_part *part)
{
    mv_db *db = part->db;
    int rc = stage_zeros(db, part->pages);
    if (!rc)
        rc = mvi_stage_flush(db, &db->writes);
    if (!rc)
        rc = mvi_stage_trim(db);
    const mvi_pageset *staged = &db->writes.staged;
    for (uint32_t p = mvi_pageset_next(staged, 0); p && !rc; p = mvi_pageset_next(staged, p))
        rc = mvi_pageset_add(&part->changed, p);
    for (uint32_t p = part->pages + 1; p <= db->snap.pages && !rc; p++)
        rc = mvi_pageset_add(&part->changed, p);
    return rc;
}

static int is_large(const mv_db *db, uint32_t pages)
{
    const mvi_writes *w = &db->writes;
    uint64_t cut = db->snap.pages > pages ? (uint64_t)(db->snap.pages - pages) * db->snap.page_size : 0;
    return w->staged.count > 0 || (uint64_t)w->dirty.count * w->page_size + cut > db->store->stage_bytes;
}

int mvi_prepare(mv_db *db, mvi_part *part)
{
    memset(part, 0, sizeof *part);
    part->db = db;
    if (!db->writes.active) {
        part->empty = 1;
        return MV_OK;
    }
    int rc = prepare_page1(db);
    if (!rc)
        rc = fill_holes(db);
    if (rc)
        return rc;
    part->pages = mvi_pages_of(&db->writes);
    part->page_size = db->writes.page_size;
    part->large = is_large(db, part->pages);
    rc = part->large ? prepare_large(part) : prepare_small(part);
    if (rc)
        return rc;
    part->empty = part->changed.count == 0 && part->pages == db->snap.pages;
    mvi_pageset_encode(&part->changed, &part->set_bytes);
    if (db->statements)
        mvi_text_pack(mvi_slice(db->statements, strlen(db->statements)), &part->packed);
    if (part->large)
        memcpy(part->txid, db->writes.txid, MV_TXID_SIZE);
    else
        rc = mvi_random(part->txid, MV_TXID_SIZE);
    return !rc && part->set_bytes.failed ? mv_fail(MV_NOMEM, "out of memory preparing a commit") : rc;
}
