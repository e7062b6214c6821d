/* The write lease: one writer among all hosts, for programs that cannot run a transaction again.
 *
 * Who wants to write takes the lease before its snapshot, and gives it back with the commit
 * or the rollback. It ends by itself, so that a host that died frees the others. Clocks decide
 * only how long one waits: the commit itself checks that the lease is still the writer's, in
 * the engine's transaction, so a writer that was overtaken can lose its turn but never write. */
#include "internal.h"

#define RENEW_PART 3 /* renewed when a third of its time is over */

typedef struct lease {
    uint8_t holder[MV_TXID_SIZE];
    uint64_t until_ms; /* unix time, by the holder's clock */
} lease;

static int get_lease(kv_txn *txn, uint32_t ns, lease *l)
{
    mvi_key key = mvi_key_lease(ns);
    mv_slice value;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc)
        return rc;
    if (value.size != MV_TXID_SIZE + 8)
        return mv_fail(MV_CORRUPT, "a write lease has %zu bytes", value.size);
    memcpy(l->holder, value.data, MV_TXID_SIZE);
    l->until_ms = mvi_get64(value.data + MV_TXID_SIZE);
    return MV_OK;
}

static int is_mine(const mv_db *db, const lease *l)
{
    return memcmp(l->holder, db->lease_id, MV_TXID_SIZE) == 0;
}

static int held_by_other(const mv_db *db, const lease *l)
{
    uint64_t now = mvi_now_ms();
    return mv_fail(MV_BUSY, "another host is writing to database \"%s\"; its lease ends in %llu ms", db->name,
                   (unsigned long long)(l->until_ms > now ? l->until_ms - now : 0));
}

static int lost(const mv_db *db)
{
    return mv_fail(MV_CONFLICT, "the write lease of database \"%s\" ran out during the transaction, and another host "
                                "may have written: run it again", db->name);
}

/* db->has_lease: it must still be ours; else it must be free. */
static int take_in(kv_txn *txn, void *ctx)
{
    mv_db *db = ctx;
    mvi_key key = mvi_key_lease(db->ns);
    uint8_t value[MV_TXID_SIZE + 8];
    lease l;
    int rc = get_lease(txn, db->ns, &l);
    if (!rc && !is_mine(db, &l))
        rc = db->has_lease ? lost(db) : l.until_ms > mvi_now_ms() ? held_by_other(db, &l) : MV_OK;
    else if (rc == MV_NOTFOUND)
        rc = db->has_lease ? lost(db) : MV_OK;
    if (rc)
        return rc;
    memcpy(value, db->lease_id, MV_TXID_SIZE);
    mvi_put64(value + MV_TXID_SIZE, mvi_now_ms() + db->lease_ms);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(value, sizeof value));
}

int mvi_lease_take(mv_db *db)
{
    uint64_t now = mvi_monotonic_ms();
    if (db->concurrency != MV_WRITE_LEASE || (db->has_lease && now - db->lease_at < db->lease_ms / RENEW_PART))
        return MV_OK;
    int rc = db->has_lease ? MV_OK : mvi_random(db->lease_id, MV_TXID_SIZE);
    if (!rc)
        rc = kv_transact(db->store->kv, take_in, db, NULL);
    if (rc)
        return rc;
    db->has_lease = 1;
    db->lease_at = now;
    return MV_OK;
}

int mvi_lease_renew(mv_db *db)
{
    return db->has_lease ? mvi_lease_take(db) : MV_OK;
}

static int give_in(kv_txn *txn, void *ctx)
{
    mv_db *db = ctx;
    mvi_key key = mvi_key_lease(db->ns);
    lease l;
    int rc = get_lease(txn, db->ns, &l);
    if (rc || !is_mine(db, &l))
        return rc && rc != MV_NOTFOUND ? rc : KV_NOTHING;
    return kv_clear(txn, mvi_key_slice(&key));
}

void mvi_lease_give(mv_db *db)
{
    if (db->has_lease)
        (void)kv_transact(db->store->kv, give_in, db, NULL); /* else it ends by itself */
    db->has_lease = 0;
}

int mvi_lease_commit(kv_txn *txn, mv_db *db)
{
    mvi_key key = mvi_key_lease(db->ns);
    lease l;
    if (db->concurrency != MV_WRITE_LEASE)
        return MV_OK;
    int rc = get_lease(txn, db->ns, &l);
    if (rc && rc != MV_NOTFOUND)
        return rc;
    if (rc || !is_mine(db, &l))
        return lost(db);
    return kv_clear(txn, mvi_key_slice(&key));
}

int mvi_lease_until(kv_txn *txn, uint32_t ns, uint64_t *ms)
{
    lease l = {.until_ms = 0};
    int rc = get_lease(txn, ns, &l);
    *ms = rc ? 0 : l.until_ms;
    return rc == MV_NOTFOUND ? MV_OK : rc;
}
