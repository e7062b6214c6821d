/* Every version reads as it was; who may write, and who conflicts. */
#include "model.h"
#include "test_store.h"

static mv_store *open_new(void)
{
    char url[KIT_PATH];
    mv_store *store;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    return store;
}

/* ---- against the model ---------------------------------------------------------- */

typedef struct setup {
    const char *name;
    uint32_t page_size, pages_max;
    int commits;
    uint64_t stage_bytes, full_every, cache_bytes; /* 0: as it is */
} setup;

static void run_random(const setup *s, uint64_t seed)
{
    mv_store *store = open_new();
    mv_db *db;
    model m;
    int stale;
    check_now.about = s->name;
    if (s->stage_bytes)
        OK(mv_store_set(store, MV_STAGE_BYTES, s->stage_bytes));
    if (s->full_every)
        OK(mv_store_set(store, MV_FULL_EVERY, s->full_every));
    if (s->cache_bytes)
        OK(mv_store_set(store, MV_CACHE_BYTES, s->cache_bytes));
    model_begin(&m, seed, s->page_size, s->pages_max);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    for (int i = 0; i < s->commits; i++) {
        OK(mv_db_begin(db, &stale));
        CHECK(!stale); /* nobody else writes */
        OK(mv_db_lock(db));
        model_scribble(&m, db);
        if (i % 11 == 10) {
            mv_db_rollback(db);
            model_forget(&m);
        } else {
            model_commit(&m, db);
        }
        model_check_now(&m, db);
        mv_db_unlock(db);
    }
    model_check_all(&m, store, "a");
    EQUAL(0, model_problems(db));
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
    check_now.about = NULL;
}

static void every_version_reads_as_it_was(void)
{
    static const setup setups[] = {
        {"512, full 32", 512, 24, 150, 0, 32, 0},
        {"4096, full 1", 4096, 20, 60, 0, 1, 0},
        {"1024, full 2", 1024, 30, 80, 0, 2, 0},
        {"4096, full 32, no cache", 4096, 20, 80, 0, 32, 1},
        {"1024, full 250", 1024, 3, 300, 0, 250, 1},
        {"staged, 8192, full 32", 8192, 40, 60, 1, 32, 0},
        {"staged, 32768, full 2", 32768, 12, 40, 1, 2, 1},
        {"staged, 65536, full 1", 65536, 8, 30, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++)
        run_random(&setups[i], 31 + i);
}

static void an_opened_store_has_all_versions(void)
{
    char url[KIT_PATH];
    mv_store *store;
    mv_db *db;
    model m;
    kit_store("", url);
    model_begin(&m, 41, 1024, 20);
    for (int opening = 0; opening < 3; opening++) {
        OK(mv_store_open(url, &store));
        OK(mv_db_open(store, "a", MV_CREATE, &db));
        OK(mv_db_lock(db));
        for (int i = 0; i < 5; i++) {
            model_scribble(&m, db);
            model_commit(&m, db);
        }
        mv_db_close(db);
        mv_store_close(store);
    }
    OK(mv_store_open(url, &store));
    model_check_all(&m, store, "a");
    model_end(&m);
    mv_store_close(store);
}

static void nothing_written_is_no_version(void)
{
    mv_store *store = open_new();
    mv_db *db;
    mv_stamp stamp;
    model m;
    model_begin(&m, 42, 512, 8);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    OK(mv_db_lock(db));
    OK(mv_db_commit(&db, 1, &stamp));
    CHECK(mvi_stamp_is_zero(&stamp));
    model_write_page(&m, db, 1, FILL_TEXT);
    model_write_page(&m, db, 2, FILL_NOISE);
    model_commit(&m, db);
    OK(mv_db_write_bytes(db, 0, m.now.bytes, 1024)); /* the same again */
    OK(mv_db_commit(&db, 1, &stamp));
    CHECK(mvi_stamp_is_zero(&stamp));
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

/* ---- two handles ------------------------------------------------------------ */

typedef struct pair {
    mv_store *store;
    mv_db *a, *b;
    model m;
    uint8_t page[512];
} pair;

/* Two handles of a database with eight pages. */
static void pair_begin(pair *p)
{
    p->store = open_new();
    model_begin(&p->m, 51, 512, 8);
    OK(mv_db_open(p->store, "a", MV_CREATE, &p->a));
    OK(mv_db_open(p->store, "a", 0, &p->b));
    OK(mv_db_lock(p->a));
    for (uint32_t i = 1; i <= 8; i++)
        model_write_page(&p->m, p->a, i, FILL_NOISE);
    model_commit(&p->m, p->a);
    mv_db_unlock(p->a);
    int stale;
    OK(mv_db_begin(p->b, &stale));
}

static void pair_end(pair *p)
{
    EQUAL(0, model_problems(p->a));
    mv_db_close(p->a);
    mv_db_close(p->b);
    model_end(&p->m);
    mv_store_close(p->store);
}

static void write_and_commit(pair *p, mv_db *db, uint32_t pgno)
{
    OK(mv_db_lock(db));
    model_write_page(&p->m, db, pgno, FILL_NOISE);
    model_commit(&p->m, db);
    mv_db_unlock(db);
}

static void one_writer_at_a_time(void)
{
    pair p;
    pair_begin(&p);
    OK(mv_db_lock(p.a));
    OK(mv_db_lock(p.a)); /* it has it already */
    IS(MV_BUSY, mv_db_lock(p.b));
    mv_db_unlock(p.a);
    OK(mv_db_lock(p.b));
    IS(MV_BUSY, mv_db_lock(p.a));
    mv_db_close(p.b); /* closing lets go */
    OK(mv_db_open(p.store, "a", 0, &p.b));
    OK(mv_db_lock(p.a));
    mv_db_unlock(p.a);
    IS(MV_MISUSE, mv_db_write_bytes(p.a, 0, p.page, sizeof p.page));
    pair_end(&p);
}

static void disjoint_pages_do_not_conflict(void)
{
    pair p;
    int stale;
    pair_begin(&p);
    OK(mv_db_read(p.b, 1, p.page));
    write_and_commit(&p, p.a, 2);
    write_and_commit(&p, p.b, 1); /* over the commit of `a`, which it has not begun anew to see */
    model_check_all(&p.m, p.store, "a");
    OK(mv_db_begin(p.b, &stale));
    model_check_now(&p.m, p.b);
    pair_end(&p);
}

static void what_was_read_must_not_change(void)
{
    pair p;
    int stale;
    pair_begin(&p);
    OK(mv_db_read(p.b, 2, p.page));
    write_and_commit(&p, p.a, 2);
    IS(MV_CONFLICT, mv_db_lock(p.b));
    OK(mv_db_read(p.b, 3, p.page)); /* the old snapshot still reads */
    OK(mv_db_begin(p.b, &stale));
    CHECK(stale);
    OK(mv_db_read(p.b, 3, p.page));
    write_and_commit(&p, p.a, 2);
    OK(mv_db_begin(p.b, &stale));
    CHECK(!stale); /* nothing it has served since then was changed */
    model_check_now(&p.m, p.b);
    pair_end(&p);
}

/* As a writer of another host would, whom this host's lock does not hold back. */
static void commit_from_another_host(pair *p, mv_db *locked, mv_db *other, uint32_t pgno)
{
    mvi_hostlock_release(p->store->locks, locked->ns);
    write_and_commit(p, other, pgno);
    OK(mvi_hostlock_acquire(p->store->locks, locked->ns));
}

static void the_lock_brings_the_newest_snapshot(void)
{
    pair p;
    int stale;
    pair_begin(&p);
    OK(mv_db_read(p.b, 3, p.page));
    write_and_commit(&p, p.a, 2);
    OK(mv_db_lock(p.b)); /* page 3 is as it was */
    model_check_now(&p.m, p.b);
    mv_db_unlock(p.b);
    OK(mv_db_lock(p.a));
    model_truncate(&p.m, p.a, 6);
    model_commit(&p.m, p.a);
    mv_db_unlock(p.a);
    IS(MV_CONFLICT, mv_db_lock(p.b)); /* another size */
    EQUAL(8 * 512, mv_db_size(p.b));
    OK(mv_db_begin(p.b, &stale));
    CHECK(stale);
    model_check_now(&p.m, p.b);
    pair_end(&p);
}

static void a_page_read_or_written_must_not_have_changed_at_the_commit(void)
{
    pair p;
    int stale;
    for (int reads = 0; reads < 2; reads++) {
        pair_begin(&p);
        OK(mv_db_lock(p.b));
        if (reads)
            OK(mv_db_read(p.b, 2, p.page));
        memset(p.page, 1, sizeof p.page);
        OK(mv_db_write_bytes(p.b, reads ? 512 * 4 : 512, p.page, 512));
        commit_from_another_host(&p, p.b, p.a, 2);
        IS(MV_CONFLICT, mv_db_commit(&p.b, 1, NULL));
        IS(MV_CONFLICT, mv_db_commit(&p.b, 1, NULL)); /* and it stays so */
        mv_db_unlock(p.b);
        OK(mv_db_begin(p.b, &stale));
        CHECK(stale);
        model_check_now(&p.m, p.b);
        pair_end(&p);
    }
}

static void disjoint_commits_of_two_hosts_are_both_kept(void)
{
    pair p;
    int stale;
    pair_begin(&p);
    OK(mv_db_lock(p.b));
    OK(mv_db_read(p.b, 3, p.page));
    memset(p.page, 1, sizeof p.page);
    OK(mv_db_write_bytes(p.b, 512 * 4, p.page, 512));
    commit_from_another_host(&p, p.b, p.a, 2);
    memcpy(p.m.now.bytes + 512 * 4, p.page, 512);
    model_commit(&p.m, p.b);
    mv_db_unlock(p.b);
    OK(mv_db_begin(p.a, &stale));
    model_check_now(&p.m, p.a);
    model_check_all(&p.m, p.store, "a");
    pair_end(&p);
}

static void a_pinned_handle_does_not_write(void)
{
    pair p;
    pair_begin(&p);
    mv_stamp first = p.m.versions[0].stamp, none = {{1}};
    write_and_commit(&p, p.a, 1);
    OK(mv_db_pin(p.b, &first));
    IS(MV_READONLY, mv_db_lock(p.b));
    IS(MV_READONLY, mv_db_write_bytes(p.b, 0, p.page, 512));
    CHECK(model_same(&p.m, p.b, &p.m.versions[0]));
    IS(MV_NOVERSION, mv_db_pin(p.b, &none));
    CHECK(model_same(&p.m, p.b, &p.m.versions[0]));
    OK(mv_db_lock(p.a));
    IS(MV_MISUSE, mv_db_pin(p.a, &first));
    mv_db_unlock(p.a);
    OK(mv_db_unpin(p.b));
    model_check_now(&p.m, p.b);
    pair_end(&p);
}

/* A child may not use its parent's handles, and its death changes nothing. */
static void a_child_does_not_write_with_its_parents_handle(void)
{
    pair p;
    int stale;
    pair_begin(&p);
    pid_t child = fork();
    if (child == 0) {
        IS(MV_FORKED, mv_db_lock(p.a));
        IS(MV_FORKED, mv_db_begin(p.a, &stale));
        mv_store *own;
        mv_db *db;
        OK(mv_store_open(p.store->url, &own));
        OK(mv_db_open(own, "a", 0, &db));
        OK(mv_db_lock(db));
        _exit(0); /* with the lock: it must end with the process */
    }
    kit_wait(child);
    write_and_commit(&p, p.a, 3);
    pair_end(&p);
}

/* ---- several databases ----------------------------------------------------------- */

static void two_databases_commit_as_one(void)
{
    mv_store *store = open_new();
    mv_db *dbs[3];
    model models[2];
    mv_stamp stamp;
    for (int i = 0; i < 2; i++)
        model_begin(&models[i], 61 + (uint64_t)i, 512, 8);
    OK(mv_db_open(store, "a", MV_CREATE, &dbs[0]));
    OK(mv_db_open(store, "b", MV_CREATE, &dbs[1]));
    OK(mv_db_open(store, "unchanged", MV_CREATE, &dbs[2]));
    for (int i = 0; i < 3; i++)
        OK(mv_db_lock(dbs[i]));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 2; i++)
            model_write_page(&models[i], dbs[i], 1 + (uint32_t)round, FILL_TEXT);
        OK(mv_db_commit(dbs, 3, &stamp));
        for (int i = 0; i < 2; i++)
            model_keep(&models[i], &stamp);
    }
    mv_snapshot snapshot;
    mv_db_snapshot(dbs[2], &snapshot);
    CHECK(mvi_stamp_is_zero(&snapshot.stamp));
    OK(mv_delete(store, "b")); /* one part cannot commit: none does */
    for (int i = 0; i < 2; i++)
        model_write_page(&models[i], dbs[i], 1, FILL_NOISE);
    IS(MV_GONE, mv_db_commit(dbs, 3, &stamp));
    OK(mv_undelete(store, "b", NULL));
    for (int i = 0; i < 3; i++)
        mv_db_close(dbs[i]);
    for (int i = 0; i < 2; i++) {
        model_check_all(&models[i], store, i ? "b" : "a");
        model_end(&models[i]);
    }
    mv_store_close(store);
}

/* ---- history -------------------------------------------------------------------- */

static void check_log(const model *m, mv_db *db, size_t after, size_t until, int reverse)
{
    mv_log *log;
    mv_version version;
    size_t at = reverse ? until : after + 1;
    OK(mv_log_open(db, &m->versions[after].stamp, &m->versions[until].stamp, reverse, &log));
    for (size_t i = after; i < until; i++) {
        OK(mv_log_next(log, &version));
        EQUAL(0, mvi_stamp_cmp(&version.stamp, &m->versions[at].stamp));
        EQUAL(0, mvi_stamp_cmp(&version.previous, &m->versions[at - 1].stamp));
        EQUAL(m->versions[at].pages, version.pages);
        EQUAL(getpid(), version.pid);
        at += reverse ? (size_t)-1 : 1;
    }
    IS(MV_NOTFOUND, mv_log_next(log, &version));
    mv_log_close(log);
}

/* The pages that differ between two versions are among those said to be changed. */
static void check_changed(const model *m, mv_db *db, size_t after, size_t until)
{
    uint32_t *pages;
    size_t n, at = 0;
    const state *a = &m->versions[after], *b = &m->versions[until];
    OK(mv_db_changed(db, &a->stamp, &b->stamp, &pages, &n));
    for (uint32_t p = 1; p <= a->pages && p <= b->pages; p++) {
        while (at < n && pages[at] < p)
            at++;
        size_t offset = (size_t)(p - 1) * m->page_size;
        if (memcmp(a->bytes + offset, b->bytes + offset, m->page_size) != 0)
            CHECK(at < n && pages[at] == p);
    }
    mv_free(pages);
}

static void the_log_tells_every_version(void)
{
    mv_store *store = open_new();
    mv_db *db;
    model m;
    mv_version version;
    mv_usage usage;
    model_begin(&m, 71, 512, 10);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    OK(mv_db_lock(db));
    while (m.n < 150) { /* more than the log reads at a time */
        OK(mv_db_message(db, "a message"));
        OK(mv_db_statements(db, "UPDATE t"));
        model_scribble(&m, db);
        model_commit(&m, db);
    }
    mv_db_unlock(db);
    for (int reverse = 0; reverse < 2; reverse++) {
        check_log(&m, db, 0, m.n - 1, reverse);
        check_log(&m, db, 3, 67, reverse);
        check_log(&m, db, 20, 21, reverse);
        check_log(&m, db, 20, 20, reverse);
    }
    for (size_t i = 0; i + 30 < m.n; i += 7)
        check_changed(&m, db, i, i + 1 + i % 30);
    OK(mv_db_version(db, &m.versions[9].stamp, &version));
    CHECK(strcmp(version.message, "a message") == 0 && strcmp(version.statements, "UPDATE t") == 0);
    CHECK(strstr(version.program, "test_store") != NULL);
    OK(mv_db_usage(db, &usage));
    EQUAL(m.n, usage.versions);
    CHECK(usage.heads > 0 && usage.heads <= 10 && usage.history > 0 && usage.staged_bytes == 0);
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

static void a_revert_brings_any_version_back(void)
{
    mv_store *store = open_new();
    mv_db *db;
    model m;
    mv_stamp made, none = {{1}};
    mv_version version;
    OK(mv_store_set(store, MV_STAGE_BYTES, 1)); /* some reverts are large commits */
    model_begin(&m, 81, 8192, 16);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    for (int i = 0; i < 40; i++) {
        if (i % 3 == 2) {
            size_t target = chance_below(&m.chance, (uint32_t)m.n);
            OK(mv_db_revert(db, &m.versions[target].stamp, &made));
            model_revert(&m, target, &made);
            if (!mvi_stamp_is_zero(&made)) {
                OK(mv_db_version(db, &made, &version));
                CHECK(version.kind == MV_KIND_REVERT);
                EQUAL(0, mvi_stamp_cmp(&version.target, &m.versions[target].stamp));
            }
        } else {
            OK(mv_db_lock(db));
            model_scribble(&m, db);
            model_commit(&m, db);
            mv_db_unlock(db);
        }
        model_check_now(&m, db);
    }
    IS(MV_NOVERSION, mv_db_revert(db, &none, &made));
    model_check_all(&m, store, "a");
    EQUAL(0, model_problems(db));
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

void store_versions(void)
{
    RUN(every_version_reads_as_it_was);
    RUN(an_opened_store_has_all_versions);
    RUN(nothing_written_is_no_version);
    RUN(one_writer_at_a_time);
    RUN(disjoint_pages_do_not_conflict);
    RUN(what_was_read_must_not_change);
    RUN(the_lock_brings_the_newest_snapshot);
    RUN(a_page_read_or_written_must_not_have_changed_at_the_commit);
    RUN(disjoint_commits_of_two_hosts_are_both_kept);
    RUN(a_pinned_handle_does_not_write);
    RUN(a_child_does_not_write_with_its_parents_handle);
    RUN(two_databases_commit_as_one);
    RUN(the_log_tells_every_version);
    RUN(a_revert_brings_any_version_back);
}
