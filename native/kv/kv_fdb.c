/* The cluster engine, FoundationDB through its C client: transactions, the retry loop, watches. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "fdb_engine.h"

/* fdb_transaction_set_option: 8 bytes, little-endian */
enum { OPTION_TIMEOUT = 500, OPTION_RETRY_LIMIT = 501, OPTION_MAX_RETRY_DELAY = 502 };
#define RETRYABLE 50000 /* fdb_error_predicate */

/* The client backs off up to a second after conflicts; who competes for a database meets
 * them often, and then a fair wait is a few commits long. */
#define RETRY_DELAY_MS_MAX 100

/* The client keeps what a transaction has read: beyond this a new one takes over. */
#define SNAPSHOT_BYTES (16u << 20)

uint64_t kvi_fdb_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void count_error(fdb_engine *e, fdb_error_t error)
{
    int counter = error == FDB_TOO_OLD           ? COUNT_error_1007_too_old
                  : error == FDB_FUTURE_VERSION  ? COUNT_error_1009_future_version
                  : error == FDB_NOT_COMMITTED   ? COUNT_error_1020_not_committed
                  : error == FDB_UNKNOWN_RESULT  ? COUNT_error_1021_unknown
                  : error == FDB_TIMED_OUT       ? COUNT_error_1031_timed_out
                  : error == FDB_BEHIND          ? COUNT_error_1037_behind
                  : error == FDB_VERSION_CHANGED ? COUNT_error_1039_version_changed
                                                 : COUNT_error_other;
    kvi_fdb_count(e, counter, 1);
}

int kvi_fdb_error(fdb_engine *e, fdb_error_t error, const char *doing)
{
    const char *text = e->fdb->fdb_get_error(error), *file = *e->options.cluster ? e->options.cluster : "the default";
    if (error == FDB_TIMED_OUT)
        return mv_fail(MV_UNREACHABLE,
                       "%s: the cluster did not answer within %u ms (cluster file %s): is it running and reachable? "
                       "mvsqlite doctor tells more (%d)", doing, e->options.wait_ms, file, error);
    if (error == FDB_TOO_LARGE)
        return mv_fail(MV_FULL, "%s: the cluster did not manage: %s (%d)", doing, text, error);
    return mv_fail(MV_IO, "%s: the cluster did not manage: %s (%d)", doing, text, error);
}

int kvi_fdb_no_memory(void)
{
    return mv_fail(MV_NOMEM, "out of memory in the cluster engine");
}

mvi_buf kvi_fdb_key(const fdb_engine *e, mv_slice key)
{
    mvi_buf b = {0};
    mvi_buf_add(&b, e->options.prefix, e->options.prefix_size);
    mvi_buf_add(&b, key.data, key.size);
    return b;
}

int kvi_fdb_failed(fdb_txn *t, fdb_error_t error, const char *doing)
{
    fdb_engine *e = t->engine;
    t->error = error;
    count_error(e, error);
    if (!t->writing && e->fdb->fdb_error_predicate(RETRYABLE, error))
        return mv_fail(MV_STALE, "%s: the cluster wants it done over: %s (%d)", doing, e->fdb->fdb_get_error(error),
                       error);
    return kvi_fdb_error(e, error, doing);
}

/* ---- the client's own limits ------------------------------------------------ */

static fdb_error_t set_number(fdb_txn *t, int option, uint64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    return t->engine->fdb->fdb_transaction_set_option(t->tr, option, bytes, 8);
}

/* The client counts its timeout from the transaction's beginning, over all its runs. */
static fdb_error_t set_timeout(fdb_txn *t, uint64_t ms_from_now)
{
    t->timeout_at = kvi_fdb_now_ms() + ms_from_now;
    return set_number(t, OPTION_TIMEOUT, t->timeout_at - t->born);
}

fdb_error_t kvi_fdb_await(fdb_txn *t, FDBFuture *future, unsigned round)
{
    const kvi_fdb *f = t->engine->fdb;
    uint64_t wait = t->engine->options.wait_ms;
    if (!t->writing && !f->fdb_future_is_ready(future)) { /* what was left of a timeout set long ago may be too short */
        uint64_t now = kvi_fdb_now_ms();
        if (t->timeout_at < now + wait / 2 || t->timeout_at > now + wait + wait / 2)
            (void)set_timeout(t, wait);
    }
    fdb_error_t error = f->fdb_future_block_until_ready(future);
    kvi_fdb_arm_exit(KVI_FDB_ANSWERED);
    if (round == t->round) {
        t->round++;
        kvi_fdb_count(t->engine, COUNT_rounds, 1);
    }
    return error ? error : f->fdb_future_get_error(future);
}

/* ---- transactions ------------------------------------------------------- */

static fdb_error_t create(fdb_txn *t)
{
    fdb_engine *e = t->engine;
    fdb_error_t error = e->fdb->fdb_database_create_transaction(e->db, &t->tr);
    t->born = kvi_fdb_now_ms();
    if (!error)
        error = set_timeout(t, e->options.wait_ms);
    if (!error && e->options.retry_limit)
        error = set_number(t, OPTION_RETRY_LIMIT, e->options.retry_limit);
    return error ? error : set_number(t, OPTION_MAX_RETRY_DELAY, RETRY_DELAY_MS_MAX);
}

int kvi_fdb_check_owner(const fdb_engine *e)
{
    if (e->owner == getpid())
        return MV_OK;
    return mv_fail(MV_FORKED, "the store was opened before fork: open it again in the child process");
}

static int begin(fdb_engine *e, fdb_txn **out)
{
    int rc = kvi_fdb_check_owner(e);
    if (rc)
        return rc;
    fdb_txn *t = calloc(1, sizeof *t);
    if (!t)
        return kvi_fdb_no_memory();
    t->base.ops = &kvi_fdb_ops;
    t->engine = e;
    fdb_error_t error = create(t);
    if (error) {
        kv_read_end(&t->base);
        return kvi_fdb_error(e, error, "beginning");
    }
    *out = t;
    return MV_OK;
}

static void drop_held(fdb_txn *t)
{
    for (size_t i = 0; i < t->held_n; i++)
        t->engine->fdb->fdb_future_destroy(t->held[i]);
    t->held_n = 0;
}

/* ---- recent snapshots --------------------------------------------------------- */

static void note_recent(fdb_engine *e, int64_t version, uint64_t at)
{
    pthread_mutex_lock(&e->recent_lock);
    if (version > e->recent_version) {
        e->recent_version = version;
        e->recent_at = at;
    }
    pthread_mutex_unlock(&e->recent_lock);
}

static fdb_error_t read_version(fdb_txn *t, int64_t *version)
{
    const kvi_fdb *f = t->engine->fdb;
    FDBFuture *future = f->fdb_transaction_get_read_version(t->tr);
    fdb_error_t error = f->fdb_future_block_until_ready(future);
    if (!error)
        error = f->fdb_future_get_error(future);
    if (!error)
        error = f->fdb_future_get_int64(future, version);
    f->fdb_future_destroy(future);
    return error;
}

static int64_t find_recent(fdb_engine *e, unsigned max_age_ms, unsigned *age_ms)
{
    pthread_mutex_lock(&e->recent_lock);
    uint64_t age = kvi_fdb_now_ms() - e->recent_at;
    int64_t version = e->recent_version && age <= max_age_ms ? e->recent_version : 0;
    pthread_mutex_unlock(&e->recent_lock);
    *age_ms = version ? (unsigned)age : 0;
    return version;
}

static int fdb_read_recent(kv_engine *base, unsigned max_age_ms, unsigned *age_ms, kv_txn **out)
{
    fdb_engine *e = (fdb_engine *)base;
    fdb_txn *t;
    int rc = begin(e, &t);
    if (rc)
        return rc;
    atomic_store_explicit(&e->wants_recent, 1, memory_order_relaxed);
    int64_t version = find_recent(e, max_age_ms, age_ms);
    if (version) {
        e->fdb->fdb_transaction_set_read_version(t->tr, version);
        t->versioned = 1;
    }
    kvi_fdb_count(e, COUNT_read_versions, !version);
    *out = &t->base;
    return MV_OK;
}

static int fdb_read_begin(kv_engine *base, kv_txn **out)
{
    fdb_txn *t;
    int rc = begin((fdb_engine *)base, &t);
    if (rc)
        return rc;
    kvi_fdb_count(t->engine, COUNT_read_versions, 1);
    *out = &t->base;
    return MV_OK;
}

static void fdb_read_end(kv_txn *base)
{
    fdb_txn *t = (fdb_txn *)base;
    if (t->engine->owner == getpid()) { /* else all of it belongs to the parent's network thread */
        drop_held(t);
        kvi_fdb_forget_ahead(t);
        if (t->tr)
            t->engine->fdb->fdb_transaction_destroy(t->tr);
    }
    free(t->held);
    free(t->ahead);
    free(t);
}

/* Another transaction of the client's goes on at the same snapshot, without what was read. */
static void renew(fdb_txn *t)
{
    int64_t version;
    FDBTransaction *old = t->tr;
    uint64_t born = t->born;
    if (read_version(t, &version))
        return;
    fdb_error_t error = create(t);
    if (error) {
        t->tr = old;
        t->born = born;
        return;
    }
    kvi_fdb_forget_ahead(t);
    t->engine->fdb->fdb_transaction_set_read_version(t->tr, version);
    t->engine->fdb->fdb_transaction_destroy(old);
    t->bytes = 0;
}

static void fdb_read_release(kv_txn *base)
{
    fdb_txn *t = (fdb_txn *)base;
    fdb_engine *e = t->engine;
    int64_t version;
    if (e->owner != getpid())
        return;
    drop_held(t);
    if (!t->versioned && t->round && atomic_load_explicit(&e->wants_recent, memory_order_relaxed) &&
        read_version(t, &version) == 0) {
        note_recent(e, version, t->born);
        t->versioned = 1;
    }
    if (t->bytes > 2 * SNAPSHOT_BYTES || (t->bytes > SNAPSHOT_BYTES && !t->ahead_n))
        renew(t);
    if (t->timeout_at < kvi_fdb_now_ms() + e->base.traits.hold_ms) /* nobody waits now: it must not run out */
        (void)set_timeout(t, (uint64_t)e->base.traits.hold_ms + e->options.wait_ms);
}

/* ---- the retry loop ------------------------------------------------------------- */

static fdb_error_t commit(fdb_txn *t, kv_stamp *stamp)
{
    const kvi_fdb *f = t->engine->fdb;
    FDBFuture *version = f->fdb_transaction_get_versionstamp(t->tr), *done = f->fdb_transaction_commit(t->tr);
    const uint8_t *bytes;
    int n = 0;
    fdb_error_t error = kvi_fdb_await(t, done, t->round);
    fdb_error_t known = error ? error : kvi_fdb_await(t, version, 0);
    if (!known && f->fdb_future_get_key(version, &bytes, &n) == 0 && n == KV_STAMP_SIZE)
        memcpy(stamp->bytes, bytes, KV_STAMP_SIZE);
    if (!error && known && known != FDB_NO_COMMIT_VERSION) /* nothing written, nothing to name: no error */
        error = known;
    f->fdb_future_destroy(done);
    f->fdb_future_destroy(version);
    kvi_fdb_arm_exit(KVI_FDB_COMMITTED);
    kvi_fdb_count(t->engine, COUNT_commits, !error);
    return error;
}

/* The client's decision: 0 after its back-off (the transaction is fresh again), or the error. */
static fdb_error_t back_off(fdb_txn *t, fdb_error_t error)
{
    const kvi_fdb *f = t->engine->fdb;
    drop_held(t);
    kvi_fdb_forget_ahead(t);
    FDBFuture *again = f->fdb_transaction_on_error(t->tr, error);
    error = f->fdb_future_block_until_ready(again);
    if (!error)
        error = f->fdb_future_get_error(again);
    f->fdb_future_destroy(again);
    kvi_fdb_count(t->engine, COUNT_retries, !error);
    kvi_fdb_count(t->engine, COUNT_read_versions, !error);
    t->on_reader = 0;
    t->bytes = 0;
    return error;
}

/* Past the bound of our patience a commit that was under way may still happen: the client
 * promises nothing after a timeout, unlike after a result that is merely unknown. */
static int give_up(fdb_txn *t, fdb_error_t error, int committing)
{
    int rc = kvi_fdb_error(t->engine, error, committing ? "committing" : "reading for a commit");
    if (t->maybe_committed || (committing && error == FDB_TIMED_OUT)) {
        char why[300];
        snprintf(why, sizeof why, "%s", mv_error_text());
        rc = mv_fail(MV_UNKNOWN, "it is not known whether the commit happened: look before you try again (%s)", why);
    }
    return rc;
}

static int run(fdb_txn *t, kv_fn fn, void *ctx, kv_stamp *stamp)
{
    for (;;) {
        memset(stamp, 0, sizeof *stamp);
        t->error = 0;
        int rc = fn(&t->base, ctx), committing = 0;
        if (!t->error && !rc) {
            committing = 1;
            t->error = commit(t, stamp);
            if (t->error)
                count_error(t->engine, t->error);
        }
        if (!t->error)
            return rc;
        if (t->error == FDB_UNKNOWN_RESULT || t->error == FDB_VERSION_CHANGED)
            t->maybe_committed = 1;
        fdb_error_t final = back_off(t, t->error);
        if (final)
            return give_up(t, final, committing || t->maybe_committed);
    }
}

static int fdb_transact(kv_engine *base, kv_txn *reader, kv_fn fn, void *ctx, kv_stamp *stamp)
{
    fdb_engine *e = (fdb_engine *)base;
    fdb_txn *t = (fdb_txn *)reader;
    if (t && kvi_fdb_now_ms() - t->born > e->base.traits.hold_ms) {
        kv_read_end(reader);
        t = NULL;
    }
    int rc = kvi_fdb_check_owner(e);
    if (rc) {
        kv_read_end(reader);
        return rc;
    }
    if (t) {
        t->on_reader = 1;
        drop_held(t);
        (void)set_timeout(t, e->options.wait_ms);
    } else {
        rc = begin(e, &t);
        kvi_fdb_count(e, COUNT_read_versions, !rc);
    }
    if (rc)
        return rc;
    t->writing = 1;
    rc = run(t, fn, ctx, stamp);
    kv_read_end(&t->base);
    return rc == KV_NOTHING ? MV_OK : rc;
}

static int fdb_maybe_committed(kv_txn *base)
{
    return ((fdb_txn *)base)->maybe_committed;
}

static int fdb_on_reader(kv_txn *base)
{
    return ((fdb_txn *)base)->on_reader;
}

/* ---- stamps --------------------------------------------------------------- */

/* A commit's version is greater than every read version given out before. */
static int fdb_raise_stamps(kv_engine *base, const kv_stamp *above)
{
    fdb_engine *e = (fdb_engine *)base;
    uint64_t wanted = mvi_get64(above->bytes);
    int64_t version = 0;
    fdb_txn *t;
    int rc = begin(e, &t);
    if (rc)
        return rc;
    fdb_error_t error = read_version(t, &version);
    while (error && (error = back_off(t, error)) == 0)
        error = read_version(t, &version);
    kv_read_end(&t->base);
    if (error)
        return kvi_fdb_error(e, error, "reading the version");
    if ((uint64_t)version >= wanted)
        return MV_OK;
    return mv_fail(MV_MISUSE, "the cluster's version is %lld, below %llu: fdbcli's advanceversion raises it",
                   (long long)version, (unsigned long long)wanted);
}

/* ---- watch ------------------------------------------------------------------ */

static int wait_ready(const kvi_fdb *f, FDBFuture *future, unsigned timeout_ms)
{
    struct timespec pause = {0, 5000000};
    for (unsigned waited = 0; !f->fdb_future_is_ready(future); waited += 5) {
        if (waited >= timeout_ms)
            return 0;
        nanosleep(&pause, NULL);
    }
    return 1;
}

static int watch_in(fdb_txn *t, mv_slice key, mv_slice known, unsigned timeout_ms)
{
    fdb_engine *e = t->engine;
    mv_slice now;
    int rc = kvi_fdb_get(&t->base, key, &now), ready = 0;
    if (rc && rc != MV_NOTFOUND)
        return rc;
    if (mvi_slice_cmp(now, known) != 0)
        return MV_OK;
    mvi_buf full = kvi_fdb_key(e, key);
    if (full.failed)
        return kvi_fdb_no_memory();
    kv_stamp unused;
    FDBFuture *watch = e->fdb->fdb_transaction_watch(t->tr, full.data, (int)full.size);
    fdb_error_t error = commit(t, &unused);
    if (!error)
        ready = wait_ready(e->fdb, watch, timeout_ms);
    e->fdb->fdb_future_destroy(watch);
    mvi_buf_free(&full);
    if (error)
        return kvi_fdb_error(e, error, "watching");
    return ready ? MV_OK : mv_fail(MV_UNREACHABLE, "nothing changed within %u ms", timeout_ms);
}

static int fdb_watch(kv_engine *base, mv_slice key, mv_slice known, unsigned timeout_ms)
{
    fdb_txn *t;
    int rc = begin((fdb_engine *)base, &t);
    if (rc)
        return rc;
    rc = watch_in(t, key, known, timeout_ms);
    kv_read_end(&t->base);
    return rc;
}

const kv_ops kvi_fdb_ops = {
    .close = kvi_fdb_close,
    .read_begin = fdb_read_begin,
    .read_recent = fdb_read_recent,
    .read_end = fdb_read_end,
    .read_release = fdb_read_release,
    .transact = fdb_transact,
    .maybe_committed = fdb_maybe_committed,
    .on_reader = fdb_on_reader,
    .get = kvi_fdb_get,
    .prefetch = kvi_fdb_prefetch,
    .range = kvi_fdb_range,
    .next = kvi_fdb_next,
    .cursor_close = kvi_fdb_cursor_close,
    .set = kvi_fdb_set,
    .set_stamped_key = kvi_fdb_set_stamped_key,
    .set_stamped_value = kvi_fdb_set_stamped_value,
    .clear = kvi_fdb_clear,
    .clear_range = kvi_fdb_clear_range,
    .add_read_conflict = kvi_fdb_add_read_conflict,
    .raise_stamps = fdb_raise_stamps,
    .watch = fdb_watch,
    .counter = kvi_fdb_counter,
    .describe = kvi_fdb_describe,
};
