/* The n-th call of the engine fails, for every n until the work is done without: the
 * database is as before or as after, nothing is wrong with it, and the next work
 * succeeds. Once, and for ever until the engine is back. */
#include "../../native/kv/kv_fault.h"
#include "model.h"

enum { PAGE = 32768, PAGES = 7 };

typedef struct bench {
    char url[KIT_PATH];
    mv_store *store;
    mv_db *db;
    model m; /* as it is */
    size_t target; /* of a revert */
} bench;

/* One kind of work. `prepare` succeeds; `run` may fail; `happened` looks whether it took
 * effect all the same; `after` is told, and brings the model up to date. */
typedef struct work {
    const char *name;
    void (*prepare)(bench *b);
    int (*run)(bench *b, mv_stamp *made);
    void (*after)(bench *b, int happened, const mv_stamp *made);
    int (*happened)(bench *b);
} work;

static void open_bench(bench *b)
{
    OK(mv_store_open(b->url, &b->store));
    OK(mv_store_set(b->store, MV_STAGE_BYTES, 1));
    OK(mv_db_open(b->store, "a", MV_CREATE, &b->db));
}

static void bench_begin(bench *b)
{
    memset(b, 0, sizeof *b);
    mv_fault_reset();
    kit_store("fault:", b->url);
    open_bench(b);
    model_begin(&b->m, 111, PAGE, PAGES);
    OK(mv_db_lock(b->db));
    for (uint32_t p = 1; p <= 3; p++) {
        model_write_page(&b->m, b->db, p, FILL_TEXT);
        model_write_page(&b->m, b->db, 4, FILL_SPARSE);
        model_commit(&b->m, b->db);
    }
    mv_db_unlock(b->db);
}

static void bench_end(bench *b)
{
    model_check_all(&b->m, b->store, "a");
    mv_db_close(b->db);
    mv_store_close(b->store);
    model_end(&b->m);
}

/* ---- what goes on in the newest version: commits and reverts ---------------- */

static mv_stamp newest_of(bench *b)
{
    mv_snapshot snapshot;
    int stale;
    OK(mv_db_begin(b->db, &stale));
    mv_db_snapshot(b->db, &snapshot);
    return snapshot.stamp;
}

static int has_new_version(bench *b)
{
    mv_stamp newest = newest_of(b), known = model_newest(&b->m);
    return mvi_stamp_cmp(&newest, &known) != 0;
}

static void keep_or_forget(bench *b, int happened, const mv_stamp *made)
{
    mv_stamp newest = newest_of(b);
    CHECK(mvi_stamp_is_zero(made) || mvi_stamp_cmp(made, &newest) == 0);
    if (happened)
        model_keep(&b->m, &newest);
    else
        model_forget(&b->m);
    model_check_now(&b->m, b->db);
}

static void nothing_to_prepare(bench *b)
{
    int stale;
    OK(mv_db_begin(b->db, &stale));
}

/* Pages 1 to `pages`, some of them in part; expect_pages does the same to the model. */
static int write_pages(bench *b, uint32_t pages)
{
    static uint8_t page[PAGE];
    int rc = mv_db_lock(b->db);
    chance c = {b->m.n + 1};
    for (uint32_t p = 1; p <= pages && !rc; p++) {
        kit_fill(&c, p == 2 ? FILL_NOISE : FILL_SPARSE, page, 2000);
        rc = mv_db_write_bytes(b->db, (uint64_t)(p - 1) * PAGE, page, p % 2 ? PAGE : 2000);
    }
    return rc;
}

static void expect_pages(bench *b, uint32_t pages)
{
    static uint8_t page[PAGE];
    chance c = {b->m.n + 1};
    state *now = &b->m.now;
    if (now->pages < pages) {
        now->bytes = realloc(now->bytes, (size_t)pages * PAGE + 1);
        CHECK(now->bytes != NULL);
        memset(now->bytes + (size_t)now->pages * PAGE, 0, (size_t)(pages - now->pages) * PAGE);
        now->pages = pages;
    }
    for (uint32_t p = 1; p <= pages; p++) {
        kit_fill(&c, p == 2 ? FILL_NOISE : FILL_SPARSE, page, 2000);
        memcpy(now->bytes + (size_t)(p - 1) * PAGE, page, p % 2 ? PAGE : 2000);
    }
}

static int run_commit(bench *b, uint32_t pages, mv_stamp *made)
{
    int rc = write_pages(b, pages);
    if (!rc && pages > 2)
        rc = mv_db_truncate(b->db, (uint64_t)pages * PAGE);
    if (!rc)
        rc = mv_db_commit(&b->db, 1, made);
    mv_db_unlock(b->db);
    return rc;
}

static int run_small(bench *b, mv_stamp *made)
{
    return run_commit(b, 2, made);
}

static void after_small(bench *b, int happened, const mv_stamp *made)
{
    if (happened)
        expect_pages(b, 2);
    keep_or_forget(b, happened, made);
}

static int run_large(bench *b, mv_stamp *made)
{
    return run_commit(b, 5, made);
}

static void after_large(bench *b, int happened, const mv_stamp *made)
{
    if (happened)
        expect_pages(b, 5);
    keep_or_forget(b, happened, made);
}

/* What fails is tried again in the same transaction, and succeeds. */
static int run_stubborn(bench *b, mv_stamp *made)
{
    int rc = mv_db_lock(b->db);
    if (rc)
        return rc;
    rc = write_pages(b, 5);
    if (rc) {
        mv_fault_reset();
        OK(write_pages(b, 5));
    }
    int failed = mv_db_commit(&b->db, 1, made);
    if (failed) {
        mv_fault_reset();
        OK(mv_db_commit(&b->db, 1, made));
    }
    mv_db_unlock(b->db);
    return rc ? rc : failed;
}

static void prepare_revert(bench *b)
{
    mv_stamp made;
    nothing_to_prepare(b);
    OK(run_large(b, &made));
    after_large(b, 1, &made);
    b->target = b->m.n % 3 ? b->m.n - 2 : 0;
}

static int run_revert(bench *b, mv_stamp *made)
{
    return mv_db_revert(b->db, &b->m.versions[b->target].stamp, made);
}

static void after_revert(bench *b, int happened, const mv_stamp *made)
{
    if (happened)
        model_revert(&b->m, b->target, &mvi_zero_stamp);
    keep_or_forget(b, happened, made);
}

/* ---- names -------------------------------------------------------------------- */

static int find_name(void *ctx, const mv_info *info)
{
    strcpy(ctx, info->deleted_ms ? "(deleted)" : info->name);
    return 0;
}

static int name_is(bench *b, const char *wanted)
{
    char name[MV_NAME_MAX + 1] = "";
    OK(mv_list(b->store, find_name, name));
    return strcmp(name, wanted) == 0;
}

static int run_rename(bench *b, mv_stamp *made)
{
    (void)made;
    return mv_rename(b->store, "a", "b");
}

static int is_renamed(bench *b)
{
    CHECK(name_is(b, "a") || name_is(b, "b"));
    return name_is(b, "b");
}

static void after_rename(bench *b, int happened, const mv_stamp *made)
{
    (void)made;
    if (happened)
        OK(mv_rename(b->store, "b", "a"));
}

static int run_delete(bench *b, mv_stamp *made)
{
    (void)made;
    return mv_delete(b->store, "a");
}

static int is_deleted(bench *b)
{
    CHECK(name_is(b, "a") || name_is(b, "(deleted)"));
    return name_is(b, "(deleted)");
}

static void after_delete(bench *b, int happened, const mv_stamp *made)
{
    (void)made;
    if (happened)
        OK(mv_undelete(b->store, "a", NULL));
}

/* ---- opening and reading: nothing may change ----------------------------------- */

static void close_first(bench *b)
{
    mv_db_close(b->db);
    mv_store_close(b->store);
    b->db = NULL;
    b->store = NULL;
}

static int run_open(bench *b, mv_stamp *made)
{
    (void)made;
    int rc = mv_store_open(b->url, &b->store);
    CHECK(!rc == !!b->store);
    if (!rc)
        rc = mv_db_open(b->store, "a", 0, &b->db);
    CHECK(!rc == !!b->db);
    return rc;
}

static int is_unchanged(bench *b)
{
    if (!b->db) {
        mv_store_close(b->store);
        open_bench(b);
    }
    CHECK(!has_new_version(b));
    model_check_now(&b->m, b->db);
    return 0;
}

static void after_nothing(bench *b, int happened, const mv_stamp *made)
{
    (void)b, (void)happened, (void)made;
}

static void drop_the_cache(bench *b)
{
    OK(mv_store_set(b->store, MV_CACHE_BYTES, 0));
    nothing_to_prepare(b);
}

static int run_read(bench *b, mv_stamp *made)
{
    uint8_t *page = b->db->scratch;
    int stale, rc = mv_db_begin(b->db, &stale);
    (void)made;
    for (uint32_t p = 1; p <= b->m.now.pages && !rc; p++) {
        rc = mv_db_read(b->db, p, page);
        CHECK(rc || memcmp(page, b->m.now.bytes + (size_t)(p - 1) * PAGE, PAGE) == 0);
    }
    return rc;
}

static int run_read_past(bench *b, mv_stamp *made)
{
    const state *past = &b->m.versions[0];
    int rc = mv_db_pin(b->db, &past->stamp);
    (void)made;
    for (uint32_t p = 1; p <= past->pages && !rc; p++) {
        rc = mv_db_read(b->db, p, b->db->scratch);
        CHECK(rc || memcmp(b->db->scratch, past->bytes + (size_t)(p - 1) * PAGE, PAGE) == 0);
    }
    int unpinned = mv_db_unpin(b->db);
    return rc ? rc : unpinned;
}

/* ---- forgetting ---------------------------------------------------------------- */

/* Some versions more, of which the first one has a tag. */
static void prepare_gc(bench *b)
{
    static unsigned tag;
    mv_policy policy = {.all_ms = 0};
    char name[16];
    OK(mv_db_set_policy(b->db, &policy));
    OK(mv_db_lock(b->db));
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t p = 1; p <= 5; p++)
            model_write_page(&b->m, b->db, p, p == 2 ? FILL_TEXT : FILL_SPARSE);
        if (i == 2)
            model_truncate(&b->m, b->db, 3);
        model_commit(&b->m, b->db);
        snprintf(name, sizeof name, "%u", tag++);
        if (i == 0)
            OK(mv_db_tag(b->db, name, &b->m.versions[b->m.n - 1].stamp));
    }
    mv_db_unlock(b->db);
}

static int run_gc(bench *b, mv_stamp *made)
{
    mv_gc gc = {.now_ms = mvi_now_ms() + 24 * 3600 * 1000};
    (void)made;
    return mv_db_gc(b->db, &gc);
}

/* What is there reads as it was; what is not there has neither a tag nor is it the newest. */
static void after_gc(bench *b, int happened, const mv_stamp *made)
{
    model *m = &b->m;
    mv_version version;
    size_t n = 0;
    (void)happened, (void)made;
    for (size_t i = 0; i < m->n; i++) {
        int rc = mv_db_version(b->db, &m->versions[i].stamp, &version);
        if (rc == MV_OK) {
            m->versions[n++] = m->versions[i];
            continue;
        }
        IS(MV_NOVERSION, rc);
        CHECK(i + 1 < m->n);
        IS(MV_NOVERSION, mv_db_tag(b->db, "late", &m->versions[i].stamp));
        free(m->versions[i].bytes);
    }
    m->n = n;
    model_check_all(m, b->store, "a");
}

static const work works[] = {
    {"open", close_first, run_open, after_nothing, is_unchanged},
    {"read", drop_the_cache, run_read, after_nothing, is_unchanged},
    {"read a past version", drop_the_cache, run_read_past, after_nothing, is_unchanged},
    {"commit", nothing_to_prepare, run_small, after_small, has_new_version},
    {"large commit", nothing_to_prepare, run_large, after_large, has_new_version},
    {"large commit, tried again", nothing_to_prepare, run_stubborn, after_large, has_new_version},
    {"revert", prepare_revert, run_revert, after_revert, has_new_version},
    {"rename", nothing_to_prepare, run_rename, after_rename, is_renamed},
    {"delete", nothing_to_prepare, run_delete, after_delete, is_deleted},
    {"gc", prepare_gc, run_gc, after_gc, is_unchanged},
};
enum { COMMIT = 3 }; /* of the works */

/* One try with the n-th call failing. 0: nothing failed. */
static int try(bench *b, const work *w, uint64_t nth, int forever)
{
    mv_stamp made = mvi_zero_stamp;
    w->prepare(b);
    mv_fault_reset();
    mv_fault_arm(MV_FAULT_ANY, nth, forever, MV_IO);
    int rc = w->run(b, &made);
    int fired = mv_fault_fired() > 0 || rc;
    mv_fault_reset();
    CHECK(rc == MV_OK || rc == MV_IO);
    int happened = w->happened(b);
    CHECK(rc || happened || w->happened == is_unchanged);
    w->after(b, happened, &made);
    EQUAL(0, model_problems(b->db));
    return fired;
}

/* Beyond so many versions a new database, so that verifying stays quick. */
enum { VERSIONS = 24 };

static void every_call_may_fail(const work *w, int forever)
{
    bench b;
    char about[100];
    int fired = 1;
    bench_begin(&b);
    for (uint64_t nth = 1; fired; nth += kit_few(1, 8)) {
        snprintf(about, sizeof about, "%s, call %llu failing %s", w->name, (unsigned long long)nth,
                 forever ? "and all after it" : "once");
        check_now.about = about;
        fired = try(&b, w, nth, forever);
        CHECK(nth < 5000);
        if (nth % 16 < kit_few(1, 8) && fired)
            EQUAL(0, try(&b, w, 1000000, 0)); /* the work itself succeeds next */
        if (b.m.n > VERSIONS) {
            bench_end(&b);
            bench_begin(&b);
        }
    }
    CHECK(try(&b, &works[COMMIT], 1000000, 0) == 0); /* and a commit */
    bench_end(&b);
    check_now.about = NULL;
}

static void faults_are_counted_and_planned(void)
{
    char url[KIT_PATH];
    kv_engine *kv;
    kv_txn *txn;
    mv_slice value;
    mv_fault_reset();
    kit_store("fault:", url);
    mv_fault_arm(MV_FAULT_OPEN, 1, 0, MV_UNREACHABLE);
    IS(MV_UNREACHABLE, kv_open(url, &kv));
    OK(kv_open(url, &kv));
    mv_fault_reset();
    mv_fault_arm(MV_FAULT_GET, 2, 0, MV_IO);
    OK(kv_read_begin(kv, &txn));
    for (int i = 1; i <= 3; i++)
        IS(i == 2 ? MV_IO : MV_NOTFOUND, kv_get(txn, str("k"), &value));
    EQUAL(3, mv_fault_calls(MV_FAULT_GET));
    EQUAL(4, mv_fault_calls(MV_FAULT_ANY));
    EQUAL(1, mv_fault_fired());
    mv_fault_reset();
    EQUAL(0, mv_fault_calls(MV_FAULT_GET));
    mv_fault_arm(MV_FAULT_ANY, 2, 1, MV_FULL);
    for (int i = 1; i <= 3; i++)
        IS(i == 1 ? MV_NOTFOUND : MV_FULL, kv_get(txn, str("k"), &value));
    mv_fault_reset();
    kv_read_end(txn);
    kv_close(kv);
}

/* An argument is the engine's address (kit_engine); none: the embedded one. */
int main(int argc, char **argv)
{
    kit_begin(NULL);
    if (argc > 1)
        kit_engine(argv[1]);
    RUN(faults_are_counted_and_planned);
    const char *only = getenv("ONLY");
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        for (int forever = 0; forever < 2; forever++) {
            if (only && !strstr(works[i].name, only))
                continue;
            CHECK(check_wanted(works[i].name));
            every_call_may_fail(&works[i], forever);
        }
    return check_end();
}
