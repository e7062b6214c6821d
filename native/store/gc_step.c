/* The steps of a gc (gc.h). */
#include <time.h>

#include "gc.h"

/* One step keeps others from committing for as long as it takes, so it is small. */
#define PAGES_A_STEP 256
#define PAUSE_MAX_NS 20000000

static void reset_row(mvi_gc_step *s)
{
    mvi_pageset_clear(&s->once);
    mvi_pageset_clear(&s->twice);
    s->n = s->repeats = s->last.size = 0;
    s->merged = s->record_bytes = 0;
}

static void reset(mvi_gc_step *s)
{
    reset_row(s);
    s->next = s->first;
    s->removed = s->spent = 0;
    s->rest = s->kept = 0;
    s->forgetting = (mvi_forgetting){.store = s->store, .ns = s->ns, .write = 1};
}

/* ---- which versions -------------------------------------------------------------- */

typedef struct reading {
    mvi_gc_step *s;
    mvi_pageset here;
    size_t repeats;
} reading;

static int read_page(void *ctx, uint32_t pgno)
{
    reading *r = ctx;
    r->repeats += (size_t)mvi_pageset_has(&r->s->once, pgno);
    return mvi_pageset_add(&r->here, pgno);
}

int mvi_unite(mvi_pageset *once, mvi_pageset *twice, const mvi_pageset *here)
{
    int rc = MV_OK;
    for (uint32_t p = mvi_pageset_next(here, 0); p && !rc; p = mvi_pageset_next(here, p))
        rc = mvi_pageset_add(mvi_pageset_has(once, p) ? twice : once, p);
    return rc;
}

/* 1: the version at the end of those read can go too. */
static int may_go(const mvi_gc_step *s)
{
    const mvi_planned *v = &s->plan->versions[s->next + s->n - 1];
    return s->n <= MVI_VERSIONS_A_STEP && !v->keep && !mvi_needs_why(&s->needs, &v->stamp);
}

/* Takes the next record, if the step has room for it. KV_NOTHING: not, or it is the last. */
static int take_record(mvi_gc_step *s, kv_txn *txn, const mv_stamp *stamp, mv_slice value)
{
    reading r = {.s = s};
    mvi_record record;
    if (s->next + s->n >= s->plan->n || mvi_stamp_cmp(stamp, &s->plan->versions[s->next + s->n].stamp) != 0)
        return MVI_PLAN_AGAIN;
    int rc = mvi_record_decode(value, &record);
    if (!rc)
        rc = mvi_record_pages(txn, s->ns, stamp, &record, read_page, &r);
    int room = s->n < 2 || s->repeats + r.repeats <= s->pages_max;
    if (!rc && room)
        rc = mvi_unite(&s->once, &s->twice, &r.here);
    mvi_pageset_clear(&r.here);
    if (rc || !room)
        return rc ? rc : KV_NOTHING;
    if (s->n == 0)
        s->previous = record.previous;
    s->repeats += r.repeats;
    s->versions[s->n++] = (mvi_merged){*stamp, record.ms};
    s->merged += 1 + record.merged;
    s->chunks = record.chunks;
    s->record_bytes += MVI_COMMIT_KEY_SIZE + value.size;
    s->last.size = 0;
    mvi_buf_add(&s->last, value.data, value.size);
    if (s->last.failed)
        return mv_fail(MV_NOMEM, "out of memory forgetting");
    return may_go(s) ? MV_OK : KV_NOTHING;
}

/* The records from the first version on. Where it ends is the version that stands for the others. */
static int read_records(mvi_gc_step *s, kv_txn *txn)
{
    mvi_key begin = mvi_key_commit(s->ns, &s->plan->versions[s->next].stamp), end;
    mvi_key all = mvi_key_kind('c', s->ns);
    end = mvi_key_after(all);
    kv_cursor *cursor;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, &cursor);
    while (!rc) {
        mv_slice key, value;
        rc = kv_next(cursor, &key, &value);
        if (!rc && key.size > MVI_COMMIT_KEY_SIZE) {
            s->record_bytes += key.size + value.size;
        } else if (!rc) {
            mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
            rc = take_record(s, txn, &stamp, value);
        }
    }
    kv_cursor_close(cursor);
    if (rc == MV_NOTFOUND) /* the plan's newest version is kept: records are gone */
        return MVI_PLAN_AGAIN;
    return rc == KV_NOTHING ? MV_OK : rc;
}

static int guard_records(mvi_gc_step *s, kv_txn *txn)
{
    mvi_key begin = mvi_key_commit(s->ns, &s->versions[0].stamp);
    mvi_key end = mvi_key_after(mvi_key_commit(s->ns, &s->versions[s->n - 1].stamp));
    return kv_add_read_conflict(txn, mvi_key_slice(&begin), mvi_key_slice(&end));
}

/* ---- merging ------------------------------------------------------------------------ */

/* Bytes of the chunks of the last record that was taken; those of the others were met on the way. */
static int add_chunks(mvi_gc_step *s, kv_txn *txn)
{
    int rc = MV_OK;
    for (uint64_t i = 0; i < s->chunks && !rc; i++) {
        mvi_key key = mvi_key_chunk(s->ns, &s->versions[s->n - 1].stamp, (uint16_t)i);
        mv_slice value;
        rc = kv_get(txn, mvi_key_slice(&key), &value);
        if (!rc)
            s->record_bytes += key.size + value.size;
    }
    return rc;
}

static int clear_record(mvi_gc_step *s, kv_txn *txn, const mvi_merged *v)
{
    mvi_key begin = mvi_key_commit(s->ns, &v->stamp), end = mvi_key_after(begin), time;
    time = mvi_key_time(s->ns, v->ms, &v->stamp);
    int rc = kv_clear_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end));
    return rc ? rc : kv_clear(txn, mvi_key_slice(&time));
}

/* The version that stands for the others names all their pages, and follows what the first followed. */
static int write_record(mvi_gc_step *s, kv_txn *txn)
{
    mvi_record record;
    mvi_buf set = {0};
    uint64_t bytes = 0;
    int rc = mvi_record_decode(mvi_slice(s->last.data, s->last.size), &record);
    if (rc)
        return rc;
    record.previous = s->previous;
    record.changed = s->once.count;
    record.merged = s->merged - 1;
    mvi_pageset_encode(&s->once, &set);
    if (set.failed)
        rc = mv_fail(MV_NOMEM, "out of memory forgetting");
    if (!rc)
        rc = mvi_record_put(txn, s->ns, &s->versions[s->n - 1].stamp, &record, mvi_slice(set.data, set.size), &bytes);
    s->forgetting.bytes += (int64_t)s->record_bytes - (int64_t)bytes;
    mvi_buf_free(&set);
    return rc;
}

static int merge_records(mvi_gc_step *s, kv_txn *txn)
{
    int rc = add_chunks(s, txn);
    s->record_bytes += (s->n - 1) * MVI_TIME_KEY_SIZE;
    for (size_t i = 0; i + 1 < s->n && !rc; i++)
        rc = clear_record(s, txn, &s->versions[i]);
    return rc ? rc : write_record(s, txn);
}

/* ---- pages ---------------------------------------------------------------------------- */

/* mv/y: the version that stands for those forgotten 10 | the page to go on with 4 */
static int set_rest(mvi_gc_step *s, kv_txn *txn, uint32_t next)
{
    mvi_key key = mvi_key_forgetting(s->ns);
    uint8_t value[MV_STAMP_SIZE + 4];
    s->rest = 1;
    if (!next)
        return kv_clear(txn, mvi_key_slice(&key));
    memcpy(value, s->forgetting.until.bytes, MV_STAMP_SIZE);
    mvi_put32(value + MV_STAMP_SIZE, next);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(value, sizeof value));
}

static int get_rest(mvi_gc_step *s, kv_txn *txn, uint32_t *next)
{
    mvi_key key = mvi_key_forgetting(s->ns);
    mv_slice value;
    *next = 0;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc == MV_NOTFOUND)
        return MV_OK;
    if (!rc && value.size != MV_STAMP_SIZE + 4)
        rc = mv_fail(MV_CORRUPT, "the record of an unfinished gc has %zu bytes", value.size);
    if (rc)
        return rc;
    memcpy(s->forgetting.until.bytes, value.data, MV_STAMP_SIZE);
    *next = mvi_get32(value.data + MV_STAMP_SIZE);
    return MV_OK;
}

/* Pages of the set from `first` on, as many as a step has room for; *next is where it ended, or 0. */
static int forget_some(mvi_gc_step *s, kv_txn *txn, const mvi_pageset *set, uint32_t first, uint32_t *next)
{
    uint32_t *pages = malloc(s->pages_max * sizeof *pages), p = mvi_pageset_next(set, first - 1);
    size_t n = 0;
    if (!pages)
        return mv_fail(MV_NOMEM, "out of memory forgetting");
    for (; p && n < s->pages_max; p = mvi_pageset_next(set, p))
        pages[n++] = p;
    int rc = mvi_forget_pages(txn, &s->forgetting, pages, n);
    *next = p;
    free(pages);
    return rc;
}

static int add_page(void *ctx, uint32_t pgno)
{
    return mvi_pageset_add(ctx, pgno);
}

/* Goes on with the pages that an earlier step had no room for. */
static int go_on(mvi_gc_step *s, kv_txn *txn, uint32_t first)
{
    mvi_key key = mvi_key_commit(s->ns, &s->forgetting.until);
    mv_slice value;
    mvi_record record;
    uint32_t next = 0;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc == MV_NOTFOUND)
        return mv_fail(MV_CORRUPT, "an unfinished gc names a version that has no record: verify the database");
    if (!rc)
        rc = mvi_record_decode(value, &record);
    if (!rc)
        rc = mvi_record_pages(txn, s->ns, &s->forgetting.until, &record, add_page, &s->once);
    if (rc)
        return rc;
    s->forgetting.previous = record.previous;
    rc = forget_some(s, txn, &s->once, first, &next);
    return rc ? rc : set_rest(s, txn, next);
}

/* ---- the step -------------------------------------------------------------------------- */

/* A large commit that is still moving has put images of the version before where no step finds them. */
static int check_settled(mvi_gc_step *s, kv_txn *txn)
{
    mvi_latest latest;
    int rc = mvi_get_latest(txn, s->ns, &latest);
    if (!rc && latest.flags & MVI_PENDING && mvi_stamp_cmp(&latest.stamp, &s->versions[s->n - 1].stamp) == 0)
        return MVI_PENDING_FIRST;
    return rc;
}

static int check_readers(const mvi_gc_step *s)
{
    return s->needs.reader[0] ? mv_fail(MV_BUSY, "%s reads all versions of the database, to copy or verify it: run gc "
                                                 "again when that is done", s->needs.reader) : MV_OK;
}

static int begin_step(mvi_gc_step *s, kv_txn *txn, uint32_t *rest)
{
    mvi_key meta = mvi_key_meta(s->ns); /* a database that goes must not be written any more */
    reset(s);
    int rc = mvi_guard(txn, &meta);
    if (!rc)
        rc = mvi_needs_read(txn, s->store, s->ns, 1, s->mine, &s->needs);
    if (!rc)
        rc = get_rest(s, txn, rest);
    return !rc && (*rest || s->plan) ? check_readers(s) : rc;
}

/* Versions in a row. Nothing is written before it is known that all of it can be. */
static int forget_row(mvi_gc_step *s, kv_txn *txn)
{
    uint32_t next = 0;
    reset_row(s);
    int rc = read_records(s, txn);
    if (!rc)
        rc = guard_records(s, txn);
    if (!rc)
        rc = check_settled(s, txn);
    if (!rc)
        rc = merge_records(s, txn);
    if (rc)
        return rc;
    s->forgetting.previous = s->previous;
    s->forgetting.until = s->versions[s->n - 1].stamp;
    rc = forget_some(s, txn, &s->twice, 1, &next);
    if (!rc && next)
        rc = set_rest(s, txn, next);
    s->removed += s->n - 1;
    s->spent += s->repeats;
    s->next += s->n - 1;
    return rc;
}

/* Rows of versions between those that are left, as long as there is room. */
static int forget_versions(mvi_gc_step *s, kv_txn *txn)
{
    int rc = MV_OK;
    while (!rc && !s->rest && s->spent < s->pages_max && s->removed < MVI_VERSIONS_A_STEP) {
        s->next = mvi_plan_next(s->plan, s->next);
        if (s->next == s->plan->n)
            break;
        s->kept = mvi_needs_why(&s->needs, &s->plan->versions[s->next].stamp) != 0;
        if (s->kept)
            break;
        rc = forget_row(s, txn);
    }
    if (s->removed && (rc == MVI_PLAN_AGAIN || rc == MVI_PENDING_FIRST))
        rc = MV_OK; /* what was done so far counts; the next step finds the same */
    return rc;
}

static int step_in(kv_txn *txn, void *ctx)
{
    mvi_gc_step *s = ctx;
    uint32_t rest = 0;
    int again = kv_maybe_committed(txn) && s->removed;
    mvi_gc_step before = *s; /* only its numbers are used */
    int rc = begin_step(s, txn, &rest);
    if (rc)
        return rc;
    if (rest && !again)
        return go_on(s, txn, rest);
    if (!s->plan)
        return KV_NOTHING;
    rc = rest ? MVI_PLAN_AGAIN : forget_versions(s, txn);
    if (rc != MVI_PLAN_AGAIN || !again)
        return rc;
    s->removed = before.removed; /* the run before was committed: its records are gone */
    s->forgetting = before.forgetting;
    s->rest = before.rest;
    s->next = before.next;
    return KV_NOTHING;
}

/* Others are let in: who waits for the engine gets it while this one pauses, half of the time. */
int mvi_gc_step_run(mvi_gc_step *s)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int rc = mvi_readers_stop(s->store->readers, s->ns);
    if (rc)
        return rc;
    s->removed = 0;
    rc = kv_transact(s->store->kv, step_in, s, NULL);
    mvi_readers_go(s->store->readers, s->ns);
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t took = (int64_t)(end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
    struct timespec pause = {0, (long)(took < PAUSE_MAX_NS ? took : PAUSE_MAX_NS)};
    nanosleep(&pause, NULL);
    return rc;
}

void mvi_gc_step_begin(mvi_gc_step *s, mv_store *store, uint32_t ns, uint32_t page_size)
{
    memset(s, 0, sizeof *s);
    size_t fit = store->stage_bytes / (page_size ? page_size : MVI_PAGE_MAX);
    s->store = store;
    s->ns = ns;
    s->pages_max = fit < 1 ? 1 : fit < PAGES_A_STEP ? fit : PAGES_A_STEP;
}

void mvi_gc_step_end(mvi_gc_step *s)
{
    reset(s);
    mvi_buf_free(&s->last);
    mvi_needs_free(&s->needs);
}

static int find_rest(kv_txn *txn, void *ctx)
{
    mvi_key key = mvi_key_forgetting(*(uint32_t *)ctx);
    mv_slice value;
    return kv_get(txn, mvi_key_slice(&key), &value);
}

int mvi_forget_rest(mv_store *store, uint32_t ns, const uint8_t *mine)
{
    int found = mvi_read_in(store, find_rest, &ns);
    if (found)
        return found == MV_NOTFOUND ? MV_OK : found;
    mvi_gc_step *s = malloc(sizeof *s);
    if (!s)
        return mv_fail(MV_NOMEM, "out of memory forgetting");
    mvi_gc_step_begin(s, store, ns, 0);
    s->mine = mine;
    int rc;
    do
        rc = mvi_gc_step_run(s);
    while (!rc && s->rest);
    mvi_gc_step_end(s);
    free(s);
    return rc;
}

