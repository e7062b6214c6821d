/* Forgetting versions: all of it, or only finding out what would go. */
#include "gc.h"

#define PLANS_MAX 8 /* others forget versions too: then what is planned is planned anew */

typedef struct work {
    mv_db *db;
    mv_gc *gc;
    mvi_plan plan;
    mvi_needs needs;
    mvi_latest latest;
    mv_policy policy;
    uint64_t of; /* versions to be forgotten */
} work;

static int tell(work *w)
{
    mv_gc *gc = w->gc;
    return gc->progress ? gc->progress(gc->ctx, gc->removed < w->of ? gc->removed : w->of, w->of) : MV_OK;
}

static int look_in(kv_txn *txn, void *ctx)
{
    work *w = ctx;
    mvi_meta meta;
    int rc = mvi_get_latest(txn, w->db->ns, &w->latest);
    if (!rc)
        rc = mvi_meta_get(txn, w->db->ns, &meta);
    if (!rc)
        w->policy = mvi_policy_of(&meta);
    return rc ? rc : mvi_needs_read(txn, w->db->store, w->db->ns, 0, NULL, &w->needs);
}

static void count_need(mv_gc *gc, int why)
{
    if (why & MVI_FOR_TAG)
        gc->for_tags++;
    else if (why & MVI_FOR_BRANCH)
        gc->for_branches++;
    else if (why)
        gc->for_snapshots++;
}

static int make_plan(work *w)
{
    mv_gc *gc = w->gc;
    mv_store *store = w->db->store;
    int rc = mvi_read_in(store, look_in, w);
    if (!rc)
        rc = mvi_plan_make(store, w->db->ns, &w->policy, gc->now_ms ? gc->now_ms : mvi_now_ms(), &w->plan);
    gc->kept = gc->for_tags = gc->for_branches = gc->for_snapshots = 0;
    for (size_t i = 0; i < w->plan.n && !rc; i++) {
        mvi_planned *v = &w->plan.versions[i];
        int why = v->keep ? 0 : mvi_needs_why(&w->needs, &v->stamp);
        count_need(gc, why);
        v->keep |= why != 0;
        gc->kept += (uint64_t)v->keep;
    }
    w->of = gc->removed + w->plan.n - gc->kept;
    return rc;
}

/* After a step that was committed. */
static int took_step(work *w, mvi_gc_step *s)
{
    mv_gc *gc = w->gc;
    gc->removed += s->removed;
    gc->images += s->forgetting.images;
    gc->bytes += s->forgetting.bytes;
    if (s->kept) { /* since the plan was made */
        mvi_planned *v = &s->plan->versions[s->next];
        v->keep = 1;
        gc->kept++;
        w->of--;
        count_need(gc, mvi_needs_why(&s->needs, &v->stamp));
    }
    s->first = s->next;
    return s->removed || s->rest || s->kept ? tell(w) : MV_OK;
}

static int run_plan(work *w, mvi_gc_step *s)
{
    int rc = MV_OK;
    s->first = 0;
    s->plan = &w->plan;
    do {
        s->first = mvi_plan_next(&w->plan, s->first);
        if (s->first == w->plan.n)
            s->plan = NULL; /* what is left are pages */
        rc = mvi_gc_step_run(s);
        if (rc == MVI_PENDING_FIRST)
            rc = mvi_settle(s->store, s->ns);
        else if (!rc)
            rc = took_step(w, s);
    } while (!rc && (s->plan || s->rest));
    return rc;
}

static int forget_all(work *w)
{
    mvi_gc_step *s = malloc(sizeof *s);
    if (!s)
        return mv_fail(MV_NOMEM, "out of memory forgetting");
    mvi_gc_step_begin(s, w->db->store, w->db->ns, w->latest.page_size);
    int rc = MVI_PLAN_AGAIN;
    for (int tried = 0; rc == MVI_PLAN_AGAIN && tried < PLANS_MAX; tried++) {
        rc = tried ? make_plan(w) : MV_OK;
        if (!rc)
            rc = run_plan(w, s);
    }
    if (rc == MVI_PLAN_AGAIN)
        rc = mv_fail(MV_BUSY, "another gc of database \"%s\" keeps coming between: let one be enough", w->db->name);
    mvi_gc_step_end(s);
    free(s);
    return rc;
}

/* ---- only finding out ------------------------------------------------------------------- */

/* Versions in a row that would go, and the one that would stand for them. */
typedef struct row {
    work *w;
    mvi_piece piece;
    size_t at, n; /* the next version in the plan; versions in the row */
    mvi_pageset once, twice, here;
    uint64_t merged, record_bytes;
    mvi_forgetting forgetting;
} row;

static int add_page(void *ctx, uint32_t pgno)
{
    return mvi_pageset_add(ctx, pgno);
}

/* What the record that stands for the row grows or shrinks to. */
static int count_record(row *r, const mv_stamp *stamp, mv_slice value)
{
    mvi_record record;
    mvi_buf set = {0};
    uint64_t bytes = 0;
    int rc = mvi_record_decode(value, &record);
    if (rc)
        return rc;
    record.changed = r->once.count;
    record.merged = r->merged - 1;
    mvi_pageset_encode(&r->once, &set);
    if (set.failed)
        rc = mv_fail(MV_NOMEM, "out of memory counting");
    if (!rc)
        rc = mvi_record_put(NULL, r->forgetting.ns, stamp, &record, mvi_slice(set.data, set.size), &bytes);
    r->w->gc->bytes += (int64_t)r->record_bytes - (int64_t)bytes;
    mvi_buf_free(&set);
    return rc;
}

static int count_pages(row *r)
{
    int rc = MV_OK, tries = 0;
    for (uint32_t p = mvi_pageset_next(&r->twice, 0); p && !rc;) {
        mvi_forgetting before = r->forgetting;
        rc = mvi_piece_begin(&r->piece);
        if (!rc)
            rc = mvi_forget_pages(r->piece.txn, &r->forgetting, &p, 1);
        r->piece.keys++;
        if (mvi_again(rc, &tries)) {
            mvi_piece_end(&r->piece);
            r->forgetting = before;
            rc = MV_OK;
            continue;
        }
        tries = 0;
        p = mvi_pageset_next(&r->twice, p);
    }
    return rc;
}

static int end_row(row *r, const mv_stamp *stamp, mv_slice value)
{
    mv_gc *gc = r->w->gc;
    int rc = count_record(r, stamp, value);
    if (!rc)
        rc = count_pages(r);
    gc->removed += r->n;
    gc->images += r->forgetting.images;
    gc->bytes += r->forgetting.bytes + (int64_t)(r->n * MVI_TIME_KEY_SIZE);
    mvi_pageset_clear(&r->once);
    mvi_pageset_clear(&r->twice);
    r->n = 0;
    r->merged = r->record_bytes = r->forgetting.images = 0;
    r->forgetting.bytes = 0;
    return rc ? rc : tell(r->w);
}

/* Whether the record's set stands beside it, and how long it is. */
static int count_chunks(row *r, const mv_stamp *stamp, uint64_t chunks)
{
    int rc = MV_OK;
    for (uint64_t i = 0; i < chunks && !rc; i++) {
        mvi_key key = mvi_key_chunk(r->forgetting.ns, stamp, (uint16_t)i);
        mv_slice value;
        rc = kv_get(r->piece.txn, mvi_key_slice(&key), &value);
        if (!rc)
            r->record_bytes += key.size + value.size;
    }
    return rc;
}

/* Reads first, for it may run again. *ends: the row ends with this version. */
static int add_version(row *r, const mv_stamp *stamp, mv_slice value, int *ends)
{
    const mvi_planned *v = &r->w->plan.versions[r->at];
    mvi_record record;
    uint64_t before = r->record_bytes;
    *ends = 0;
    if (v->keep && !r->n)
        return MV_OK;
    int rc = mvi_record_decode(value, &record);
    mvi_pageset_clear(&r->here);
    if (!rc)
        rc = mvi_record_pages(r->piece.txn, r->forgetting.ns, stamp, &record, add_page, &r->here);
    if (!rc)
        rc = count_chunks(r, stamp, record.chunks);
    if (rc) {
        r->record_bytes = before;
        return rc;
    }
    if (!r->n)
        r->forgetting.previous = record.previous;
    r->forgetting.until = *stamp;
    r->record_bytes += MVI_COMMIT_KEY_SIZE + value.size;
    r->merged += 1 + record.merged;
    r->n += !v->keep;
    *ends = v->keep;
    return mvi_unite(&r->once, &r->twice, &r->here);
}

static int count_rows(row *r)
{
    mvi_walk walk = mvi_walk_kind(&r->piece, r->forgetting.ns, 'c');
    mvi_buf copy = {0};
    int rc = MV_OK, ends = 0;
    while (!rc && r->at < r->w->plan.n) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE)
            continue;
        mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        if (mvi_stamp_cmp(&stamp, &r->w->plan.versions[r->at].stamp) != 0) {
            rc = mv_fail(MV_BUSY, "another gc of database \"%s\" is at work", r->w->db->name);
            continue;
        }
        copy.size = 0;
        mvi_buf_add(&copy, value.data, value.size);
        rc = copy.failed ? mv_fail(MV_NOMEM, "out of memory counting") : add_version(r, &stamp, value, &ends);
        r->at += !rc;
        if (!rc && ends) { /* reads in transactions of its own */
            mvi_walk_close(&walk);
            rc = end_row(r, &stamp, mvi_slice(copy.data, copy.size));
        } else {
            rc = mvi_walk_again(&walk, rc);
        }
    }
    mvi_walk_close(&walk);
    mvi_buf_free(&copy);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int count_all(work *w)
{
    row r = {.w = w, .piece = {.store = w->db->store}};
    r.forgetting = (mvi_forgetting){.store = w->db->store, .ns = w->db->ns};
    int rc = count_rows(&r);
    mvi_piece_end(&r.piece);
    mvi_pageset_clear(&r.once);
    mvi_pageset_clear(&r.twice);
    mvi_pageset_clear(&r.here);
    return rc;
}

int mv_db_gc(mv_db *db, mv_gc *gc)
{
    work w = {.db = db, .gc = gc};
    gc->removed = gc->kept = gc->images = gc->for_tags = gc->for_branches = gc->for_snapshots = 0;
    gc->bytes = 0;
    mvi_view_drop(db); /* an engine may wait for its readers to write */
    int rc = make_plan(&w);
    if (!rc)
        rc = gc->dry_run ? count_all(&w) : forget_all(&w);
    mvi_plan_free(&w.plan);
    mvi_needs_free(&w.needs);
    return rc;
}
