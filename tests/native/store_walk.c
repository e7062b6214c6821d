/* Reading that takes longer than a read transaction: in pieces, while others commit. */
#include <pthread.h>

#include "../../native/kv/kv_fault.h"
#include "model.h"
#include "test_store.h"

enum { PAGE = 32768, PAGES = 10, COMMITS = 60 };

typedef struct writer {
    mv_store *store;
    pthread_mutex_t lock; /* guards: done */
    int done;
} writer;

/* Small commits and large ones, whose pages move in steps; pages cut off, and written again. */
static void commit_one(model *m, mv_db *db, int i)
{
    if (i % 7 == 3)
        model_truncate(m, db, 2 + (uint32_t)i % 3);
    for (uint32_t p = 1; p <= (i % 5 == 4 ? PAGES : 2u); p++)
        model_write_page(m, db, 1 + (p * 3 + (uint32_t)i) % PAGES, i % FILL_KINDS);
    model_commit(m, db);
}

static void *write_on(void *ctx)
{
    writer *w = ctx;
    model m;
    mv_db *db;
    model_begin(&m, 17, PAGE, PAGES);
    OK(mv_db_open(w->store, "a", MV_CREATE, &db));
    OK(mv_db_lock(db));
    for (int i = 0; i < COMMITS; i++)
        commit_one(&m, db, i);
    mv_db_unlock(db);
    mv_db_close(db);
    model_check_all(&m, w->store, "a");
    model_end(&m);
    pthread_mutex_lock(&w->lock);
    w->done = 1;
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void print(void *ctx, const char *what)
{
    (void)ctx;
    fprintf(stderr, "  %s\n", what);
}

static void verify_and_count(mv_db *db)
{
    mv_check check = {.problem = print};
    mv_usage usage;
    OK(mv_db_verify(db, &check));
    EQUAL(0, check.problems);
    OK(mv_db_usage(db, &usage));
}

static void verification_finds_nothing_while_others_commit(const char *keys)
{
    char url[KIT_PATH];
    writer w = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    mv_db *db;
    kit_url("lmdb:", url);
    OK(mv_store_open(url, &w.store));
    OK(mv_store_set(w.store, MV_STAGE_BYTES, 1));
    w.store->piece_keys = strtoull(keys, NULL, 10);
    OK(mv_db_open(w.store, "a", MV_CREATE, &db));
    CHECK(pthread_create(&thread, NULL, write_on, &w) == 0);
    for (int done = 0; !done;) {
        pthread_mutex_lock(&w.lock);
        done = w.done;
        pthread_mutex_unlock(&w.lock);
        verify_and_count(db);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    mv_db_close(db);
    mv_store_close(w.store);
}

static mv_db *some_database(mv_store *store, model *m)
{
    mv_db *db;
    model_begin(m, 18, PAGE, PAGES);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    OK(mv_db_lock(db));
    for (int i = 0; i < 12; i++)
        commit_one(m, db, i);
    mv_db_unlock(db);
    return db;
}

/* A piece whose transaction is refused is read again; one that always is, is an error. */
static void a_transaction_that_is_too_old_is_begun_again(void)
{
    static const int kinds[] = {MV_FAULT_GET, MV_FAULT_RANGE};
    char url[KIT_PATH];
    mv_store *store;
    model m;
    mv_usage usage, once;
    mv_check check = {.problem = print};
    uint32_t *pages;
    size_t n, changed;
    kit_url("fault:lmdb:", url);
    OK(mv_store_open(url, &store));
    mv_db *db = some_database(store, &m);
    mv_stamp newest = model_newest(&m);
    OK(mv_db_usage(db, &usage));
    OK(mv_db_changed(db, &m.versions[2].stamp, &newest, &pages, &changed));
    mv_free(pages);
    for (int k = 0; k < 2; k++)
        for (uint64_t nth = 1, fired = 1; fired; nth++) {
            mv_fault_reset();
            mv_fault_arm(kinds[k], nth, 0, MV_STALE);
            OK(mv_db_verify(db, &check));
            EQUAL(0, check.problems);
            EQUAL(usage.heads + usage.history, check.images);
            fired = mv_fault_fired();
            mv_fault_reset();
            mv_fault_arm(kinds[k], nth, 0, MV_STALE);
            OK(mv_db_usage(db, &once));
            CHECK(memcmp(&usage, &once, sizeof usage) == 0);
            OK(mv_db_changed(db, &m.versions[2].stamp, &newest, &pages, &n));
            EQUAL(changed, n);
            mv_free(pages);
        }
    mv_fault_reset();
    mv_fault_arm(MV_FAULT_RANGE, 40, 1, MV_STALE);
    IS(MV_STALE, mv_db_verify(db, &check));
    mv_fault_reset();
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

void store_walk(void)
{
    static const char *const keys[] = {"1", "2", "3", "7", "50", "1000"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        RUN_WITH(verification_finds_nothing_while_others_commit, keys[i]);
    RUN(a_transaction_that_is_too_old_is_begun_again);
}
