/* The transaction being written: a buffer of pages, and a file's view of it. */
#include "internal.h"
#include "page1.h"

void mvi_writes_begin(mv_db *db)
{
    mvi_writes *w = &db->writes;
    if (w->active)
        return;
    w->active = 1;
    w->page_size = db->snap.page_size;
    w->size = w->lowest = (uint64_t)db->snap.pages * db->snap.page_size;
}

static void drop_memory(mvi_writes *w)
{
    mvi_pagemap_clear(&w->dirty);
    mvi_pageset_clear(&w->staged);
    mvi_pageset_clear(&w->trimmed);
    memset(w, 0, sizeof *w);
}

void mvi_writes_drop(mv_db *db)
{
    if (db->writes.has_txid)
        mvi_stage_discard(db, &db->writes);
    drop_memory(&db->writes);
    free(db->message);
    free(db->statements);
    db->message = db->statements = NULL;
    db->kind = MV_KIND_COMMIT;
    db->keep = NULL;
}

uint32_t mvi_pages_of(const mvi_writes *w)
{
    return w->page_size ? (uint32_t)((w->size + w->page_size - 1) / w->page_size) : 0;
}

static int find_staged(mv_db *db, kv_txn *txn, uint32_t pgno, uint8_t *page)
{
    mvi_image image;
    mvi_buf scratch = {0};
    mvi_key key = mvi_key_staged(db->ns, db->writes.txid, pgno);
    int rc = mvi_image_get(txn, &key, &scratch, &image);
    if (rc == MV_NOTFOUND)
        rc = mv_fail(MV_IO, "page %u of this transaction was staged and is gone", pgno);
    if (!rc && image.size != db->writes.page_size)
        rc = mv_fail(MV_CORRUPT, "page %u was staged with %u bytes", pgno, image.size);
    if (!rc)
        rc = mvi_image_decode(&image, pgno, NULL, 0, page);
    mvi_buf_free(&scratch);
    return rc;
}

int mvi_writes_find(mv_db *db, uint32_t pgno, uint8_t *page)
{
    mvi_writes *w = &db->writes;
    const uint8_t *mine = mvi_pagemap_find(&w->dirty, pgno);
    if (mine) {
        memcpy(page, mine, w->page_size);
        return 1;
    }
    if (!mvi_pageset_has(&w->staged, pgno))
        return 0;
    kv_txn *txn;
    int rc, tries = 0;
    do {
        rc = mvi_view(db, &txn);
        if (rc)
            break;
        rc = find_staged(db, txn, pgno, page);
        mvi_view_done(db, txn, rc);
    } while (mvi_again(rc, &tries));
    return rc ? -rc : 1;
}

static int writable(mv_db *db)
{
    if (db->pinned)
        return mv_fail(MV_READONLY, "database \"%s\" is open at a past version and cannot be written", db->name);
    if (!db->locked)
        return mv_fail(MV_MISUSE, "writing without mv_db_lock");
    mvi_writes_begin(db);
    return mvi_lease_take(db); /* while there is something to lose */
}

static int write_page(mv_db *db, uint32_t pgno, uint32_t from, const uint8_t *data, size_t n)
{
    mvi_writes *w = &db->writes;
    uint8_t *page = mvi_pagemap_find(&w->dirty, pgno);
    int rc = mvi_pageset_add(&db->served, pgno); /* who wrote a page holds it */
    if (!rc && !page) {
        if (n < w->page_size)
            rc = mv_db_read(db, pgno, db->scratch);
        page = rc ? NULL : mvi_pagemap_make(&w->dirty, pgno, w->page_size);
        if (page && n < w->page_size)
            memcpy(page, db->scratch, w->page_size);
    }
    if (!rc && !page)
        rc = mv_fail(MV_NOMEM, "out of memory for page %u", pgno);
    if (!rc)
        memcpy(page + from, data, n);
    return rc;
}

static int first_page_size(mvi_writes *w, size_t n)
{
    if (n < 512 || n > MVI_PAGE_MAX || (n & (n - 1)) != 0)
        return mv_fail(MV_MISUSE, "the first write to an empty database has %zu bytes, not one page", n);
    w->page_size = (uint32_t)n;
    return MV_OK;
}

int mv_db_write_bytes(mv_db *db, uint64_t offset, const void *data, size_t n)
{
    const uint8_t *at = data;
    mvi_writes *w = &db->writes;
    int rc = writable(db);
    if (!rc && w->page_size == 0)
        rc = first_page_size(w, n);
    if (!rc && (offset + n) / w->page_size >= UINT32_MAX)
        rc = mv_fail(MV_FULL, "database \"%s\" would have more than 4,294,967,294 pages", db->name);
    while (!rc && n > 0) {
        uint32_t pgno = (uint32_t)(offset / w->page_size) + 1, from = (uint32_t)(offset % w->page_size);
        size_t part = w->page_size - from;
        if (part > n)
            part = n;
        rc = write_page(db, pgno, from, at, part);
        if (rc)
            break;
        offset += part;
        at += part;
        n -= part;
        if (offset > w->size)
            w->size = offset;
    }
    if (!rc && w->dirty.count * w->page_size > db->store->buffer_bytes)
        rc = mvi_stage_flush(db, w);
    return rc;
}

int mv_db_truncate(mv_db *db, uint64_t bytes)
{
    int rc = writable(db);
    mvi_writes *w = &db->writes;
    if (rc || bytes == w->size)
        return rc;
    if (bytes > w->size && w->page_size == 0)
        return mv_fail(MV_MISUSE, "an empty database cannot be made longer before its first page");
    w->size = bytes;
    if (bytes < w->lowest)
        w->lowest = bytes;
    uint32_t last = mvi_pages_of(w);
    mvi_pagemap_truncate(&w->dirty, last);
    for (uint32_t p = mvi_pageset_next(&w->staged, last); p && !rc; p = mvi_pageset_next(&w->staged, p)) {
        rc = mvi_pageset_add(&w->trimmed, p);
        mvi_pageset_remove(&w->staged, p);
    }
    return rc;
}

static int keep_text(char **kept, const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy)
        return mv_fail(MV_NOMEM, "out of memory for the text of a commit");
    free(*kept);
    *kept = copy;
    return MV_OK;
}

int mv_db_message(mv_db *db, const char *message)
{
    return keep_text(&db->message, message);
}

int mv_db_statements(mv_db *db, const char *sql)
{
    return keep_text(&db->statements, sql);
}

/* ---- the host's one writer ---------------------------------------------- */

/* Nothing served has changed since the snapshot: then the newest one serves as well,
 * and a commit made on it cannot find that others came between. */
static int move_forward(mv_db *db, mvi_latest *latest)
{
    kv_txn *txn;
    int hit = 0, rc = mvi_view_begin(db, 0, &txn);
    if (rc)
        return rc;
    rc = mvi_follow(db, txn, latest, &hit);
    if (!rc && (hit || latest->pages != db->snap.pages || latest->page_size != db->snap.page_size))
        rc = mv_fail(MV_CONFLICT, "database \"%s\" was changed since this transaction began to read", db->name);
    if (!rc)
        mvi_take(db, latest, 0);
    mvi_view_done(db, txn, rc);
    return rc;
}

static int take_newest(mv_db *db)
{
    mvi_latest latest;
    int rc, tries = 0;
    do
        rc = move_forward(db, &latest);
    while (mvi_again(rc, &tries));
    if (rc || !(latest.flags & MVI_PENDING))
        return rc;
    mvi_view_drop(db); /* what it sees ends here */
    rc = mvi_settle(db->store, db->ns);
    if (!rc)
        db->snap.flags &= (uint8_t)~MVI_PENDING;
    return rc;
}

/* Where asking costs a round trip: the snapshot was just taken, and no other writer of this
 * host has committed since. One of another host the commit itself finds. */
static int is_newest(mv_db *db)
{
    mv_stamp noted;
    if (!db->view_fits || !mvi_view_is_fresh(db) || db->snap.flags & MVI_PENDING)
        return 0;
    if (db->concurrency == MV_OPTIMISTIC)
        return 1;
    return db->concurrency == MV_HOST_LOCK && mvi_hostlock_noted(db->store->locks, db->ns, &noted) &&
           mvi_stamp_cmp(&noted, &db->snap.stamp) <= 0;
}

static int acquire(mv_db *db)
{
    if (db->concurrency == MV_OPTIMISTIC)
        return MV_OK;
    int rc = mvi_hostlock_acquire(db->store->locks, db->ns);
    if (rc)
        return rc;
    rc = mvi_lease_take(db);
    if (rc)
        mvi_hostlock_release(db->store->locks, db->ns);
    return rc;
}

static void release(mv_db *db)
{
    mvi_lease_give(db);
    if (db->concurrency != MV_OPTIMISTIC)
        mvi_hostlock_release(db->store->locks, db->ns);
}

int mv_db_lock(mv_db *db)
{
    if (db->locked)
        return MV_OK;
    if (db->pinned)
        return mv_fail(MV_READONLY, "database \"%s\" is open at a past version and cannot be written", db->name);
    int rc = acquire(db);
    if (rc)
        return rc;
    rc = mvi_make_certain(db);
    if (!rc && !is_newest(db))
        rc = take_newest(db);
    if (!rc && !db->swept && db->concurrency != MV_OPTIMISTIC) {
        rc = mvi_sweep(db->store, db->ns, NULL);
        db->swept |= !rc;
    }
    if (rc)
        release(db);
    else
        db->locked = 1;
    return rc;
}

int mv_db_concurrency(mv_db *db, int concurrency, unsigned lease_ms)
{
    if (db->locked)
        return mv_fail(MV_MISUSE, "the manner of locking cannot change while the database is locked");
    if (concurrency < MV_HOST_LOCK || concurrency > MV_WRITE_LEASE)
        return mv_fail(MV_MISUSE, "there is no manner of locking %d", concurrency);
    if (concurrency == MV_WRITE_LEASE && lease_ms < 100)
        return mv_fail(MV_MISUSE, "a write lease of %u ms is too short: at least 100", lease_ms);
    db->concurrency = concurrency;
    db->lease_ms = lease_ms;
    return MV_OK;
}

void mv_db_rollback(mv_db *db)
{
    mvi_writes_drop(db);
}

void mv_db_unlock(mv_db *db)
{
    if (!db->locked)
        return;
    mvi_writes_drop(db);
    release(db);
    db->locked = 0;
}
