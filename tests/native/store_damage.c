/* What verification must notice: one thing wrong at a time, done behind the store's back. */
#include "model.h"
#include "test_store.h"


typedef struct damage {
    mvi_key key;
    size_t byte; /* to flip; SIZE_MAX: the key goes */
} damage;

static int damage_in(kv_txn *txn, void *ctx)
{
    damage *d = ctx;
    mv_slice value;
    uint8_t bytes[8192];
    OK(kv_get(txn, mvi_key_slice(&d->key), &value));
    if (d->byte == SIZE_MAX)
        return kv_clear(txn, mvi_key_slice(&d->key));
    CHECK(value.size <= sizeof bytes);
    size_t n = value.size;
    memcpy(bytes, value.data, n);
    bytes[d->byte < n ? d->byte : n - 1] ^= 0x41;
    return kv_set(txn, mvi_key_slice(&d->key), mvi_slice(bytes, n));
}

typedef struct scene {
    mv_store *store;
    mv_db *db;
    model m;
} scene;

/* Three pages; page 2 written in versions 0, 1, 2, and 3; page 3 cut off in version 4. */
static void scene_begin(scene *s, mv_store *store)
{
    static unsigned scenes;
    char name[20];
    sprintf(name, "scene%u", scenes++);
    s->store = store;
    model_begin(&s->m, 101, 1024, 4);
    OK(mv_db_open(store, name, MV_CREATE, &s->db));
    OK(mv_db_lock(s->db));
    for (uint32_t p = 1; p <= 3; p++)
        model_write_page(&s->m, s->db, p, FILL_NOISE);
    model_commit(&s->m, s->db);
    for (int i = 0; i < 3; i++) {
        model_write_bytes(&s->m, s->db, 1100 + (uint64_t)i, "change", 6);
        model_commit(&s->m, s->db);
    }
    model_truncate(&s->m, s->db, 2);
    model_commit(&s->m, s->db);
    mv_db_unlock(s->db);
    EQUAL(0, model_problems(s->db));
}

static void scene_end(scene *s)
{
    mv_db_close(s->db);
    model_end(&s->m);
}

static void harm(scene *s, mvi_key key, size_t byte)
{
    damage d = {key, byte};
    OK(kv_transact(s->store->kv, damage_in, &d, NULL));
}

static void tell(void *ctx, const char *what)
{
    (*(uint64_t *)ctx)++;
    CHECK(strlen(what) > 10);
}

/* Verification says so: with sentences, or that it could not read on. */
static int noticed(scene *s)
{
    uint64_t told = 0;
    mv_check check = {.problem = tell, .ctx = &told};
    int rc = mv_db_verify(s->db, &check);
    CHECK(rc == MV_OK || rc == MV_CORRUPT);
    EQUAL(told, check.problems);
    return rc == MV_CORRUPT || check.problems > 0;
}

static void expect_noticed(scene *s)
{
    CHECK(noticed(s));
}

static mvi_key key_of(scene *s, int what)
{
    uint32_t ns = s->db->ns;
    const mv_stamp *stamp[5];
    mv_version version;
    for (int i = 0; i < 5; i++)
        stamp[i] = &s->m.versions[i].stamp;
    OK(mv_db_version(s->db, stamp[1], &version));
    switch (what) {
    case 0: return mvi_key_head(ns, 1);
    case 1: return mvi_key_head(ns, 2);
    case 2: return mvi_key_history(ns, 2, stamp[1]);
    case 3: return mvi_key_history(ns, 2, stamp[2]);
    case 4: return mvi_key_history(ns, 2, stamp[3]); /* the last delta, or full */
    case 5: return mvi_key_history(ns, 3, stamp[4]); /* what was cut off */
    case 6: return mvi_key_commit(ns, stamp[0]);
    case 7: return mvi_key_commit(ns, stamp[1]);
    case 8: return mvi_key_commit(ns, stamp[4]);
    case 9: return mvi_key_time(ns, version.ms, stamp[1]);
    default: return mvi_key_latest(ns);
    }
}
enum { IMAGES = 6, TIMES = 10 }; /* images, then records and a time, then the newest */

static mv_store *open_new(void)
{
    char url[KIT_PATH];
    mv_store *store;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    return store;
}

static void whatever_is_missing_is_noticed(void)
{
    mv_store *store = open_new();
    for (int what = 0; what < TIMES; what++) {
        scene s;
        scene_begin(&s, store);
        harm(&s, key_of(&s, what), SIZE_MAX);
        expect_noticed(&s);
        scene_end(&s);
    }
    mv_store_close(store);
}

static void every_flipped_byte_of_an_image_is_noticed(void)
{
    mv_store *store = open_new();
    scene s;
    OK(mv_store_set(store, MV_CACHE_BYTES, 0));
    scene_begin(&s, store);
    for (int what = 0; what < IMAGES; what++)
        for (size_t byte = 0; byte < MVI_IMAGE_HEADER + 40; byte++) {
            if (byte == MV_STAMP_SIZE + 1)
                continue; /* the depth only says how long the chain is */
            char about[40];
            sprintf(about, "image %d, byte %zu", what, byte);
            check_now.about = about;
            harm(&s, key_of(&s, what), byte);
            if (byte < MVI_IMAGE_HEADER)
                expect_noticed(&s);
            else if (!noticed(&s)) /* a frame has a few bits that mean nothing */
                model_check_all(&s.m, store, s.db->name);
            harm(&s, key_of(&s, what), byte); /* and back */
            check_now.about = NULL;
        }
    EQUAL(0, model_problems(s.db));
    model_check_all(&s.m, store, s.db->name);
    scene_end(&s);
    mv_store_close(store);
}

/* Of a record, what other things depend on: the version before, time, size, pages. */
static void flipped_bytes_of_a_record_are_noticed(void)
{
    mv_store *store = open_new();
    static const size_t bytes[] = {MV_TXID_SIZE, MV_TXID_SIZE + 9, 27, 33, 40, 42, 43, 44};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        scene s;
        scene_begin(&s, store);
        harm(&s, key_of(&s, 7), bytes[i]);
        expect_noticed(&s);
        scene_end(&s);
    }
    scene s;
    scene_begin(&s, store);
    harm(&s, key_of(&s, TIMES), 0); /* the newest commit is said to be another */
    expect_noticed(&s);
    scene_end(&s);
    mv_store_close(store);
}

/* A damaged page is an error for who reads it, not other bytes. */
static void a_damaged_page_is_not_served(void)
{
    mv_store *store = open_new();
    uint8_t page[1024];
    for (int what = 0; what < IMAGES; what++) {
        scene s;
        mv_db *db;
        scene_begin(&s, store);
        mvi_key key = key_of(&s, what);
        harm(&s, key, MVI_IMAGE_HEADER + 5);
        OK(mv_store_set(store, MV_CACHE_BYTES, 0)); /* or the good page would be in memory */
        OK(mv_db_open(store, s.db->name, 0, &db));
        unsigned refused = 0;
        for (size_t v = 0; v < s.m.n; v++) {
            OK(mv_db_pin(db, &s.m.versions[v].stamp));
            for (uint32_t p = 1; p <= s.m.versions[v].pages; p++) {
                int rc = mv_db_read(db, p, page);
                const uint8_t *wanted = s.m.versions[v].bytes + (size_t)(p - 1) * 1024;
                CHECK(rc == MV_CORRUPT || (rc == MV_OK && memcmp(page, wanted, 1024) == 0));
                refused += rc == MV_CORRUPT;
            }
        }
        CHECK(refused > 0);
        mv_db_close(db);
        scene_end(&s);
    }
    mv_store_close(store);
}

void store_damage(void)
{
    RUN(whatever_is_missing_is_noticed);
    RUN(every_flipped_byte_of_an_image_is_noticed);
    RUN(flipped_bytes_of_a_record_are_noticed);
    RUN(a_damaged_page_is_not_served);
}
