/* A handle's read transaction. Where beginning one costs nothing each piece of work gets
 * its own; where it costs a round trip, one is kept as long as the engine allows: reads go on
 * in it, and a commit works in it too. What was read at a snapshot can be read again in a
 * later transaction, for history answers for the snapshot's stamp. */
#include <time.h>

#include "internal.h"

/* A read that the engine wants done over is tried so often, with pauses that double. */
#define TRIES 10
#define PAUSE_MS 2

uint64_t mvi_monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int mvi_again(int rc, int *tries)
{
    if (rc != MV_STALE || *tries >= TRIES)
        return 0;
    if (*tries > 0) {
        long ms = (long)PAUSE_MS << *tries;
        struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    ++*tries;
    return 1;
}

int mvi_view_is_fresh(const mv_db *db)
{
    return db->view && mvi_monotonic_ms() - db->view_at < db->store->traits->hold_ms;
}

int mvi_view_begin(mv_db *db, unsigned max_age_ms, kv_txn **txn)
{
    unsigned age_ms;
    mvi_view_drop(db);
    int rc = kv_read_recent(db->store->kv, max_age_ms, &age_ms, txn);
    if (!rc && db->store->traits->hold_ms) {
        db->view = *txn;
        db->view_at = mvi_monotonic_ms() - age_ms;
    }
    return rc;
}

int mvi_view(mv_db *db, kv_txn **txn)
{
    if (mvi_view_is_fresh(db)) {
        *txn = db->view;
        return MV_OK;
    }
    return mvi_view_begin(db, 0, txn);
}

void mvi_view_done(mv_db *db, kv_txn *txn, int rc)
{
    if (txn != db->view)
        kv_read_end(txn);
    else if (rc && rc != MV_NOTFOUND)
        mvi_view_drop(db);
    else
        kv_read_release(txn);
}

void mvi_view_drop(mv_db *db)
{
    kv_read_end(db->view);
    db->view = NULL;
    db->view_fits = 0;
}

kv_txn *mvi_view_take(mv_db *db)
{
    kv_txn *txn = db->view_fits && mvi_view_is_fresh(db) ? db->view : NULL;
    if (!txn)
        mvi_view_drop(db);
    db->view = NULL;
    db->view_fits = 0;
    return txn;
}
