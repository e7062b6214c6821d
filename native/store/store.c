/* Opening stores, their settings, the clock and ids. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "../base/settings.h"
#include "internal.h"

#define DEFAULT_CACHE ((size_t)64 << 20)

/* A transaction keeps at least so much in memory, even where an engine's transactions are
 * smaller: a staged page that is needed again costs a round trip. */
#define BUFFER_BYTES ((size_t)32 << 20)

static pthread_mutex_t stores_lock = PTHREAD_MUTEX_INITIALIZER;
static mv_store *stores; /* guarded by stores_lock */
static pthread_once_t stores_once = PTHREAD_ONCE_INIT;

/* After fork a child opens its own: it must not find the parent's here. */
static void in_child(void)
{
    stores = NULL;
    pthread_mutex_init(&stores_lock, NULL);
}
static void register_at_fork(void)
{
    pthread_atfork(NULL, NULL, in_child); /* no locks taken: fork may come at any point of ours */
}

uint64_t mvi_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int mvi_random(uint8_t *out, size_t n)
{
    if (getrandom(out, n, 0) != (ssize_t)n)
        return mv_fail(MV_IO, "no random numbers from the system: %s", strerror(errno));
    return MV_OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "notes" or, for an interpreter with a script, "python3 notes.py". */
static void describe_program(char *out, size_t room)
{
    char line[1024] = "";
    FILE *f = fopen("/proc/self/cmdline", "re");
    size_t n = f ? fread(line, 1, sizeof line - 2, f) : 0;
    if (f)
        fclose(f);
    line[n] = line[n + 1] = 0;
    static const char *const interpreters[] = {"python", "node", "ruby", "php", "perl", "bash", "sh"};
    const char *program = base_name(line), *script = line + strlen(line) + 1;
    int interpreted = 0;
    for (size_t i = 0; i < sizeof interpreters / sizeof *interpreters; i++)
        interpreted |= strncmp(program, interpreters[i], strlen(interpreters[i])) == 0;
    int scripted = interpreted && script < line + n && *script && *script != '-';
    if (scripted && !strchr(base_name(script), '.')) /* a command that happens to be a script */
        snprintf(out, room, "%.60s", base_name(script));
    else if (scripted)
        snprintf(out, room, "%.24s %.36s", program, base_name(script));
    else
        snprintf(out, room, "%.60s", *program ? program : "?");
}

typedef struct format_check {
    uint32_t found;
} format_check;

static int read_or_write_format(kv_txn *txn, void *ctx)
{
    format_check *check = ctx;
    mvi_key key = mvi_key_format();
    mv_slice value;
    uint8_t bytes[4];
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        check->found = value.size == 4 ? mvi_get32(value.data) : UINT32_MAX;
    if (!rc && check->found >= MV_STORED_FORMAT)
        return KV_NOTHING;
    if (rc && rc != MV_NOTFOUND)
        return rc;
    check->found = MV_STORED_FORMAT;
    mvi_put32(bytes, MV_STORED_FORMAT);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(bytes, 4));
}

/* A store of an older format is read as it is, and marked with this one: what is written from now on
 * older releases must not read. */
static int check_format(mv_store *store)
{
    format_check check = {0};
    kv_txn *txn;
    mv_slice value;
    mvi_key key = mvi_key_format();
    int rc, tries = 0;
    do {
        rc = kv_read_begin(store->kv, &txn);
        if (rc)
            return rc;
        rc = kv_get(txn, mvi_key_slice(&key), &value);
        if (!rc)
            check.found = value.size == 4 ? mvi_get32(value.data) : UINT32_MAX;
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    if (rc == MV_NOTFOUND || (!rc && check.found < MV_STORED_FORMAT))
        rc = kv_transact(store->kv, read_or_write_format, &check, NULL);
    if (!rc && check.found > MV_STORED_FORMAT)
        rc = mv_fail(MV_FORMAT, "store %s has format %u, this release reads up to %u: use a newer release", store->url,
                     check.found, MV_STORED_FORMAT);
    return rc;
}

static void destroy(mv_store *store)
{
    mvi_hostlock_close(store->locks);
    mvi_readers_close(store->readers);
    mvi_cache_free(store->cache);
    kv_close(store->kv);
    free(store->url);
    free(store);
}

static int create(const char *url, mv_store **out)
{
    mv_store *store = calloc(1, sizeof *store);
    if (!store)
        return mv_fail(MV_NOMEM, "out of memory opening store %s", url);
    store->references = 1;
    store->url = strdup(url);
    store->cache = mvi_cache_new(DEFAULT_CACHE);
    store->full_every = MVI_FULL_EVERY;
    store->piece_keys = MVI_PIECE_KEYS;
    if (gethostname(store->host, sizeof store->host - 1) != 0)
        store->host[0] = 0;
    describe_program(store->program, sizeof store->program);
    int rc = store->url && store->cache ? MV_OK : mv_fail(MV_NOMEM, "out of memory opening store %s", url);
    if (!rc)
        rc = kv_open(url, &store->kv);
    if (!rc) {
        store->traits = kv_get_traits(store->kv);
        store->stage_bytes = store->traits->transaction_bytes;
        store->buffer_bytes = store->stage_bytes > BUFFER_BYTES ? store->stage_bytes : BUFFER_BYTES;
        rc = check_format(store);
    }
    if (!rc)
        rc = mvi_hostlock_open(store->traits->lock_directory, &store->locks);
    if (!rc)
        rc = mvi_readers_open(store->traits->lock_directory, &store->readers);
    if (!rc)
        store->domain = mvi_hostlock_domain(store->locks);
    if (rc)
        destroy(store);
    else
        *out = store;
    return rc;
}

int mv_store_open(const char *url, mv_store **out)
{
    *out = NULL;
    pthread_once(&stores_once, register_at_fork);
    pthread_mutex_lock(&stores_lock);
    mv_store *store = stores;
    while (store && strcmp(store->url, url) != 0)
        store = store->next;
    int rc = MV_OK;
    if (store) {
        store->references++;
    } else {
        rc = create(url, &store);
        if (!rc) {
            store->next = stores;
            stores = store;
        }
    }
    pthread_mutex_unlock(&stores_lock);
    *out = rc ? NULL : store;
    return rc;
}

void mv_store_close(mv_store *store)
{
    if (!store)
        return;
    pthread_mutex_lock(&stores_lock);
    if (--store->references == 0) {
        mv_store **link = &stores;
        while (*link && *link != store)
            link = &(*link)->next;
        if (*link)
            *link = store->next;
        destroy(store);
    }
    pthread_mutex_unlock(&stores_lock);
}

int mv_default_url(char *url, size_t room)
{
    const char *given = mvi_setting("MVSQLITE_STORE"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n;
    if (given && *given)
        n = snprintf(url, room, "%s", given);
    else if (data && *data == '/')
        n = snprintf(url, room, "lmdb:%s/mvsqlite/store", data);
    else if (home && *home == '/')
        n = snprintf(url, room, "lmdb:%s/.local/share/mvsqlite/store", home);
    else
        return mv_fail(MV_URL, "no store given and no home directory known: set MVSQLITE_STORE=lmdb:/path");
    return n >= 0 && (size_t)n < room ? MV_OK : mv_fail(MV_URL, "the store's address is longer than %zu bytes", room);
}

int mv_store_set(mv_store *store, int setting, uint64_t value)
{
    switch (setting) {
    case MV_STAGE_BYTES:
        store->stage_bytes = value < MVI_PAGE_MAX ? MVI_PAGE_MAX : (size_t)value;
        store->buffer_bytes = store->stage_bytes;
        return MV_OK;
    case MV_CACHE_BYTES:
        mvi_cache_limit(store->cache, (size_t)value);
        return MV_OK;
    case MV_FULL_EVERY:
        store->full_every = (uint8_t)(value < 1 ? 1 : value > 250 ? 250 : value);
        return MV_OK;
    default:
        return mv_fail(MV_MISUSE, "setting %d is not known", setting);
    }
}

int mv_store_counter(mv_store *store, size_t index, const char **name, uint64_t *value)
{
    return kv_counter(store->kv, index, name, value);
}

void mv_free(void *memory)
{
    free(memory);
}
