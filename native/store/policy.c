/* What is kept of a database's history, and what its commits record. */
#include "internal.h"

static const mv_policy usual = {
    .all_ms = MV_FOR_EVER,
    .least_ms = 3600 * 1000,
    .deleted_ms = MV_FOR_EVER,
    .statements = MV_STATEMENTS_TEXT,
};

mv_policy mvi_policy_of(const mvi_meta *meta)
{
    return meta->has_policy ? meta->policy : usual;
}

typedef struct policy_work {
    mv_db *db;
    mv_policy *read;
    const mv_policy *write;
} policy_work;

static int read_in(kv_txn *txn, void *ctx)
{
    policy_work *w = ctx;
    mvi_meta meta;
    int rc = mvi_meta_get(txn, w->db->ns, &meta);
    if (!rc)
        *w->read = mvi_policy_of(&meta);
    return rc;
}

int mv_db_policy(mv_db *db, mv_policy *policy)
{
    policy_work w = {.db = db, .read = policy};
    return mvi_read_in(db->store, read_in, &w);
}

static int write_in(kv_txn *txn, void *ctx)
{
    policy_work *w = ctx;
    mvi_meta meta;
    mvi_key key = mvi_key_meta(w->db->ns);
    uint8_t value[MVI_META_ROOM];
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = mvi_meta_get(txn, w->db->ns, &meta);
    if (rc)
        return rc;
    meta.has_policy = 1;
    meta.policy = *w->write;
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(value, mvi_meta_encode(&meta, value)));
}

int mv_db_set_policy(mv_db *db, const mv_policy *policy)
{
    policy_work w = {.db = db, .write = policy};
    if (policy->statements > MV_STATEMENTS_VALUES)
        return mv_fail(MV_MISUSE, "there is no manner %u of recording statements", policy->statements);
    return kv_transact(db->store->kv, write_in, &w, NULL);
}
