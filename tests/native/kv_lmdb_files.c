/* The embedded engine's own promises: its directory, its map, its data file. */
#include <fcntl.h>
#include <grp.h>
#include <lmdb.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include "../../native/kv/lmdb_env.h"
#include "kit.h"

void kv_lmdb_files(void);

typedef struct pair {
    mv_slice key, value;
} pair;

static int set_in(kv_txn *txn, void *ctx)
{
    pair *p = ctx;
    return kv_set(txn, p->key, p->value);
}

static kv_stamp set(kv_engine *kv, const char *key, const char *value)
{
    pair p = {str(key), str(value)};
    kv_stamp stamp;
    OK(kv_transact(kv, set_in, &p, &stamp));
    return stamp;
}

static void expect(kv_engine *kv, const char *key, const char *wanted)
{
    kv_txn *txn;
    mv_slice value;
    OK(kv_read_begin(kv, &txn));
    OK(kv_get(txn, str(key), &value));
    CHECK(mvi_slice_cmp(value, str(wanted)) == 0);
    kv_read_end(txn);
}

static char *join(char *out, const char *a, const char *b)
{
    CHECK((size_t)snprintf(out, KIT_PATH, "%s%s", a, b) < KIT_PATH);
    return out;
}
#define JOIN(a, b) join((char[KIT_PATH]){0}, a, b)

/* ---- addresses ---------------------------------------------------------------- */

static void bad_addresses_are_refused(void)
{
    static const char *const bad[] = {"",
                                      "/tmp/x",
                                      "lmdb",
                                      "lmdb:",
                                      "lmdb:?map_bytes=2000000",
                                      "nothing:/tmp/x",
                                      "fault:",
                                      "fault:/tmp/x",
                                      "fault:lmdb:",
                                      "lmdb:/tmp/mv-none?map_bytes=",
                                      "lmdb:/tmp/mv-none?map_bytes=12x",
                                      "lmdb:/tmp/mv-none?map_bytes=1000",
                                      "lmdb:/tmp/mv-none?map_size=2000000"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kv_engine *kv = (kv_engine *)(uintptr_t)1;
        check_now.about = bad[i];
        IS(MV_URL, kv_open(bad[i], &kv));
        CHECK(kv == NULL);
        CHECK(mv_error_text()[0] != 0);
    }
    check_now.about = NULL;
    CHECK(access("/tmp/mv-none", F_OK) != 0);
}

static void a_long_address_is_refused(void)
{
    static char url[20000];
    kv_engine *kv;
    memset(url, 'x', sizeof url - 1);
    memcpy(url, "lmdb:/", 6);
    IS(MV_URL, kv_open(url, &kv));
}

static void directories_are_made(void)
{
    char directory[KIT_PATH];
    kv_engine *kv;
    kit_directory(directory);
    OK(kv_open(JOIN("lmdb:", JOIN(directory, "/a/b/c")), &kv));
    kv_close(kv);
    CHECK(access(JOIN(directory, "/a/b/c/data.mdb"), F_OK) == 0);
}

static void opened_twice_is_one_engine(void)
{
    char directory[KIT_PATH];
    kv_engine *a, *b;
    kit_directory(directory);
    OK(kv_open(JOIN("lmdb:", directory), &a));
    OK(kv_open(JOIN("lmdb:", JOIN(directory, "/../")), &b)); /* another directory */
    CHECK(a != b);
    kv_close(b);
    OK(kv_open(JOIN(JOIN("lmdb:", directory), "//?map_bytes=2000000"), &b));
    CHECK(a == b);
    set(a, "k", "v");
    kv_close(a);
    expect(b, "k", "v");
    set(b, "k", "w");
    expect(b, "k", "w");
    kv_close(b);
}

/* ---- what is in the way ------------------------------------------------------ */

static void make_file(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0);
    CHECK(write(fd, bytes, n) == (ssize_t)n);
    CHECK(close(fd) == 0);
}

static void a_file_is_no_store(void)
{
    char directory[KIT_PATH];
    kv_engine *kv;
    kit_directory(directory);
    make_file(JOIN(directory, "/file"), "x", 1);
    IS(MV_URL, kv_open(JOIN("lmdb:", JOIN(directory, "/file")), &kv));
    IS(MV_PERM, kv_open(JOIN("lmdb:", JOIN(directory, "/file/below")), &kv));
}

/* The superuser may write anywhere: a child becomes somebody else first. */
static void an_unwritable_directory_is_refused(void)
{
    char directory[KIT_PATH];
    kit_directory(directory);
    kv_engine *kv;
    OK(kv_open(JOIN("lmdb:", directory), &kv));
    set(kv, "k", "v");
    kv_close(kv);
    CHECK(chmod(directory, 0555) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0)
            CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
        IS(MV_PERM, kv_open(JOIN("lmdb:", directory), &kv));
        IS(MV_PERM, kv_open(JOIN("lmdb:", JOIN(directory, "/below")), &kv));
        _exit(0);
    }
    kit_wait(child);
    CHECK(chmod(directory, 0755) == 0);
}

/* A store of some pages' size; tells the path of its data file. */
static void make_store(char url[KIT_PATH], char data[KIT_PATH])
{
    char directory[KIT_PATH], key[20];
    static uint8_t bytes[3000];
    kv_engine *kv;
    kit_directory(directory);
    join(url, "lmdb:", directory);
    join(data, directory, "/data.mdb");
    OK(kv_open(url, &kv));
    for (int i = 0; i < 40; i++) {
        sprintf(key, "key%d", i);
        pair p = {str(key), mvi_slice(bytes, sizeof bytes)};
        OK(kv_transact(kv, set_in, &p, NULL));
    }
    kv_close(kv);
}

static void damaged_files_are_noticed(void)
{
    char url[KIT_PATH], data[KIT_PATH];
    kv_engine *kv;
    make_store(url, data);
    make_file(data, "this is no store, and never was one", 35);
    IS(MV_CORRUPT, kv_open(url, &kv));
    chance c = {3};
    uint8_t noise[32768];
    kit_fill(&c, FILL_NOISE, noise, sizeof noise);
    make_file(data, noise, sizeof noise);
    IS(MV_CORRUPT, kv_open(url, &kv));
    CHECK(strstr(mv_error_text(), "data.mdb") != NULL);
}

static void files_cut_short_are_noticed(void)
{
    char url[KIT_PATH], data[KIT_PATH];
    kv_engine *kv;
    struct stat st;
    make_store(url, data);
    CHECK(stat(data, &st) == 0);
    for (off_t size = st.st_size - 4096; size > 0; size = size > 16384 ? size / 2 : size - 4000) {
        CHECK(truncate(data, size) == 0);
        IS(MV_CORRUPT, kv_open(url, &kv));
    }
}

/* Pages of zeros where the tree was: an error, not a crash. */
static void lost_pages_are_noticed(void)
{
    char url[KIT_PATH], data[KIT_PATH];
    kv_engine *kv;
    kv_txn *txn;
    struct stat st;
    mv_slice value;
    make_store(url, data);
    CHECK(stat(data, &st) == 0);
    CHECK(truncate(data, 8192) == 0); /* the two meta pages stay */
    CHECK(truncate(data, st.st_size) == 0);
    int rc = kv_open(url, &kv);
    if (!rc) {
        pair p = {str("key1"), str("v")};
        IS(MV_CORRUPT, kv_transact(kv, set_in, &p, NULL));
        OK(kv_read_begin(kv, &txn));
        rc = kv_get(txn, str("key1"), &value);
        kv_read_end(txn);
        kv_close(kv);
    }
    IS(MV_CORRUPT, rc);
}

/* ---- the map -------------------------------------------------------------- */

enum { READERS = 3, VALUES = 220, VALUE_BYTES = 95000 };

typedef struct growth {
    kv_engine *kv;
    pthread_mutex_t lock; /* guards finished */
    int finished;
} growth;

static void big_pair(int i, char *key, uint8_t *value, pair *p)
{
    sprintf(key, "big%04d", i);
    memset(value, i + 1, VALUE_BYTES);
    *p = (pair){str(key), mvi_slice(value, VALUE_BYTES)};
}

static int write_ten(kv_txn *txn, void *ctx)
{
    int first = *(int *)ctx, rc = 0;
    static uint8_t value[VALUE_BYTES]; /* only one transaction of this test writes */
    char key[20];
    pair p;
    for (int i = first; i < first + 10 && !rc; i++) {
        big_pair(i, key, value, &p);
        rc = kv_set(txn, p.key, p.value);
    }
    return rc;
}

/* Reads all there is; values must be whole. Returns how many. */
static int read_all(kv_engine *kv)
{
    kv_txn *txn;
    kv_cursor *cursor;
    mv_slice key, value;
    int n = 0, rc;
    OK(kv_read_begin(kv, &txn));
    OK(kv_range(txn, str("big"), str("bih"), 0, 0, &cursor));
    while ((rc = kv_next(cursor, &key, &value)) == MV_OK) {
        EQUAL(VALUE_BYTES, value.size);
        CHECK(value.data[0] == (uint8_t)(n + 1) && value.data[VALUE_BYTES - 1] == (uint8_t)(n + 1));
        n++;
    }
    IS(MV_NOTFOUND, rc);
    kv_cursor_close(cursor);
    kv_read_end(txn);
    CHECK(n % 10 == 0);
    return n;
}

static void *read_while_it_grows(void *ctx)
{
    growth *g = ctx;
    int finished = 0;
    for (int n = 0, now; !finished; n = now) {
        pthread_mutex_lock(&g->lock);
        finished = g->finished;
        pthread_mutex_unlock(&g->lock);
        now = read_all(g->kv);
        CHECK(now >= n);
    }
    return NULL;
}

/* A process that opened the store when it was small follows its growth. */
static void follow_growth(const char *url, int ready, int grown)
{
    kv_engine *kv;
    char byte = 0;
    OK(kv_open(url, &kv));
    EQUAL(0, read_all(kv));
    CHECK(write(ready, &byte, 1) == 1);
    CHECK(read(grown, &byte, 1) == 1);
    EQUAL(VALUES, read_all(kv));
    set(kv, "answer", "seen");
    kv_close(kv);
    _exit(0);
}

static void the_map_grows(void)
{
    char url[KIT_PATH];
    int ready[2], grown[2];
    char byte = 0;
    growth g = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t readers[READERS];
    kit_url("lmdb:", url);
    strcat(url, "?map_bytes=1048576");
    CHECK(pipe(ready) == 0 && pipe(grown) == 0);
    pid_t child = fork();
    if (child == 0)
        follow_growth(url, ready[1], grown[0]);
    CHECK(close(ready[1]) == 0); /* so that a child that dies is noticed */
    CHECK(read(ready[0], &byte, 1) == 1);
    OK(kv_open(url, &g.kv));
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, read_while_it_grows, &g) == 0);
    for (int first = 0; first < VALUES; first += 10)
        OK(kv_transact(g.kv, write_ten, &first, NULL));
    pthread_mutex_lock(&g.lock);
    g.finished = 1;
    pthread_mutex_unlock(&g.lock);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
    EQUAL(VALUES, read_all(g.kv));
    CHECK(write(grown[1], &byte, 1) == 1);
    kit_wait(child);
    expect(g.kv, "answer", "seen");
    kv_close(g.kv);
    CHECK(close(ready[0]) == 0 && close(grown[0]) == 0 && close(grown[1]) == 0);
}

static int write_beyond(kv_txn *txn, void *ctx)
{
    int rc = 0;
    for (int first = 0; first < 100 && !rc; first += 10)
        rc = write_ten(txn, &first);
    (*(int *)ctx)++;
    return rc;
}

/* The function runs again in the larger map; what it wrote counts once. */
static void one_transaction_may_outgrow_the_map(void)
{
    char url[KIT_PATH];
    kv_engine *kv;
    int runs = 0;
    kit_url("lmdb:", url);
    strcat(url, "?map_bytes=1048576");
    OK(kv_open(url, &kv));
    OK(kv_transact(kv, write_beyond, &runs, NULL));
    CHECK(runs > 1);
    EQUAL(100, read_all(kv));
    kv_close(kv);
}

/* ---- writers in one batch ------------------------------------------------------ */

enum { BATCH = 6, FAILS = 2, WRITES_NOTHING = 4 };

typedef struct batched {
    lmdb_engine *engine;
    pthread_mutex_t lock; /* guards leading, go */
    pthread_cond_t moved;
    int leading, go;
    int codes[BATCH];
    kv_stamp stamps[BATCH];
} batched;

typedef struct batch_writer {
    batched *all;
    int number;
} batch_writer;

/* Holds the engine's queue up until the others stand in it. */
static int lead_in(kv_txn *txn, void *ctx)
{
    batched *b = ctx;
    pthread_mutex_lock(&b->lock);
    b->leading = 1;
    pthread_cond_broadcast(&b->moved);
    while (!b->go)
        pthread_cond_wait(&b->moved, &b->lock);
    pthread_mutex_unlock(&b->lock);
    return kv_set(txn, str("leader"), str("v"));
}

static void *lead_thread(void *ctx)
{
    batched *b = ctx;
    OK(kv_transact(&b->engine->base, lead_in, b, NULL));
    return NULL;
}

static int follow_in(kv_txn *txn, void *ctx)
{
    batch_writer *w = ctx;
    char key[20];
    sprintf(key, "follower%d", w->number);
    int rc = kv_set(txn, str(key), str("v"));
    if (rc)
        return rc;
    if (w->number == FAILS)
        return mv_fail(MV_CONFLICT, "of writer %d alone", w->number);
    return w->number == WRITES_NOTHING ? KV_NOTHING : MV_OK;
}

static void *follow_thread(void *ctx)
{
    batch_writer *w = ctx;
    int i = w->number;
    w->all->codes[i] = kv_transact(&w->all->engine->base, follow_in, w, &w->all->stamps[i]);
    CHECK(i != FAILS || strcmp(mv_error_text(), "of writer 2 alone") == 0);
    return NULL;
}

static lmdb_job **queue_end(lmdb_engine *engine)
{
    pthread_mutex_lock(&engine->queue_lock);
    lmdb_job **end = engine->queue_end;
    pthread_mutex_unlock(&engine->queue_lock);
    return end;
}

static void check_batch(const batched *b)
{
    kv_txn *txn;
    mv_slice value;
    const kv_stamp zero = {{0}};
    OK(kv_read_begin(&b->engine->base, &txn));
    for (int i = 0; i < BATCH; i++) {
        char key[20];
        int kept = i != FAILS && i != WRITES_NOTHING;
        sprintf(key, "follower%d", i);
        IS(i == FAILS ? MV_CONFLICT : MV_OK, b->codes[i]);
        IS(kept ? MV_OK : MV_NOTFOUND, kv_get(txn, str(key), &value));
        CHECK(!memcmp(&b->stamps[i], &zero, sizeof zero) == !kept);
        if (kept && i > 0) { /* one version for all, and their order in it */
            CHECK(memcmp(&b->stamps[0], &b->stamps[i], 8) == 0);
            EQUAL(i, b->stamps[i].bytes[9]);
        }
    }
    kv_read_end(txn);
}

static void a_batch_is_one_commit_of_many(void)
{
    char url[KIT_PATH];
    kv_engine *kv;
    pthread_t leader, threads[BATCH];
    batch_writer writers[BATCH];
    batched b = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    kit_url("lmdb:", url);
    OK(kv_open(url, &kv));
    b.engine = (lmdb_engine *)kv;
    CHECK(pthread_create(&leader, NULL, lead_thread, &b) == 0);
    pthread_mutex_lock(&b.lock);
    while (!b.leading)
        pthread_cond_wait(&b.moved, &b.lock);
    pthread_mutex_unlock(&b.lock);
    for (int i = 0; i < BATCH; i++) {
        lmdb_job **end = queue_end(b.engine);
        writers[i] = (batch_writer){&b, i};
        CHECK(pthread_create(&threads[i], NULL, follow_thread, &writers[i]) == 0);
        while (queue_end(b.engine) == end)
            sched_yield();
    }
    pthread_mutex_lock(&b.lock);
    b.go = 1;
    pthread_cond_broadcast(&b.moved);
    pthread_mutex_unlock(&b.lock);
    CHECK(pthread_join(leader, NULL) == 0);
    for (int i = 0; i < BATCH; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    check_batch(&b);
    kv_close(kv);
}

/* ---- copies put in the place of the data file ------------------------------- */

static void copy_store(const char *directory, const char *to, unsigned flags)
{
    MDB_env *env;
    CHECK(mdb_env_create(&env) == 0);
    CHECK(mdb_env_set_mapsize(env, (size_t)64 << 20) == 0);
    CHECK(mdb_env_open(env, directory, 0, 0600) == 0);
    CHECK(mdb_env_copy2(env, to, flags) == 0);
    mdb_env_close(env);
}

static void move_file(const char *from, const char *to)
{
    CHECK(rename(from, to) == 0);
}

/* As "cp" does it: the file stays, its bytes are other ones. */
static void overwrite_file(const char *from, const char *to)
{
    static uint8_t bytes[1 << 20];
    int fd = open(from, O_RDONLY);
    CHECK(fd >= 0);
    ssize_t n = read(fd, bytes, sizeof bytes);
    CHECK(n > 0 && n < (ssize_t)sizeof bytes);
    CHECK(close(fd) == 0);
    make_file(to, bytes, (size_t)n);
}

static void remove_then_move(const char *from, const char *to)
{
    CHECK(unlink(to) == 0);
    overwrite_file(from, to);
}

static void replace_and_commit(void (*replace)(const char *from, const char *to), unsigned flags)
{
    char directory[KIT_PATH], other[KIT_PATH];
    kv_stamp last = {{0}}, stamp;
    kit_directory(directory);
    for (int round = 0; round < 4; round++) {
        kv_engine *kv;
        OK(kv_open(JOIN("lmdb:", directory), &kv));
        for (int i = 0; i < 20; i++) {
            stamp = set(kv, "k", "v");
            CHECK(memcmp(&stamp, &last, sizeof stamp) > 0);
            last = stamp;
        }
        kv_close(kv);
        kit_directory(other);
        copy_store(directory, other, flags);
        replace(JOIN(other, "/data.mdb"), JOIN(directory, "/data.mdb"));
    }
}

/* A compacted copy counts its transactions from 1 again; stamps do not. */
static void stamps_survive_a_compacted_copy(void)
{
    replace_and_commit(move_file, MDB_CP_COMPACT);
}

static void stamps_survive_a_copy_over_the_file(void)
{
    replace_and_commit(overwrite_file, MDB_CP_COMPACT);
    replace_and_commit(remove_then_move, MDB_CP_COMPACT);
}

static void stamps_survive_a_plain_copy(void)
{
    replace_and_commit(move_file, 0);
    replace_and_commit(overwrite_file, 0);
}

void kv_lmdb_files(void)
{
    RUN(bad_addresses_are_refused);
    RUN(a_long_address_is_refused);
    RUN(directories_are_made);
    RUN(opened_twice_is_one_engine);
    RUN(a_file_is_no_store);
    RUN(an_unwritable_directory_is_refused);
    RUN(damaged_files_are_noticed);
    RUN(files_cut_short_are_noticed);
    RUN(lost_pages_are_noticed);
    RUN(the_map_grows);
    RUN(one_transaction_may_outgrow_the_map);
    RUN(a_batch_is_one_commit_of_many);
    RUN(stamps_survive_a_compacted_copy);
    RUN(stamps_survive_a_copy_over_the_file);
    RUN(stamps_survive_a_plain_copy);
}
