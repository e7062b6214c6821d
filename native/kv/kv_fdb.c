/* The cluster engine: FoundationDB through its C client.
 *
 * Reads are snapshot reads: they add no conflict unless kv_add_read_conflict asks for
 * one. A range's request is sent when the cursor is opened and a prefetched key's at
 * once; both are waited for when they are needed. kv_transact is the client's own retry
 * loop: what fdb_transaction_on_error calls retryable is run again after its back-off,
 * and after a result that is not known the function is asked whether it happened. */
#include <time.h>
#include <unistd.h>

#include "fdb_engine.h"

#define OPTION_TIMEOUT 500 /* fdb_transaction_set_option: milliseconds, 8 bytes, little-endian */
#define MUTATE_STAMPED_KEY 14
#define MUTATE_STAMPED_VALUE 15
#define CONFLICT_READ 0
#define STREAM_ITERATOR (-1)
enum { TIMED_OUT = 1031, UNKNOWN_RESULT = 1021, VERSION_CHANGED = 1039, NO_COMMIT_VERSION = 2021, TOO_LARGE = 2101 };

typedef struct ahead {
    mvi_buf key;
    FDBFuture *future;
} ahead;

typedef struct fdb_txn {
    kv_txn base;
    fdb_engine *engine;
    FDBTransaction *tr;
    int writing, maybe_committed;
    fdb_error_t error; /* the client's, for the retry loop */
    FDBFuture **held;  /* whose values the caller may still read */
    size_t held_n, held_room;
    ahead *ahead;
    size_t ahead_n;
} fdb_txn;

typedef struct fdb_cursor {
    kv_cursor base;
    fdb_txn *txn;
    FDBFuture *future;
    const kvi_fdb_pair *pairs;
    int n, next, iteration, reverse;
    fdb_bool_t more;
    size_t left;
    mvi_buf begin, end; /* with the prefix */
} fdb_cursor;

int kvi_fdb_error(fdb_engine *e, fdb_error_t error, const char *doing)
{
    int code = error == TIMED_OUT         ? MV_UNREACHABLE
               : error == UNKNOWN_RESULT  ? MV_UNKNOWN
               : error == TOO_LARGE       ? MV_FULL
                                          : MV_IO;
    return mv_fail(code, "%s: the cluster did not manage: %s (%d)", doing, e->fdb->fdb_get_error(error), error);
}

static mvi_buf with_prefix(const fdb_engine *e, mv_slice key)
{
    mvi_buf b = {0};
    mvi_buf_add(&b, e->prefix, e->prefix_size);
    mvi_buf_add(&b, key.data, key.size);
    return b;
}

static int out_of_memory(void)
{
    return mv_fail(MV_NOMEM, "out of memory in the cluster engine");
}

/* ---- transactions ------------------------------------------------------- */

static int set_timeout(fdb_engine *e, FDBTransaction *tr)
{
    uint8_t bytes[8] = {(uint8_t)e->wait_ms, (uint8_t)(e->wait_ms >> 8), (uint8_t)(e->wait_ms >> 16),
                        (uint8_t)(e->wait_ms >> 24)};
    return e->fdb->fdb_transaction_set_option(tr, OPTION_TIMEOUT, bytes, 8);
}

static int begin(fdb_engine *e, fdb_txn *t)
{
    memset(t, 0, sizeof *t);
    t->base.ops = &kvi_fdb_ops;
    t->engine = e;
    if (e->owner != getpid())
        return mv_fail(MV_FORKED, "the store was opened before fork: open it again in the child process");
    fdb_error_t error = e->fdb->fdb_database_create_transaction(e->db, &t->tr);
    if (!error)
        error = set_timeout(e, t->tr);
    return error ? kvi_fdb_error(e, error, "beginning") : MV_OK;
}

static void drop_futures(fdb_txn *t)
{
    const kvi_fdb *f = t->engine->fdb;
    for (size_t i = 0; i < t->held_n; i++)
        f->fdb_future_destroy(t->held[i]);
    for (size_t i = 0; i < t->ahead_n; i++) {
        if (t->ahead[i].future)
            f->fdb_future_destroy(t->ahead[i].future);
        mvi_buf_free(&t->ahead[i].key);
    }
    free(t->ahead);
    t->ahead = NULL;
    t->held_n = t->ahead_n = 0;
}

static void end(fdb_txn *t)
{
    drop_futures(t);
    free(t->held);
    if (t->tr)
        t->engine->fdb->fdb_transaction_destroy(t->tr);
}

static int fdb_read_begin(kv_engine *base, kv_txn **out)
{
    fdb_txn *t = malloc(sizeof *t);
    if (!t)
        return out_of_memory();
    int rc = begin((fdb_engine *)base, t);
    if (rc) {
        end(t);
        free(t);
        return rc;
    }
    *out = &t->base;
    return MV_OK;
}

static void fdb_read_end(kv_txn *base)
{
    end((fdb_txn *)base);
    free(base);
}

/* Waits; the future's error. */
static fdb_error_t await(const kvi_fdb *f, FDBFuture *future)
{
    fdb_error_t error = f->fdb_future_block_until_ready(future);
    return error ? error : f->fdb_future_get_error(future);
}

static fdb_error_t commit(fdb_txn *t, kv_stamp *stamp)
{
    const kvi_fdb *f = t->engine->fdb;
    FDBFuture *version = f->fdb_transaction_get_versionstamp(t->tr), *done = f->fdb_transaction_commit(t->tr);
    const uint8_t *bytes;
    int n = 0;
    fdb_error_t error = await(f, done);
    fdb_error_t known = error ? error : await(f, version);
    if (!known && f->fdb_future_get_key(version, &bytes, &n) == 0 && n == KV_STAMP_SIZE)
        memcpy(stamp->bytes, bytes, KV_STAMP_SIZE);
    if (!error && known && known != NO_COMMIT_VERSION) /* nothing written, nothing to name: no error */
        error = known;
    f->fdb_future_destroy(done);
    f->fdb_future_destroy(version);
    return error;
}

/* The client's decision: 0 after its back-off (the transaction is fresh again), or the error. */
static fdb_error_t back_off(fdb_txn *t, fdb_error_t error)
{
    const kvi_fdb *f = t->engine->fdb;
    drop_futures(t);
    FDBFuture *again = f->fdb_transaction_on_error(t->tr, error);
    error = await(f, again);
    f->fdb_future_destroy(again);
    return error;
}

static int fdb_transact(kv_engine *base, kv_fn fn, void *ctx, kv_stamp *stamp)
{
    fdb_engine *e = (fdb_engine *)base;
    fdb_txn t;
    int rc = begin(e, &t), done = rc != 0;
    t.writing = 1;
    while (!done) {
        memset(stamp, 0, sizeof *stamp);
        t.error = 0;
        rc = fn(&t.base, ctx);
        if (!t.error && !rc)
            t.error = commit(&t, stamp);
        done = !t.error;
        if (t.error == UNKNOWN_RESULT || t.error == VERSION_CHANGED)
            t.maybe_committed = 1;
        if (t.error && (t.error = back_off(&t, t.error)) != 0) {
            rc = kvi_fdb_error(e, t.error, "committing");
            done = 1;
        }
    }
    end(&t);
    return rc == KV_NOTHING ? MV_OK : rc;
}

static int fdb_maybe_committed(kv_txn *base)
{
    return ((fdb_txn *)base)->maybe_committed;
}

static int failed(fdb_txn *t, fdb_error_t error)
{
    t->error = error;
    return kvi_fdb_error(t->engine, error, "reading");
}

/* ---- reads ---------------------------------------------------------------- */

static int hold(fdb_txn *t, FDBFuture *future)
{
    if (t->held_n == t->held_room) {
        size_t room = t->held_room ? t->held_room * 2 : 16;
        FDBFuture **held = realloc(t->held, room * sizeof *held);
        if (!held) {
            t->engine->fdb->fdb_future_destroy(future);
            return out_of_memory();
        }
        t->held = held;
        t->held_room = room;
    }
    t->held[t->held_n++] = future;
    return MV_OK;
}

static FDBFuture *take_ahead(fdb_txn *t, const mvi_buf *key)
{
    for (size_t i = 0; i < t->ahead_n; i++)
        if (t->ahead[i].future && t->ahead[i].key.size == key->size &&
            memcmp(t->ahead[i].key.data, key->data, key->size) == 0) {
            FDBFuture *future = t->ahead[i].future;
            t->ahead[i].future = NULL;
            return future;
        }
    return NULL;
}

static int fdb_get(kv_txn *base, mv_slice key, mv_slice *value)
{
    fdb_txn *t = (fdb_txn *)base;
    const kvi_fdb *f = t->engine->fdb;
    const uint8_t *bytes;
    fdb_bool_t present;
    int n;
    *value = mvi_slice(NULL, 0);
    mvi_buf full = with_prefix(t->engine, key);
    if (full.failed)
        return out_of_memory();
    FDBFuture *future = take_ahead(t, &full);
    if (!future)
        future = f->fdb_transaction_get(t->tr, full.data, (int)full.size, 1);
    mvi_buf_free(&full);
    int rc = hold(t, future);
    if (rc)
        return rc;
    fdb_error_t error = await(f, future);
    if (!error)
        error = f->fdb_future_get_value(future, &present, &bytes, &n);
    if (error)
        return failed(t, error);
    if (!present)
        return MV_NOTFOUND;
    *value = mvi_slice(bytes, (size_t)n);
    return MV_OK;
}

static void fdb_prefetch(kv_txn *base, const mv_slice *keys, size_t n)
{
    fdb_txn *t = (fdb_txn *)base;
    ahead *more = realloc(t->ahead, (t->ahead_n + n) * sizeof *more);
    if (!more)
        return; /* a hint */
    t->ahead = more;
    for (size_t i = 0; i < n; i++) {
        mvi_buf key = with_prefix(t->engine, keys[i]);
        if (key.failed)
            continue;
        t->ahead[t->ahead_n++] =
            (ahead){key, t->engine->fdb->fdb_transaction_get(t->tr, key.data, (int)key.size, 1)};
    }
}

static void request(fdb_cursor *c)
{
    fdb_txn *t = c->txn;
    int limit = c->left > 1000000 ? 0 : (int)c->left;
    c->future = t->engine->fdb->fdb_transaction_get_range(
        t->tr, c->begin.data, (int)c->begin.size, 0, 1, c->end.data, (int)c->end.size, 0, 1, limit, 0,
        STREAM_ITERATOR, ++c->iteration, 1, c->reverse);
    c->n = c->next = 0;
}

static int fdb_range(kv_txn *base, mv_slice from, mv_slice to, size_t limit, int flags, kv_cursor **out)
{
    fdb_txn *t = (fdb_txn *)base;
    fdb_cursor *c = calloc(1, sizeof *c);
    if (!c)
        return out_of_memory();
    c->base.ops = &kvi_fdb_ops;
    c->txn = t;
    c->reverse = flags & KV_REVERSE;
    c->left = limit ? limit : SIZE_MAX;
    c->begin = with_prefix(t->engine, from);
    c->end = with_prefix(t->engine, to);
    if (c->begin.failed || c->end.failed) {
        kv_cursor_close(&c->base);
        return out_of_memory();
    }
    request(c);
    *out = &c->base;
    return MV_OK;
}

/* Asks for what follows the last pair. */
static int continue_range(fdb_cursor *c)
{
    const kvi_fdb_pair *last = &c->pairs[c->n - 1];
    mvi_buf *bound = c->reverse ? &c->end : &c->begin;
    bound->size = 0;
    mvi_buf_add(bound, last->key, (size_t)last->key_length);
    if (!c->reverse)
        mvi_buf_byte(bound, 0);
    c->txn->engine->fdb->fdb_future_destroy(c->future);
    c->future = NULL;
    if (bound->failed)
        return out_of_memory();
    request(c);
    return MV_OK;
}

static int receive(fdb_cursor *c)
{
    const kvi_fdb *f = c->txn->engine->fdb;
    fdb_error_t error = await(f, c->future);
    if (!error)
        error = f->fdb_future_get_keyvalue_array(c->future, &c->pairs, &c->n, &c->more);
    return error ? failed(c->txn, error) : MV_OK;
}

static int fdb_next(kv_cursor *base, mv_slice *key, mv_slice *value)
{
    fdb_cursor *c = (fdb_cursor *)base;
    size_t skip = c->txn->engine->prefix_size;
    if (c->left == 0)
        return MV_NOTFOUND;
    if (c->next == c->n) {
        int rc = c->n && c->more ? continue_range(c) : c->n ? MV_NOTFOUND : MV_OK;
        if (!rc)
            rc = receive(c);
        if (rc || c->n == 0) {
            c->left = rc && rc != MV_NOTFOUND ? c->left : 0;
            return rc ? rc : MV_NOTFOUND;
        }
    }
    const kvi_fdb_pair *pair = &c->pairs[c->next++];
    c->left--;
    *key = mvi_slice(pair->key + skip, (size_t)pair->key_length - skip);
    *value = mvi_slice(pair->value, (size_t)pair->value_length);
    return MV_OK;
}

static void fdb_cursor_close(kv_cursor *base)
{
    fdb_cursor *c = (fdb_cursor *)base;
    if (c->future)
        c->txn->engine->fdb->fdb_future_destroy(c->future);
    mvi_buf_free(&c->begin);
    mvi_buf_free(&c->end);
    free(c);
}

/* ---- writes --------------------------------------------------------------- */

static int check_writing(fdb_txn *t)
{
    return t->writing ? MV_OK : mv_fail(MV_MISUSE, "a read transaction cannot write");
}

static int fdb_set(kv_txn *base, mv_slice key, mv_slice value)
{
    fdb_txn *t = (fdb_txn *)base;
    int rc = check_writing(t);
    mvi_buf full = with_prefix(t->engine, key);
    if (!rc && full.failed)
        rc = out_of_memory();
    if (!rc)
        t->engine->fdb->fdb_transaction_set(t->tr, full.data, (int)full.size, value.data, (int)value.size);
    mvi_buf_free(&full);
    return rc;
}

/* Where the stamp goes stands behind the parameter, four bytes little-endian. */
static void add_offset(mvi_buf *b, size_t offset)
{
    for (int i = 0; i < 4; i++)
        mvi_buf_byte(b, (uint8_t)(offset >> (8 * i)));
}

static int mutate(fdb_txn *t, mvi_buf *key, mvi_buf *value, int how)
{
    int rc = check_writing(t);
    if (!rc && (key->failed || value->failed))
        rc = out_of_memory();
    if (!rc)
        t->engine->fdb->fdb_transaction_atomic_op(t->tr, key->data, (int)key->size, value->data, (int)value->size,
                                                  how);
    mvi_buf_free(key);
    mvi_buf_free(value);
    return rc;
}

static int fdb_set_stamped_key(kv_txn *base, mv_slice key, size_t offset, mv_slice value)
{
    fdb_txn *t = (fdb_txn *)base;
    if (offset + KV_STAMP_SIZE > key.size)
        return mv_fail(MV_MISUSE, "a stamped key of %zu bytes with its stamp at %zu", key.size, offset);
    mvi_buf full = with_prefix(t->engine, key), copy = {0};
    add_offset(&full, t->engine->prefix_size + offset);
    mvi_buf_add(&copy, value.data, value.size);
    return mutate(t, &full, &copy, MUTATE_STAMPED_KEY);
}

static int fdb_set_stamped_value(kv_txn *base, mv_slice key, mv_slice value, size_t offset)
{
    fdb_txn *t = (fdb_txn *)base;
    if (offset + KV_STAMP_SIZE > value.size)
        return mv_fail(MV_MISUSE, "a stamped value of %zu bytes with its stamp at %zu", value.size, offset);
    mvi_buf full = with_prefix(t->engine, key), copy = {0};
    mvi_buf_add(&copy, value.data, value.size);
    add_offset(&copy, offset);
    return mutate(t, &full, &copy, MUTATE_STAMPED_VALUE);
}

static int fdb_clear(kv_txn *base, mv_slice key)
{
    fdb_txn *t = (fdb_txn *)base;
    int rc = check_writing(t);
    mvi_buf full = with_prefix(t->engine, key);
    if (!rc && full.failed)
        rc = out_of_memory();
    if (!rc)
        t->engine->fdb->fdb_transaction_clear(t->tr, full.data, (int)full.size);
    mvi_buf_free(&full);
    return rc;
}

static int fdb_clear_range(kv_txn *base, mv_slice from, mv_slice to)
{
    fdb_txn *t = (fdb_txn *)base;
    int rc = check_writing(t);
    mvi_buf b = with_prefix(t->engine, from), e = with_prefix(t->engine, to);
    if (!rc && (b.failed || e.failed))
        rc = out_of_memory();
    if (!rc && mvi_slice_cmp(from, to) < 0)
        t->engine->fdb->fdb_transaction_clear_range(t->tr, b.data, (int)b.size, e.data, (int)e.size);
    mvi_buf_free(&b);
    mvi_buf_free(&e);
    return rc;
}

static int fdb_add_read_conflict(kv_txn *base, mv_slice from, mv_slice to)
{
    fdb_txn *t = (fdb_txn *)base;
    mvi_buf b = with_prefix(t->engine, from), e = with_prefix(t->engine, to);
    int rc = b.failed || e.failed ? out_of_memory() : MV_OK;
    fdb_error_t error = 0;
    if (!rc)
        error = t->engine->fdb->fdb_transaction_add_conflict_range(t->tr, b.data, (int)b.size, e.data, (int)e.size,
                                                                   CONFLICT_READ);
    mvi_buf_free(&b);
    mvi_buf_free(&e);
    return error ? failed(t, error) : rc;
}

/* ---- stamps --------------------------------------------------------------- */

/* A commit's version is greater than every read version given out before. */
static int fdb_raise_stamps(kv_engine *base, const kv_stamp *above)
{
    fdb_engine *e = (fdb_engine *)base;
    uint64_t wanted = mvi_get64(above->bytes);
    int64_t version = 0;
    fdb_error_t error = 0;
    fdb_txn t;
    int rc = begin(e, &t);
    if (!rc) {
        do {
            FDBFuture *future = e->fdb->fdb_transaction_get_read_version(t.tr);
            error = await(e->fdb, future);
            if (!error)
                error = e->fdb->fdb_future_get_int64(future, &version);
            e->fdb->fdb_future_destroy(future);
        } while (error && (error = back_off(&t, error)) == 0);
    }
    end(&t);
    if (rc || error)
        return rc ? rc : kvi_fdb_error(e, error, "reading the version");
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

static int fdb_watch(kv_engine *base, mv_slice key, mv_slice known, unsigned timeout_ms)
{
    fdb_engine *e = (fdb_engine *)base;
    fdb_txn t;
    mv_slice now;
    int rc = begin(e, &t), ready = 0;
    if (!rc)
        rc = fdb_get(&t.base, key, &now);
    if (rc && rc != MV_NOTFOUND) {
        end(&t);
        return rc;
    }
    if (mvi_slice_cmp(now, known) != 0) {
        end(&t);
        return MV_OK;
    }
    mvi_buf full = with_prefix(e, key);
    kv_stamp unused;
    FDBFuture *watch = e->fdb->fdb_transaction_watch(t.tr, full.data, (int)full.size);
    fdb_error_t error = commit(&t, &unused);
    if (!error)
        ready = wait_ready(e->fdb, watch, timeout_ms);
    e->fdb->fdb_future_destroy(watch);
    mvi_buf_free(&full);
    end(&t);
    if (error)
        return kvi_fdb_error(e, error, "watching");
    return ready ? MV_OK : mv_fail(MV_UNREACHABLE, "nothing changed within %u ms", timeout_ms);
}

/* ---- opening ------------------------------------------------------------------ */

static void fdb_close(kv_engine *base)
{
    fdb_engine *e = (fdb_engine *)base;
    if (e->db && e->owner == getpid())
        e->fdb->fdb_database_destroy(e->db);
    free(e);
}

const kv_ops kvi_fdb_ops = {
    .close = fdb_close,
    .read_begin = fdb_read_begin,
    .read_end = fdb_read_end,
    .transact = fdb_transact,
    .maybe_committed = fdb_maybe_committed,
    .get = fdb_get,
    .prefetch = fdb_prefetch,
    .range = fdb_range,
    .next = fdb_next,
    .cursor_close = fdb_cursor_close,
    .set = fdb_set,
    .set_stamped_key = fdb_set_stamped_key,
    .set_stamped_value = fdb_set_stamped_value,
    .clear = fdb_clear,
    .clear_range = fdb_clear_range,
    .add_read_conflict = fdb_add_read_conflict,
    .raise_stamps = fdb_raise_stamps,
    .watch = fdb_watch,
};
