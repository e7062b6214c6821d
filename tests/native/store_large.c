/* Commits too large for one transaction: staged, made visible, then moved. */
#include "../../native/kv/kv_fault.h"
#include "model.h"
#include "test_store.h"

enum { PAGE = 32768, PAGES = 8 }; /* two pages fill a step of the smallest staging */

typedef struct bench {
    mv_store *store;
    mv_db *db, *reader;
    model m;
} bench;

/* A database of four pages, whose next commits of many pages are large. */
static void bench_begin(bench *b)
{
    char url[KIT_PATH];
    int stale;
    kit_store("fault:", url);
    OK(mv_store_open(url, &b->store));
    OK(mv_store_set(b->store, MV_STAGE_BYTES, 1));
    model_begin(&b->m, 91, PAGE, PAGES);
    OK(mv_db_open(b->store, "a", MV_CREATE, &b->db));
    OK(mv_db_lock(b->db));
    for (uint32_t p = 1; p <= 4; p++) {
        model_write_page(&b->m, b->db, p, FILL_TEXT);
        model_commit(&b->m, b->db);
    }
    OK(mv_db_open(b->store, "a", 0, &b->reader));
    OK(mv_db_begin(b->reader, &stale));
}

static void bench_end(bench *b)
{
    EQUAL(0, model_problems(b->reader));
    model_check_all(&b->m, b->store, "a");
    mv_db_close(b->db);
    mv_db_close(b->reader);
    model_end(&b->m);
    mv_store_close(b->store);
}

static void write_large(bench *b)
{
    for (uint32_t p = 2; p <= PAGES; p++)
        model_write_page(&b->m, b->db, p, p % 2 ? FILL_NOISE : FILL_SPARSE);
}

static mvi_latest latest_of(const mv_db *db)
{
    kv_txn *txn;
    mvi_latest latest;
    OK(kv_read_begin(db->store->kv, &txn));
    OK(mvi_get_latest(txn, db->ns, &latest));
    kv_read_end(txn);
    return latest;
}

static uint64_t staged_bytes(mv_db *db)
{
    mv_usage usage;
    OK(mv_db_usage(db, &usage));
    return usage.staged_bytes;
}

/* Commits so that the transactions of the move fail from the n-th on. */
static void commit_and_stop_the_move(bench *b, uint64_t nth)
{
    write_large(b);
    mv_stamp stamp;
    /* What is left of the staging, then the commit itself; then the move. */
    OK(mvi_stage_flush(b->db, &b->db->writes));
    mv_fault_reset();
    mv_fault_arm(MV_FAULT_COMMIT, 1 + 1 + nth, 1, MV_IO);
    OK(mv_db_commit(&b->db, 1, &stamp));
    CHECK(mv_fault_fired() > 0);
    mv_fault_reset();
    model_keep(&b->m, &stamp);
    CHECK(latest_of(b->db).flags & MVI_PENDING);
}

static void a_commit_whose_move_stopped_is_whole(void)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        bench b;
        int stale;
        bench_begin(&b);
        OK(mv_db_read(b.reader, 2, b.db->scratch));
        commit_and_stop_the_move(&b, nth);
        CHECK(staged_bytes(b.reader) > 0);
        CHECK(model_same(&b.m, b.reader, &b.m.versions[3])); /* it has not begun anew */
        OK(mv_db_begin(b.reader, &stale));
        CHECK(stale);
        model_check_now(&b.m, b.reader);
        model_check_now(&b.m, b.db);
        model_check_all(&b.m, b.store, "a");
        EQUAL(0, model_problems(b.reader));
        mv_db_unlock(b.db);
        OK(mv_db_lock(b.reader)); /* the next writer finishes it */
        CHECK(!(latest_of(b.db).flags & MVI_PENDING));
        EQUAL(0, staged_bytes(b.reader));
        model_check_now(&b.m, b.reader);
        model_write_page(&b.m, b.reader, 3, FILL_NOISE);
        model_commit(&b.m, b.reader);
        mv_db_unlock(b.reader);
        OK(mv_db_begin(b.db, &stale));
        model_check_now(&b.m, b.db);
        bench_end(&b);
    }
}

/* The same writer goes on, with the lock it has. */
static void the_writer_itself_finishes_its_move(void)
{
    bench b;
    bench_begin(&b);
    commit_and_stop_the_move(&b, 2);
    model_write_page(&b.m, b.db, 1, FILL_NOISE);
    model_commit(&b.m, b.db);
    CHECK(!(latest_of(b.db).flags & MVI_PENDING));
    model_check_now(&b.m, b.db);
    commit_and_stop_the_move(&b, 1);
    OK(mv_db_settle(b.db));
    EQUAL(0, staged_bytes(b.db));
    model_check_now(&b.m, b.db);
    bench_end(&b);
}

static void a_stopped_move_that_cuts_pages_off_is_whole(void)
{
    for (uint64_t nth = 1; nth <= 5; nth++) {
        bench b;
        mv_stamp stamp;
        bench_begin(&b);
        write_large(&b);
        model_commit(&b.m, b.db);
        model_write_page(&b.m, b.db, 1, FILL_NOISE);
        model_truncate(&b.m, b.db, 2);
        mv_fault_reset();
        mv_fault_arm(MV_FAULT_COMMIT, 2 + nth, 1, MV_IO); /* staging, commit, move */
        OK(mv_db_commit(&b.db, 1, &stamp));
        mv_fault_reset();
        model_keep(&b.m, &stamp);
        EQUAL(0, model_problems(b.reader));
        model_check_all(&b.m, b.store, "a");
        OK(mv_db_settle(b.db));
        EQUAL(0, staged_bytes(b.db));
        bench_end(&b);
    }
}

static void what_was_never_committed_is_swept(void)
{
    bench b;
    bench_begin(&b);
    write_large(&b);
    CHECK(staged_bytes(b.db) > 0);
    mv_fault_reset();
    mv_fault_arm(MV_FAULT_ANY, 1, 1, MV_IO); /* as if the process had died: it cannot clear */
    mv_db_unlock(b.db);
    mv_fault_reset();
    model_forget(&b.m);
    CHECK(staged_bytes(b.db) > 0);
    EQUAL(0, model_problems(b.db));
    OK(mv_db_lock(b.reader));
    EQUAL(0, staged_bytes(b.db));
    mv_db_unlock(b.reader);
    bench_end(&b);
}

static void a_rolled_back_large_transaction_leaves_nothing(void)
{
    bench b;
    bench_begin(&b);
    write_large(&b);
    CHECK(staged_bytes(b.db) > 0);
    mv_db_rollback(b.db);
    model_forget(&b.m);
    EQUAL(0, staged_bytes(b.db));
    model_check_now(&b.m, b.db);
    bench_end(&b);
}

/* A page that was staged, cut off, and written again as it had been: it is no change. */
static void a_page_that_comes_back_as_it_was_is_so(void)
{
    bench b;
    bench_begin(&b);
    static uint8_t as_it_was[PAGE];
    memcpy(as_it_was, b.m.now.bytes + 3 * PAGE, PAGE);
    write_large(&b);
    model_truncate(&b.m, b.db, 2);
    model_write_page(&b.m, b.db, 2, FILL_NOISE);
    model_write_page(&b.m, b.db, 3, FILL_NOISE);
    model_write_bytes(&b.m, b.db, 3 * PAGE, as_it_was, PAGE);
    for (uint32_t p = 5; p <= PAGES; p++)
        model_write_page(&b.m, b.db, p, FILL_NOISE);
    model_commit(&b.m, b.db);
    model_check_now(&b.m, b.db);
    bench_end(&b);
}

/* ---- the engine forgets whether a commit happened --------------------------- */

static void check_once(bench *b, size_t versions)
{
    mv_log *log;
    mv_version version;
    size_t n = 0;
    OK(mv_log_open(b->db, NULL, NULL, 0, &log));
    while (mv_log_next(log, &version) == MV_OK)
        n++;
    mv_log_close(log);
    EQUAL(versions, n);
    EQUAL(versions, b->m.n);
    model_check_now(&b->m, b->db);
    EQUAL(0, model_problems(b->db));
}

static void a_forgotten_commit_happens_once(void)
{
    for (int kind = MV_FAULT_UNKNOWN_DONE; kind <= MV_FAULT_UNKNOWN_LOST; kind++)
        for (int large = 0; large < 2; large++) {
            bench b;
            bench_begin(&b);
            /* Every transaction of the commit in turn: staging, commit, moves. */
            for (uint64_t nth = 1, fired = 1; fired; nth++) {
                model_write_page(&b.m, b.db, 2, FILL_NOISE);
                mv_fault_reset();
                mv_fault_arm(kind, nth, 0, MV_UNKNOWN);
                for (uint32_t p = 3; large && p <= PAGES; p++)
                    model_write_page(&b.m, b.db, p, FILL_NOISE);
                model_commit(&b.m, b.db);
                fired = mv_fault_fired();
                mv_fault_reset();
                check_once(&b, 4 + nth);
            }
            bench_end(&b);
        }
}

/* Pages staged and then equal to the snapshot, or cut off, are unstaged by the commit;
 * one that fails on the way can be made again. */
static void a_large_commit_that_failed_is_made_again(void)
{
    bench b;
    bench_begin(&b);
    for (uint64_t nth = 1; nth <= 8; nth++) {
        mv_stamp stamp;
        write_large(&b);
        model_write_bytes(&b.m, b.db, 0, b.m.now.bytes, PAGE); /* page 1 as it is */
        OK(mvi_stage_flush(b.db, &b.db->writes));
        model_truncate(&b.m, b.db, PAGES - 2);
        mv_fault_reset();
        mv_fault_arm(MV_FAULT_COMMIT, nth, 0, MV_IO);
        int rc = mv_db_commit(&b.db, 1, &stamp);
        CHECK(rc == MV_OK || rc == MV_IO);
        mv_fault_reset();
        model_check_now(&b.m, b.db);
        if (rc)
            OK(mv_db_commit(&b.db, 1, &stamp));
        model_keep(&b.m, &stamp);
        model_check_now(&b.m, b.db);
    }
    bench_end(&b);
}

/* So many runs of pages in one commit that their set is stored in chunks. */
static void a_set_of_pages_in_chunks_is_whole(void)
{
    char url[KIT_PATH];
    mv_store *store;
    mv_db *db;
    mv_stamp stamp;
    uint8_t page[512];
    int stale;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    OK(mv_db_lock(db));
    memset(page, 7, sizeof page);
    /* Every other page: two bytes a run. */
    for (uint32_t p = 1; p <= 80001; p += 2)
        OK(mv_db_write_bytes(db, (uint64_t)(p - 1) * 512, page, 512));
    OK(mv_db_commit(&db, 1, &stamp));
    EQUAL(0, model_problems(db));
    mv_db_unlock(db);
    OK(mv_db_begin(db, &stale));
    uint32_t *pages;
    size_t n;
    OK(mv_db_changed(db, &mvi_zero_stamp, &stamp, &pages, &n));
    EQUAL(40001, n);
    EQUAL(80001, pages[n - 1]);
    mv_free(pages);
    mv_db_close(db);
    mv_store_close(store);
}

/* A page that was staged, cut off, and is what it was before again: nothing of the staged one shows. */
static void a_page_that_became_as_before_is_unchanged(void)
{
    bench b;
    bench_begin(&b);
    model_write_page(&b.m, b.db, 3, FILL_ZERO);
    model_commit(&b.m, b.db);
    model_write_page(&b.m, b.db, 3, FILL_NOISE);
    for (uint32_t p = 4; p <= PAGES; p++)
        model_write_page(&b.m, b.db, p, FILL_NOISE); /* staged */
    model_truncate(&b.m, b.db, 2);
    model_truncate(&b.m, b.db, PAGES); /* zeros */
    model_write_page(&b.m, b.db, 2, FILL_NOISE);
    model_commit(&b.m, b.db);
    model_check_now(&b.m, b.db);
    bench_end(&b);
}

void store_large(void)
{
    RUN(a_commit_whose_move_stopped_is_whole);
    RUN(the_writer_itself_finishes_its_move);
    RUN(a_stopped_move_that_cuts_pages_off_is_whole);
    RUN(what_was_never_committed_is_swept);
    RUN(a_rolled_back_large_transaction_leaves_nothing);
    RUN(a_page_that_comes_back_as_it_was_is_so);
    RUN(a_forgotten_commit_happens_once);
    RUN(a_large_commit_that_failed_is_made_again);
    RUN(a_page_that_became_as_before_is_unchanged);
    RUN(a_set_of_pages_in_chunks_is_whole);
}
