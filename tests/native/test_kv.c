/* What kv.h promises, asked of every engine whose address is an argument:
 *
 *     test_kv lmdb: fault:lmdb:            ("lmdb:" alone gets a new directory)
 *
 * The tests keep to keys below one prefix and clear it first, so that they can run
 * in a key space that outlives them. What is LMDB's alone is in kv_lmdb_files.c. */
#include <pthread.h>
#include <sys/wait.h>

#include "../../native/kv/kv.h"
#include "kit.h"

void kv_lmdb_files(void);

#define PREFIX "test/"
#define PREFIX_END "test0" /* the first key after every key of the prefix */

/* ---- small transactions ------------------------------------------------- */

typedef struct work {
    mv_slice key, value;
    size_t offset; /* of the stamp */
    int answer;    /* of the function, after its writes */
} work;

static int do_set(kv_txn *txn, void *ctx)
{
    work *w = ctx;
    int rc = kv_set(txn, w->key, w->value);
    return rc ? rc : w->answer;
}

static int do_clear(kv_txn *txn, void *ctx)
{
    return kv_clear(txn, ((work *)ctx)->key);
}

static int do_clear_range(kv_txn *txn, void *ctx)
{
    work *w = ctx;
    return kv_clear_range(txn, w->key, w->value);
}

static int do_stamped_key(kv_txn *txn, void *ctx)
{
    work *w = ctx;
    return kv_set_stamped_key(txn, w->key, w->offset, w->value);
}

static int do_stamped_value(kv_txn *txn, void *ctx)
{
    work *w = ctx;
    return kv_set_stamped_value(txn, w->key, w->value, w->offset);
}

static void set(kv_engine *kv, const char *key, const char *value)
{
    work w = {.key = str(key), .value = str(value)};
    OK(kv_transact(kv, do_set, &w, NULL));
}

static void clear_range(kv_engine *kv, const char *begin, const char *end)
{
    work w = {.key = str(begin), .value = str(end)};
    OK(kv_transact(kv, do_clear_range, &w, NULL));
}

static kv_engine *open_clean(const char *url)
{
    kv_engine *kv;
    OK(kv_open(url, &kv));
    clear_range(kv, PREFIX, PREFIX_END);
    return kv;
}

static int is(mv_slice value, const char *text)
{
    return mvi_slice_cmp(value, str(text)) == 0;
}

/* NULL: the key must be absent. */
static void expect_in(kv_txn *txn, const char *key, const char *wanted)
{
    mv_slice value = str("left over");
    int rc = kv_get(txn, str(key), &value);
    IS(wanted ? MV_OK : MV_NOTFOUND, rc);
    CHECK(wanted ? is(value, wanted) : value.size == 0);
}

static void expect(kv_engine *kv, const char *key, const char *wanted)
{
    kv_txn *txn;
    OK(kv_read_begin(kv, &txn));
    expect_in(txn, key, wanted);
    kv_read_end(txn);
}

/* The keys of [begin, end), joined by spaces. */
static void keys_in(kv_txn *txn, const char *begin, const char *end, size_t limit, int flags, char *out)
{
    kv_cursor *cursor;
    mv_slice key, value;
    int rc;
    out[0] = 0;
    OK(kv_range(txn, str(begin), str(end), limit, flags, &cursor));
    while ((rc = kv_next(cursor, &key, &value)) == MV_OK)
        sprintf(out + strlen(out), "%s%.*s", *out ? " " : "", (int)(key.size - strlen(PREFIX)),
                (const char *)key.data + strlen(PREFIX));
    IS(MV_NOTFOUND, rc);
    IS(MV_NOTFOUND, kv_next(cursor, &key, &value)); /* the end stays the end */
    kv_cursor_close(cursor);
}

/* ---- reading and writing -------------------------------------------------- */

static void values_are_what_was_set(const char *url)
{
    kv_engine *kv = open_clean(url);
    expect(kv, PREFIX "a", NULL);
    set(kv, PREFIX "a", "one");
    expect(kv, PREFIX "a", "one");
    set(kv, PREFIX "a", "two");
    set(kv, PREFIX "ab", "");
    expect(kv, PREFIX "a", "two");
    expect(kv, PREFIX "ab", "");
    work gone = {.key = str(PREFIX "a")}, absent = {.key = str(PREFIX "none")};
    OK(kv_transact(kv, do_clear, &gone, NULL));
    OK(kv_transact(kv, do_clear, &absent, NULL));
    expect(kv, PREFIX "a", NULL);
    expect(kv, PREFIX "ab", "");
    kv_close(kv);
}

static void any_bytes_are_a_value(const char *url)
{
    kv_engine *kv = open_clean(url);
    chance c = {7};
    static uint8_t bytes[100000];
    const uint8_t key[] = {'t', 'e', 's', 't', '/', 0, 0xff, 0, 0xff};
    kit_fill(&c, FILL_NOISE, bytes, sizeof bytes);
    work w = {.key = mvi_slice(key, sizeof key), .value = mvi_slice(bytes, sizeof bytes)};
    OK(kv_transact(kv, do_set, &w, NULL));
    kv_txn *txn;
    mv_slice value;
    OK(kv_read_begin(kv, &txn));
    kv_prefetch(txn, &w.key, 1);
    OK(kv_get(txn, w.key, &value));
    CHECK(mvi_slice_cmp(value, w.value) == 0);
    kv_read_end(txn);
    kv_close(kv);
}

static void ranges_have_bounds_order_and_limit(const char *url)
{
    kv_engine *kv = open_clean(url);
    char keys[200];
    kv_txn *txn;
    for (const char *k = "ebdac"; *k; k++)
        set(kv, (char[]){'t', 'e', 's', 't', '/', *k, 0}, "v");
    set(kv, PREFIX "bb", "v");
    OK(kv_read_begin(kv, &txn));
#define RANGE(wanted, begin, end, limit, flags)               \
    keys_in(txn, PREFIX begin, PREFIX end, limit, flags, keys); \
    CHECK(strcmp(keys, wanted) == 0)
    RANGE("a b bb c d e", "", "~", 0, 0);
    RANGE("e d c bb b a", "", "~", 0, KV_REVERSE);
    RANGE("b bb c", "b", "d", 0, 0);
    RANGE("c bb b", "b", "d", 0, KV_REVERSE);
    RANGE("bb c", "ba", "cc", 0, 0);
    RANGE("c bb", "ba", "cc", 0, KV_REVERSE);
    RANGE("a b", "", "~", 2, 0);
    RANGE("e d", "", "~", 2, KV_REVERSE);
    RANGE("", "bc", "c", 0, 0);
    RANGE("", "bc", "c", 0, KV_REVERSE);
    RANGE("", "c", "c", 0, 0);
    RANGE("", "c", "c", 0, KV_REVERSE);
    RANGE("", "d", "b", 0, 0);
    RANGE("", "d", "b", 0, KV_REVERSE);
    RANGE("", "f", "~", 0, KV_REVERSE);
#undef RANGE
    kv_read_end(txn);
    kv_close(kv);
}

static void an_empty_bound_is_the_first_key(const char *url)
{
    kv_engine *kv = open_clean(url);
    kv_txn *txn;
    kv_cursor *cursor;
    mv_slice key, value;
    set(kv, PREFIX "a", "v");
    for (int flags = 0; flags <= KV_REVERSE; flags++) {
        OK(kv_read_begin(kv, &txn));
        OK(kv_range(txn, mvi_slice(NULL, 0), str(PREFIX "b"), 1, flags, &cursor));
        OK(kv_next(cursor, &key, &value));
        CHECK(flags == 0 || is(key, PREFIX "a"));
        kv_cursor_close(cursor);
        OK(kv_range(txn, mvi_slice(NULL, 0), mvi_slice(NULL, 0), 0, flags, &cursor));
        IS(MV_NOTFOUND, kv_next(cursor, &key, &value));
        kv_cursor_close(cursor);
        kv_read_end(txn);
    }
    kv_close(kv);
}

static void a_range_is_cleared_to_its_bounds(const char *url)
{
    kv_engine *kv = open_clean(url);
    const char *keys[] = {PREFIX "a", PREFIX "b", PREFIX "b1", PREFIX "b2", PREFIX "c"};
    for (size_t i = 0; i < 5; i++)
        set(kv, keys[i], "v");
    clear_range(kv, PREFIX "x", PREFIX "y");
    clear_range(kv, PREFIX "c", PREFIX "a");
    clear_range(kv, PREFIX "b", PREFIX "c");
    for (size_t i = 0; i < 5; i++)
        expect(kv, keys[i], i == 0 || i == 4 ? "v" : NULL);
    kv_close(kv);
}

static int read_what_it_writes(kv_txn *txn, void *ctx)
{
    char keys[100];
    (void)ctx;
    expect_in(txn, PREFIX "new", NULL);
    OK(kv_set(txn, str(PREFIX "new"), str("mine")));
    expect_in(txn, PREFIX "new", "mine");
    OK(kv_set(txn, str(PREFIX "nfw"), str("mine")));
    keys_in(txn, PREFIX, PREFIX_END, 0, 0, keys);
    CHECK(strcmp(keys, "new nfw old") == 0);
    OK(kv_clear_range(txn, str(PREFIX "n"), str(PREFIX "o")));
    expect_in(txn, PREFIX "new", NULL);
    keys_in(txn, PREFIX, PREFIX_END, 0, KV_REVERSE, keys);
    CHECK(strcmp(keys, "old") == 0);
    OK(kv_add_read_conflict(txn, str(PREFIX), str(PREFIX_END)));
    return kv_clear(txn, str(PREFIX "old"));
}

static void a_transaction_reads_what_it_writes(const char *url)
{
    kv_engine *kv = open_clean(url);
    set(kv, PREFIX "old", "v");
    OK(kv_transact(kv, read_what_it_writes, NULL, NULL));
    expect(kv, PREFIX "old", NULL);
    kv_close(kv);
}

static void a_reader_cannot_write(const char *url)
{
    kv_engine *kv = open_clean(url);
    kv_txn *txn;
    mv_slice key = str(PREFIX "k"), value = str("0123456789");
    OK(kv_read_begin(kv, &txn));
    IS(MV_MISUSE, kv_set(txn, key, value));
    IS(MV_MISUSE, kv_clear(txn, key));
    IS(MV_MISUSE, kv_clear_range(txn, key, str(PREFIX_END)));
    IS(MV_MISUSE, kv_set_stamped_value(txn, key, value, 0));
    IS(MV_MISUSE, kv_set_stamped_key(txn, value, 0, value));
    kv_read_end(txn);
    kv_close(kv);
}

/* ---- transactions ------------------------------------------------------------ */

static void *set_in_thread(void *ctx)
{
    kv_engine *kv = ctx;
    set(kv, PREFIX "a", "after");
    set(kv, PREFIX "b", "after");
    return NULL;
}

/* The writer is another thread: one thread may not write while it reads. */
static void a_snapshot_does_not_move(const char *url)
{
    kv_engine *kv = open_clean(url);
    kv_txn *txn;
    pthread_t writer;
    char keys[100];
    set(kv, PREFIX "a", "before");
    OK(kv_read_begin(kv, &txn));
    expect_in(txn, PREFIX "a", "before");
    CHECK(pthread_create(&writer, NULL, set_in_thread, kv) == 0);
    CHECK(pthread_join(writer, NULL) == 0);
    expect_in(txn, PREFIX "a", "before");
    expect_in(txn, PREFIX "b", NULL);
    keys_in(txn, PREFIX, PREFIX_END, 0, 0, keys);
    CHECK(strcmp(keys, "a") == 0);
    kv_read_end(txn);
    expect(kv, PREFIX "a", "after");
    expect(kv, PREFIX "b", "after");
    kv_close(kv);
}

static void an_error_undoes_the_transaction(const char *url)
{
    kv_engine *kv = open_clean(url);
    kv_stamp stamp = {{1}};
    set(kv, PREFIX "a", "kept");
    work w = {.key = str(PREFIX "a"), .value = str("lost"), .answer = MV_CONFLICT};
    IS(MV_CONFLICT, kv_transact(kv, do_set, &w, &stamp));
    expect(kv, PREFIX "a", "kept");
    w.answer = KV_NOTHING;
    memset(&stamp, 1, sizeof stamp);
    OK(kv_transact(kv, do_set, &w, &stamp));
    CHECK(memcmp(&stamp, &(kv_stamp){{0}}, sizeof stamp) == 0);
    expect(kv, PREFIX "a", "kept");
    kv_close(kv);
}

static void stamps_land_where_they_are_told(const char *url)
{
    kv_engine *kv = open_clean(url);
    kv_stamp stamp;
    kv_txn *txn;
    kv_cursor *cursor;
    mv_slice key, value;
    work k = {.key = str(PREFIX "k..........!"), .value = str("v"), .offset = strlen(PREFIX) + 1};
    OK(kv_transact(kv, do_stamped_key, &k, &stamp));
    OK(kv_read_begin(kv, &txn));
    OK(kv_range(txn, str(PREFIX "k"), str(PREFIX "l"), 0, 0, &cursor));
    OK(kv_next(cursor, &key, &value));
    EQUAL(k.key.size, key.size);
    CHECK(memcmp(key.data + k.offset, stamp.bytes, KV_STAMP_SIZE) == 0);
    CHECK(key.data[key.size - 1] == '!' && is(value, "v"));
    kv_cursor_close(cursor);
    kv_read_end(txn);
    work v = {.key = str(PREFIX "v"), .value = str("[..........]"), .offset = 1};
    OK(kv_transact(kv, do_stamped_value, &v, &stamp));
    OK(kv_read_begin(kv, &txn));
    OK(kv_get(txn, v.key, &value));
    EQUAL(12, value.size);
    CHECK(value.data[0] == '[' && value.data[11] == ']');
    CHECK(memcmp(value.data + 1, stamp.bytes, KV_STAMP_SIZE) == 0);
    kv_read_end(txn);
    v.offset = 3;
    IS(MV_MISUSE, kv_transact(kv, do_stamped_value, &v, NULL));
    k.offset = k.key.size - KV_STAMP_SIZE + 1;
    IS(MV_MISUSE, kv_transact(kv, do_stamped_key, &k, NULL));
    kv_close(kv);
}

static void stamps_grow_over_commits_and_openings(const char *url)
{
    char stable[KIT_PATH];
    kv_stamp last = {{0}}, stamp;
    kit_url(url, stable); /* one address for all openings */
    for (int opening = 0; opening < 4; opening++) {
        kv_engine *kv;
        OK(kv_open(stable, &kv));
        for (int i = 0; i < 10; i++) {
            work w = {.key = str(PREFIX "a"), .value = str("v")};
            OK(kv_transact(kv, do_set, &w, &stamp));
            CHECK(memcmp(&stamp, &last, sizeof stamp) > 0);
            last = stamp;
        }
        expect(kv, PREFIX "a", "v");
        kv_close(kv);
    }
}

/* ---- threads -------------------------------------------------------------- */

enum { WRITERS = 8, COMMITS = 40 };

typedef struct writer {
    kv_engine *kv;
    int number;
    kv_stamp stamps[COMMITS];
    int done; /* commits that should have been kept */
} writer;

/* Counts up its own key, twice over; every third run fails with the work half done. */
static int count_up(kv_txn *txn, void *ctx)
{
    writer *w = ctx;
    char key[40], value[20];
    mv_slice now;
    sprintf(key, PREFIX "counter%d", w->number);
    int rc = kv_get(txn, str(key), &now);
    if (rc && rc != MV_NOTFOUND)
        return rc;
    sprintf(value, "%d", rc ? 1 : atoi((const char *)now.data) + 1);
    rc = kv_set(txn, str(key), mvi_slice(value, strlen(value) + 1));
    if (rc || w->done % 3 == 2)
        return rc ? rc : MV_CONFLICT;
    sprintf(key, PREFIX "twin%d", w->number);
    return kv_set(txn, str(key), mvi_slice(value, strlen(value) + 1));
}

/* An engine that cannot raise its stamps says so, and they are as before. */
static void stamps_can_be_raised_or_not(const char *url)
{
    kv_engine *kv;
    kv_stamp before, after, far = {{0x10}}, too_far = {{0xff, 0xff}};
    work w = {.key = str(PREFIX "raised"), .value = str("v")};
    OK(kv_open(url, &kv));
    OK(kv_transact(kv, do_set, &w, &before));
    OK(kv_raise_stamps(kv, &(kv_stamp){{0}}));
    IS(MV_MISUSE, kv_raise_stamps(kv, &too_far));
    OK(kv_transact(kv, do_set, &w, &after));
    CHECK(memcmp(after.bytes, before.bytes, KV_STAMP_SIZE) > 0);
    CHECK(memcmp(after.bytes, far.bytes, KV_STAMP_SIZE) < 0);
    int rc = kv_raise_stamps(kv, &far);
    CHECK(rc == MV_OK || rc == MV_MISUSE);
    for (int opened = 0; opened < 3; opened++) { /* in this opening and in later ones */
        before = after;
        OK(kv_transact(kv, do_set, &w, &after));
        CHECK(memcmp(after.bytes, before.bytes, KV_STAMP_SIZE) > 0);
        CHECK((memcmp(after.bytes, far.bytes, KV_STAMP_SIZE) > 0) == (rc == MV_OK));
        kv_close(kv);
        OK(kv_open(url, &kv));
        if (rc == MV_OK)
            OK(kv_raise_stamps(kv, &far)); /* they are above it already */
    }
    kv_close(kv);
}

static void *write_many(void *ctx)
{
    writer *w = ctx;
    for (int i = 0; i < COMMITS; i++) {
        int fails = w->done % 3 == 2;
        IS(fails ? MV_CONFLICT : MV_OK, kv_transact(w->kv, count_up, w, &w->stamps[i]));
        w->done++;
    }
    return NULL;
}

static int compare_stamps(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(kv_stamp));
}

static void check_counter(kv_engine *kv, const char *name, int number, int wanted)
{
    char key[40], value[20];
    kv_txn *txn;
    mv_slice now;
    sprintf(key, PREFIX "%s%d", name, number);
    sprintf(value, "%d", wanted);
    OK(kv_read_begin(kv, &txn));
    OK(kv_get(txn, str(key), &now));
    CHECK(strcmp((const char *)now.data, value) == 0);
    kv_read_end(txn);
}

static void threads_commit_together(const char *url)
{
    kv_engine *kv = open_clean(url);
    static writer writers[WRITERS];
    static kv_stamp all[WRITERS * COMMITS];
    const kv_stamp zero = {{0}};
    pthread_t threads[WRITERS];
    size_t n = 0;
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){.kv = kv, .number = i};
        CHECK(pthread_create(&threads[i], NULL, write_many, &writers[i]) == 0);
    }
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < WRITERS; i++) {
        int kept = 0;
        for (int j = 0; j < COMMITS; j++)
            if (j % 3 == 2) {
                CHECK(memcmp(&writers[i].stamps[j], &zero, sizeof zero) == 0);
            } else {
                CHECK(memcmp(&writers[i].stamps[j], kept ? &all[n - 1] : &zero, sizeof zero) > 0);
                all[n++] = writers[i].stamps[j];
                kept++;
            }
        check_counter(kv, "counter", i, kept);
        check_counter(kv, "twin", i, kept);
    }
    qsort(all, n, sizeof *all, compare_stamps);
    for (size_t i = 1; i < n; i++)
        CHECK(memcmp(&all[i - 1], &all[i], sizeof *all) < 0); /* no two commits share a stamp */
    kv_close(kv);
}

static void a_watch_sees_a_change(const char *url)
{
    kv_engine *kv = open_clean(url);
    pthread_t other;
    set(kv, PREFIX "a", "before");
    IS(MV_UNREACHABLE, kv_watch(kv, str(PREFIX "a"), str("before"), 30));
    OK(kv_watch(kv, str(PREFIX "a"), str("older"), 60000));
    IS(MV_UNREACHABLE, kv_watch(kv, str(PREFIX "b"), str(""), 0));
    CHECK(pthread_create(&other, NULL, set_in_thread, kv) == 0);
    OK(kv_watch(kv, str(PREFIX "a"), str("before"), 60000));
    OK(kv_watch(kv, str(PREFIX "b"), str(""), 60000));
    CHECK(pthread_join(other, NULL) == 0);
    kv_close(kv);
}

/* ---- processes -------------------------------------------------------------- */

/* Both counters go up in one transaction, so they are never seen apart. */
static int count_shared(kv_txn *txn, void *ctx)
{
    static const char *const keys[] = {PREFIX "shared", PREFIX "twin"};
    int counts[2];
    (void)ctx;
    for (int i = 0; i < 2; i++) {
        mv_slice now;
        int rc = kv_get(txn, str(keys[i]), &now);
        if (rc && rc != MV_NOTFOUND)
            return rc;
        counts[i] = rc ? 0 : (int)mvi_get32(now.data);
    }
    CHECK(counts[0] == counts[1]);
    uint8_t next[4];
    mvi_put32(next, (uint32_t)counts[0] + 1);
    int rc = kv_add_read_conflict(txn, str(PREFIX), str(PREFIX_END));
    for (int i = 0; i < 2 && !rc; i++)
        rc = kv_set(txn, str(keys[i]), mvi_slice(next, 4));
    return rc;
}

static void count_in_process(const char *url)
{
    kv_engine *kv;
    kv_stamp last = {{0}}, stamp;
    OK(kv_open(url, &kv));
    for (int i = 0; i < 50; i++) {
        OK(kv_transact(kv, count_shared, NULL, &stamp));
        CHECK(memcmp(&stamp, &last, sizeof stamp) > 0);
        last = stamp;
    }
    kv_close(kv);
}

static void two_processes_count(const char *url)
{
    char stable[KIT_PATH];
    kit_url(url, stable);
    kv_close(open_clean(stable));
    pid_t children[2];
    for (int i = 0; i < 2; i++)
        if ((children[i] = fork()) == 0) {
            count_in_process(stable);
            _exit(0);
        }
    kit_wait(children[0]);
    kit_wait(children[1]);
    kv_engine *kv;
    kv_txn *txn;
    mv_slice value;
    OK(kv_open(stable, &kv));
    OK(kv_read_begin(kv, &txn));
    OK(kv_get(txn, str(PREFIX "shared"), &value));
    EQUAL(100, mvi_get32(value.data));
    kv_read_end(txn);
    kv_close(kv);
}

static void use_after_fork(kv_engine *parents, const char *url)
{
    kv_engine *kv;
    kv_txn *txn;
    work w = {.key = str(PREFIX "a"), .value = str("by the child")};
    IS(MV_FORKED, kv_read_begin(parents, &txn));
    IS(MV_FORKED, kv_transact(parents, do_set, &w, NULL));
    IS(MV_FORKED, kv_watch(parents, w.key, str(""), 10));
    kv_close(parents);
    OK(kv_open(url, &kv));
    expect(kv, PREFIX "a", "by the parent");
    OK(kv_transact(kv, do_set, &w, NULL));
    kv_close(kv);
}

static void a_handle_does_not_cross_fork(const char *url)
{
    char stable[KIT_PATH];
    kit_url(url, stable);
    kv_engine *kv = open_clean(stable);
    set(kv, PREFIX "a", "by the parent");
    pid_t child = fork();
    if (child == 0) {
        use_after_fork(kv, stable);
        _exit(0);
    }
    kit_wait(child);
    expect(kv, PREFIX "a", "by the child");
    set(kv, PREFIX "a", "by the parent again");
    expect(kv, PREFIX "a", "by the parent again");
    kv_close(kv);
}

static void conformance(const char *scheme)
{
    char url[KIT_PATH];
    kit_url(scheme, url);
    RUN_WITH(values_are_what_was_set, url);
    RUN_WITH(any_bytes_are_a_value, url);
    RUN_WITH(ranges_have_bounds_order_and_limit, url);
    RUN_WITH(an_empty_bound_is_the_first_key, url);
    RUN_WITH(a_range_is_cleared_to_its_bounds, url);
    RUN_WITH(a_transaction_reads_what_it_writes, url);
    RUN_WITH(a_reader_cannot_write, url);
    RUN_WITH(a_snapshot_does_not_move, url);
    RUN_WITH(an_error_undoes_the_transaction, url);
    RUN_WITH(stamps_land_where_they_are_told, url);
    RUN_WITH(stamps_grow_over_commits_and_openings, url);
    RUN_WITH(stamps_can_be_raised_or_not, url);
    RUN_WITH(threads_commit_together, url);
    RUN_WITH(a_watch_sees_a_change, url);
    RUN_WITH(two_processes_count, url);
    RUN_WITH(a_handle_does_not_cross_fork, url);
}

int main(int argc, char **argv)
{
    kit_begin(getenv("ONLY"));
    int embedded = argc < 2;
    for (int i = 1; i < argc; i++) {
        conformance(argv[i]);
        embedded |= strcmp(argv[i], "lmdb:") == 0;
    }
    if (embedded)
        kv_lmdb_files();
    return check_end();
}
