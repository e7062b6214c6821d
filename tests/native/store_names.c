/* Stores, databases by name, and moments. */
#include "../../native/kv/kv_fault.h"
#include "model.h"
#include "test_store.h"

static mv_store *open_new(const char *wrap)
{
    char url[KIT_PATH];
    mv_store *store;
    kit_store(wrap, url);
    OK(mv_store_open(url, &store));
    return store;
}

/* "name" or "-name" (deleted) of every database, joined by spaces. */
static int add_name(void *ctx, const mv_info *info)
{
    char *out = ctx;
    sprintf(out + strlen(out), "%s%s%s", *out ? " " : "", info->deleted_ms ? "-" : "", info->name);
    CHECK(info->id > 0 && info->created_ms > 0);
    return 0;
}

static void expect_names(mv_store *store, const char *wanted)
{
    char names[400] = "";
    OK(mv_list(store, add_name, names));
    CHECK(strcmp(names, wanted) == 0);
}

static uint32_t id_of(mv_store *store, const char *name)
{
    mv_db *db;
    OK(mv_db_open(store, name, 0, &db));
    uint32_t id = db->ns;
    mv_db_close(db);
    return id;
}

static void names_come_and_go(void)
{
    mv_store *store = open_new("");
    mv_db *db = (mv_db *)(uintptr_t)1;
    expect_names(store, "");
    IS(MV_NOTFOUND, mv_db_open(store, "a", 0, &db));
    CHECK(db == NULL);
    OK(mv_create(store, "a"));
    IS(MV_EXISTS, mv_create(store, "a"));
    OK(mv_db_open(store, "b", MV_CREATE, &db));
    mv_db_close(db);
    expect_names(store, "a b");
    uint32_t id = id_of(store, "a");
    IS(MV_EXISTS, mv_rename(store, "a", "b"));
    IS(MV_NOTFOUND, mv_rename(store, "none", "c"));
    OK(mv_rename(store, "a", "c"));
    expect_names(store, "c b");
    EQUAL(id, id_of(store, "c"));
    IS(MV_NOTFOUND, mv_delete(store, "a"));
    OK(mv_delete(store, "c"));
    IS(MV_NOTFOUND, mv_delete(store, "c"));
    IS(MV_NOTFOUND, mv_db_open(store, "c", 0, &db));
    expect_names(store, "-c b");
    IS(MV_NOTFOUND, mv_undelete(store, "a", NULL));
    IS(MV_EXISTS, mv_undelete(store, "c", "b"));
    OK(mv_undelete(store, "c", "d"));
    EQUAL(id, id_of(store, "d"));
    expect_names(store, "d b");
    mv_store_close(store);
}

static void the_newest_deletion_comes_back_first(void)
{
    mv_store *store = open_new("");
    uint32_t ids[2];
    for (int i = 0; i < 2; i++) {
        OK(mv_create(store, "a"));
        ids[i] = id_of(store, "a");
        OK(mv_delete(store, "a"));
    }
    CHECK(ids[0] != ids[1]);
    OK(mv_undelete(store, "a", "newer"));
    OK(mv_undelete(store, "a", "older"));
    IS(MV_NOTFOUND, mv_undelete(store, "a", NULL));
    EQUAL(ids[1], id_of(store, "newer"));
    EQUAL(ids[0], id_of(store, "older"));
    mv_store_close(store);
}

static void some_names_are_refused(void)
{
    mv_store *store = open_new("");
    char longest[MV_NAME_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[MV_NAME_MAX + 1] = 0;
    const char *bad[] = {"", "a\nb", "\x7f", "\x01", "a-journal", "a-wal", "a-shm", "-wal", longest};
    mv_db *db;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        IS(MV_NAME, mv_create(store, bad[i]));
        IS(MV_NAME, mv_db_open(store, bad[i], MV_CREATE, &db));
    }
    longest[MV_NAME_MAX] = 0;
    OK(mv_create(store, longest));
    OK(mv_create(store, "/home/a b/\xc3\xbc.db"));
    IS(MV_NAME, mv_rename(store, longest, "b-wal"));
    IS(MV_NAME, mv_undelete(store, longest, ""));
    OK(mv_delete(store, longest));
    OK(mv_undelete(store, longest, NULL));
    mv_store_close(store);
}

static void a_deleted_database_is_gone_for_those_who_have_it_open(void)
{
    mv_store *store = open_new("");
    mv_db *db;
    model m;
    int stale;
    model_begin(&m, 21, 512, 8);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    OK(mv_db_lock(db));
    model_write_page(&m, db, 1, FILL_TEXT);
    model_commit(&m, db);
    model_write_page(&m, db, 2, FILL_TEXT);
    OK(mv_delete(store, "a"));
    IS(MV_GONE, mv_db_commit(&db, 1, NULL));
    mv_db_unlock(db);
    IS(MV_GONE, mv_db_begin(db, &stale));
    IS(MV_GONE, mv_db_lock(db));
    OK(mv_undelete(store, "a", "b"));
    OK(mv_db_begin(db, &stale));
    model_forget(&m);
    model_check_now(&m, db);
    EQUAL(0, model_problems(db));
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

/* The engine asks "did it happen?": yes, once. */
static void a_name_is_changed_once_when_the_engine_forgets(void)
{
    mv_store *store = open_new("fault:");
    for (int kind = MV_FAULT_UNKNOWN_DONE; kind <= MV_FAULT_UNKNOWN_LOST; kind++) {
#define FORGETFUL(call)                    \
    mv_fault_arm(kind, 1, 0, MV_UNKNOWN); \
    OK(call);                              \
    EQUAL(1, mv_fault_fired());            \
    mv_fault_reset()
        FORGETFUL(mv_create(store, "a"));
        expect_names(store, "a");
        FORGETFUL(mv_rename(store, "a", "b"));
        expect_names(store, "b");
        FORGETFUL(mv_delete(store, "b"));
        expect_names(store, "-b");
        FORGETFUL(mv_undelete(store, "b", "c"));
        expect_names(store, "c");
        IS(MV_EXISTS, mv_create(store, "c"));
        IS(MV_NOTFOUND, mv_delete(store, "b"));
        mv_store_close(store);
        store = open_new("fault:");
    }
    mv_store_close(store);
}

static int set_format(kv_txn *txn, void *ctx)
{
    uint8_t bytes[4];
    mvi_key key = mvi_key_format();
    mvi_put32(bytes, *(uint32_t *)ctx);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(bytes, 4));
}

static void a_newer_format_is_refused(void)
{
    char url[KIT_PATH];
    mv_store *store;
    kit_store("", url);
    uint32_t formats[] = {MV_STORED_FORMAT + 1, MV_STORED_FORMAT};
    OK(mv_store_open(url, &store));
    for (int i = 0; i < 2; i++) {
        OK(kv_transact(store->kv, set_format, &formats[i], NULL));
        mv_store *again = NULL;
        mv_store_close(store);
        IS(i ? MV_OK : MV_FORMAT, mv_store_open(url, &again));
        CHECK(i || again == NULL);
        if (!i) { /* put it right again through the engine alone */
            kv_engine *kv;
            OK(kv_open(url, &kv));
            OK(kv_transact(kv, set_format, &formats[1], NULL));
            kv_close(kv);
            OK(mv_store_open(url, &again));
        }
        store = again;
    }
    mv_store_close(store);
}

static int get_format(kv_txn *txn, void *ctx)
{
    mvi_key key = mvi_key_format();
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    *(uint32_t *)ctx = rc ? 0 : mvi_get32(value.data);
    return rc ? rc : KV_NOTHING;
}

static void an_older_format_is_taken_over(void)
{
    char url[KIT_PATH];
    mv_store *store;
    uint32_t format = 1;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    OK(mv_create(store, "a"));
    OK(kv_transact(store->kv, set_format, &format, NULL));
    mv_store_close(store);
    OK(mv_store_open(url, &store));
    OK(kv_transact(store->kv, get_format, &format, NULL));
    EQUAL(MV_STORED_FORMAT, format);
    IS(MV_EXISTS, mv_create(store, "a"));
    mv_store_close(store);
}

static void the_default_store_follows_the_environment(void)
{
    char url[KIT_PATH];
    setenv("MVSQLITE_STORE", "lmdb:/given", 1);
    OK(mv_default_url(url, sizeof url));
    CHECK(strcmp(url, "lmdb:/given") == 0);
    IS(MV_URL, mv_default_url(url, strlen("lmdb:/given")));
    unsetenv("MVSQLITE_STORE");
    setenv("XDG_DATA_HOME", "/data", 1);
    OK(mv_default_url(url, sizeof url));
    CHECK(strcmp(url, "lmdb:/data/mvsqlite/store") == 0);
    setenv("XDG_DATA_HOME", "relative", 1); /* the specification: such a value is ignored */
    setenv("HOME", "/home/someone", 1);
    OK(mv_default_url(url, sizeof url));
    CHECK(strcmp(url, "lmdb:/home/someone/.local/share/mvsqlite/store") == 0);
    unsetenv("HOME");
    IS(MV_URL, mv_default_url(url, sizeof url));
}

/* ---- moments ---------------------------------------------------------------- */

#define NOW 1790000000123ull

static void moments_are_understood(void)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"now", NOW},
        {"  now ", NOW},
        {"-5m", NOW - 300000},
        {"-0s", NOW},
        {"5 minutes ago", NOW - 300000},
        {"90 s ago", NOW - 90000},
        {"1.5 hours ago", NOW - 5400000},
        {"-2d", NOW - 172800000},
        {"1 week ago", NOW - 604800000},
        {"-900000000s", NOW - 900000000000},
        {"-999999w", 0}, /* before 1970: the beginning */
        {"1790000000", 1790000000000},
        {"1790000000.5", 1790000000500},
        {"1790000000.12345", 1790000000123},
        {"2026-11-24T10:15:30Z", 1795515330000},
        {"2026-11-24T10:15:30.25Z", 1795515330250},
        {"2026-11-24 10:15Z", 1795515300000},
        {"2026-11-24T10:15:30+01:00", 1795511730000},
        {"2026-11-24T10:15:30-0230", 1795524330000},
        {"2026-11-24T10:15:30 +01:00", 1795511730000},
        {"2026-11-24Z", 1795478400000},
        {"2026-11-24", 1795478400000}, /* local time, which is UTC here */
        {"2026-11-24 10:15", 1795515300000},
        {"1970-01-01T00:00:00Z", 0},
        {"2024-02-29T00:00:00Z", 1709164800000},
    };
    setenv("TZ", "UTC", 1);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t ms = 1;
        check_now.about = good[i].text;
        OK(mv_parse_moment(good[i].text, NOW, &ms));
        EQUAL(good[i].ms, ms);
    }
    check_now.about = NULL;
}

static void local_time_is_the_zone_of_the_process(void)
{
    uint64_t ms;
    setenv("TZ", "XST-3", 1); /* three hours east */
    OK(mv_parse_moment("2026-11-24 13:15:30", NOW, &ms));
    EQUAL(1795515330000, ms);
    OK(mv_parse_moment("2026-11-24 10:15:30Z", NOW, &ms));
    EQUAL(1795515330000, ms);
    setenv("TZ", "UTC", 1);
}

static void other_texts_are_no_moments(void)
{
    static const char *const bad[] = {
        "", " ", "nowhere", "yesterday", "5", "-", "-5", "-m", "5m", "-5m ago", "ago", "-5 months", "5 minutesago!",
        "2026", "2026-", "2026-11", "2026-11-", "2026-13-01", "2026-00-10", "2026-11-00", "2026-11-32",
        "2026-02-30", "2025-02-29T00:00Z", "2026-11-24T", "2026-11-24T10", "2026-11-24T10:", "2026-11-24T10:15:",
        "2026-11-24T25:00", "2026-11-24T10:60", "2026-11-24T10:15:61", "2026-11-24T10:-5", "2026--1-24",
        "2026-11-24T10: 5", "2026- 1-24", "2026-11-24T10:15X", "2026-11-24T10:15+", "2026-11-24T10:15+1",
        "2026-11-24T10:15+24:00", "2026-11-24T10:15+01:60", "2026-11-24T10:15+-1:30", "2026-11-24T10:15+01:-3",
        "2026-11-24T10:15Zulu", "2026-11-24T10:15:30Z trailing", "1969-12-31T23:59:59Z", "0001-01-01",
        "1790000000x", "1790000000.5.5", "99999999999999999999", "-99999999999999999999s", "1e9", "0x60000000",
        "2026/11/24", "24-11-2026", "-2026-11-24", "+026-11-24", "\xff\xfe", "%s%n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t ms;
        check_now.about = bad[i];
        IS(MV_TIME, mv_parse_moment(bad[i], NOW, &ms));
    }
    check_now.about = NULL;
}

/* Whatever comes, an answer; the sanitizers watch. */
static void noise_is_no_moment(void)
{
    static const char letters[] = "0123456789-:.TZ+ agonwhsmd";
    chance c = {22};
    char text[40];
    for (int i = 0; i < 50000; i++) {
        uint64_t ms;
        size_t n = chance_below(&c, sizeof text);
        for (size_t j = 0; j < n; j++)
            text[j] = letters[chance_below(&c, sizeof letters - 1)];
        text[n] = 0;
        int rc = mv_parse_moment(text, NOW, &ms);
        CHECK(rc == MV_OK || rc == MV_TIME);
    }
}

static void a_moment_finds_its_version(void)
{
    mv_store *store = open_new("");
    mv_db *db;
    mv_stamp stamp;
    mv_snapshot snapshot;
    model m;
    model_begin(&m, 23, 512, 8);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    IS(MV_NOVERSION, mv_db_at(db, "now", &stamp));
    OK(mv_db_lock(db));
    for (int i = 0; i < 3; i++) {
        model_write_page(&m, db, 1, FILL_NOISE);
        model_commit(&m, db);
    }
    OK(mv_db_at(db, "now", &stamp));
    mv_stamp newest = model_newest(&m);
    EQUAL(0, mvi_stamp_cmp(&stamp, &newest));
    IS(MV_NOVERSION, mv_db_at(db, "-1h", &stamp));
    IS(MV_NOVERSION, mv_db_at(db, "1970-01-02T00:00:00Z", &stamp));
    IS(MV_TIME, mv_db_at(db, "2100-01-01", &stamp));
    IS(MV_TIME, mv_db_at(db, "some day", &stamp));
    mv_db_snapshot(db, &snapshot);
    char exact[40];
    snprintf(exact, sizeof exact, "%llu.%03u", (unsigned long long)(snapshot.ms / 1000),
             (unsigned)(snapshot.ms % 1000));
    OK(mv_db_at(db, exact, &stamp));
    EQUAL(0, mvi_stamp_cmp(&stamp, &newest));
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

void store_names(void)
{
    RUN(names_come_and_go);
    RUN(the_newest_deletion_comes_back_first);
    RUN(some_names_are_refused);
    RUN(a_deleted_database_is_gone_for_those_who_have_it_open);
    RUN(a_name_is_changed_once_when_the_engine_forgets);
    RUN(a_newer_format_is_refused);
    RUN(an_older_format_is_taken_over);
    RUN(the_default_store_follows_the_environment);
    RUN(moments_are_understood);
    RUN(local_time_is_the_zone_of_the_process);
    RUN(other_texts_are_no_moments);
    RUN(noise_is_no_moment);
    RUN(a_moment_finds_its_version);
}
