/* What databases take, in all and by day. */
#include <time.h>

#include "model.h"
#include "test_store.h"

#define DAY_MS 86400000ull
#define NOON 1790000000000ull /* 2026-09-21, 14:13 UTC */

typedef struct made {
    uint32_t ns;
    uint64_t number, ms;
    int pages; /* images it replaced */
} made;

static mv_stamp stamp_of(uint64_t number)
{
    mv_stamp stamp = {{0}};
    mvi_put64(stamp.bytes, number);
    return stamp;
}

/* What a commit of a past day leaves behind, as far as it is counted. */
static int put_commit(kv_txn *txn, void *ctx)
{
    const made *m = ctx;
    uint8_t image[100] = {0};
    mv_stamp stamp = stamp_of(m->number);
    mvi_key record = mvi_key_commit(m->ns, &stamp), chunk = mvi_key_chunk(m->ns, &stamp, 0);
    mvi_key moment = mvi_key_time(m->ns, m->ms, &stamp);
    int rc = kv_set(txn, mvi_key_slice(&record), str("a record"));
    if (!rc)
        rc = kv_set(txn, mvi_key_slice(&chunk), str("a chunk"));
    if (!rc)
        rc = kv_set(txn, mvi_key_slice(&moment), str(""));
    for (int i = 0; i < m->pages && !rc; i++) {
        mvi_key history = mvi_key_history(m->ns, (uint32_t)i + 1, &stamp);
        rc = kv_set(txn, mvi_key_slice(&history), mvi_slice(image, sizeof image));
    }
    return rc;
}

static void use_zone(const char *zone)
{
    CHECK(setenv("TZ", zone, 1) == 0);
    tzset();
}

static void check_days(mv_db *db, const mv_day *wanted, size_t n_wanted)
{
    mv_day *found;
    size_t n;
    OK(mv_db_days(db, &found, &n));
    EQUAL(n_wanted, n);
    for (size_t i = 0; i < n; i++) {
        EQUAL(wanted[i].date, found[i].date);
        EQUAL(wanted[i].versions, found[i].versions);
        EQUAL(wanted[i].history, found[i].history);
        EQUAL(wanted[i].history * (MVI_HISTORY_KEY_SIZE + 100), found[i].history_bytes);
        EQUAL(wanted[i].versions * (MVI_COMMIT_KEY_SIZE + 8 + MVI_COMMIT_KEY_SIZE + 2 + 7 + MVI_TIME_KEY_SIZE),
              found[i].record_bytes);
    }
    mv_free(found);
}

static void history_is_counted_by_the_day_of_the_commit(void)
{
    char url[KIT_PATH];
    mv_store *store;
    mv_db *db;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    use_zone("UTC0");
    check_days(db, NULL, 0);
    for (uint64_t i = 0; i < 6; i++) { /* 14:13, 20:13, 02:13, 08:13, 14:13, and a week later */
        made m = {db->ns, 10 + i, NOON + i * DAY_MS / 4 + (i == 5) * 7 * DAY_MS, (int)i};
        OK(kv_transact(store->kv, put_commit, &m, NULL));
    }
    made other = {db->ns + 1, 12, NOON, 9}; /* of another database */
    OK(kv_transact(store->kv, put_commit, &other, NULL));
    check_days(db, (mv_day[]){{20260921, 2, 1, 0, 0}, {20260922, 3, 9, 0, 0}, {20260929, 1, 5, 0, 0}}, 3);
    use_zone("EST5"); /* five hours less: 02:13 is of the day before */
    check_days(db, (mv_day[]){{20260921, 3, 3, 0, 0}, {20260922, 2, 7, 0, 0}, {20260929, 1, 5, 0, 0}}, 3);
    use_zone("UTC0");
    store->piece_keys = 1; /* in many pieces */
    check_days(db, (mv_day[]){{20260921, 2, 1, 0, 0}, {20260922, 3, 9, 0, 0}, {20260929, 1, 5, 0, 0}}, 3);
    mv_db_close(db);
    mv_store_close(store);
}

static void days_add_up_to_the_whole(void)
{
    char url[KIT_PATH];
    mv_store *store;
    mv_db *db;
    model m;
    mv_usage usage, by_id;
    mv_day *list, sum = {0};
    size_t n;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    model_begin(&m, 91, 1024, 30);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    for (int i = 0; i < 25; i++) {
        OK(mv_db_lock(db));
        model_scribble(&m, db);
        model_commit(&m, db);
        mv_db_unlock(db);
    }
    OK(mv_db_usage(db, &usage));
    OK(mv_db_days(db, &list, &n));
    for (size_t i = 0; i < n; i++) {
        sum.versions += list[i].versions;
        sum.history += list[i].history;
        sum.history_bytes += list[i].history_bytes;
        sum.record_bytes += list[i].record_bytes;
    }
    CHECK(n >= 1 && usage.history > 20);
    EQUAL(usage.versions, sum.versions);
    EQUAL(usage.history, sum.history);
    EQUAL(usage.history_bytes, sum.history_bytes);
    EQUAL(usage.record_bytes, sum.record_bytes);
    mv_free(list);
    OK(mv_delete(store, "a")); /* what is deleted still takes what it took */
    OK(mv_usage_of(store, db->ns, &by_id));
    CHECK(memcmp(&usage, &by_id, sizeof usage) == 0);
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

void store_usage(void)
{
    RUN(history_is_counted_by_the_day_of_the_commit);
    RUN(days_add_up_to_the_whole);
}
