/* The embedded engine: LMDB, with queued writers.
 *
 * Writers queue. The first becomes the leader, takes everyone who waits, runs
 * their functions in one LMDB write transaction (each in a nested one when there
 * are several, so that one can fail alone) and commits with one sync. Those who
 * come meanwhile form the next batch. Nobody is told "committed" before LMDB's
 * commit, which syncs data and then the meta page, has returned. */
#include "../base/json.h"
#include "lmdb_env.h"

#include <time.h>
#include <unistd.h>

struct lmdb_txn {
    kv_txn base;
    lmdb_engine *engine;
    MDB_txn *txn;
    lmdb_txn *next; /* among the engine's spare readers */
    kv_stamp stamp; /* of this commit, for a writer */
    int writing;
    int map_full; /* a write did not fit: the batch runs again in a larger map */
};

struct lmdb_job {
    kv_fn fn;
    void *ctx;
    kv_stamp stamp;
    int rc, done;
    char message[256]; /* of rc, for the thread that waits */
    lmdb_job *next;
};

typedef struct lmdb_cursor {
    kv_cursor base;
    lmdb_engine *engine;
    MDB_cursor *cursor;
    size_t left;
    int reverse, started;
    size_t begin_size, end_size;
    uint8_t bounds[]; /* begin, then end */
} lmdb_cursor;

static const kv_ops lmdb_ops;

static MDB_val val(mv_slice s)
{
    return (MDB_val){s.size, (void *)(uintptr_t)s.data};
}

static int forked(const lmdb_engine *engine)
{
    if (engine->owner == getpid())
        return MV_OK;
    return mv_fail(MV_FORKED, "store %s was opened before fork: open it again in the child process",
                   engine->directory);
}

/* ---- read transactions ------------------------------------------------- */

static lmdb_txn *take_reader(lmdb_engine *engine)
{
    pthread_mutex_lock(&engine->readers_lock);
    lmdb_txn *t = engine->readers;
    if (t)
        engine->readers = t->next;
    pthread_mutex_unlock(&engine->readers_lock);
    return t;
}

static int begin_reader(lmdb_engine *engine, lmdb_txn *t)
{
    for (int tried = 0;; tried++) {
        int dead = 0;
        pthread_rwlock_rdlock(&engine->map);
        int rc = t->txn ? mdb_txn_renew(t->txn) : mdb_txn_begin(engine->env, NULL, MDB_RDONLY, &t->txn);
        if (!rc)
            return 0;
        pthread_rwlock_unlock(&engine->map);
        if (rc == MDB_MAP_RESIZED && tried < 8) {
            rc = kvi_lmdb_adopt_size(engine);
            if (rc)
                return rc;
        } else if (rc == MDB_READERS_FULL && tried == 0) {
            mdb_reader_check(engine->env, &dead); /* slots of processes that died */
        } else {
            return kvi_lmdb_error(engine, rc, "reading");
        }
    }
}

static void end_reader(lmdb_txn *t)
{
    mdb_txn_reset(t->txn);
    pthread_rwlock_unlock(&t->engine->map);
}

/* A snapshot that lacks no commit of a process that died: who has taken a dead writer's
 * lock must see all it wrote. A living one's commit that is not done yet is not waited for.
 * (An heir that has the gate and has not marked it yet, a few instructions, passes for a
 * living one: then the dead one's commit shows later, as a conflict to try again after.) */
static int begin_newest(lmdb_engine *engine, lmdb_txn *t)
{
    if (!engine->gate) /* nobody has it open */
        return begin_reader(engine, t);
    for (int alive = 0;;) {
        kvi_gate_mark mark = kvi_gate_look(engine->gate);
        int rc = mark == KVI_GATE_INHERITED ? MV_OK : begin_reader(engine, t);
        if (rc || mark == KVI_GATE_CLEAR)
            return rc;
        if (mark == KVI_GATE_COMMITTING) {
            if (alive || !kvi_lmdb_overtaken(engine, t->txn))
                return MV_OK;
            end_reader(t);
        }
        rc = kvi_lmdb_settle(engine, mark == KVI_GATE_INHERITED ? engine->wait_ms : 0);
        alive = rc == MV_BUSY;
        if (rc && !alive)
            return rc;
    }
}

static int lmdb_read_begin(kv_engine *base, kv_txn **out)
{
    lmdb_engine *engine = (lmdb_engine *)base;
    int rc = forked(engine);
    if (rc)
        return rc;
    lmdb_txn *t = take_reader(engine);
    if (!t) {
        t = calloc(1, sizeof *t);
        if (!t)
            return mv_fail(MV_NOMEM, "out of memory beginning a read");
        t->base.ops = &lmdb_ops;
        t->engine = engine;
    }
    rc = begin_newest(engine, t);
    if (rc) {
        if (t->txn)
            mdb_txn_abort(t->txn);
        free(t);
        return rc;
    }
    *out = &t->base;
    return MV_OK;
}

static void lmdb_read_end(kv_txn *base)
{
    lmdb_txn *t = (lmdb_txn *)base;
    lmdb_engine *engine = t->engine;
    end_reader(t);
    pthread_mutex_lock(&engine->readers_lock);
    t->next = engine->readers;
    engine->readers = t;
    pthread_mutex_unlock(&engine->readers_lock);
}

static void lmdb_close(kv_engine *base)
{
    lmdb_engine *engine = (lmdb_engine *)base;
    if (engine->owner == getpid())
        for (lmdb_txn *t; (t = take_reader(engine)) != NULL; free(t))
            mdb_txn_abort(t->txn);
    kvi_lmdb_env_close(engine);
}

/* ---- write transactions ------------------------------------------------ */

static void make_stamp(kv_stamp *stamp, uint64_t version, unsigned order)
{
    mvi_put64(stamp->bytes, version);
    stamp->bytes[8] = (uint8_t)(order >> 8);
    stamp->bytes[9] = (uint8_t)order;
}

static void finish_job(lmdb_job *job, int rc)
{
    job->rc = rc;
    if (rc) {
        strncpy(job->message, mv_error_text(), sizeof job->message - 1);
        memset(&job->stamp, 0, sizeof job->stamp);
    }
}

/* Runs one job in `txn`; tells whether its writes are to be kept. */
static int run_job(lmdb_engine *engine, lmdb_job *job, MDB_txn *txn, int *map_full)
{
    lmdb_txn t = {.base.ops = &lmdb_ops, .engine = engine, .txn = txn, .writing = 1, .stamp = job->stamp};
    int rc = job->fn(&t.base, job->ctx);
    *map_full |= t.map_full;
    if (rc == KV_NOTHING)
        memset(&job->stamp, 0, sizeof job->stamp);
    finish_job(job, rc == KV_NOTHING ? MV_OK : rc);
    return rc == MV_OK;
}

static int run_nested(lmdb_engine *engine, lmdb_job *job, MDB_txn *top, int *map_full)
{
    MDB_txn *child = NULL;
    int rc = mdb_txn_begin(engine->env, top, 0, &child);
    if (rc) {
        finish_job(job, kvi_lmdb_error(engine, rc, "writing"));
        return 0;
    }
    if (!run_job(engine, job, child, map_full)) {
        mdb_txn_abort(child);
        return 0;
    }
    rc = mdb_txn_commit(child);
    *map_full |= rc == MDB_MAP_FULL;
    if (rc)
        finish_job(job, kvi_lmdb_error(engine, rc, "writing"));
    return rc == 0;
}

static void fail_all(lmdb_job *jobs, int rc)
{
    for (lmdb_job *job = jobs; job; job = job->next)
        finish_job(job, rc);
}

/* One attempt at a batch. 0: done, every job has its result. Otherwise an LMDB
 * result that concerns the whole batch, and nothing was committed. */
static int attempt(lmdb_engine *engine, lmdb_job *jobs)
{
    MDB_txn *top = NULL;
    uint64_t version = 0;
    int rc = mdb_txn_begin(engine->env, NULL, 0, &top);
    if (!rc) {
        kvi_gate_settled(engine->gate);
        rc = kvi_lmdb_version(engine, top, &version);
    }
    int kept = 0, map_full = 0;
    unsigned order = 0;
    for (lmdb_job *job = jobs; job && !rc && !map_full; job = job->next) {
        make_stamp(&job->stamp, version, order++);
        if (jobs->next)
            kept += run_nested(engine, job, top, &map_full);
        else
            kept += run_job(engine, job, top, &map_full);
    }
    if (map_full)
        rc = MDB_MAP_FULL;
    if (!rc && kept) {
        rc = mdb_txn_commit(top);
        engine->has_block |= !rc;
        return rc;
    }
    if (top)
        mdb_txn_abort(top);
    return rc;
}

static void run_batch(lmdb_engine *engine, lmdb_job *jobs)
{
    for (int tried = 0;; tried++) {
        int rc = kvi_gate_enter(engine->gate, engine->wait_ms);
        if (rc) {
            fail_all(jobs, rc);
            return;
        }
        pthread_rwlock_rdlock(&engine->map);
        rc = attempt(engine, jobs);
        pthread_rwlock_unlock(&engine->map);
        kvi_gate_leave(engine->gate);
        if (!rc)
            return;
        if (tried < 40 && (rc == MDB_MAP_FULL || rc == MDB_MAP_RESIZED)) {
            rc = rc == MDB_MAP_FULL ? kvi_lmdb_grow(engine) : kvi_lmdb_adopt_size(engine);
            if (!rc)
                continue;
            fail_all(jobs, rc);
        } else {
            fail_all(jobs, kvi_lmdb_error(engine, rc, "committing"));
        }
        return;
    }
}

/* Takes the whole queue; jobs beyond 65,536 would not fit the stamp's order and wait. */
static lmdb_job *take_queue(lmdb_engine *engine)
{
    lmdb_job *jobs = engine->queue, *last = jobs;
    for (unsigned n = 1; last->next && n < 65536; n++)
        last = last->next;
    engine->queue = last->next;
    if (!engine->queue)
        engine->queue_end = &engine->queue;
    last->next = NULL;
    return jobs;
}

static void lead(lmdb_engine *engine)
{
    lmdb_job *jobs = take_queue(engine);
    engine->leading = 1;
    pthread_mutex_unlock(&engine->queue_lock);
    run_batch(engine, jobs);
    pthread_mutex_lock(&engine->queue_lock);
    engine->leading = 0;
    for (lmdb_job *job = jobs, *next; job; job = next) {
        next = job->next; /* a finished job's memory belongs to its thread again */
        job->done = 1;
    }
    pthread_cond_broadcast(&engine->queue_moved);
}

static int lmdb_transact(kv_engine *base, kv_txn *reader, kv_fn fn, void *ctx, kv_stamp *stamp)
{
    lmdb_engine *engine = (lmdb_engine *)base;
    kv_read_end(reader);
    int rc = forked(engine);
    if (!rc && !engine->gate)
        rc = mv_fail(MV_MISUSE, "store %s was opened to be looked at", engine->directory);
    if (rc)
        return rc;
    lmdb_job job = {.fn = fn, .ctx = ctx};
    pthread_mutex_lock(&engine->queue_lock);
    *engine->queue_end = &job;
    engine->queue_end = &job.next;
    while (!job.done) {
        if (engine->leading)
            pthread_cond_wait(&engine->queue_moved, &engine->queue_lock);
        else
            lead(engine);
    }
    pthread_mutex_unlock(&engine->queue_lock);
    *stamp = job.stamp;
    return job.rc ? mv_fail(job.rc, "%s", job.message) : MV_OK;
}

static int lmdb_maybe_committed(kv_txn *base)
{
    (void)base;
    return 0; /* LMDB always knows */
}

/* ---- reads ------------------------------------------------------------- */

static int lmdb_get(kv_txn *base, mv_slice key, mv_slice *value)
{
    lmdb_txn *t = (lmdb_txn *)base;
    MDB_val k = val(key), v;
    int rc = mdb_get(t->txn, t->engine->dbi, &k, &v);
    *value = mvi_slice(NULL, 0);
    if (rc == MDB_NOTFOUND)
        return MV_NOTFOUND;
    if (rc)
        return kvi_lmdb_error(t->engine, rc, "reading");
    *value = mvi_slice(v.mv_data, v.mv_size);
    return MV_OK;
}

static void lmdb_prefetch(kv_txn *base, const mv_slice *keys, size_t n)
{
    (void)base, (void)keys, (void)n; /* the map has no latency to hide */
}

static int lmdb_range(kv_txn *base, mv_slice begin, mv_slice end, size_t limit, int flags, kv_cursor **out)
{
    lmdb_txn *t = (lmdb_txn *)base;
    lmdb_cursor *c = malloc(sizeof *c + begin.size + end.size);
    if (!c)
        return mv_fail(MV_NOMEM, "out of memory reading a range");
    c->base.ops = &lmdb_ops;
    c->engine = t->engine;
    c->left = limit ? limit : SIZE_MAX;
    c->reverse = flags & KV_REVERSE;
    c->started = 0;
    c->begin_size = begin.size;
    c->end_size = end.size;
    if (begin.size)
        memcpy(c->bounds, begin.data, begin.size);
    if (end.size)
        memcpy(c->bounds + begin.size, end.data, end.size);
    int rc = mdb_cursor_open(t->txn, t->engine->dbi, &c->cursor);
    if (rc) {
        free(c);
        return kvi_lmdb_error(t->engine, rc, "reading a range");
    }
    *out = &c->base;
    return MV_OK;
}

/* The first key not before *k; LMDB knows no empty key. */
static int seek(MDB_cursor *cursor, MDB_val *k, MDB_val *v)
{
    return mdb_cursor_get(cursor, k, v, k->mv_size ? MDB_SET_RANGE : MDB_FIRST);
}

static int step(lmdb_cursor *c, MDB_val *k, MDB_val *v)
{
    if (c->started)
        return mdb_cursor_get(c->cursor, k, v, c->reverse ? MDB_PREV : MDB_NEXT);
    c->started = 1;
    *k = c->reverse ? (MDB_val){c->end_size, c->bounds + c->begin_size} : (MDB_val){c->begin_size, c->bounds};
    int rc = seek(c->cursor, k, v);
    if (!c->reverse)
        return rc;
    return mdb_cursor_get(c->cursor, k, v, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
}

static int lmdb_next(kv_cursor *base, mv_slice *key, mv_slice *value)
{
    lmdb_cursor *c = (lmdb_cursor *)base;
    if (c->left == 0)
        return MV_NOTFOUND;
    MDB_val k = {0, NULL}, v = {0, NULL};
    int rc = step(c, &k, &v);
    if (rc == MDB_NOTFOUND)
        return MV_NOTFOUND;
    if (rc)
        return kvi_lmdb_error(c->engine, rc, "reading a range");
    *key = mvi_slice(k.mv_data, k.mv_size);
    *value = mvi_slice(v.mv_data, v.mv_size);
    if (c->reverse ? mvi_slice_cmp(*key, mvi_slice(c->bounds, c->begin_size)) < 0
                   : mvi_slice_cmp(*key, mvi_slice(c->bounds + c->begin_size, c->end_size)) >= 0) {
        c->left = 0;
        return MV_NOTFOUND;
    }
    c->left--;
    return MV_OK;
}

static void lmdb_cursor_close(kv_cursor *base)
{
    lmdb_cursor *c = (lmdb_cursor *)base;
    mdb_cursor_close(c->cursor);
    free(c);
}

/* ---- writes ------------------------------------------------------------ */

static int written(lmdb_txn *t, int rc)
{
    if (!rc)
        return MV_OK;
    if (rc == MDB_MAP_FULL) {
        t->map_full = 1;
        return mv_fail(MV_FULL, "the map of store %s is full", t->engine->directory);
    }
    return kvi_lmdb_error(t->engine, rc, "writing");
}

static int writable(const lmdb_txn *t)
{
    return t->writing ? MV_OK : mv_fail(MV_MISUSE, "a read transaction cannot write");
}

static int put(kv_txn *base, mv_slice key, mv_slice value)
{
    lmdb_txn *t = (lmdb_txn *)base;
    MDB_val k = val(key), v = val(value);
    int rc = writable(t);
    return rc ? rc : written(t, mdb_put(t->txn, t->engine->dbi, &k, &v, 0));
}

static int lmdb_set_stamped_key(kv_txn *base, mv_slice key, size_t offset, mv_slice value)
{
    lmdb_txn *t = (lmdb_txn *)base;
    uint8_t copy[512];
    if (key.size > sizeof copy || offset + KV_STAMP_SIZE > key.size)
        return mv_fail(MV_MISUSE, "a stamped key of %zu bytes with its stamp at %zu", key.size, offset);
    memcpy(copy, key.data, key.size);
    memcpy(copy + offset, t->stamp.bytes, KV_STAMP_SIZE);
    return put(base, mvi_slice(copy, key.size), value);
}

static int lmdb_set_stamped_value(kv_txn *base, mv_slice key, mv_slice value, size_t offset)
{
    lmdb_txn *t = (lmdb_txn *)base;
    if (offset + KV_STAMP_SIZE > value.size)
        return mv_fail(MV_MISUSE, "a stamped value of %zu bytes with its stamp at %zu", value.size, offset);
    int rc = writable(t);
    if (rc)
        return rc;
    MDB_val k = val(key), v = {value.size, NULL};
    rc = mdb_put(t->txn, t->engine->dbi, &k, &v, MDB_RESERVE);
    if (rc)
        return written(t, rc);
    memcpy(v.mv_data, value.data, value.size);
    memcpy((uint8_t *)v.mv_data + offset, t->stamp.bytes, KV_STAMP_SIZE);
    return MV_OK;
}

static int lmdb_clear(kv_txn *base, mv_slice key)
{
    lmdb_txn *t = (lmdb_txn *)base;
    MDB_val k = val(key);
    int rc = writable(t);
    if (rc)
        return rc;
    rc = mdb_del(t->txn, t->engine->dbi, &k, NULL);
    return rc == MDB_NOTFOUND ? MV_OK : written(t, rc);
}

static int lmdb_clear_range(kv_txn *base, mv_slice begin, mv_slice end)
{
    lmdb_txn *t = (lmdb_txn *)base;
    MDB_cursor *c = NULL;
    int rc = writable(t);
    if (rc)
        return rc;
    rc = mdb_cursor_open(t->txn, t->engine->dbi, &c);
    while (!rc) {
        MDB_val k = val(begin), v;
        rc = seek(c, &k, &v);
        if (!rc && mvi_slice_cmp(mvi_slice(k.mv_data, k.mv_size), end) >= 0)
            break;
        if (!rc)
            rc = mdb_cursor_del(c, 0);
    }
    if (c)
        mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? MV_OK : written(t, rc);
}

static int lmdb_add_read_conflict(kv_txn *base, mv_slice begin, mv_slice end)
{
    (void)base, (void)begin, (void)end; /* writers run one after another: nothing can come between */
    return MV_OK;
}

/* Commits of this process wake the waiter; those of others are looked for. */
static int lmdb_watch(kv_engine *base, mv_slice key, mv_slice known, unsigned timeout_ms)
{
    lmdb_engine *engine = (lmdb_engine *)base;
    for (unsigned waited = 0;; waited += 20) {
        kv_txn *txn;
        mv_slice now;
        int rc = lmdb_read_begin(base, &txn);
        if (rc)
            return rc;
        rc = lmdb_get(txn, key, &now);
        int same = mvi_slice_cmp(now, known) == 0;
        lmdb_read_end(txn);
        if (rc && rc != MV_NOTFOUND)
            return rc;
        if (!same)
            return MV_OK;
        if (waited >= timeout_ms)
            return mv_fail(MV_UNREACHABLE, "nothing changed within %u ms", timeout_ms);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 20000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&engine->queue_lock);
        pthread_cond_timedwait(&engine->queue_moved, &engine->queue_lock, &until);
        pthread_mutex_unlock(&engine->queue_lock);
    }
}

static const kv_ops lmdb_ops = {
    .close = lmdb_close,
    .read_begin = lmdb_read_begin,
    .read_end = lmdb_read_end,
    .transact = lmdb_transact,
    .maybe_committed = lmdb_maybe_committed,
    .get = lmdb_get,
    .prefetch = lmdb_prefetch,
    .range = lmdb_range,
    .next = lmdb_next,
    .cursor_close = lmdb_cursor_close,
    .set = put,
    .set_stamped_key = lmdb_set_stamped_key,
    .set_stamped_value = lmdb_set_stamped_value,
    .clear = lmdb_clear,
    .clear_range = lmdb_clear_range,
    .add_read_conflict = lmdb_add_read_conflict,
    .raise_stamps = kvi_lmdb_raise_stamps,
    .watch = lmdb_watch,
    .describe = kvi_lmdb_describe,
};

int kv_lmdb_open(const char *rest, kv_engine **out)
{
    lmdb_engine *engine = NULL;
    int rc = kvi_lmdb_env_open(rest, &engine);
    if (rc)
        return rc;
    engine->base.ops = &lmdb_ops;
    *out = &engine->base;
    return MV_OK;
}

int kv_lmdb_examine(const char *rest, mvi_buf *json, kv_engine **out)
{
    lmdb_engine *engine = NULL;
    int rc = kvi_lmdb_env_look(rest, &engine);
    if (rc)
        return mvi_json_add_failure(json, rc == MV_URL ? "address" : rc == MV_PERM ? "permissions" : "database");
    engine->base.ops = &lmdb_ops;
    *out = &engine->base;
    return kvi_lmdb_describe(*out, json);
}
