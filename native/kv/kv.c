#include "../base/json.h"
#include "kv_engine.h"

typedef struct scheme {
    const char *name;
    int (*open)(const char *rest, kv_engine **engine);
    int (*examine)(const char *rest, mvi_buf *json, kv_engine **engine);
} scheme;

static const scheme schemes[] = {
    {"lmdb:", kv_lmdb_open, kv_lmdb_examine},
    {"fault:", kv_fault_open, kv_fault_examine},
    {"fdb:", kv_fdb_open, kv_fdb_examine},
};

static const scheme *find_scheme(const char *url)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (strncmp(url, schemes[i].name, strlen(schemes[i].name)) == 0)
            return &schemes[i];
    mv_fail(MV_URL, "store address \"%s\" has no known scheme: write lmdb:/path/to/directory", url);
    return NULL;
}

int kv_open(const char *url, kv_engine **engine)
{
    const scheme *s = find_scheme(url);
    *engine = NULL;
    return s ? s->open(url + strlen(s->name), engine) : MV_URL;
}

int kv_examine(const char *url, mvi_buf *json, kv_engine **engine)
{
    const scheme *s = find_scheme(url);
    *engine = NULL;
    return s ? s->examine(url + strlen(s->name), json, engine) : mvi_json_add_failure(json, "address");
}

int kv_describe(kv_engine *engine, mvi_buf *json)
{
    return engine->ops->describe(engine, json);
}

void kv_close(kv_engine *engine)
{
    if (engine)
        engine->ops->close(engine);
}

const kv_traits *kv_get_traits(kv_engine *engine)
{
    return &engine->traits;
}

int kv_read_begin(kv_engine *engine, kv_txn **txn)
{
    return engine->ops->read_begin(engine, txn);
}

int kv_read_recent(kv_engine *engine, unsigned max_age_ms, unsigned *age_ms, kv_txn **txn)
{
    *age_ms = 0;
    if (!engine->ops->read_recent || !max_age_ms)
        return engine->ops->read_begin(engine, txn);
    return engine->ops->read_recent(engine, max_age_ms, age_ms, txn);
}

void kv_read_release(kv_txn *txn)
{
    if (txn->ops->read_release)
        txn->ops->read_release(txn);
}

void kv_read_end(kv_txn *txn)
{
    if (txn)
        txn->ops->read_end(txn);
}

int kv_transact(kv_engine *engine, kv_fn fn, void *ctx, kv_stamp *stamp)
{
    return kv_transact_from(engine, NULL, fn, ctx, stamp);
}

int kv_transact_from(kv_engine *engine, kv_txn *reader, kv_fn fn, void *ctx, kv_stamp *stamp)
{
    kv_stamp unused;
    return engine->ops->transact(engine, reader, fn, ctx, stamp ? stamp : &unused);
}

int kv_on_reader(kv_txn *txn)
{
    return txn->ops->on_reader && txn->ops->on_reader(txn);
}

int kv_maybe_committed(kv_txn *txn)
{
    return txn->ops->maybe_committed(txn);
}

int kv_get(kv_txn *txn, mv_slice key, mv_slice *value)
{
    return txn->ops->get(txn, key, value);
}

void kv_prefetch(kv_txn *txn, const mv_slice *keys, size_t n)
{
    txn->ops->prefetch(txn, keys, n);
}

int kv_range(kv_txn *txn, mv_slice begin, mv_slice end, size_t limit, int flags, kv_cursor **cursor)
{
    *cursor = NULL; /* so that a caller may close what did not open */
    return txn->ops->range(txn, begin, end, limit, flags, cursor);
}

int kv_next(kv_cursor *cursor, mv_slice *key, mv_slice *value)
{
    return cursor->ops->next(cursor, key, value);
}

void kv_cursor_close(kv_cursor *cursor)
{
    if (cursor)
        cursor->ops->cursor_close(cursor);
}

int kv_set(kv_txn *txn, mv_slice key, mv_slice value)
{
    return txn->ops->set(txn, key, value);
}

int kv_set_stamped_key(kv_txn *txn, mv_slice key, size_t offset, mv_slice value)
{
    return txn->ops->set_stamped_key(txn, key, offset, value);
}

int kv_set_stamped_value(kv_txn *txn, mv_slice key, mv_slice value, size_t offset)
{
    return txn->ops->set_stamped_value(txn, key, value, offset);
}

int kv_clear(kv_txn *txn, mv_slice key)
{
    return txn->ops->clear(txn, key);
}

int kv_clear_range(kv_txn *txn, mv_slice begin, mv_slice end)
{
    return txn->ops->clear_range(txn, begin, end);
}

int kv_add_read_conflict(kv_txn *txn, mv_slice begin, mv_slice end)
{
    return txn->ops->add_read_conflict(txn, begin, end);
}

int kv_raise_stamps(kv_engine *engine, const kv_stamp *above)
{
    return engine->ops->raise_stamps(engine, above);
}

int kv_watch(kv_engine *engine, mv_slice key, mv_slice known, unsigned timeout_ms)
{
    return engine->ops->watch(engine, key, known, timeout_ms);
}

int kv_counter(kv_engine *engine, size_t index, const char **name, uint64_t *value)
{
    return engine->ops->counter ? engine->ops->counter(engine, index, name, value) : MV_NOTFOUND;
}
