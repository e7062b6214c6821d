/* Making a past state the newest one, as a commit like any other. */
#include "internal.h"
#include "page1.h"

static int load_at(mv_db *db, uint32_t pgno, const mvi_latest *target, uint8_t *page)
{
    kv_txn *txn;
    mvi_origin origin;
    int rc, tries = 0;
    do {
        rc = mvi_view(db, &txn);
        if (rc)
            return rc;
        rc = mvi_load(txn, db->line, pgno, &target->stamp, &db->snap, target->page_size, page, &origin);
        mvi_view_done(db, txn, rc);
    } while (mvi_again(rc, &tries));
    if (!rc && origin.size == 0)
        memset(page, 0, target->page_size);
    return rc;
}

/* SQLite tells by this number whether a connection's idea of the tables is still
 * right. A number that was used before for other tables must not come again. */
static int advance_schema(mv_db *db, uint8_t *page1, const uint8_t *newest)
{
    if (!mvi_page1_is_sqlite(page1) || !mvi_page1_is_sqlite(newest))
        return MV_OK;
    mvi_put32(page1 + MVI_SCHEMA_COOKIE, mvi_get32(newest + MVI_SCHEMA_COOKIE) + 1);
    return mv_db_write_bytes(db, 0, page1, 100);
}

int mvi_write_state(mv_db *db, mv_db *from, const mvi_latest *target, const mvi_pageset *differing)
{
    uint8_t *page = malloc(MVI_PAGE_MAX), newest[100] = {0}, first[100];
    size_t got = 0;
    int resized = target->page_size != db->snap.page_size, rc = MV_OK;
    if (!page)
        return mv_fail(MV_NOMEM, "out of memory reverting");
    if (db->snap.pages)
        rc = mv_db_read_bytes(db, 0, newest, sizeof newest, &got);
    mvi_writes_begin(db);
    if (resized) { /* every page is written anew */
        db->writes.page_size = target->page_size;
        db->writes.lowest = 0;
    }
    for (uint32_t p = 1; p <= target->pages && !rc; p++) {
        if (!resized && !mvi_pageset_has(differing, p))
            continue;
        rc = load_at(from, p, target, page);
        if (!rc)
            rc = mv_db_write_bytes(db, (uint64_t)(p - 1) * target->page_size, page, target->page_size);
    }
    if (!rc)
        rc = mv_db_truncate(db, (uint64_t)target->pages * target->page_size);
    if (!rc)
        rc = mv_db_read_bytes(db, 0, first, sizeof first, &got);
    if (!rc && got == sizeof first && differing->count)
        rc = advance_schema(db, first, newest);
    free(page);
    return rc;
}

static int revert_locked(mv_db *db, void *ctx, mv_stamp *made)
{
    const mv_stamp *stamp = ctx;
    mvi_pageset changed = {0};
    mv_version version = {.pages = 0};
    int stale, rc = mv_db_begin(db, &stale);
    if (!rc)
        rc = mv_db_version(db, stamp, &version);
    if (!rc)
        rc = mvi_collect(db->store, db->line, stamp, &db->snap.stamp, &changed);
    mvi_latest target = {.stamp = *stamp, .pages = version.pages, .page_size = version.page_size};
    if (!rc)
        rc = mvi_write_state(db, db, &target, &changed);
    if (!rc) {
        db->kind = MV_KIND_REVERT;
        db->target = *stamp;
        rc = mv_db_commit(&db, 1, made);
    }
    mvi_pageset_clear(&changed);
    return rc;
}

int mvi_replace(mv_db *db, int (*fn)(mv_db *db, void *ctx, mv_stamp *made), void *ctx, mv_stamp *made)
{
    int was_locked = db->locked, stale;
    if (db->writes.active)
        return mv_fail(MV_MISUSE, "a revert inside a write transaction: commit or roll back first");
    int rc = mv_db_begin(db, &stale);
    if (!rc)
        rc = mv_db_lock(db);
    if (rc)
        return rc;
    rc = fn(db, ctx, made);
    if (rc)
        mvi_writes_drop(db);
    if (!was_locked)
        mv_db_unlock(db);
    return rc;
}

int mv_db_revert(mv_db *db, const mv_stamp *stamp, mv_stamp *made)
{
    mv_stamp target = *stamp;
    *made = mvi_zero_stamp;
    return mvi_replace(db, revert_locked, &target, made);
}
