/* Branches against models: each reads as its own history says, whatever its relatives do. */
#include <stdio.h>

#include "model.h"
#include "test_store.h"

#define MOST 7

typedef struct grown {
    char name[32];
    model m;
    mv_db *db;
} grown;

static mv_store *open_new(void)
{
    char url[KIT_PATH];
    mv_store *store;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    return store;
}

static state copy_of(const model *m, const state *s)
{
    state copy = *s;
    copy.bytes = malloc((size_t)s->pages * m->page_size + 1);
    CHECK(copy.bytes != NULL);
    memcpy(copy.bytes, s->bytes, (size_t)s->pages * m->page_size);
    return copy;
}

/* What the branch knows of its history: the parent's versions up to the one it begins at. */
static void model_branch(model *to, const model *from, size_t version, uint64_t seed)
{
    model_begin(to, seed, from->page_size, from->pages_max);
    to->room = from->n + 1;
    to->versions = calloc(to->room, sizeof *to->versions);
    CHECK(to->versions != NULL);
    for (to->n = 0; to->n <= version; to->n++)
        to->versions[to->n] = copy_of(from, &from->versions[to->n]);
    free(to->now.bytes);
    to->now = copy_of(from, &from->versions[version]);
}

static void write_some(grown *g, int by_chance)
{
    int stale;
    OK(mv_db_begin(g->db, &stale));
    OK(mv_db_lock(g->db));
    model_scribble(&g->m, g->db);
    if (by_chance % 7 == 0)
        model_truncate(&g->m, g->db, 1 + (uint32_t)by_chance % 5);
    model_commit(&g->m, g->db);
    model_check_now(&g->m, g->db);
    mv_db_unlock(g->db);
}

static void check_family(mv_store *store, grown *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        model_check_all(&all[i].m, store, all[i].name);
        EQUAL(0, model_problems(all[i].db));
    }
}

static void grow(mv_store *store, grown *all, size_t *n, uint32_t by_chance)
{
    grown *parent = &all[by_chance % *n], *child = &all[*n];
    size_t version = by_chance / 7 % parent->m.n;
    snprintf(child->name, sizeof child->name, "b%zu", *n);
    const mv_stamp *at = version == parent->m.n - 1 ? NULL : &parent->m.versions[version].stamp;
    OK(mv_branch(store, parent->name, at, child->name));
    OK(mv_db_open(store, child->name, 0, &child->db));
    model_branch(&child->m, &parent->m, version, 99 + *n);
    ++*n;
}

static void run_family(uint64_t seed, uint32_t page_size, uint64_t stage_bytes)
{
    mv_store *store = open_new();
    grown all[MOST] = {{.name = "trunk"}};
    size_t n = 1;
    chance c = {seed};
    if (stage_bytes)
        OK(mv_store_set(store, MV_STAGE_BYTES, stage_bytes));
    OK(mv_db_open(store, "trunk", MV_CREATE, &all[0].db));
    model_begin(&all[0].m, seed, page_size, 24);
    write_some(&all[0], 1);
    unsigned commits = kit_few(90, 30);
    for (unsigned i = 0; i < commits; i++) {
        uint32_t by_chance = chance_next(&c) >> 4;
        if (n < MOST && by_chance % 11 == 0)
            grow(store, all, &n, by_chance / 11);
        else
            write_some(&all[by_chance / 11 % n], (int)(by_chance / 128 % 64));
        if (i % 30 == 29)
            check_family(store, all, n);
    }
    CHECK(n > kit_few(3, 1));
    for (size_t i = 0; i < n; i++) {
        mv_db_close(all[i].db);
        model_end(&all[i].m);
    }
    mv_store_close(store);
}

static void branches_read_as_their_own_histories(void)
{
    for (uint64_t seed = 1; seed <= kit_few(4, 1); seed++)
        run_family(seed * 77, 1024, 0);
    run_family(6, 16384, 1); /* every commit is a large one */
    if (kit_few(1, 0)) {
        run_family(5, 4096, 0);
        run_family(7, 512, 1);
    }
}

/* ---- what a branch knows of its parent ------------------------------------------------ */

static void write_page(mv_db *db, uint32_t pgno, uint8_t fill, mv_stamp *made)
{
    uint8_t page[1024];
    int stale;
    memset(page, fill, sizeof page);
    OK(mv_db_begin(db, &stale));
    OK(mv_db_lock(db));
    OK(mv_db_write_bytes(db, (uint64_t)(pgno - 1) * sizeof page, page, sizeof page));
    OK(mv_db_commit(&db, 1, made));
    mv_db_unlock(db);
}

static uint8_t first_byte(mv_db *db, uint32_t pgno)
{
    uint8_t page[1024] = {0};
    OK(mv_db_read(db, pgno, page));
    return page[0];
}

static void a_branch_has_the_log_of_its_parent(void)
{
    mv_store *store = open_new();
    mv_db *db, *branch;
    mv_stamp made[4], own, found;
    mv_log *log;
    mv_version version;
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    for (uint8_t i = 0; i < 4; i++)
        write_page(db, 1, (uint8_t)(i + 1), &made[i]);
    OK(mv_branch(store, "a", &made[1], "b"));
    OK(mv_db_open(store, "b", 0, &branch));
    EQUAL(2, first_byte(branch, 1));
    write_page(branch, 2, 9, &own);
    const mv_stamp *forwards[] = {&made[0], &made[1], &own};
    for (int reverse = 0; reverse < 2; reverse++) {
        OK(mv_log_open(branch, NULL, NULL, reverse, &log));
        for (int i = 0; i < 3; i++) {
            OK(mv_log_next(log, &version));
            EQUAL(0, mvi_stamp_cmp(&version.stamp, forwards[reverse ? 2 - i : i]));
        }
        IS(MV_NOTFOUND, mv_log_next(log, &version));
        mv_log_close(log);
    }
    OK(mv_db_version(branch, &made[0], &version));
    IS(MV_NOVERSION, mv_db_version(branch, &made[2], &version));
    OK(mv_db_at(branch, "now", &found));
    EQUAL(0, mvi_stamp_cmp(&found, &own));
    OK(mv_db_pin(branch, &made[0]));
    EQUAL(1, first_byte(branch, 1));
    IS(MV_NOVERSION, mv_db_pin(branch, &made[3]));
    mv_db_close(branch);
    mv_db_close(db);
    mv_store_close(store);
}

static void what_cannot_be_a_branch_is_refused(void)
{
    mv_store *store = open_new();
    mv_db *db;
    mv_stamp made, never = {{1}};
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    write_page(db, 1, 1, &made);
    IS(MV_NOTFOUND, mv_branch(store, "none", NULL, "b"));
    IS(MV_EXISTS, mv_branch(store, "a", NULL, "a"));
    IS(MV_NAME, mv_branch(store, "a", NULL, "b-wal"));
    IS(MV_NOVERSION, mv_branch(store, "a", &never, "b"));
    mv_db_close(db);
    IS(MV_NOTFOUND, mv_db_open(store, "b", 0, &db));
    mv_store_close(store);
}

static void a_branch_of_the_empty_database_is_one(void)
{
    mv_store *store = open_new();
    mv_db *db, *branch;
    mv_stamp made;
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    OK(mv_branch(store, "a", NULL, "b"));
    write_page(db, 1, 1, &made);
    OK(mv_db_open(store, "b", 0, &branch));
    EQUAL(0, mv_db_size(branch));
    write_page(branch, 1, 2, &made);
    EQUAL(2, first_byte(branch, 1));
    EQUAL(1, first_byte(db, 1));
    EQUAL(0, model_problems(db));
    EQUAL(0, model_problems(branch));
    mv_db_close(branch);
    mv_db_close(db);
    mv_store_close(store);
}

/* ---- promoting -------------------------------------------------------------------------- */

static void run_promotion(uint64_t seed, uint64_t stage_bytes, int deep)
{
    mv_store *store = open_new();
    grown all[3] = {{.name = "trunk"}, {.name = "b1"}, {.name = "b2"}};
    size_t n = 1;
    mv_stamp made;
    mv_version version;
    mv_db *kept;
    if (stage_bytes)
        OK(mv_store_set(store, MV_STAGE_BYTES, stage_bytes));
    OK(mv_db_open(store, "trunk", MV_CREATE, &all[0].db));
    model_begin(&all[0].m, seed, 1024, 20);
    for (int i = 0; i < 5; i++)
        write_some(&all[0], 1);
    grow(store, all, &n, 0);
    for (int i = 0; i < 4; i++)
        write_some(&all[1], i * 7);
    if (deep) {
        grow(store, all, &n, 1 + 2 * 7);
        write_some(&all[2], 7);
    }
    for (int i = 0; i < 3; i++)
        write_some(&all[0], i * 7);
    grown *from = &all[n - 1];
    state before = copy_of(&all[0].m, &all[0].m.now);
    OK(mv_db_promote(all[0].db, from->name, "old", &made));
    CHECK(model_same(&from->m, all[0].db, &from->m.now));
    OK(mv_db_version(all[0].db, &made, &version));
    EQUAL(MV_KIND_PROMOTE, version.kind);
    OK(mv_db_open(store, "old", 0, &kept));
    CHECK(model_same(&all[0].m, kept, &before));
    EQUAL(0, model_problems(all[0].db));
    EQUAL(0, model_problems(kept));
    IS(MV_MISUSE, mv_db_promote(all[0].db, "trunk", NULL, &made));
    IS(MV_EXISTS, mv_db_promote(all[0].db, "old", from->name, &made));
    IS(MV_NOTFOUND, mv_db_promote(all[0].db, "none", NULL, &made));
    OK(mv_db_promote(all[0].db, "old", NULL, &made));
    CHECK(model_same(&all[0].m, all[0].db, &before));
    free(before.bytes);
    mv_db_close(kept);
    for (size_t i = 0; i < n; i++) {
        mv_db_close(all[i].db);
        model_end(&all[i].m);
    }
    mv_store_close(store);
}

static void a_branch_becomes_the_database(void)
{
    for (int deep = 0; deep < 2; deep++)
        for (uint64_t stage = 0; stage < 2; stage++)
            run_promotion(11 + stage, stage, deep);
}

void store_branch(void)
{
    RUN(branches_read_as_their_own_histories);
    RUN(a_branch_has_the_log_of_its_parent);
    RUN(what_cannot_be_a_branch_is_refused);
    RUN(a_branch_of_the_empty_database_is_one);
    RUN(a_branch_becomes_the_database);
}
