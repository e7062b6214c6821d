/* The cluster engine: keys and ranges. */
#include "fdb_engine.h"

#define STREAM_WANT_ALL (-2)
#define STREAM_ITERATOR (-1)

static int hold(fdb_txn *t, FDBFuture *future)
{
    if (t->held_n == t->held_room) {
        size_t room = t->held_room ? t->held_room * 2 : 16;
        FDBFuture **held = realloc(t->held, room * sizeof *held);
        if (!held) {
            t->engine->fdb->fdb_future_destroy(future);
            return kvi_fdb_no_memory();
        }
        t->held = held;
        t->held_room = room;
    }
    t->held[t->held_n++] = future;
    return MV_OK;
}

/* ---- keys asked for ahead of need ------------------------------------------ */

static fdb_ahead *find_ahead(fdb_txn *t, const mvi_buf *key)
{
    for (size_t i = 0; i < t->ahead_n; i++)
        if (t->ahead[i].key.size == key->size && memcmp(t->ahead[i].key.data, key->data, key->size) == 0)
            return &t->ahead[i];
    return NULL;
}

/* The answer on its way, which is the caller's now; NULL if it was not asked for. */
static FDBFuture *take_ahead(fdb_txn *t, const mvi_buf *key, unsigned *round)
{
    fdb_ahead *a = find_ahead(t, key);
    if (!a)
        return NULL;
    FDBFuture *future = a->future;
    *round = a->round;
    mvi_buf_free(&a->key);
    *a = t->ahead[--t->ahead_n];
    kvi_fdb_count(t->engine, COUNT_ahead_used, 1);
    return future;
}

void kvi_fdb_forget_ahead(fdb_txn *t)
{
    for (size_t i = 0; i < t->ahead_n; i++) {
        t->engine->fdb->fdb_future_destroy(t->ahead[i].future);
        mvi_buf_free(&t->ahead[i].key);
    }
    t->ahead_n = 0;
}

static int make_room(fdb_txn *t, size_t n)
{
    if (t->ahead_n + n <= t->ahead_room)
        return 1;
    size_t room = (t->ahead_n + n) * 2;
    fdb_ahead *more = realloc(t->ahead, room * sizeof *more);
    if (!more)
        return 0;
    t->ahead = more;
    t->ahead_room = room;
    return 1;
}

void kvi_fdb_prefetch(kv_txn *base, const mv_slice *keys, size_t n)
{
    fdb_txn *t = (fdb_txn *)base;
    if (kvi_fdb_check_owner(t->engine) || !make_room(t, n))
        return; /* a hint: the read itself tells */
    for (size_t i = 0; i < n; i++) {
        mvi_buf key = kvi_fdb_key(t->engine, keys[i]);
        if (key.failed || find_ahead(t, &key)) {
            mvi_buf_free(&key);
            continue;
        }
        FDBFuture *future = t->engine->fdb->fdb_transaction_get(t->tr, key.data, (int)key.size, 1);
        t->ahead[t->ahead_n++] = (fdb_ahead){key, future, t->round};
        kvi_fdb_count(t->engine, COUNT_ahead, 1);
        kvi_fdb_count(t->engine, COUNT_keys, 1);
    }
}

int kvi_fdb_get(kv_txn *base, mv_slice key, mv_slice *value)
{
    fdb_txn *t = (fdb_txn *)base;
    const kvi_fdb *f = t->engine->fdb;
    const uint8_t *bytes;
    fdb_bool_t present;
    int n;
    unsigned round = t->round;
    *value = mvi_slice(NULL, 0);
    int rc = kvi_fdb_check_owner(t->engine);
    if (rc)
        return rc;
    mvi_buf full = kvi_fdb_key(t->engine, key);
    if (full.failed)
        return kvi_fdb_no_memory();
    FDBFuture *future = take_ahead(t, &full, &round);
    if (!future) {
        future = f->fdb_transaction_get(t->tr, full.data, (int)full.size, 1);
        kvi_fdb_count(t->engine, COUNT_keys, 1);
    }
    mvi_buf_free(&full);
    rc = hold(t, future);
    if (rc)
        return rc;
    fdb_error_t error = kvi_fdb_await(t, future, round);
    if (!error)
        error = f->fdb_future_get_value(future, &present, &bytes, &n);
    if (error)
        return kvi_fdb_failed(t, error, "reading");
    if (!present)
        return MV_NOTFOUND;
    t->bytes += (size_t)n;
    *value = mvi_slice(bytes, (size_t)n);
    return MV_OK;
}

/* ---- ranges ----------------------------------------------------------------- */

static void request(fdb_cursor *c)
{
    fdb_txn *t = c->txn;
    int limit = c->left > 1000000 ? 0 : (int)c->left;
    c->future = t->engine->fdb->fdb_transaction_get_range(
        t->tr, c->begin.data, (int)c->begin.size, 0, 1, c->end.data, (int)c->end.size, 0, 1, limit, 0, c->mode,
        ++c->iteration, 1, c->reverse);
    c->n = c->next = 0;
    c->round = t->round;
    kvi_fdb_count(t->engine, COUNT_ranges, 1);
}

int kvi_fdb_range(kv_txn *base, mv_slice from, mv_slice to, size_t limit, int flags, kv_cursor **out)
{
    fdb_txn *t = (fdb_txn *)base;
    int rc = kvi_fdb_check_owner(t->engine);
    if (rc)
        return rc;
    fdb_cursor *c = calloc(1, sizeof *c);
    if (!c)
        return kvi_fdb_no_memory();
    c->base.ops = &kvi_fdb_ops;
    c->txn = t;
    c->reverse = (flags & KV_REVERSE) != 0;
    c->mode = flags & KV_BULK || limit ? STREAM_WANT_ALL : STREAM_ITERATOR;
    c->left = limit ? limit : SIZE_MAX;
    c->begin = kvi_fdb_key(t->engine, from);
    c->end = kvi_fdb_key(t->engine, to);
    if (c->begin.failed || c->end.failed) {
        kvi_fdb_cursor_close(&c->base);
        return kvi_fdb_no_memory();
    }
    if (mvi_slice_cmp(from, to) < 0) /* else nothing lies there, and the client would call it inverted */
        request(c);
    else
        c->left = 0;
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
        return kvi_fdb_no_memory();
    request(c);
    return MV_OK;
}

static int receive(fdb_cursor *c)
{
    const kvi_fdb *f = c->txn->engine->fdb;
    fdb_error_t error = kvi_fdb_await(c->txn, c->future, c->round);
    if (!error)
        error = f->fdb_future_get_keyvalue_array(c->future, &c->pairs, &c->n, &c->more);
    for (int i = 0; !error && i < c->n; i++)
        c->txn->bytes += (size_t)c->pairs[i].key_length + (size_t)c->pairs[i].value_length;
    return error ? kvi_fdb_failed(c->txn, error, "reading") : MV_OK;
}

int kvi_fdb_next(kv_cursor *base, mv_slice *key, mv_slice *value)
{
    fdb_cursor *c = (fdb_cursor *)base;
    size_t skip = c->txn->engine->options.prefix_size;
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

void kvi_fdb_cursor_close(kv_cursor *base)
{
    fdb_cursor *c = (fdb_cursor *)base;
    if (c->future)
        c->txn->engine->fdb->fdb_future_destroy(c->future);
    mvi_buf_free(&c->begin);
    mvi_buf_free(&c->end);
    free(c);
}
