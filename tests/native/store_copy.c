/* Copies of databases with all their versions. */
#include "../../native/kv/kv_fault.h"
#include "model.h"
#include "test_store.h"

enum { PAGE = 32768, PAGES = 9, COMMITS = 30, FEW = 9 };

typedef struct pair {
    mv_store *from, *to;
    mv_db *db; /* in `from` */
    uint32_t id;
    model m;
} pair;

static int set_stamps_in(kv_txn *txn, void *ctx)
{
    uint8_t record[16];
    mvi_put64(record, *(uint64_t *)ctx);
    mvi_put64(record + 8, *(uint64_t *)ctx + 1000000);
    return kv_set(txn, mvi_slice("\xff" "stamp", 6), mvi_slice(record, sizeof record)); /* lmdb_env.c's own */
}

static mv_store *open_store(const char *scheme)
{
    char url[KIT_PATH];
    mv_store *store;
    kit_url(scheme, url);
    OK(mv_store_open(url, &store));
    OK(mv_store_set(store, MV_STAGE_BYTES, 1));
    store->piece_keys = 5;
    return store;
}

static int same_id(void *ctx, const mv_info *info)
{
    *(uint32_t *)ctx = info->id;
    return strcmp(info->name, "a") == 0 ? MV_MISUSE : 0;
}

/* Small commits and large ones, pages cut off and grown again, reverts. */
static void pair_begin_with(int commits, pair *p, const char *from, const char *to, uint64_t stamps)
{
    p->from = open_store(from);
    p->to = open_store(to);
    if (stamps)
        OK(kv_transact(p->from->kv, set_stamps_in, &stamps, NULL));
    OK(mv_store_set(p->from, MV_FULL_EVERY, 4));
    model_begin(&p->m, 31, PAGE, PAGES);
    OK(mv_db_open(p->from, "a", MV_CREATE, &p->db));
    IS(MV_MISUSE, mv_list(p->from, same_id, &p->id));
    OK(mv_db_lock(p->db));
    for (int i = 0; i < commits; i++) {
        model_scribble(&p->m, p->db);
        if (i % 6 == 5)
            for (uint32_t n = 1; n <= PAGES; n++)
                model_write_page(&p->m, p->db, n, n % FILL_KINDS);
        model_write_bytes(&p->m, p->db, (uint64_t)(i % 5), &i, sizeof i);
        model_commit(&p->m, p->db);
    }
    mv_db_unlock(p->db);
    mv_stamp made;
    OK(mv_db_revert(p->db, &p->m.versions[7].stamp, &made));
    model_revert(&p->m, 7, &made);
}

static void pair_begin(pair *p, const char *from, const char *to, uint64_t stamps)
{
    pair_begin_with(COMMITS, p, from, to, stamps);
}

static void pair_end(pair *p)
{
    mv_db_close(p->db);
    mv_store_close(p->from);
    mv_store_close(p->to);
    model_end(&p->m);
}

/* Every version of the copy is as the model's, which is told its names there. */
static void check_copy(pair *p, const char *name)
{
    mv_db *db;
    mv_log *log;
    mv_version version;
    size_t n = 0;
    model there = p->m;
    there.versions = malloc(p->m.n * sizeof *there.versions);
    CHECK(there.versions != NULL);
    memcpy(there.versions, p->m.versions, p->m.n * sizeof *there.versions);
    OK(mv_db_open(p->to, name, 0, &db));
    OK(mv_log_open(db, NULL, NULL, 0, &log));
    while (mv_log_next(log, &version) == MV_OK) {
        CHECK(n < there.n);
        if (version.kind == MV_KIND_REVERT)
            EQUAL(0, mvi_stamp_cmp(&version.target, &there.versions[7].stamp));
        there.versions[n++].stamp = version.stamp;
    }
    mv_log_close(log);
    EQUAL(there.n, n);
    EQUAL(0, model_problems(db));
    mv_db_close(db);
    model_check_all(&there, p->to, name);
    free(there.versions);
}

typedef struct counted {
    const char *name;
    uint32_t n, all;
} counted;

static int count_named(void *ctx, const mv_info *info)
{
    counted *c = ctx;
    c->all++;
    c->n += strcmp(info->name, c->name) == 0;
    return 0;
}

static uint32_t databases(mv_store *store, const char *name)
{
    counted c = {.name = name};
    OK(mv_list(store, count_named, &c));
    return c.n;
}

static void a_copy_has_every_version_under_its_name(void)
{
    pair p;
    mv_copy copy = {.as = "b"};
    pair_begin(&p, "lmdb:", "lmdb:", 0);
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    EQUAL(p.m.n, copy.versions);
    EQUAL(0, copy.renamed);
    EQUAL(0, copy.already + copy.resumed);
    mv_stamp newest = model_newest(&p.m);
    CHECK(mvi_stamp_cmp(&copy.newest, &newest) == 0 && mvi_stamp_cmp(&copy.source, &newest) == 0);
    check_copy(&p, "b");
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    EQUAL(1, copy.already);
    IS(MV_NOTFOUND, mv_copy_database(p.from, 77, p.to, &copy));
    pair_end(&p);
}

/* What is committed to a copy has a greater stamp than all that was copied. */
static void a_copy_goes_on(uint64_t stamps)
{
    pair p;
    mv_copy copy = {.as = NULL};
    mv_db *db;
    pair_begin(&p, "lmdb:", "lmdb:", stamps);
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    EQUAL(stamps > UINT64_MAX / 2 ? p.m.n : 0, copy.renamed);
    check_copy(&p, "a");
    OK(mv_db_open(p.to, "a", 0, &db));
    for (size_t i = 0; i < p.m.n; i++) /* as the copy names them */
        if (copy.renamed) {
            p.m.versions[i].stamp = mvi_zero_stamp;
            mvi_put64(p.m.versions[i].stamp.bytes, i + 1);
        }
    OK(mv_db_lock(db));
    for (uint32_t i = 1; i <= PAGES; i++) {
        mv_stamp before = model_newest(&p.m), after;
        model_write_page(&p.m, db, i, FILL_TEXT);
        model_commit(&p.m, db);
        after = model_newest(&p.m);
        CHECK(mvi_stamp_cmp(&after, &before) > 0);
    }
    mv_db_unlock(db);
    EQUAL(0, model_problems(db));
    mv_db_close(db);
    model_check_all(&p.m, p.to, "a");
    pair_end(&p);
}

static void a_copy_goes_on_with_greater_stamps(void)
{
    a_copy_goes_on(0);
    a_copy_goes_on((uint64_t)1 << 60); /* the destination's are raised */
    a_copy_goes_on((uint64_t)3 << 62); /* they cannot be: versions have new names */
}

/* Versions that were forgotten are not in the copy, under new names either; tags and the policy are. */
static void what_is_left_is_copied(uint64_t stamps)
{
    pair p;
    mv_copy copy = {.as = NULL};
    mv_policy policy = {.all_ms = 0, .weekly = 3};
    mv_gc gc = {.now_ms = mvi_now_ms() + 24 * 3600 * 1000};
    size_t n = 0;
    mv_db *db;
    pair_begin(&p, "lmdb:", "lmdb:", stamps);
    OK(mv_db_set_policy(p.db, &policy));
    for (size_t i = 0; i < p.m.n; i++) {
        char name[24];
        snprintf(name, sizeof name, "%zu", i);
        if (i < 9 || i % 4 == 0 || i + 1 == p.m.n) {
            OK(mv_db_tag(p.db, name, &p.m.versions[i].stamp));
            p.m.versions[n++] = p.m.versions[i];
        } else {
            free(p.m.versions[i].bytes);
        }
    }
    OK(mv_db_gc(p.db, &gc));
    EQUAL(p.m.n - n, gc.removed);
    p.m.n = n;
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    EQUAL(n, copy.versions);
    EQUAL(stamps ? n : 0, copy.renamed);
    check_copy(&p, "a");
    OK(mv_db_open(p.to, "a", 0, &db));
    OK(mv_db_policy(db, &policy));
    EQUAL(3, policy.weekly);
    gc = (mv_gc){.now_ms = gc.now_ms};
    OK(mv_db_gc(db, &gc));
    EQUAL(0, gc.removed);
    EQUAL(n - 1, gc.for_tags); /* the newest needs none */
    mv_db_close(db);
    pair_end(&p);
}

static void what_was_forgotten_is_not_copied(void)
{
    what_is_left_is_copied(0);
    what_is_left_is_copied((uint64_t)3 << 62);
}

/* Commits come while it is copied: the copy ends with the version of its beginning. */
typedef struct intruder {
    pair *p;
    model m; /* of what is committed meanwhile */
    unsigned calls, commits;
} intruder;

static int commit_between(void *ctx, int verifying, uint64_t done, uint64_t of)
{
    intruder *in = ctx;
    (void)verifying;
    CHECK(done <= of);
    in->calls++;
    if (in->commits == 12 || of == 0)
        return 0; /* at the end of a batch no transaction is open */
    in->commits++;
    OK(mv_db_lock(in->p->db));
    if (in->commits % 4 == 1)
        OK(mv_db_truncate(in->p->db, 2 * PAGE));
    for (uint32_t n = 1 + in->commits % 3; n <= (in->commits % 3 ? 3 : PAGES); n++)
        OK(mv_db_write_bytes(in->p->db, (uint64_t)(n - 1) * PAGE, in->m.now.bytes + in->commits, PAGE));
    OK(mv_db_commit(&in->p->db, 1, NULL));
    mv_db_unlock(in->p->db);
    return 0;
}

static void a_copy_is_of_the_version_of_its_beginning(const char *stamps)
{
    pair p;
    intruder in = {.p = &p};
    mv_copy copy = {.as = "b", .progress = commit_between, .ctx = &in};
    pair_begin(&p, "lmdb:", "lmdb:", strtoull(stamps, NULL, 10));
    in.m.now.bytes = malloc(2 * PAGE);
    CHECK(in.m.now.bytes != NULL);
    chance c = {5};
    kit_fill(&c, FILL_NOISE, in.m.now.bytes, 2 * PAGE);
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    EQUAL(12, in.commits);
    EQUAL(p.m.n, copy.versions);
    EQUAL(in.commits, copy.later);
    check_copy(&p, "b");
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    EQUAL(1, copy.already);
    EQUAL(in.commits, copy.later);
    free(in.m.now.bytes);
    pair_end(&p);
}

/* A large commit whose move stopped is the newest version. */
static void a_large_commit_on_its_way_is_copied_whole(void)
{
    pair p;
    mv_copy copy = {.as = NULL};
    mv_stamp stamp;
    pair_begin(&p, "fault:lmdb:", "lmdb:", 0);
    OK(mv_db_lock(p.db));
    for (uint32_t n = 1; n <= PAGES; n++)
        model_write_page(&p.m, p.db, n, FILL_NOISE);
    OK(mvi_stage_flush(p.db, &p.db->writes));
    mv_fault_reset();
    mv_fault_arm(MV_FAULT_COMMIT, 4, 1, MV_IO);
    OK(mv_db_commit(&p.db, 1, &stamp));
    mv_fault_reset();
    CHECK(p.db->snap.flags & MVI_PENDING);
    mv_db_unlock(p.db);
    model_keep(&p.m, &stamp);
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    check_copy(&p, "a");
    pair_end(&p);
}

static int stop_at(void *ctx, int verifying, uint64_t done, uint64_t of)
{
    unsigned *left = ctx;
    (void)verifying, (void)done, (void)of;
    return --*left == 0 ? -77 : 0;
}

/* Stopped at each of its steps in turn, it goes on each time. */
static void a_stopped_copy_goes_on(void)
{
    pair p;
    unsigned left = 0;
    mv_copy copy = {.as = "b", .progress = stop_at, .ctx = &left};
    int rc = -77, stops = 0;
    pair_begin(&p, "lmdb:", "lmdb:", (uint64_t)3 << 62);
    for (unsigned n = 2; rc == -77; n++, stops++) {
        EQUAL(0, databases(p.to, "b"));
        left = n;
        rc = mv_copy_database(p.from, p.id, p.to, &copy);
        CHECK(rc == MV_OK || rc == -77);
    }
    CHECK(stops > 3);
    EQUAL(1, copy.resumed);
    check_copy(&p, "b");
    counted c = {.name = "b"};
    OK(mv_list(p.to, count_named, &c));
    EQUAL(1, c.all); /* nothing hidden is left */
    pair_end(&p);
}

/* The n-th call of the engine fails, once: the copy says so and goes on when called again. */
static void every_call_may_fail(const char *from, const char *to, int kind, int code)
{
    pair p;
    char name[20];
    mv_copy copy = {.as = name};
    unsigned failed = 0;
    pair_begin_with(FEW, &p, from, to, (uint64_t)3 << 62);
    for (uint64_t nth = 1, fired = 1; fired; nth++) {
        sprintf(name, "b%llu", (unsigned long long)nth);
        mv_fault_reset();
        mv_fault_arm(kind, nth, 0, code);
        int rc = mv_copy_database(p.from, p.id, p.to, &copy);
        fired = mv_fault_fired();
        mv_fault_reset();
        CHECK(rc == MV_OK || (fired && rc == code && code != MV_STALE && code != MV_UNKNOWN));
        failed += rc != MV_OK;
        EQUAL(rc == MV_OK, databases(p.to, name));
        if (rc)
            OK(mv_copy_database(p.from, p.id, p.to, &copy));
        if (nth % 16 == 1)
            check_copy(&p, name);
    }
    CHECK(failed > 10 || kind != MV_FAULT_ANY);
    pair_end(&p);
}

static void every_call_of_the_source_may_fail(void)
{
    every_call_may_fail("fault:lmdb:", "lmdb:", MV_FAULT_ANY, MV_IO);
}

static void every_call_of_the_destination_may_fail(void)
{
    every_call_may_fail("lmdb:", "fault:lmdb:", MV_FAULT_ANY, MV_FULL);
}

/* Nobody notices a result that was unknown, or a transaction that was too old. */
static void unknown_results_are_found_out(void)
{
    every_call_may_fail("lmdb:", "fault:lmdb:", MV_FAULT_UNKNOWN_DONE, MV_UNKNOWN);
    every_call_may_fail("lmdb:", "fault:lmdb:", MV_FAULT_UNKNOWN_LOST, MV_UNKNOWN);
    every_call_may_fail("fault:lmdb:", "lmdb:", MV_FAULT_GET, MV_STALE);
    every_call_may_fail("fault:lmdb:", "lmdb:", MV_FAULT_RANGE, MV_STALE);
}

static int flip_in(kv_txn *txn, void *ctx)
{
    const mvi_key *key = ctx;
    mv_slice value;
    uint8_t bytes[2 * PAGE];
    OK(kv_get(txn, mvi_key_slice(key), &value));
    size_t n = value.size;
    memcpy(bytes, value.data, n);
    bytes[n - 1] ^= 0x55;
    return kv_set(txn, mvi_key_slice(key), mvi_slice(bytes, n));
}

/* What is damaged in the source, or in the copy before it is shown, is not shown. */
static void a_damaged_copy_is_not_shown(void)
{
    pair p;
    mv_copy copy = {.as = "b"};
    pair_begin(&p, "lmdb:", "lmdb:", 0);
    mv_stamp newest = model_newest(&p.m);
    mvi_key keys[] = {mvi_key_head(p.id, 1), mvi_key_history(p.id, 1, &newest), mvi_key_commit(p.id, &p.m.versions[3].stamp)};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        OK(kv_transact(p.from->kv, flip_in, &keys[i], NULL));
        IS(MV_CORRUPT, mv_copy_database(p.from, p.id, p.to, &copy));
        EQUAL(0, databases(p.to, "b"));
        OK(kv_transact(p.from->kv, flip_in, &keys[i], NULL)); /* and back */
        copy.restart = 1;
    }
    OK(mv_copy_database(p.from, p.id, p.to, &copy));
    EQUAL(0, copy.resumed);
    check_copy(&p, "b");
    pair_end(&p);
}

void store_copy(void)
{
    RUN(what_was_forgotten_is_not_copied);
    RUN(a_copy_has_every_version_under_its_name);
    RUN(a_copy_goes_on_with_greater_stamps);
    RUN_WITH(a_copy_is_of_the_version_of_its_beginning, "0");
    RUN_WITH(a_copy_is_of_the_version_of_its_beginning, "13835058055282163712");
    RUN(a_large_commit_on_its_way_is_copied_whole);
    RUN(a_stopped_copy_goes_on);
    RUN(every_call_of_the_source_may_fail);
    RUN(every_call_of_the_destination_may_fail);
    RUN(unknown_results_are_found_out);
    RUN(a_damaged_copy_is_not_shown);
}
