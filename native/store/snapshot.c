/* Snapshots: what commits have changed, moving to the newest, pinning to a past one. */
#include "internal.h"

/* Beyond so many commits since a snapshot nobody looks for what changed: all did. */
#define FOLLOW_LIMIT 512

/* ---- what commits have changed ----------------------------------------- */

typedef struct touch {
    const mvi_pageset *a, *b;
    uint32_t ns;
    size_t records;
    int hit;
} touch;

static int touch_page(void *ctx, uint32_t pgno)
{
    touch *t = ctx;
    t->hit = mvi_pageset_has(t->a, pgno) || (t->b && mvi_pageset_has(t->b, pgno));
    return t->hit ? KV_NOTHING : 0;
}

static int touch_record(void *ctx, kv_txn *txn, const mv_stamp *stamp, const mvi_record *record)
{
    touch *t = ctx;
    t->records++;
    return mvi_record_pages(txn, t->ns, stamp, record, touch_page, t);
}

int mvi_touched(kv_txn *txn, uint32_t ns, const mv_stamp *after, const mv_stamp *until, const mvi_pageset *a,
                const mvi_pageset *b, int *hit)
{
    touch t = {a, b, ns, 0, 0};
    int rc = mvi_records(txn, ns, after, until, FOLLOW_LIMIT, 0, touch_record, &t);
    *hit = t.hit || t.records == FOLLOW_LIMIT;
    return rc == KV_NOTHING ? MV_OK : rc;
}

/* ---- following them ------------------------------------------------------
 * One walk over the commits tells both which pages of the shared cache are stale and
 * whether the handle has served one that changed. */

typedef struct follow {
    mv_db *db;
    mv_stamp cached; /* where the shared cache is; zero: it has nothing */
    mv_stamp from;   /* the earlier of that and the snapshot */
    const mv_stamp *record;
    uint32_t *pages; /* changed since `cached`; owned */
    size_t n, room, records;
    int hit, failed;
} follow;

static int follow_page(void *ctx, uint32_t pgno)
{
    follow *f = ctx;
    if (mvi_stamp_cmp(f->record, &f->db->snap.stamp) > 0)
        f->hit |= mvi_pageset_has(&f->db->served, pgno);
    if (mvi_stamp_cmp(f->record, &f->cached) <= 0 || f->failed)
        return 0;
    if (f->n == f->room) {
        size_t room = f->room ? f->room * 2 : 64;
        uint32_t *pages = realloc(f->pages, room * sizeof *pages);
        if (!pages) {
            f->failed = 1; /* then the whole cache is stale */
            return 0;
        }
        f->pages = pages;
        f->room = room;
    }
    f->pages[f->n++] = pgno;
    return 0;
}

static int follow_record(void *ctx, kv_txn *txn, const mv_stamp *stamp, const mvi_record *record)
{
    follow *f = ctx;
    f->records++;
    f->record = stamp;
    return mvi_record_pages(txn, f->db->ns, stamp, record, follow_page, f);
}

static void advance_cache(follow *f, const mv_stamp *to)
{
    mvi_cache *cache = f->db->store->cache;
    static const uint32_t none;
    int all = mvi_stamp_is_zero(&f->cached) || f->failed || f->records == FOLLOW_LIMIT;
    mvi_cache_advance(cache, f->db->ns, &f->cached, to, all ? NULL : f->pages ? f->pages : &none, f->n);
}

/* Asks for the newest commit and, where that costs a round trip, in the same one for the
 * records since and for page 1, which SQLite reads first of all. */
static int ask(follow *f, kv_txn *txn, mvi_latest *latest, kv_cursor **records)
{
    mv_db *db = f->db;
    int rc = MV_OK;
    if (db->store->traits->hold_ms) {
        mvi_key key = mvi_key_latest(db->ns), page1 = mvi_key_head(db->ns, 1);
        int cached = mvi_cache_has(db->store->cache, db->ns, 1, &db->snap.stamp);
        kv_prefetch(txn, (mv_slice[]){mvi_key_slice(&key), mvi_key_slice(&page1)}, cached ? 1 : 2);
        rc = mvi_records_open(txn, db->ns, &f->from, &mvi_last_stamp, 0, records);
    }
    return rc ? rc : mvi_get_latest(txn, db->ns, latest);
}

int mvi_follow(mv_db *db, kv_txn *txn, mvi_latest *latest, int *hit)
{
    follow f = {.db = db, .cached = mvi_cache_current(db->store->cache, db->ns), .from = db->snap.stamp};
    kv_cursor *records = NULL;
    if (!mvi_stamp_is_zero(&f.cached) && mvi_stamp_cmp(&f.cached, &f.from) < 0)
        f.from = f.cached;
    int rc = ask(&f, txn, latest, &records);
    int moved = !rc && mvi_stamp_cmp(&latest->stamp, &f.from) > 0;
    if (moved && !records)
        rc = mvi_records_open(txn, db->ns, &f.from, &latest->stamp, 0, &records);
    if (moved && !rc)
        rc = mvi_records_each(txn, records, FOLLOW_LIMIT, follow_record, &f);
    kv_cursor_close(records);
    if (!rc && mvi_stamp_cmp(&latest->stamp, &f.cached) > 0) /* a cache that has nothing begins here */
        advance_cache(&f, &latest->stamp);
    free(f.pages);
    *hit = f.hit || (f.records == FOLLOW_LIMIT && db->served.count);
    return rc;
}

/* ---- the newest snapshot -------------------------------------------------- */

void mvi_take(mv_db *db, const mvi_latest *latest, int stale)
{
    db->newer += mvi_stamp_cmp(&latest->stamp, &db->snap.stamp) != 0;
    db->snap = *latest;
    mvi_hold_follow(db);
    db->view_fits = db->view != NULL;
    if (stale)
        mvi_pageset_clear(&db->served);
}

/* A snapshot a little old is refused only if this handle has seen a newer one. */
static int begin(mv_db *db, unsigned max_age_ms, int *stale)
{
    kv_txn *txn;
    mvi_latest latest;
    int rc = mvi_view_begin(db, max_age_ms, &txn);
    if (rc)
        return rc;
    rc = mvi_follow(db, txn, &latest, stale);
    int backwards = !rc && mvi_stamp_cmp(&latest.stamp, &db->snap.stamp) < 0;
    if (!rc && !backwards)
        mvi_take(db, &latest, *stale);
    mvi_view_done(db, txn, rc);
    if (!backwards)
        return rc;
    return max_age_ms ? begin(db, 0, stale)
                      : mv_fail(MV_CORRUPT, "the newest version of database \"%s\" is older than one read before: "
                                            "was the store replaced by an older copy?", db->name);
}

int mv_db_begin(mv_db *db, int *stale)
{
    int rc, tries = 0;
    *stale = 0;
    if (db->pinned)
        return MV_OK;
    if (db->writes.active)
        return mv_fail(MV_MISUSE, "a new snapshot while a transaction is being written");
    if (db->staleness_ms && db->view_fits && mvi_monotonic_ms() - db->view_at < db->staleness_ms)
        return MV_OK;
    rc = mvi_make_certain(db);
    if (rc)
        return rc;
    do
        rc = begin(db, db->staleness_ms, stale);
    while (mvi_again(rc, &tries));
    return rc;
}

void mv_db_end(mv_db *db)
{
    if (db->pinned || db->staleness_ms)
        return;
    mvi_view_drop(db);
    mvi_hold_release(db);
}

int mv_db_max_staleness(mv_db *db, unsigned ms)
{
    if (db->locked)
        return mv_fail(MV_MISUSE, "a handle that writes always reads the newest snapshot");
    unsigned most = db->store->traits->hold_ms;
    db->staleness_ms = ms < most ? ms : most; /* an engine of this machine has nothing to spare */
    return MV_OK;
}

void mv_db_snapshot(const mv_db *db, mv_snapshot *snapshot)
{
    *snapshot = (mv_snapshot){
        .stamp = db->snap.stamp,
        .ms = db->snap.ms,
        .pages = db->snap.pages,
        .page_size = db->snap.page_size,
        .newer = db->newer,
        .pinned = db->pinned,
    };
}

/* ---- past snapshots -------------------------------------------------------- */

static int find_version(mv_db *db, const mv_stamp *stamp, mvi_latest *snap)
{
    mv_version version;
    mvi_latest latest;
    kv_txn *txn;
    int hit, tries = 0, rc = mv_db_version(db, stamp, &version);
    if (rc)
        return rc;
    snap->pages = version.pages;
    snap->page_size = version.page_size;
    snap->ms = version.ms;
    do {
        rc = mvi_view_begin(db, 0, &txn);
        if (rc)
            return rc;
        rc = mvi_follow(db, txn, &latest, &hit);
        mvi_view_done(db, txn, rc);
    } while (mvi_again(rc, &tries));
    if (!rc && mvi_stamp_cmp(&latest.stamp, stamp) == 0)
        *snap = latest; /* its pages may still be staged */
    return rc;
}

int mv_db_pin(mv_db *db, const mv_stamp *stamp)
{
    if (db->writes.active || db->locked)
        return mv_fail(MV_MISUSE, "cannot go to another version inside a write transaction: commit or roll back first");
    mvi_latest snap = {.stamp = *stamp};
    int rc = mvi_stamp_is_zero(stamp) ? MV_OK : find_version(db, stamp, &snap);
    if (rc)
        return rc;
    mvi_latest before = db->snap;
    db->snap = snap;
    rc = mvi_hold_pin(db);
    if (rc) {
        db->snap = before;
        mvi_hold_back(db);
        return rc;
    }
    db->pinned = 1;
    mvi_pageset_clear(&db->served);
    return MV_OK;
}

int mv_db_unpin(mv_db *db)
{
    if (db->writes.active || db->locked)
        return mv_fail(MV_MISUSE, "cannot go to another version inside a write transaction: commit or roll back first");
    db->pinned = 0;
    mvi_view_drop(db);
    mvi_hold_release(db);
    mvi_pageset_clear(&db->served);
    int stale;
    return mv_db_begin(db, &stale);
}
