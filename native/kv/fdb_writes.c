/* The cluster engine: writes and conflicts. */
#include "fdb_engine.h"

#define MUTATE_STAMPED_KEY 14
#define MUTATE_STAMPED_VALUE 15
#define CONFLICT_READ 0

static int check_writing(fdb_txn *t)
{
    return t->writing ? MV_OK : mv_fail(MV_MISUSE, "a read transaction cannot write");
}

int kvi_fdb_set(kv_txn *base, mv_slice key, mv_slice value)
{
    fdb_txn *t = (fdb_txn *)base;
    int rc = check_writing(t);
    mvi_buf full = kvi_fdb_key(t->engine, key);
    if (!rc && full.failed)
        rc = kvi_fdb_no_memory();
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
        rc = kvi_fdb_no_memory();
    if (!rc)
        t->engine->fdb->fdb_transaction_atomic_op(t->tr, key->data, (int)key->size, value->data, (int)value->size,
                                                  how);
    mvi_buf_free(key);
    mvi_buf_free(value);
    return rc;
}

int kvi_fdb_set_stamped_key(kv_txn *base, mv_slice key, size_t offset, mv_slice value)
{
    fdb_txn *t = (fdb_txn *)base;
    if (offset + KV_STAMP_SIZE > key.size)
        return mv_fail(MV_MISUSE, "a stamped key of %zu bytes with its stamp at %zu", key.size, offset);
    mvi_buf full = kvi_fdb_key(t->engine, key), copy = {0};
    add_offset(&full, t->engine->options.prefix_size + offset);
    mvi_buf_add(&copy, value.data, value.size);
    return mutate(t, &full, &copy, MUTATE_STAMPED_KEY);
}

int kvi_fdb_set_stamped_value(kv_txn *base, mv_slice key, mv_slice value, size_t offset)
{
    fdb_txn *t = (fdb_txn *)base;
    if (offset + KV_STAMP_SIZE > value.size)
        return mv_fail(MV_MISUSE, "a stamped value of %zu bytes with its stamp at %zu", value.size, offset);
    mvi_buf full = kvi_fdb_key(t->engine, key), copy = {0};
    mvi_buf_add(&copy, value.data, value.size);
    add_offset(&copy, offset);
    return mutate(t, &full, &copy, MUTATE_STAMPED_VALUE);
}

int kvi_fdb_clear(kv_txn *base, mv_slice key)
{
    fdb_txn *t = (fdb_txn *)base;
    int rc = check_writing(t);
    mvi_buf full = kvi_fdb_key(t->engine, key);
    if (!rc && full.failed)
        rc = kvi_fdb_no_memory();
    if (!rc)
        t->engine->fdb->fdb_transaction_clear(t->tr, full.data, (int)full.size);
    mvi_buf_free(&full);
    return rc;
}

int kvi_fdb_clear_range(kv_txn *base, mv_slice from, mv_slice to)
{
    fdb_txn *t = (fdb_txn *)base;
    int rc = check_writing(t);
    mvi_buf b = kvi_fdb_key(t->engine, from), e = kvi_fdb_key(t->engine, to);
    if (!rc && (b.failed || e.failed))
        rc = kvi_fdb_no_memory();
    if (!rc && mvi_slice_cmp(from, to) < 0)
        t->engine->fdb->fdb_transaction_clear_range(t->tr, b.data, (int)b.size, e.data, (int)e.size);
    mvi_buf_free(&b);
    mvi_buf_free(&e);
    return rc;
}

int kvi_fdb_add_read_conflict(kv_txn *base, mv_slice from, mv_slice to)
{
    fdb_txn *t = (fdb_txn *)base;
    mvi_buf b = kvi_fdb_key(t->engine, from), e = kvi_fdb_key(t->engine, to);
    int rc = b.failed || e.failed ? kvi_fdb_no_memory() : MV_OK;
    fdb_error_t error = 0;
    if (!rc)
        error = t->engine->fdb->fdb_transaction_add_conflict_range(t->tr, b.data, (int)b.size, e.data, (int)e.size,
                                                                   CONFLICT_READ);
    mvi_buf_free(&b);
    mvi_buf_free(&e);
    return error ? kvi_fdb_failed(t, error, "writing") : rc;
}
