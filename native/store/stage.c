/* Large commits. Pages are staged in small transactions; one small transaction makes
 * them visible (commit.c); then they move to heads and history, batch by batch. A
 * reader looks in the staged set first, so it never matters how far the move is. */
#include "internal.h"
#include "page1.h"

#define AHEAD_PAGES 128   /* read together where that saves round trips */
#define PAGES_A_STEP 5000 /* of which only keys are written, in one transaction */

/* ---- staging ------------------------------------------------------------- */

typedef struct batch {
    mv_db *db;
    const mvi_writes *w;
    const uint32_t *pages;
    mvi_buf *images; /* empty: the page equals the snapshot */
    size_t n;
} batch;

static int put_pending(kv_txn *txn, const batch *b)
{
    const mv_db *db = b->db;
    mvi_key key = mvi_key_pending(db->ns, b->w->txid);
    uint64_t domain = db->concurrency == MV_OPTIMISTIC ? 0 : db->store->domain;
    mvi_pending pending = {mvi_now_ms(), 0, b->w->page_size, domain};
    uint8_t bytes[MVI_PENDING_ROOM];
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(bytes, mvi_pending_encode(&pending, bytes)));
}

static int stage_in(kv_txn *txn, void *ctx)
{
    batch *b = ctx;
    int rc = put_pending(txn, b);
    for (size_t i = 0; i < b->n && !rc; i++) {
        mvi_key key = mvi_key_staged(b->db->ns, b->w->txid, b->pages[i]);
        if (b->images[i].size)
            rc = mvi_image_put(txn, b->db->store->traits, &key, MVI_PLAIN, b->images[i].data, b->images[i].size);
        else if (mvi_pageset_has(&b->w->staged, b->pages[i]) || mvi_pageset_has(&b->w->trimmed, b->pages[i]))
            rc = mvi_image_clear(txn, &key);
    }
    return rc;
}

/* Whether a page is what it is in the snapshot: then it is no change. `base` is room for a page. */
static int is_same(mv_db *db, const mvi_writes *w, uint32_t pgno, const uint8_t *page, uint8_t *base, int *same)
{
    mvi_origin origin = {.size = 0};
    *same = 0;
    if (pgno > db->snap.pages || w->page_size != db->snap.page_size)
        return MV_OK;
    int rc = mvi_base(db, pgno, base, &origin);
    if (rc || origin.size != w->page_size)
        return rc;
    if (pgno == 1 && mvi_page1_is_sqlite(page) && mvi_page1_is_sqlite(base))
        *same = mvi_page1_same(page, base, origin.size);
    else
        *same = memcmp(page, base, origin.size) == 0;
    return MV_OK;
}

static int encode_batch(batch *b)
{
    mv_db *db = b->db;
    uint8_t *base = malloc(MVI_PAGE_MAX);
    int rc = base && b->images ? MV_OK : mv_fail(MV_NOMEM, "out of memory staging pages");
    for (size_t i = 0; i < b->n && !rc; i++) {
        const uint8_t *page = mvi_pagemap_find(&b->w->dirty, b->pages[i]);
        int same;
        if (i % AHEAD_PAGES == 0 && b->pages[i] <= db->snap.pages)
            mvi_ahead_pages(db, b->pages + i, b->n - i < AHEAD_PAGES ? b->n - i : AHEAD_PAGES);
        rc = is_same(db, b->w, b->pages[i], page, base, &same);
        if (!rc && !same)
            rc = mvi_image_encode(&b->images[i], page, b->w->page_size, b->pages[i], &mvi_zero_stamp, NULL, NULL);
    }
    free(base);
    return rc;
}

/* Encodes and stages n pages; the staged set then is what the store holds. */
static int stage_batch(mv_db *db, mvi_writes *w, const uint32_t *pages, size_t n)
{
    batch b = {db, w, pages, calloc(n, sizeof(mvi_buf)), n};
    int rc = encode_batch(&b);
    if (!rc)
        rc = kv_transact(db->store->kv, stage_in, &b, NULL);
    for (size_t i = 0; i < n && !rc; i++) {
        mvi_pageset_remove(&w->trimmed, pages[i]);
        if (b.images[i].size)
            rc = mvi_pageset_add(&w->staged, pages[i]);
        else
            mvi_pageset_remove(&w->staged, pages[i]);
    }
    for (size_t i = 0; b.images && i < n; i++)
        mvi_buf_free(&b.images[i]);
    free(b.images);
    return rc;
}

static size_t batch_pages(const mv_store *store, uint32_t page_size)
{
    size_t n = store->stage_bytes / (page_size ? page_size : 4096);
    return n ? n : 1;
}

int mvi_stage_flush(mv_db *db, mvi_writes *w)
{
    int rc = w->has_txid ? MV_OK : mvi_random(w->txid, MV_TXID_SIZE);
    if (rc)
        return rc;
    w->has_txid = 1;
    if (!w->dirty.count) { /* a commit that only cuts pages off: a record without pages */
        batch none = {.db = db, .w = w};
        return kv_transact(db->store->kv, stage_in, &none, NULL);
    }
    uint32_t *pages = mvi_pagemap_sorted(&w->dirty);
    size_t step = batch_pages(db->store, w->page_size), total = w->dirty.count;
    rc = pages ? MV_OK : mv_fail(MV_NOMEM, "out of memory staging pages");
    for (size_t at = 0; at < total && !rc; at += step)
        rc = stage_batch(db, w, pages + at, total - at < step ? total - at : step);
    if (!rc)
        mvi_pagemap_clear(&w->dirty);
    free(pages);
    mvi_view_drop(db); /* the next one sees what was staged, and the snapshot still */
    return rc;
}

typedef struct discard {
    uint32_t ns;
    const uint8_t *txid;
} discard;

/* Not if its commit happened after all: then the pages are the database's. */
static int discard_in(kv_txn *txn, void *ctx)
{
    discard *d = ctx;
    mvi_key begin = mvi_key_staged(d->ns, d->txid, 0), pending = mvi_key_pending(d->ns, d->txid), end = pending;
    mvi_key newest = mvi_key_latest(d->ns);
    mvi_latest latest = {.flags = 0};
    mv_slice value;
    int rc = mvi_guard(txn, &newest);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&newest), &value);
    if (!rc)
        rc = mvi_latest_decode(value, &latest);
    if (rc && rc != MV_NOTFOUND)
        return rc;
    if (latest.flags & MVI_PENDING && memcmp(latest.pending, d->txid, MV_TXID_SIZE) == 0)
        return KV_NOTHING;
    end.bytes[3] = 's';
    end = mvi_key_after(end);
    rc = kv_clear_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end));
    return rc ? rc : kv_clear(txn, mvi_key_slice(&pending));
}

void mvi_stage_discard(mv_db *db, mvi_writes *w)
{
    discard d = {db->ns, w->txid};
    (void)kv_transact(db->store->kv, discard_in, &d, NULL); /* what stays is swept by a later writer */
    w->has_txid = 0;
}

/* ---- trimming: pages that were staged and then cut off -------------------- */

typedef struct trim {
    mv_db *db;
    uint32_t after, last; /* the pages before are done; the last one of this step */
} trim;

static int trim_in(kv_txn *txn, void *ctx)
{
    trim *t = ctx;
    const mvi_pageset *trimmed = &t->db->writes.trimmed;
    int rc = MV_OK;
    t->last = t->after;
    for (int n = 0; n < PAGES_A_STEP && !rc && mvi_pageset_next(trimmed, t->last); n++) {
        t->last = mvi_pageset_next(trimmed, t->last);
        mvi_key key = mvi_key_staged(t->db->ns, t->db->writes.txid, t->last);
        rc = mvi_image_clear(txn, &key);
    }
    return rc;
}

int mvi_stage_trim(mv_db *db)
{
    trim t = {.db = db};
    int rc = MV_OK;
    while (!rc && mvi_pageset_next(&db->writes.trimmed, t.after)) {
        rc = kv_transact(db->store->kv, trim_in, &t, NULL);
        t.after = t.last;
    }
    return rc;
}

/* ---- moving --------------------------------------------------------------- */

typedef struct move {
    mv_store *store;
    uint32_t ns;
    mvi_line *line; /* owned */
    int done;
    uint8_t *page, *old; /* MVI_PAGE_MAX each */
} move;

/* Numbers of the next pages in [begin, end), at most `limit`; *n of them. */
static int next_pages(kv_txn *txn, const mvi_key *begin, const mvi_key *end, size_t full_size, size_t limit,
                      uint32_t *pages, size_t *n)
{
    kv_cursor *cursor;
    *n = 0;
    int rc = kv_range(txn, mvi_key_slice(begin), mvi_key_slice(end), 2 * limit, KV_BULK, &cursor); /* some go on */
    while (!rc && *n < limit) {
        mv_slice key, value;
        rc = kv_next(cursor, &key, &value);
        if (!rc && !mvi_key_is_more(key, full_size))
            pages[(*n)++] = mvi_get32(key.data + full_size - 4);
    }
    kv_cursor_close(cursor);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* Puts a staged page (NULL: gone) in the head's place, and the old head into history. */
static int move_page(kv_txn *txn, move *m, const mvi_latest *latest, uint32_t pgno, const mvi_image *staged)
{
    mvi_origin origin = {.size = 0};
    mvi_change change;
    mvi_buf scratch = {0};
    mvi_image image;
    mvi_key key = mvi_key_head(m->ns, pgno);
    int rc = mvi_image_get(txn, &key, &scratch, &image);
    if (!rc)
        rc = mvi_image_decode(&image, pgno, NULL, 0, m->old);
    if (!rc)
        origin = (mvi_origin){image.stamp, image.size, image.depth, 0};
    if (!rc && staged) /* for the delta of the old one */
        rc = mvi_image_decode(staged, pgno, NULL, 0, m->page);
    if (rc == MV_NOTFOUND)
        rc = MV_OK;
    mvi_buf_free(&scratch);
    if (!rc)
        rc = mvi_change_encode(m->store, m->line, pgno, staged ? m->page : NULL, staged ? staged->size : 0, m->old, &origin,
                               staged, &change);
    if (rc)
        return rc;
    rc = mvi_change_put(txn, m->store->traits, m->ns, &change, &latest->stamp);
    mvi_change_free(&change);
    return rc;
}

/* The staged pages and the heads that they will replace, asked for together. */
static void ask_images(kv_txn *txn, const move *m, const mvi_latest *latest, const uint32_t *pages, size_t n)
{
    for (size_t i = 0; m->store->traits->hold_ms && i < n; i++) {
        mvi_key staged = mvi_key_staged(m->ns, latest->pending, pages[i]), head = mvi_key_head(m->ns, pages[i]);
        kv_prefetch(txn, (mv_slice[]){mvi_key_slice(&staged), mvi_key_slice(&head)}, 2);
    }
}

static int move_staged(kv_txn *txn, move *m, const mvi_latest *latest, const uint32_t *pages, size_t n)
{
    int rc = MV_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        if (i % AHEAD_PAGES == 0)
            ask_images(txn, m, latest, pages + i, n - i < AHEAD_PAGES ? n - i : AHEAD_PAGES);
        mvi_image image;
        mvi_buf scratch = {0};
        mvi_key key = mvi_key_staged(m->ns, latest->pending, pages[i]);
        rc = mvi_image_get(txn, &key, &scratch, &image);
        if (!rc && (pages[i] <= latest->pages || mvi_line_inherits(m->line, pages[i])))
            rc = move_page(txn, m, latest, pages[i], &image);
        mvi_buf_free(&scratch);
        if (!rc)
            rc = mvi_image_clear(txn, &key);
    }
    return rc;
}

static int finish_move(kv_txn *txn, move *m, mvi_latest *latest)
{
    mvi_key pending = mvi_key_pending(m->ns, latest->pending), newest = mvi_key_latest(m->ns);
    uint8_t value[MVI_LATEST_ROOM];
    latest->flags &= (uint8_t)~MVI_PENDING;
    int rc = kv_clear(txn, mvi_key_slice(&pending));
    if (!rc)
        rc = kv_set(txn, mvi_key_slice(&newest), mvi_slice(value, mvi_latest_encode(latest, value)));
    m->done = 1;
    return rc;
}

/* Pages of the snapshot before that lie beyond the end now; those of a branch's base are staged. */
static int move_cut(kv_txn *txn, move *m, mvi_latest *latest, uint32_t *pages, size_t limit)
{
    size_t n = 0;
    int rc = MV_OK;
    uint32_t last = mvi_line_inherits(m->line, latest->pages + 1) ? m->line->base.pages : latest->pages;
    if (last < UINT32_MAX) {
        mvi_key begin = mvi_key_head(m->ns, last + 1), end = mvi_key_head(m->ns + 1, 0);
        rc = next_pages(txn, &begin, &end, MVI_HEAD_KEY_SIZE, limit, pages, &n);
    }
    for (size_t i = 0; i < n && !rc; i++)
        rc = move_page(txn, m, latest, pages[i], NULL);
    return !rc && n == 0 ? finish_move(txn, m, latest) : rc;
}

static int move_in(kv_txn *txn, void *ctx)
{
    move *m = ctx;
    mvi_latest latest;
    m->done = 0;
    mvi_key key = mvi_key_latest(m->ns), end;
    mv_slice value;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        rc = mvi_latest_decode(value, &latest);
    if (rc || !(latest.flags & MVI_PENDING)) {
        m->done = 1;
        return rc && rc != MV_NOTFOUND ? rc : KV_NOTHING;
    }
    key = mvi_key_staged(m->ns, latest.pending, 0), end = mvi_key_pending(m->ns, latest.pending);
    end.bytes[3] = 's';
    end = mvi_key_after(end);
    size_t n = 0, limit = batch_pages(m->store, latest.page_size);
    uint32_t *pages = malloc(limit * sizeof *pages);
    if (!rc && !pages)
        rc = mv_fail(MV_NOMEM, "out of memory moving a large commit");
    if (!rc)
        rc = kv_add_read_conflict(txn, mvi_key_slice(&key), mvi_key_slice(&end));
    if (!rc)
        rc = next_pages(txn, &key, &end, MVI_STAGED_KEY_SIZE, limit, pages, &n);
    if (!rc)
        rc = n ? move_staged(txn, m, &latest, pages, n) : move_cut(txn, m, &latest, pages, limit);
    free(pages);
    return rc;
}

static int read_line(kv_txn *txn, void *ctx)
{
    move *m = ctx;
    return mvi_line_read(txn, m->ns, &m->line);
}

int mvi_settle(mv_store *store, uint32_t ns)
{
    move m = {.store = store, .ns = ns, .page = malloc(MVI_PAGE_MAX), .old = malloc(MVI_PAGE_MAX)};
    int rc = m.page && m.old ? mvi_read_in(store, read_line, &m) : mv_fail(MV_NOMEM, "out of memory moving a large commit");
    while (!rc && !m.done)
        rc = kv_transact(store->kv, move_in, &m, NULL);
    mvi_line_free(m.line);
    free(m.page);
    free(m.old);
    return rc;
}

/* ---- sweeping ------------------------------------------------------------- */

#define ABANDONED_MS (3600 * 1000)

/* Its writer is dead if it had the lock that we have now; else after a while without a sign
 * of life, which decides nothing: its commit would notice. */
static int is_abandoned(const mv_store *store, const mvi_pending *pending)
{
    return pending->domain == store->domain || pending->ms + ABANDONED_MS < mvi_now_ms();
}

/* One abandoned staging's id, if there is one. */
static int find_in(kv_txn *txn, mv_store *store, uint32_t ns, const uint8_t *own, uint8_t *txid, int *found)
{
    mvi_latest latest;
    mvi_key key = mvi_key_latest(ns), begin = key, end;
    mv_slice value, newest = mvi_key_slice(&key);
    begin.bytes[3] = 'p';
    end = mvi_key_after(begin);
    kv_cursor *cursor = NULL;
    kv_prefetch(txn, &newest, 1);
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, &cursor);
    if (!rc)
        rc = kv_get(txn, newest, &value);
    if (!rc)
        rc = mvi_latest_decode(value, &latest);
    while (!rc && !*found) {
        mvi_pending pending;
        mv_slice k;
        rc = kv_next(cursor, &k, &value);
        if (!rc)
            rc = mvi_pending_decode(value, &pending);
        if (rc)
            break;
        const uint8_t *id = k.data + 8;
        int ours = (own && memcmp(id, own, MV_TXID_SIZE) == 0) ||
                   (latest.flags & MVI_PENDING && memcmp(id, latest.pending, MV_TXID_SIZE) == 0);
        if (!ours && is_abandoned(store, &pending)) {
            memcpy(txid, id, MV_TXID_SIZE);
            *found = 1;
        }
    }
    kv_cursor_close(cursor);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int find_abandoned(mv_store *store, uint32_t ns, const uint8_t *own, uint8_t *txid, int *found)
{
    kv_txn *txn;
    int rc, tries = 0;
    *found = 0;
    do {
        rc = kv_read_begin(store->kv, &txn);
        if (rc)
            return rc;
        rc = find_in(txn, store, ns, own, txid, found);
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    return rc;
}

int mvi_sweep(mv_store *store, uint32_t ns, const uint8_t *own_txid)
{
    uint8_t txid[MV_TXID_SIZE];
    int found = 1, rc = MV_OK;
    while (!rc && found) {
        rc = find_abandoned(store, ns, own_txid, txid, &found);
        discard d = {ns, txid};
        if (!rc && found)
            rc = kv_transact(store->kv, discard_in, &d, NULL);
    }
    return rc;
}

int mv_db_settle(mv_db *db)
{
    int rc = mvi_settle(db->store, db->ns);
    if (!rc && db->locked)
        rc = mvi_sweep(db->store, db->ns, db->writes.has_txid ? db->writes.txid : NULL);
    return rc;
}
