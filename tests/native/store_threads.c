/* Threads of one store: an mv_db each. */
#include <pthread.h>
#include <sched.h>

#include "model.h"
#include "test_store.h"

enum { WRITERS = 3, READERS = 2, ROUNDS = 40, ACCOUNTS = 6, PAGE = 512, TOTAL = 6000 };

typedef struct bank {
    mv_store *store;
    pthread_mutex_t lock; /* guards the rest */
    int working;          /* writers that are not done */
    uint64_t seed;        /* of the writer before */
} bank;

/* A page is an account; its first four bytes are what is on it. */
static uint32_t balance(mv_db *db, uint32_t pgno)
{
    uint8_t page[PAGE];
    OK(mv_db_read(db, pgno, page));
    return mvi_get32(page);
}

static void set_balance(mv_db *db, uint32_t pgno, uint32_t amount)
{
    uint8_t bytes[4];
    mvi_put32(bytes, amount);
    OK(mv_db_write_bytes(db, (uint64_t)(pgno - 1) * PAGE, bytes, 4));
}

static void check_total(mv_db *db)
{
    uint32_t total = 0;
    for (uint32_t p = 1; p <= ACCOUNTS; p++)
        total += balance(db, p);
    EQUAL(TOTAL, total);
}

/* One transfer; 0 if somebody else was first. */
static int transfer(mv_db *db, chance *c)
{
    uint32_t from = 1 + chance_below(c, ACCOUNTS), to = 1 + chance_below(c, ACCOUNTS);
    int stale, rc;
    OK(mv_db_begin(db, &stale));
    uint32_t amount = balance(db, from) / 3;
    rc = mv_db_lock(db);
    if (rc) {
        CHECK(rc == MV_BUSY || rc == MV_CONFLICT);
        return 0;
    }
    set_balance(db, from, balance(db, from) - amount);
    set_balance(db, to, balance(db, to) + amount);
    OK(mv_db_commit(&db, 1, NULL));
    mv_db_unlock(db);
    return 1;
}

static void *write_transfers(void *ctx)
{
    bank *b = ctx;
    mv_db *db;
    OK(mv_db_open(b->store, "bank", 0, &db));
    pthread_mutex_lock(&b->lock);
    chance c = {++b->seed};
    pthread_mutex_unlock(&b->lock);
    for (int done = 0; done < ROUNDS;)
        if (transfer(db, &c))
            done++;
        else
            sched_yield();
    mv_db_close(db);
    pthread_mutex_lock(&b->lock);
    b->working--;
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* Every snapshot, and every version once it is past, adds up. */
static void *read_totals(void *ctx)
{
    bank *b = ctx;
    mv_db *db;
    mv_snapshot snapshot;
    mv_stamp first = {{0}};
    int working = 1, stale;
    OK(mv_db_open(b->store, "bank", 0, &db));
    while (working) {
        pthread_mutex_lock(&b->lock);
        working = b->working;
        pthread_mutex_unlock(&b->lock);
        OK(mv_db_begin(db, &stale));
        check_total(db);
        mv_db_snapshot(db, &snapshot);
        if (mvi_stamp_is_zero(&first))
            first = snapshot.stamp;
        OK(mv_db_pin(db, &first));
        check_total(db);
        OK(mv_db_unpin(db));
    }
    mv_db_close(db);
    return NULL;
}

static void transfers_keep_the_total(const char *size)
{
    char url[KIT_PATH];
    bank b = {.lock = PTHREAD_MUTEX_INITIALIZER, .working = WRITERS};
    pthread_t threads[WRITERS + READERS];
    mv_db *db;
    uint8_t page[PAGE] = {0};
    kit_store("", url);
    OK(mv_store_open(url, &b.store));
    OK(mv_store_set(b.store, MV_CACHE_BYTES, strtoull(size, NULL, 10)));
    OK(mv_db_open(b.store, "bank", MV_CREATE, &db));
    OK(mv_db_lock(db));
    for (uint32_t p = 1; p <= ACCOUNTS; p++) {
        mvi_put32(page, TOTAL / ACCOUNTS);
        OK(mv_db_write_bytes(db, (uint64_t)(p - 1) * PAGE, page, PAGE));
    }
    OK(mv_db_commit(&db, 1, NULL));
    mv_db_unlock(db);
    for (int i = 0; i < WRITERS + READERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < WRITERS ? write_transfers : read_totals, &b) == 0);
    for (int i = 0; i < WRITERS + READERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    EQUAL(0, model_problems(db));
    mv_db_close(db);
    mv_store_close(b.store);
}

static void *open_and_close(void *ctx)
{
    mv_store *store;
    mv_db *db;
    for (int i = 0; i < 20; i++) {
        OK(mv_store_open(ctx, &store));
        OK(mv_db_open(store, "shared", MV_CREATE, &db));
        mv_db_close(db);
        mv_store_close(store);
    }
    return NULL;
}

static void stores_open_and_close_at_once(void)
{
    char url[KIT_PATH];
    pthread_t threads[WRITERS];
    kit_store("", url);
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&threads[i], NULL, open_and_close, url) == 0);
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

void store_threads(void)
{
    RUN_WITH(transfers_keep_the_total, "67108864");
    RUN_WITH(transfers_keep_the_total, "0");
    RUN(stores_open_and_close_at_once);
}
