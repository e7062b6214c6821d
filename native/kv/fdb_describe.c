/* What can be told about a cluster: the client library, the cluster's own status, and what
 * lives in it beside the store. Nothing here waits longer than wait_ms in all, and nothing
 * needs a database that is available: the status comes from the coordinators. */
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../base/json.h"
#include "fdb_engine.h"

#define OPTION_TIMEOUT 500 /* as in kv_fdb.c */
#define OPTION_READ_LOCK_AWARE 702 /* a database that is locked can be looked at */
#define STREAM_ITERATOR (-1)
#define NEIGHBOURS 32    /* parts of the key space told of at most */
#define NAMES 1000       /* databases of another store counted at most */
#define PART_BYTES 32    /* of a key that is no store's and has no slash */

static const char status_key[] = "\xff\xff/status/json";

typedef struct looking {
    fdb_engine *engine;
    const kvi_fdb *f;
    struct timespec end; /* monotonic */
    FDBTransaction *tr;
} looking;

static unsigned ms_left(const looking *l)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = (l->end.tv_sec - now.tv_sec) * 1000 + (l->end.tv_nsec - now.tv_nsec) / 1000000;
    return ms > 100 ? (unsigned)ms : 100;
}

static void start(looking *l, fdb_engine *engine)
{
    memset(l, 0, sizeof *l);
    l->engine = engine;
    l->f = engine->fdb;
    clock_gettime(CLOCK_MONOTONIC, &l->end);
    l->end.tv_sec += engine->options.wait_ms / 1000;
    l->end.tv_nsec += (long)(engine->options.wait_ms % 1000) * 1000000;
    if (l->end.tv_nsec >= 1000000000) {
        l->end.tv_nsec -= 1000000000;
        l->end.tv_sec++;
    }
}

static void drop(looking *l)
{
    if (l->tr)
        l->f->fdb_transaction_destroy(l->tr);
    l->tr = NULL;
}

/* A transaction for what time is left. */
static fdb_error_t begin(looking *l)
{
    unsigned ms = ms_left(l);
    uint8_t bytes[8] = {(uint8_t)ms, (uint8_t)(ms >> 8), (uint8_t)(ms >> 16), (uint8_t)(ms >> 24)};
    drop(l);
    fdb_error_t error = l->f->fdb_database_create_transaction(l->engine->db, &l->tr);
    if (!error)
        error = l->f->fdb_transaction_set_option(l->tr, OPTION_TIMEOUT, bytes, 8);
    return error ? error : l->f->fdb_transaction_set_option(l->tr, OPTION_READ_LOCK_AWARE, NULL, 0);
}

static fdb_error_t await(const looking *l, FDBFuture *future)
{
    fdb_error_t error = l->f->fdb_future_block_until_ready(future);
    return error ? error : l->f->fdb_future_get_error(future);
}

/* ---- the cluster's status --------------------------------------------------- */

/* Adds the status; *usable: it does not say that nothing can be read. */
static fdb_error_t add_status(looking *l, mvi_buf *json, int *usable)
{
    const uint8_t *bytes;
    fdb_bool_t present = 0;
    int n = 0;
    fdb_error_t error = begin(l);
    if (error)
        return error;
    FDBFuture *future =
        l->f->fdb_transaction_get(l->tr, (const uint8_t *)status_key, (int)sizeof status_key - 1, 1);
    error = await(l, future);
    if (!error)
        error = l->f->fdb_future_get_value(future, &present, &bytes, &n);
    if (!error && present) {
        mvi_json_key(json, "status");
        mvi_json_text(json, (const char *)bytes, (size_t)n);
        *usable = !memmem(bytes, (size_t)n, "\"quorum_reachable\":false", 24) &&
                  !memmem(bytes, (size_t)n, "\"available\":false", 17);
    }
    l->f->fdb_future_destroy(future);
    return error;
}

/* ---- neighbours: who else keeps keys here ------------------------------------- */

/* Reads the first keys of [begin, end): how many there are (at most `limit`), and the first. */
static fdb_error_t read_keys(looking *l, mv_slice from, mv_slice to, int limit, int *n, mvi_buf *first)
{
    const kvi_fdb_pair *pairs;
    fdb_bool_t more;
    FDBFuture *future = l->f->fdb_transaction_get_range(l->tr, from.data, (int)from.size, 0, 1, to.data,
                                                        (int)to.size, 0, 1, limit, 0, STREAM_ITERATOR, 1, 1, 0);
    fdb_error_t error = await(l, future);
    *n = 0;
    if (!error)
        error = l->f->fdb_future_get_keyvalue_array(future, &pairs, n, &more);
    if (!error && *n && first) {
        first->size = 0;
        mvi_buf_add(first, pairs[0].key, (size_t)pairs[0].key_length);
    }
    l->f->fdb_future_destroy(future);
    return error;
}

static mv_slice slice(const mvi_buf *b)
{
    return mvi_slice(b->data, b->size);
}

/* The range of keys that begin with `part` and `rest`. */
static void make_range(const uint8_t *part, size_t n, const char *rest, mvi_buf *from, mvi_buf *to)
{
    from->size = to->size = 0;
    mvi_buf_add(from, part, n);
    mvi_buf_add(from, rest, strlen(rest));
    mvi_buf_add(to, from->data, from->size);
    while (!to->failed && to->size && to->data[to->size - 1] == 0xff)
        to->size--; /* the first key after all that begin so */
    if (!to->failed && to->size)
        to->data[to->size - 1]++;
}

/* A store's keys begin with its prefix and "mv/"; its format, four bytes, stands at "mv/f". */
static fdb_error_t is_store(looking *l, const uint8_t *prefix, size_t n, int *yes)
{
    mvi_buf key = {0};
    const uint8_t *value;
    fdb_bool_t present = 0;
    int size = 0;
    mvi_buf_add(&key, prefix, n);
    mvi_buf_add(&key, "mv/f", 4);
    *yes = 0;
    if (key.failed)
        return 0;
    FDBFuture *future = l->f->fdb_transaction_get(l->tr, key.data, (int)key.size, 1);
    fdb_error_t error = await(l, future);
    if (!error)
        error = l->f->fdb_future_get_value(future, &present, &value, &size);
    *yes = !error && present && size == 4;
    l->f->fdb_future_destroy(future);
    mvi_buf_free(&key);
    return error;
}

static fdb_error_t count_names(looking *l, const uint8_t *prefix, size_t n, mvi_buf *json)
{
    mvi_buf from = {0}, to = {0};
    make_range(prefix, n, "mv/n", &from, &to);
    int names = 0;
    fdb_error_t error = from.failed || to.failed ? 0 : read_keys(l, slice(&from), slice(&to), NAMES, &names, NULL);
    if (!error)
        mvi_json_add_number(json, "databases", (uint64_t)names);
    mvi_buf_free(&from);
    mvi_buf_free(&to);
    return error;
}

/* The part of a key that other keys of its owner are likely to share. */
static size_t part_of(const mvi_buf *key)
{
    const uint8_t *slash = memchr(key->data, '/', key->size);
    size_t n = slash ? (size_t)(slash - key->data) + 1 : key->size;
    return n < PART_BYTES ? n : PART_BYTES;
}

/* Tells of whom `key` is, and leaves in `next` where others begin. */
static fdb_error_t add_neighbour(looking *l, const mvi_buf *key, mvi_buf *json, mvi_buf *next)
{
    const uint8_t *mark = memmem(key->data, key->size, "mv/", 3);
    size_t n = mark ? (size_t)(mark - key->data) : 0;
    int store = 0;
    mvi_buf unused = {0};
    fdb_error_t error = mark ? is_store(l, key->data, n, &store) : 0;
    if (!store)
        n = part_of(key);
    mvi_json_begin(json, '{');
    mvi_json_key(json, "prefix");
    mvi_json_hex(json, key->data, n);
    mvi_json_key(json, "store");
    mvi_json_bool(json, store);
    if (!error && store)
        error = count_names(l, key->data, n, json);
    mvi_json_end(json, '}');
    make_range(key->data, n, store ? "mv/" : "", &unused, next);
    mvi_buf_free(&unused);
    return error;
}

static fdb_error_t add_neighbours(looking *l, mvi_buf *json)
{
    static const uint8_t last[] = {0xff};
    mvi_buf key = {0}, from = {0};
    int found = 1, told = 0;
    fdb_error_t error = begin(l);
    mvi_buf_add(&from, "", 0);
    mvi_json_key(json, "neighbours");
    mvi_json_begin(json, '[');
    while (!error && found && told < NEIGHBOURS && !from.failed && !key.failed) {
        error = read_keys(l, slice(&from), mvi_slice(last, 1), 1, &found, &key);
        if (!error && found && ++told)
            error = add_neighbour(l, &key, json, &from);
        if (from.size == 0) /* a key of nothing but 0xff cannot be passed */
            found = 0;
    }
    mvi_json_end(json, ']');
    mvi_json_key(json, "all_neighbours");
    mvi_json_bool(json, !error && !found);
    mvi_buf_free(&key);
    mvi_buf_free(&from);
    return error;
}

/* ---- the operation ---------------------------------------------------------- */

static void add_library(const kvi_fdb *f, mvi_buf *json)
{
    Dl_info info;
    if (dladdr(*(void *const *)&f->fdb_get_error, &info) && info.dli_fname)
        mvi_json_add_text(json, "client_library", info.dli_fname);
    mvi_json_add_text(json, "client_version", f->fdb_get_client_version());
}

/* Appends the member "fdb"; *usable: the store can be read. The error is the cluster's. */
static fdb_error_t describe(fdb_engine *e, mvi_buf *json, int *usable)
{
    looking l;
    fdb_error_t status_error, error = 0;
    *usable = 1;
    mvi_json_key(json, "fdb");
    mvi_json_begin(json, '{');
    start(&l, e);
    add_library(e->fdb, json);
    mvi_json_key(json, "prefix");
    mvi_json_hex(json, e->options.prefix, e->options.prefix_size);
    mvi_json_add_number(json, "wait_ms", e->options.wait_ms);
    mvi_json_add_text(json, "lock_directory", e->lock_directory);
    status_error = add_status(&l, json, usable);
    if (status_error)
        mvi_json_add_text(json, "status_error", e->fdb->fdb_get_error(status_error));
    if (*usable)
        error = status_error ? status_error : add_neighbours(&l, json);
    drop(&l);
    mvi_json_end(json, '}');
    *usable &= !error;
    return error;
}

int kvi_fdb_describe(kv_engine *base, mvi_buf *json)
{
    fdb_engine *e = (fdb_engine *)base;
    int usable;
    mvi_json_add_text(json, "engine", "fdb");
    if (e->owner != getpid())
        return mv_fail(MV_FORKED, "the store was opened before fork: open it again in the child process");
    (void)describe(e, json, &usable);
    return json->failed ? kvi_fdb_no_memory() : MV_OK;
}

/* An engine that cannot be opened still has a client library to tell of. */
static int add_failed_open(const char *rest, mvi_buf *json, int code)
{
    const kvi_fdb *f;
    kvi_fdb_options options = {.wait_ms = 0};
    char message[600];
    const char *step = code == MV_PERM ? "permissions" : "cluster file";
    snprintf(message, sizeof message, "%s", mv_error_text());
    int good = kvi_fdb_options_read(rest, &options) == MV_OK;
    if (!good)
        step = "address";
    mvi_json_key(json, "fdb");
    mvi_json_begin(json, '{');
    if (good && kvi_fdb_load(&options, &f) == MV_OK) {
        add_library(f, json);
    } else if (good) {
        mvi_json_add_text(json, "client_library_error", mv_error_text());
        step = strcmp(message, mv_error_text()) == 0 ? "client library" : step;
    }
    mvi_json_end(json, '}');
    kvi_fdb_options_free(&options);
    mv_fail(code, "%s", message);
    return mvi_json_add_failure(json, step);
}

int kv_fdb_examine(const char *rest, mvi_buf *json, kv_engine **out)
{
    kv_engine *engine = NULL;
    int usable, rc = kv_fdb_open(rest, &engine);
    mvi_json_add_text(json, "engine", "fdb");
    if (rc)
        return add_failed_open(rest, json, rc);
    fdb_error_t error = describe((fdb_engine *)engine, json, &usable);
    if (usable) {
        *out = engine;
        return MV_OK;
    }
    if (error)
        kvi_fdb_error((fdb_engine *)engine, error, "reading");
    else
        mv_fail(MV_UNREACHABLE, "the cluster's database is not available");
    kv_close(engine);
    return mvi_json_add_failure(json, "database");
}
