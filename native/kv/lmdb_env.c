#include "lmdb_env.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define INITIAL_MAP ((size_t)1 << 30)
#define SMALLEST_MAP ((size_t)1 << 20)
#define READERS 4096
#define READER_BYTES 64 /* of LMDB's table of readers */
#define DEFAULT_WAIT_MS 10000

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static lmdb_engine *open_engines; /* guarded by open_lock */
static pthread_once_t at_fork_once = PTHREAD_ONCE_INIT;

/* A child must not touch the parent's environments (LMDB's rule), so it forgets
 * them: opening the same directory afterwards makes fresh ones. */
static void in_child(void)
{
    pthread_mutex_init(&open_lock, NULL);
    open_engines = NULL;
}
static void register_at_fork(void)
{
    pthread_atfork(NULL, NULL, in_child); /* no locks taken: fork may come at any point of ours */
}

/* LMDB calls a write that the system cut short an input or output error. */
static int is_full(const char *directory)
{
    struct statvfs fs;
    return statvfs(directory, &fs) == 0 && fs.f_bavail < 16;
}

int kvi_lmdb_error(const lmdb_engine *engine, int rc, const char *doing)
{
    const char *dir = engine->directory;
    if (rc == EIO && is_full(dir))
        rc = ENOSPC;
    switch (rc) {
    case ENOSPC:
    case EDQUOT:
        return mv_fail(MV_FULL, "%s: no space left on the device of store %s", doing, dir);
    case MDB_TXN_FULL:
        return mv_fail(MV_FULL, "%s: too much in one engine transaction in store %s", doing, dir);
    case ENOMEM:
        return mv_fail(MV_NOMEM, "%s: out of memory or address space for store %s", doing, dir);
    case EACCES:
    case EPERM:
    case EROFS:
        return mv_fail(MV_PERM, "%s: store directory %s cannot be written by this user (%s)", doing, dir,
                       strerror(rc));
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_PANIC:
        return mv_fail(MV_CORRUPT, "%s: %s/data.mdb is damaged or not a store (%s); restore it from a backup",
                       doing, dir, mdb_strerror(rc));
    default:
        return mv_fail(MV_IO, "%s: store %s: %s", doing, dir, mdb_strerror(rc));
    }
}

static int make_directories(const char *path)
{
    char partial[PATH_MAX];
    size_t n = strlen(path);
    memcpy(partial, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (partial[i] != '/' && partial[i] != 0)
            continue;
        char kept = partial[i];
        partial[i] = 0;
        if (mkdir(partial, 0700) != 0 && errno != EEXIST)
            return mv_fail(errno == ENOSPC ? MV_FULL : MV_PERM, "cannot create store directory %s: %s", partial,
                           strerror(errno));
        partial[i] = kept;
    }
    return MV_OK;
}

/* A file just made is only as durable as the directory that names it, and so on up. */
static int sync_directories(const char *path)
{
    char partial[PATH_MAX];
    memcpy(partial, path, strlen(path) + 1);
    for (size_t n = strlen(partial); n > 0; n--) {
        if (partial[n] != '/' && partial[n] != 0)
            continue;
        partial[n] = 0;
        int fd = open(partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int failed = fd >= 0 && fsync(fd) != 0 && errno != EINVAL && errno != EROFS;
        if (fd >= 0)
            close(fd);
        if (failed)
            return mv_fail(MV_IO, "cannot sync directory %s: %s", partial, strerror(errno));
    }
    return MV_OK;
}

typedef struct options {
    char directory[PATH_MAX];
    size_t map_bytes;
    unsigned wait_ms;
    int read_only;
} options;

static int parse_option(const char *option, size_t n, options *out)
{
    char *end = NULL;
    const char *value = memchr(option, '=', n);
    unsigned long long v = value ? strtoull(value + 1, &end, 10) : 0;
    if (!value || end == value + 1 || end != option + n)
        return -1;
    if (strncmp(option, "map_bytes=", 10) == 0 && v >= SMALLEST_MAP)
        out->map_bytes = (size_t)v;
    else if (strncmp(option, "wait_ms=", 8) == 0 && v > 0 && v < UINT_MAX)
        out->wait_ms = (unsigned)v;
    else
        return -1;
    return 0;
}

/* "directory[?map_bytes=N][&wait_ms=N]" */
static int parse(const char *rest, options *out)
{
    const char *query = strchr(rest, '?');
    size_t n = query ? (size_t)(query - rest) : strlen(rest);
    if (n >= PATH_MAX)
        return mv_fail(MV_URL, "the store directory's path has %zu bytes, the system allows %d", n, PATH_MAX - 1);
    if (n == 0)
        return mv_fail(MV_URL, "store address \"lmdb:%s\" names no directory: write lmdb:/path/to/directory", rest);
    memcpy(out->directory, rest, n);
    out->directory[n] = 0;
    out->map_bytes = INITIAL_MAP;
    out->wait_ms = DEFAULT_WAIT_MS;
    out->read_only = 0;
    while (query && *query) {
        size_t size = strcspn(++query, "&");
        if (parse_option(query, size, out) != 0)
            return mv_fail(MV_URL, "store address \"lmdb:%s\": the options are map_bytes (at least %zu) and wait_ms",
                           rest, SMALLEST_MAP);
        query += size;
    }
    return MV_OK;
}

/* A file shorter than its own page count would kill the process when read. */
static int check_length(lmdb_engine *engine)
{
    MDB_envinfo info;
    MDB_stat stat_;
    struct stat st;
    int fd;
    if (mdb_env_info(engine->env, &info) || mdb_env_stat(engine->env, &stat_) || mdb_env_get_fd(engine->env, &fd) ||
        fstat(fd, &st) != 0)
        return kvi_lmdb_error(engine, EIO, "opening");
    if (info.me_last_pgno > 1 && (uint64_t)st.st_size < (uint64_t)(info.me_last_pgno + 1) * stat_.ms_psize)
        return mv_fail(MV_CORRUPT, "%s/data.mdb is shorter than its contents (%lld bytes): restore it from a backup",
                       engine->directory, (long long)st.st_size);
    return MV_OK;
}

static int open_dbi(lmdb_engine *engine)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(engine->env, NULL, MDB_RDONLY, &txn); /* the unnamed one is always there */
    if (!rc)
        rc = mdb_dbi_open(txn, NULL, 0, &engine->dbi);
    if (!rc) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (txn)
        mdb_txn_abort(txn);
    return rc;
}

/* The lock file is mapped and sparse: touching a page for which the disk has no room would
 * kill the process. So it gets its room now. Not while this process has the environment
 * open: closing any descriptor of the file would drop the process's locks on it. */
static int reserve_lock_file(const char *directory)
{
    char path[PATH_MAX + sizeof "/lock.mdb"];
    snprintf(path, sizeof path, "%s/lock.mdb", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc = 0;
    if (fd < 0)
        return MV_OK; /* LMDB will say what is wrong */
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, READERS * READER_BYTES + 4096) != 0)
        rc = errno;
    close(fd);
    return rc == ENOSPC ? mv_fail(MV_FULL, "opening: no space left on the device of store %s", directory) : MV_OK;
}

static int open_env(lmdb_engine *engine, size_t map_bytes, int read_only)
{
    unsigned flags = MDB_NOTLS | (read_only ? MDB_RDONLY | MDB_NOLOCK : 0);
    int rc = mdb_env_create(&engine->env);
    if (rc)
        return kvi_lmdb_error(engine, rc, "opening");
    for (;;) {
        mdb_env_set_maxreaders(engine->env, READERS);
        mdb_env_set_mapsize(engine->env, map_bytes);
        rc = mdb_env_open(engine->env, engine->directory, flags, 0600);
        if (rc != ENOMEM || map_bytes / 2 < SMALLEST_MAP)
            break;
        map_bytes /= 2; /* a limit on address space: start smaller */
        mdb_env_close(engine->env);
        engine->env = NULL;
        if ((rc = mdb_env_create(&engine->env)) != 0)
            break;
    }
    if (rc)
        return kvi_lmdb_error(engine, rc, "opening");
    rc = check_length(engine);
    if (rc)
        return rc;
    MDB_envinfo info;
    mdb_reader_check(engine->env, &engine->dead_readers);
    rc = mdb_env_info(engine->env, &info);
    int fresh = !rc && info.me_last_txnid == 0 && !read_only;
    if (!rc)
        rc = open_dbi(engine);
    if (rc)
        return kvi_lmdb_error(engine, rc, "opening");
    return fresh ? sync_directories(engine->directory) : MV_OK;
}

static void destroy(lmdb_engine *engine)
{
    if (engine->env)
        mdb_env_close(engine->env);
    kvi_gate_close(engine->gate);
    pthread_rwlock_destroy(&engine->map);
    pthread_mutex_destroy(&engine->readers_lock);
    pthread_mutex_destroy(&engine->queue_lock);
    pthread_cond_destroy(&engine->queue_moved);
    free(engine->directory);
    free(engine);
}

static int create(const char *directory, const struct stat *st, const options *wanted, lmdb_engine **out)
{
    lmdb_engine *engine = calloc(1, sizeof *engine);
    char *kept = strdup(directory);
    if (!engine || !kept) {
        free(engine);
        free(kept);
        return mv_fail(MV_NOMEM, "out of memory opening store %s", directory);
    }
    engine->directory = kept;
    engine->references = 1;
    engine->owner = getpid();
    engine->wait_ms = wanted->wait_ms;
    engine->device = st->st_dev;
    engine->inode = st->st_ino;
    engine->queue_end = &engine->queue;
    pthread_rwlockattr_t prefer_writer;
    pthread_rwlockattr_init(&prefer_writer);
    pthread_rwlockattr_setkind_np(&prefer_writer, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&engine->map, &prefer_writer);
    pthread_rwlockattr_destroy(&prefer_writer);
    pthread_mutex_init(&engine->readers_lock, NULL);
    pthread_mutex_init(&engine->queue_lock, NULL);
    pthread_cond_init(&engine->queue_moved, NULL);
    engine->base.traits = (kv_traits){
        .transaction_bytes = (size_t)64 << 20,
        .inline_value = 1900,
        .value_block = 4096,
        .value_overhead = 16,
        .lock_directory = kept,
    };
    int rc = wanted->read_only ? MV_OK : reserve_lock_file(directory);
    if (!rc)
        rc = open_env(engine, wanted->map_bytes, wanted->read_only);
    if (!rc && !wanted->read_only)
        rc = kvi_gate_open(directory, &engine->gate);
    if (rc)
        destroy(engine);
    else
        *out = engine;
    return rc;
}

int kvi_lmdb_env_open(const char *rest, lmdb_engine **out)
{
    options wanted;
    const char *directory = wanted.directory;
    char absolute[PATH_MAX];
    struct stat st;
    int rc = parse(rest, &wanted);
    if (!rc && stat(directory, &st) != 0)
        rc = make_directories(directory);
    if (rc)
        return rc;
    if (!realpath(directory, absolute) || stat(absolute, &st) != 0)
        return mv_fail(MV_PERM, "cannot open store directory %s: %s", directory, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return mv_fail(MV_URL, "%s is not a directory: a store is a directory", directory);
    if (access(absolute, R_OK | W_OK | X_OK) != 0)
        return mv_fail(MV_PERM, "store directory %s cannot be written by this user (%s)", absolute, strerror(errno));
    pthread_once(&at_fork_once, register_at_fork);
    pthread_mutex_lock(&open_lock);
    lmdb_engine *found = open_engines;
    while (found && !(found->device == st.st_dev && found->inode == st.st_ino))
        found = found->next;
    if (found) {
        found->references++;
    } else {
        rc = create(absolute, &st, &wanted, &found);
        if (!rc) {
            found->next = open_engines;
            open_engines = found;
        }
    }
    pthread_mutex_unlock(&open_lock);
    *out = rc ? NULL : found;
    return rc;
}

static int is_file(const char *directory, const char *name)
{
    char path[PATH_MAX + 16];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int kvi_lmdb_env_look(const char *rest, lmdb_engine **out)
{
    options wanted;
    char absolute[PATH_MAX];
    struct stat st;
    int rc = parse(rest, &wanted);
    if (rc)
        return rc;
    if (!realpath(wanted.directory, absolute) || stat(absolute, &st) != 0)
        return mv_fail(errno == ENOENT ? MV_NOTFOUND : MV_PERM, "cannot open store directory %s: %s", wanted.directory,
                       strerror(errno));
    if (!is_file(absolute, "data.mdb"))
        return mv_fail(MV_NOTFOUND, "there is no store in %s: it holds no data.mdb", absolute);
    if (!is_file(absolute, "lock.mdb")) { /* so nobody has it open, and no lock is needed */
        wanted.read_only = 1;
        return create(absolute, &st, &wanted, out);
    }
    if (!is_file(absolute, "gate") && st.st_uid != geteuid()) /* it would be made, and be ours */
        return mv_fail(MV_PERM, "store directory %s belongs to user %ld, who has to open it first", absolute,
                       (long)st.st_uid);
    return kvi_lmdb_env_open(rest, out);
}

void kvi_lmdb_env_close(lmdb_engine *engine)
{
    if (engine->owner != getpid())
        return; /* the parent's: closing it here would release the parent's reader slots */
    pthread_mutex_lock(&open_lock);
    if (--engine->references == 0) {
        lmdb_engine **link = &open_engines;
        while (*link && *link != engine)
            link = &(*link)->next;
        if (*link)
            *link = engine->next;
        destroy(engine);
    }
    pthread_mutex_unlock(&open_lock);
}

static int resize(lmdb_engine *engine, int grow)
{
    MDB_envinfo info;
    pthread_rwlock_wrlock(&engine->map);
    int rc = mdb_env_info(engine->env, &info);
    if (!rc)
        rc = mdb_env_set_mapsize(engine->env, grow ? info.me_mapsize * 2 : 0);
    pthread_rwlock_unlock(&engine->map);
    return rc ? kvi_lmdb_error(engine, rc, "enlarging the map") : MV_OK;
}

int kvi_lmdb_grow(lmdb_engine *engine)
{
    return resize(engine, 1);
}

int kvi_lmdb_adopt_size(lmdb_engine *engine)
{
    return resize(engine, 0);
}

int kvi_lmdb_overtaken(const lmdb_engine *engine, MDB_txn *txn)
{
    MDB_envinfo info; /* read from the data file, unlike where snapshots begin */
    return mdb_env_info(engine->env, &info) == 0 && info.me_last_txnid > mdb_txn_id(txn);
}

int kvi_lmdb_settle(lmdb_engine *engine, unsigned wait_ms)
{
    MDB_txn *txn;
    int rc = kvi_gate_enter(engine->gate, wait_ms);
    if (rc)
        return rc;
    pthread_rwlock_rdlock(&engine->map);
    rc = mdb_txn_begin(engine->env, NULL, 0, &txn);
    if (!rc)
        mdb_txn_abort(txn);
    pthread_rwlock_unlock(&engine->map);
    if (rc == MDB_MAP_RESIZED) /* found out with the write lock held, which is all we want */
        rc = 0;
    if (!rc)
        kvi_gate_settled(engine->gate);
    kvi_gate_leave(engine->gate);
    return rc ? kvi_lmdb_error(engine, rc, "looking after a process that died in its commit") : MV_OK;
}

/* Versions are LMDB's own transaction numbers plus a base. A copy made with
 * compaction starts its numbers again at 1, so the record below also says up to
 * where versions may have been given out. The data file can only be replaced while
 * nobody has it open: the first commit after each opening goes on from there. */
#define VERSION_BLOCK ((uint64_t)1 << 20)
#define VERSION_RECORD 16
static const char version_key[] = "\xff"
                                  "stamp";

static mv_slice encode_versions(uint64_t base, uint64_t high, uint8_t record[VERSION_RECORD])
{
    mvi_put64(record, base);
    mvi_put64(record + 8, high);
    return mvi_slice(record, VERSION_RECORD);
}

static int raise_in(kv_txn *txn, void *ctx)
{
    uint64_t above = *(const uint64_t *)ctx;
    mv_slice key = mvi_slice(version_key, sizeof version_key - 1), value;
    uint8_t record[VERSION_RECORD];
    int rc = kv_get(txn, key, &value); /* it is there: kvi_lmdb_version was here in this transaction */
    if (rc || value.size < VERSION_RECORD)
        return rc ? rc : mv_fail(MV_CORRUPT, "the record of the store's versions has %zu bytes", value.size);
    uint64_t base = mvi_get64(value.data), high = mvi_get64(value.data + 8);
    if (base >= above)
        return KV_NOTHING;
    return kv_set(txn, key, encode_versions(above, (high > above ? high : above) + VERSION_BLOCK, record));
}

/* Versions are of eight bytes and must not run over: half of them may be passed over so. */
int kvi_lmdb_raise_stamps(kv_engine *base, const kv_stamp *above)
{
    uint64_t version = mvi_get64(above->bytes);
    if (version > UINT64_MAX / 2)
        return mv_fail(MV_MISUSE, "stamps of store %s cannot be raised above %llu",
                       ((lmdb_engine *)base)->directory, (unsigned long long)version);
    return kv_transact(base, raise_in, &version, NULL);
}

int kvi_lmdb_version(lmdb_engine *engine, MDB_txn *top, uint64_t *version)
{
    MDB_val key = {sizeof version_key - 1, (void *)(uintptr_t)version_key}, value;
    uint64_t base = 0, high = 0, number = (uint64_t)mdb_txn_id(top);
    int rc = mdb_get(top, engine->dbi, &key, &value);
    if (!rc && value.mv_size >= VERSION_RECORD) {
        base = mvi_get64(value.mv_data);
        high = mvi_get64((uint8_t *)value.mv_data + 8);
        if (!engine->has_block)
            base = high - number;
    } else if (rc && rc != MDB_NOTFOUND) {
        return rc;
    }
    *version = base + number;
    if (*version < high && engine->has_block)
        return 0;
    uint8_t record[VERSION_RECORD];
    mv_slice encoded = encode_versions(base, *version + VERSION_BLOCK, record);
    value = (MDB_val){encoded.size, record};
    return mdb_put(top, engine->dbi, &key, &value, 0);
}
