/* Tags, retention, and forgetting: what is kept reads as before, and nothing reads wrong. */
#include "../../native/store/gc.h"
#include "model.h"
#include "test_store.h"

#define HOUR ((uint64_t)3600 * 1000)
#define DAY (24 * HOUR)

static mv_store *open_new(void)
{
    char url[KIT_PATH];
    mv_store *store;
    kit_store("", url);
    OK(mv_store_open(url, &store));
    return store;
}

/* A policy under which nothing is kept for its age, and a time by which all of it is over. */
static void keep_nothing(mv_db *db)
{
    mv_policy policy = {.all_ms = 0, .least_ms = 0, .deleted_ms = 0, .statements = MV_STATEMENTS_TEXT};
    OK(mv_db_set_policy(db, &policy));
}

static mv_gc much_later(void)
{
    return (mv_gc){.now_ms = mvi_now_ms() + DAY};
}

static uint64_t bytes_of(mv_db *db)
{
    mv_usage usage;
    OK(mv_db_usage(db, &usage));
    return usage.head_bytes + usage.history_bytes + usage.record_bytes;
}

static uint64_t versions_of(mv_db *db)
{
    mv_usage usage;
    OK(mv_db_usage(db, &usage));
    return usage.versions;
}

/* So many more; a commit that happens to change nothing is none. */
static void write_versions(model *m, mv_db *db, int n)
{
    size_t until = m->n + (size_t)n;
    OK(mv_db_lock(db));
    while (m->n < until) {
        model_scribble(m, db);
        model_commit(m, db);
    }
    mv_db_unlock(db);
}

/* ---- tags ------------------------------------------------------------------------ */

static int collect_tag(void *ctx, const char *tag, const mv_stamp *stamp)
{
    char *names = ctx;
    (void)stamp;
    strcat(names, tag);
    strcat(names, " ");
    return 0;
}

static void a_tag_names_one_version(void)
{
    mv_store *store = open_new();
    mv_db *db;
    model m;
    char names[64] = "";
    model_begin(&m, 7, 512, 8);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    write_versions(&m, db, 5);
    mv_stamp none = m.versions[2].stamp;
    none.bytes[9] ^= 0x55;
    OK(mv_db_tag(db, "two", &m.versions[2].stamp));
    OK(mv_db_tag(db, "two", &m.versions[2].stamp));
    OK(mv_db_tag(db, "one", &m.versions[1].stamp));
    IS(MV_EXISTS, mv_db_tag(db, "two", &m.versions[1].stamp));
    IS(MV_NOVERSION, mv_db_tag(db, "three", &none));
    IS(MV_NOVERSION, mv_db_tag(db, "three", &mvi_zero_stamp));
    IS(MV_NAME, mv_db_tag(db, "", &m.versions[1].stamp));
    OK(mv_db_tags(db, collect_tag, names));
    CHECK(strcmp(names, "one two ") == 0);
    OK(mv_db_untag(db, "two"));
    IS(MV_NOTFOUND, mv_db_untag(db, "two"));
    OK(mv_db_tag(db, "two", &m.versions[1].stamp));
    EQUAL(0, model_problems(db));
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

/* ---- the policy ------------------------------------------------------------------- */

typedef struct made {
    uint32_t ns;
    uint64_t ms[16];
    size_t n;
} made;

static int write_times(kv_txn *txn, void *ctx)
{
    const made *times = ctx;
    int rc = MV_OK;
    for (size_t i = 0; i < times->n && !rc; i++) {
        mv_stamp stamp = {{0}};
        stamp.bytes[9] = (uint8_t)(i + 1);
        mvi_key key = mvi_key_time(times->ns, times->ms[i], &stamp);
        rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(NULL, 0));
    }
    return rc;
}

/* Which of the versions made at `times` the policy keeps: a letter each, + or -. */
static void check_plan(const made *times, const mv_policy *policy, uint64_t now_ms, const char *wanted)
{
    static uint32_t ns = 1000;
    mv_store *store = open_new();
    mvi_plan plan = {.n = 0};
    made here = *times;
    char got[17] = "";
    here.ns = ns++;
    OK(kv_transact(store->kv, write_times, &here, NULL));
    OK(mvi_plan_make(store, here.ns, policy, now_ms, &plan));
    for (size_t i = 0; i < plan.n; i++)
        got[i] = plan.versions[i].keep ? '+' : '-';
    if (strcmp(got, wanted) != 0)
        fprintf(stderr, "kept %s, not %s\n", got, wanted);
    CHECK(strcmp(got, wanted) == 0);
    mvi_plan_free(&plan);
    mv_store_close(store);
}

static void the_policy_says_what_is_kept(void)
{
    uint64_t monday = 20000 * DAY - 3 * DAY; /* 20000 days after the epoch was a Thursday */
    made times = {.n = 8, .ms = {monday, monday + 10, monday + HOUR, monday + HOUR + 1, monday + DAY, monday + 8 * DAY,
                                 monday + 8 * DAY + 5, monday + 9 * DAY}};
    uint64_t now = monday + 30 * DAY;
    mv_policy none = {.least_ms = 0}, one = none;
    check_plan(&times, &none, now, "-------+");
    one.all_ms = MV_FOR_EVER;
    check_plan(&times, &one, now, "++++++++");
    one.all_ms = now - (monday + 8 * DAY) + 1; /* version 4 was followed by 5 a little less long ago */
    check_plan(&times, &one, now, "----++++");
    one.all_ms--;
    check_plan(&times, &one, now, "-----+++");
    one = none;
    one.least_ms = now - (monday + 8 * DAY + 5) + 1;
    check_plan(&times, &one, now, "-----+++");
    one = none;
    one.hourly = 3;
    check_plan(&times, &one, now, "----+-++");
    one.hourly = 4;
    check_plan(&times, &one, now, "---++-++");
    one = none;
    one.daily = 3;
    check_plan(&times, &one, now, "----+-++");
    one = none;
    one.weekly = 2;
    check_plan(&times, &one, now, "----+--+");
    one.weekly = 200;
    check_plan(&times, &one, now, "----+--+");
    check_plan(&times, &none, monday + 9 * DAY + MV_LEAST_AGE_MS - 1, "------++"); /* whatever the policy says */
    check_plan(&times, &none, monday + 9 * DAY + MV_LEAST_AGE_MS, "-------+");
    check_plan(&times, &none, monday, "++++++++"); /* a clock that was set back */
}

/* ---- against the model --------------------------------------------------------------- */

/* Takes versions out of the model as a gc would: those without a tag, but for the newest one. */
static void thin_out(model *m, const uint8_t *tagged)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (tagged[i] || i + 1 == m->n)
            m->versions[n++] = m->versions[i];
        else
            free(m->versions[i].bytes);
    }
    m->n = n;
}

/* Tags some versions, and notes which; the stamps of the others come after. */
static size_t tag_some(model *m, mv_db *db, uint8_t *tagged, mv_stamp *gone, unsigned of, int round)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        char name[32];
        tagged[i] = chance_below(&m->chance, of) == 0;
        snprintf(name, sizeof name, "%d.%zu", round, i);
        if (tagged[i])
            OK(mv_db_tag(db, name, &m->versions[i].stamp));
        else if (i + 1 < m->n)
            gone[n++] = m->versions[i].stamp;
    }
    return n;
}

static int untag_one(void *ctx, const char *tag, const mv_stamp *stamp)
{
    (void)stamp;
    return mv_db_untag(ctx, tag);
}

typedef struct stopper {
    unsigned left; /* steps */
} stopper;

static int stop_soon(void *ctx, uint64_t done, uint64_t of)
{
    stopper *s = ctx;
    CHECK(done <= of);
    return s->left-- == 0 ? 99 : 0;
}

/* Stopped after every step; in between, all that is left must read as before. */
static void run_in_steps(const model *m, mv_store *store, mv_db *db, mv_gc *sum)
{
    int rc = 99;
    *sum = much_later();
    while (rc == 99) {
        stopper s = {.left = 0};
        mv_gc gc = much_later();
        gc.progress = stop_soon;
        gc.ctx = &s;
        rc = mv_db_gc(db, &gc);
        sum->removed += gc.removed;
        sum->images += gc.images;
        sum->bytes += gc.bytes;
        model_check_all(m, store, "a");
        EQUAL(0, model_problems(db));
    }
    OK(rc);
}

typedef struct setup {
    const char *name;
    uint32_t page_size, pages_max;
    int commits;
    unsigned of; /* one of so many versions gets a tag */
    uint64_t stage_bytes, full_every;
    int steps;
} setup;

static void check_gone(mv_db *db, const mv_stamp *gone, size_t n)
{
    mv_version version;
    for (size_t i = 0; i < n; i++) {
        IS(MV_NOVERSION, mv_db_pin(db, &gone[i]));
        IS(MV_NOVERSION, mv_db_version(db, &gone[i], &version));
        IS(MV_NOVERSION, mv_db_tag(db, "late", &gone[i]));
    }
}

static void forget_once(const setup *s, model *m, mv_store *store, mv_db *db, int round)
{
    static uint8_t tagged[1000];
    static mv_stamp gone[1000];
    OK(mv_db_tags(db, untag_one, db));
    size_t n = tag_some(m, db, tagged, gone, s->of, round);
    thin_out(m, tagged);
    mv_gc dry = much_later(), gc = much_later();
    dry.dry_run = 1;
    uint64_t before = bytes_of(db);
    OK(mv_db_gc(db, &dry));
    EQUAL(before, bytes_of(db));
    EQUAL(n, dry.removed);
    EQUAL(m->n, dry.kept);
    if (s->steps)
        run_in_steps(m, store, db, &gc);
    else
        OK(mv_db_gc(db, &gc));
    EQUAL(n, gc.removed);
    EQUAL(dry.images, gc.images);
    EQUAL(before - (uint64_t)gc.bytes, bytes_of(db));
    EQUAL(m->n, versions_of(db));
    model_check_all(m, store, "a");
    EQUAL(0, model_problems(db));
    check_gone(db, gone, n);
}

static void run_setup(const setup *s, uint64_t seed)
{
    mv_store *store = open_new();
    mv_db *db;
    model m;
    check_now.about = s->name;
    if (s->stage_bytes)
        OK(mv_store_set(store, MV_STAGE_BYTES, s->stage_bytes));
    OK(mv_store_set(store, MV_FULL_EVERY, s->full_every));
    OK(mv_store_set(store, MV_CACHE_BYTES, 1));
    model_begin(&m, seed, s->page_size, s->pages_max);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    keep_nothing(db);
    for (int round = 0; round < 3; round++) {
        write_versions(&m, db, s->commits);
        forget_once(s, &m, store, db, round);
    }
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
    check_now.about = NULL;
}

static void what_is_kept_reads_as_before(void)
{
    static const setup setups[] = {
        {"512, full 32", 512, 24, 60, 3, 0, 32, 0},
        {"512, full 4, in steps", 512, 24, 30, 3, 0, 4, 1},
        {"4096, full 3, few kept", 4096, 12, 60, 12, 0, 3, 0},
        {"1024, full 250, hot pages", 1024, 3, 200, 2, 0, 250, 0},
        {"1024, full 8, hot pages, none kept", 1024, 3, 150, 100000, 0, 8, 0},
        {"staged, 8192", 8192, 40, 25, 3, 1, 32, 1},
        {"staged, 65536", 65536, 8, 25, 3, 1, 4, 1},
    };
    for (size_t i = kit_few(0, 1); i < sizeof setups / sizeof *setups; i += kit_few(1, 4))
        run_setup(&setups[i], 71 + i);
}

/* Complete images stand among the deltas however many versions go. */
static void a_read_decodes_as_few_images_as_before(void)
{
    mv_store *store = open_new();
    mv_db *db;
    model m;
    uint8_t note[4] = "one";
    OK(mv_store_set(store, MV_FULL_EVERY, 8));
    model_begin(&m, 5, 4096, 2);
    OK(mv_db_open(store, "a", MV_CREATE, &db));
    keep_nothing(db);
    OK(mv_db_lock(db));
    for (uint32_t i = 0; i < 300; i++) {
        mvi_put32(note, i);
        if (i == 0)
            model_write_page(&m, db, 1, FILL_NOISE);
        model_write_bytes(&m, db, 100 + 8 * (i % 50), note, sizeof note);
        model_commit(&m, db);
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        if (i % 8 == 3) /* every complete image is of another version */
            OK(mv_db_tag(db, name, &m.versions[i].stamp));
    }
    mv_db_unlock(db);
    mv_gc gc = much_later();
    OK(mv_db_gc(db, &gc));
    EQUAL(300 - 38, gc.removed); /* the newest has a tag too */
    mvi_piece piece = {.store = store};
    mvi_walk walk = mvi_walk_kind(&piece, db->ns, 'v');
    mv_slice key, value;
    unsigned row = 0, longest = 0, images = 0;
    while (mvi_walk_next(&walk, &key, &value) == MV_OK) {
        mvi_image image;
        if (mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE))
            continue;
        OK(mvi_image_parse(value, "an image", &image));
        row = mvi_is_delta(image.codec) ? row + 1 : 0;
        longest = row > longest ? row : longest;
        images++;
    }
    mvi_walk_close(&walk);
    mvi_piece_end(&piece);
    EQUAL(37, images);
    CHECK(longest <= 8);
    mv_db_close(db);
    model_end(&m);
    mv_store_close(store);
}

/* ---- readers ---------------------------------------------------------------------------- */

typedef struct bench {
    mv_store *store;
    mv_db *db, *other;
    model m;
} bench;

static void bench_begin(bench *b, int versions)
{
    b->store = open_new();
    OK(mv_store_set(b->store, MV_CACHE_BYTES, 1));
    model_begin(&b->m, 17, 1024, 12);
    OK(mv_db_open(b->store, "a", MV_CREATE, &b->db));
    keep_nothing(b->db);
    write_versions(&b->m, b->db, versions);
    OK(mv_db_open(b->store, "a", 0, &b->other));
}

static void bench_end(bench *b)
{
    EQUAL(0, model_problems(b->db));
    mv_db_close(b->db);
    mv_db_close(b->other);
    model_end(&b->m);
    mv_store_close(b->store);
}

static void an_open_snapshot_is_kept(void)
{
    bench b;
    int stale;
    bench_begin(&b, 30);
    mv_gc gc = much_later();
    OK(mv_db_pin(b.other, &b.m.versions[10].stamp));
    OK(mv_db_gc(b.db, &gc));
    EQUAL(1, gc.for_snapshots);
    EQUAL(28, gc.removed);
    CHECK(model_same(&b.m, b.other, &b.m.versions[10]));
    OK(mv_db_unpin(b.other)); /* it follows, and is held where it is */
    write_versions(&b.m, b.db, 5);
    CHECK(model_same(&b.m, b.other, &b.m.versions[29]));
    gc = much_later();
    OK(mv_db_gc(b.db, &gc));
    EQUAL(1, gc.for_snapshots);
    CHECK(model_same(&b.m, b.other, &b.m.versions[29]));
    mv_db_end(b.other);
    gc = much_later();
    OK(mv_db_gc(b.db, &gc));
    EQUAL(0, gc.for_snapshots);
    EQUAL(1, gc.kept);
    OK(mv_db_begin(b.other, &stale));
    CHECK(model_same(&b.m, b.other, &b.m.versions[34]));
    bench_end(&b);
}

/* Every page of a forgotten version reads as it was, or says so: never as something else. */
static void a_forgotten_version_never_reads_wrong(void)
{
    static uint8_t page[1024];
    bench b;
    size_t wrong = 0, refused = 0, right = 0;
    bench_begin(&b, 40);
    for (size_t i = 0; i < 40; i += 5) {
        char name[16];
        snprintf(name, sizeof name, "%zu", i);
        OK(mv_db_tag(b.db, name, &b.m.versions[i].stamp));
    }
    mv_gc gc = much_later();
    OK(mv_db_gc(b.db, &gc));
    for (size_t i = 0; i < 40; i++) {
        const state *as = &b.m.versions[i];
        b.other->snap = (mvi_latest){.stamp = as->stamp, .pages = as->pages, .page_size = 1024};
        for (uint32_t p = 1; p <= as->pages; p++) {
            int rc = mv_db_read(b.other, p, page);
            CHECK(rc == MV_OK || (rc == MV_NOVERSION && i % 5));
            refused += rc == MV_NOVERSION;
            right += !rc && memcmp(page, as->bytes + (size_t)(p - 1) * 1024, 1024) == 0;
            wrong += !rc && memcmp(page, as->bytes + (size_t)(p - 1) * 1024, 1024) != 0;
        }
    }
    EQUAL(0, wrong);
    CHECK(refused > 20 && right > 20);
    bench_end(&b);
}

typedef struct nested {
    bench *b;
    int rc;
    unsigned calls;
} nested;

static void gc_meanwhile(void *ctx, uint64_t done, uint64_t of)
{
    nested *n = ctx;
    (void)done, (void)of;
    mv_gc gc = much_later();
    if (n->calls++ == 0)
        n->rc = mv_db_gc(n->b->other, &gc);
}

static void nothing_goes_while_all_is_verified(void)
{
    bench b;
    bench_begin(&b, 200);
    nested n = {.b = &b};
    mv_check check = {.progress = gc_meanwhile, .ctx = &n};
    uint64_t before = bytes_of(b.db);
    OK(mv_db_verify(b.db, &check));
    EQUAL(0, check.problems);
    CHECK(n.calls > 0);
    IS(MV_BUSY, n.rc);
    EQUAL(before, bytes_of(b.db));
    mv_gc gc = much_later();
    OK(mv_db_gc(b.db, &gc));
    EQUAL(b.m.n - 1, gc.removed);
    bench_end(&b);
}

/* A process that reads a version, and dies when the pipe says so. */
static pid_t start_reader(const char *url, const mv_stamp *stamp, int *go, int *ready)
{
    int to[2], from[2];
    char byte = 0;
    CHECK(pipe(to) == 0 && pipe(from) == 0);
    pid_t child = fork();
    if (child == 0) {
        mv_store *store;
        mv_db *db;
        close(to[1]);
        close(from[0]);
        OK(mv_store_open(url, &store));
        OK(mv_db_open(store, "a", 0, &db));
        OK(mv_db_pin(db, stamp));
        CHECK(write(from[1], &byte, 1) == 1);
        CHECK(read(to[0], &byte, 1) == 0);
        _exit(0); /* without closing anything */
    }
    close(to[0]);
    close(from[1]);
    CHECK(read(from[0], &byte, 1) == 1);
    *go = to[1];
    *ready = from[0];
    return child;
}

static void another_process_keeps_what_it_reads_while_it_lives(void)
{
    bench b;
    int go, ready;
    bench_begin(&b, 30);
    pid_t child = start_reader(b.store->url, &b.m.versions[7].stamp, &go, &ready);
    mv_gc gc = much_later();
    OK(mv_db_gc(b.db, &gc));
    EQUAL(1, gc.for_snapshots);
    OK(mv_db_pin(b.other, &b.m.versions[7].stamp));
    CHECK(model_same(&b.m, b.other, &b.m.versions[7]));
    OK(mv_db_unpin(b.other));
    close(go);
    kit_wait(child);
    close(ready);
    gc = much_later();
    OK(mv_db_gc(b.db, &gc));
    EQUAL(0, gc.for_snapshots);
    IS(MV_NOVERSION, mv_db_pin(b.other, &b.m.versions[7].stamp));
    bench_end(&b);
}

/* ---- branches ----------------------------------------------------------------------------- */

static void a_branch_keeps_the_version_it_began_at(void)
{
    bench b;
    mv_db *branch;
    mv_gc gc = much_later();
    bench_begin(&b, 30);
    const mv_stamp base = b.m.versions[12].stamp;
    OK(mv_branch(b.store, "a", &base, "b"));
    OK(mv_db_open(b.store, "b", 0, &branch));
    OK(mv_db_gc(b.db, &gc));
    EQUAL(1, gc.for_branches);
    EQUAL(2, gc.kept);
    CHECK(model_same(&b.m, branch, &b.m.versions[12]));
    model m;
    model_begin(&m, 18, 1024, 14);
    m.now.pages = b.m.versions[12].pages;
    m.now.bytes = realloc(m.now.bytes, (size_t)m.now.pages * 1024 + 1);
    CHECK(m.now.bytes != NULL);
    memcpy(m.now.bytes, b.m.versions[12].bytes, (size_t)m.now.pages * 1024);
    write_versions(&m, branch, 40);
    uint8_t tagged[100];
    mv_stamp gone[100];
    size_t n = tag_some(&m, branch, tagged, gone, 4, 0);
    OK(mv_db_tag(branch, "base", &base));
    thin_out(&m, tagged);
    gc = much_later();
    OK(mv_db_gc(branch, &gc));
    EQUAL(n, gc.removed);
    model_check_all(&m, b.store, "b");
    check_gone(branch, gone, n);
    EQUAL(0, model_problems(branch));
    OK(mv_db_pin(branch, &base));
    CHECK(model_same(&b.m, branch, &b.m.versions[12]));
    gc = much_later();
    OK(mv_db_gc(b.db, &gc));
    EQUAL(0, gc.removed);
    EQUAL(1, gc.for_tags); /* the branch's tag is of a version of the parent */
    mv_db_close(branch);
    model_end(&m);
    bench_end(&b);
}

/* ---- deleted databases ------------------------------------------------------------------------ */

static int count_all(void *ctx, const mv_info *info)
{
    (void)info;
    ++*(unsigned *)ctx;
    return 0;
}

static void a_deleted_database_goes_when_its_time_is_over(void)
{
    bench b;
    unsigned before = 0, after = 0;
    int dropped;
    mv_gc gc = much_later();
    bench_begin(&b, 12);
    const mv_stamp base = b.m.versions[5].stamp;
    uint32_t id = b.db->ns;
    OK(mv_branch(b.store, "a", &base, "b"));
    OK(mv_list(b.store, count_all, &before));
    EQUAL(2, before);
    OK(mv_gc_deleted(b.store, id, &gc, &dropped)); /* it is not deleted */
    EQUAL(0, dropped);
    OK(mv_delete(b.store, "a"));
    IS(MV_BUSY, mv_gc_deleted(b.store, id, &gc, &dropped));
    OK(mv_delete(b.store, "b"));
    mv_db_close(b.db);
    mv_db_close(b.other);
    gc.now_ms = mvi_now_ms() + MV_LEAST_AGE_MS / 2; /* too early for the branch */
    OK(mv_gc_deleted(b.store, id + 1, &gc, &dropped));
    EQUAL(0, dropped);
    gc = much_later();
    gc.dry_run = 1;
    OK(mv_gc_deleted(b.store, id + 1, &gc, &dropped));
    EQUAL(1, dropped);
    gc.dry_run = 0;
    OK(mv_gc_deleted(b.store, id + 1, &gc, &dropped));
    EQUAL(1, dropped);
    OK(mv_undelete(b.store, "a", "again"));
    model_check_all(&b.m, b.store, "again");
    OK(mv_delete(b.store, "again"));
    OK(mv_gc_deleted(b.store, id, &gc, &dropped));
    EQUAL(1, dropped);
    EQUAL(b.m.n, gc.removed);
    IS(MV_NOTFOUND, mv_undelete(b.store, "again", NULL));
    OK(mv_list(b.store, count_all, &after));
    EQUAL(0, after);
    model_end(&b.m);
    mv_store_close(b.store);
}

void store_gc(void)
{
    RUN(a_deleted_database_goes_when_its_time_is_over);
    RUN(a_tag_names_one_version);
    RUN(the_policy_says_what_is_kept);
    RUN(what_is_kept_reads_as_before);
    RUN(a_read_decodes_as_few_images_as_before);
    RUN(an_open_snapshot_is_kept);
    RUN(a_forgotten_version_never_reads_wrong);
    RUN(nothing_goes_while_all_is_verified);
    RUN(another_process_keeps_what_it_reads_while_it_lives);
    RUN(a_branch_keeps_the_version_it_began_at);
}
