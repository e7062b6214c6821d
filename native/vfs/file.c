/* A main database file: reads and writes of a database of the store, and the commit. */
#include <stdio.h>

#include "vfs.h"

/* Where the change counter stands in page 1 (fileformat2.html, 1.3). */
#define COUNTER 24
#define VALID_FOR 92

static mvv_file *mine(sqlite3_file *file)
{
    return (mvv_file *)file;
}

static int file_close(sqlite3_file *file)
{
    mvv_file *f = mine(file);
    mvv_super_leave(f);
    mv_db_close(f->db);
    mv_store_close(f->store);
    mvv_place_leave(f->copy, f->place);
    f->db = NULL;
    f->store = NULL;
    return SQLITE_OK;
}

/* The counter is this connection's own: it moves exactly when pages SQLite may hold
 * have changed, and equals what SQLite wrote after its own commit. */
static void fill_counter(const mvv_file *f, uint8_t *out, int n, sqlite3_int64 offset)
{
    static const int places[] = {COUNTER, VALID_FOR};
    uint8_t counter[4];
    mvi_put32(counter, f->counter);
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < 4; i++) {
            sqlite3_int64 at = places[p] + i - offset;
            if (at >= 0 && at < n)
                out[at] = counter[i];
        }
}

static int file_read(sqlite3_file *file, void *out, int n, sqlite3_int64 offset)
{
    mvv_file *f = mine(file);
    size_t got = 0;
    int rc = mv_db_read_bytes(f->db, (uint64_t)offset, out, (size_t)n, &got);
    if (rc)
        return mvv_error(f->copy, rc);
    if (offset < VALID_FOR + 4 && got)
        fill_counter(f, out, (int)got, offset);
    if (got == (size_t)n)
        return SQLITE_OK;
    memset((uint8_t *)out + got, 0, (size_t)n - got);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
    mvv_file *f = mine(file);
    const uint8_t *page = data;
    if (offset == 0 && n >= 512) {
        f->wrote_counter = mvi_get32(page + COUNTER);
        f->wrote_pages = f->wrote_counter == mvi_get32(page + VALID_FOR) ? mvi_get32(page + 28) : 0;
        f->wrote_page_size = (uint32_t)page[16] << 8 | page[17];
        if (f->wrote_page_size == 1)
            f->wrote_page_size = 65536;
        f->wrote_wal = page[18] == 2 || page[19] == 2;
    }
    int rc = mv_db_write_bytes(f->db, (uint64_t)offset, data, (size_t)n);
    return rc ? mvv_error(f->copy, rc) : SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    mvv_file *f = mine(file);
    int rc = mv_db_truncate(f->db, (uint64_t)size);
    return rc ? mvv_error(f->copy, rc) : SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)file, (void)flags; /* SQLITE_FCNTL_SYNC has committed, durably */
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)mv_db_size(mine(file)->db);
    return SQLITE_OK;
}

/* ---- locks ------------------------------------------------------------------ */

int mvv_file_refresh(mvv_file *f)
{
    int stale = 0;
    mv_snapshot snapshot;
    int rc = mv_db_begin(f->db, &stale);
    if (rc)
        return mvv_error(f->copy, rc);
    if (f->strict) {
        mv_db_snapshot(f->db, &snapshot);
        stale |= snapshot.newer != f->newer;
        f->newer = snapshot.newer;
    }
    f->counter += stale != 0;
    return SQLITE_OK;
}

static int lock_for_writing(mvv_file *f)
{
    int rc = mv_db_lock(f->db);
    if (rc == MV_CONFLICT)
        mvv_retry_note(f, 0);
    /* plain SQLITE_BUSY calls the busy handler; a snapshot that is too old needs a new transaction */
    return rc == MV_BUSY ? SQLITE_BUSY : rc ? mvv_error(f->copy, rc) : SQLITE_OK;
}

static mvv_connection *connection_of(mvv_file *f)
{
    return f->connection ? mvv_connection_find(f->copy, *f->connection) : NULL;
}

static int is_exclusive(mvv_file *f)
{
    if (f->exclusive || !f->copy->exclusive_seen)
        return f->exclusive;
    mvv_connection *c = connection_of(f);
    return c && c->exclusive;
}

static int lock_shared(mvv_file *f)
{
    int rc = mvv_file_refresh(f);
    for (int tried = 0; !rc && is_exclusive(f) && tried < 3; tried++) {
        mv_snapshot snapshot;
        mv_db_snapshot(f->db, &snapshot);
        if (snapshot.pinned)
            break;
        rc = lock_for_writing(f); /* locking_mode=EXCLUSIVE keeps every other writer out */
        if (rc != SQLITE_BUSY_SNAPSHOT)
            break;
        rc = mvv_file_refresh(f);
    }
    return rc;
}

static int file_lock(sqlite3_file *file, int level)
{
    mvv_file *f = mine(file);
    int rc = SQLITE_OK;
    mvv_playing_back = 0;
    if (level <= f->level)
        return SQLITE_OK;
    if (f->level == SQLITE_LOCK_NONE) {
        mvv_retry_forget();
        rc = lock_shared(f);
    }
    if (!rc && level >= SQLITE_LOCK_RESERVED && f->level < SQLITE_LOCK_RESERVED)
        rc = lock_for_writing(f);
    if (!rc)
        f->level = level;
    return rc;
}

static int file_unlock(sqlite3_file *file, int level)
{
    mvv_file *f = mine(file);
    mvv_playing_back = 0;
    if (level >= f->level)
        return SQLITE_OK;
    if (f->level >= SQLITE_LOCK_RESERVED && level < SQLITE_LOCK_RESERVED) {
        mvv_super_leave(f);
        mvv_connection *c = connection_of(f);
        if (c)
            mvv_connection_done(c);
        if (is_exclusive(f) && level > SQLITE_LOCK_NONE)
            mv_db_rollback(f->db);
        else
            mv_db_unlock(f->db);
        f->wrote_counter = f->wrote_pages = 0;
    } else if (level == SQLITE_LOCK_NONE) {
        mv_db_unlock(f->db); /* held through locking_mode=EXCLUSIVE */
    }
    if (level == SQLITE_LOCK_NONE)
        mv_db_end(f->db);
    f->level = level;
    return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *file, int *held)
{
    (void)file;
    *held = 0; /* asked only about hot journals, and there are none */
    return SQLITE_OK;
}

/* ---- the commit --------------------------------------------------------------- */

int mvv_file_before_commit(mvv_file *f)
{
    uint64_t size = (uint64_t)f->wrote_pages * f->wrote_page_size;
    int rc = MV_OK;
    if (size && size < mv_db_size(f->db)) /* SQLite itself cuts the file only after the commit */
        rc = mv_db_truncate(f->db, size);
    mvv_connection *c = connection_of(f);
    if (!rc && c)
        rc = mv_db_message(f->db, c->message);
    if (!rc && c)
        rc = mv_db_statements(f->db, mvv_statements(f, c));
    return rc ? mvv_error(f->copy, rc) : SQLITE_OK;
}

void mvv_file_committed(mvv_file *f)
{
    if (f->wrote_counter)
        f->counter = f->wrote_counter;
    f->counter += f->wrote_wal != 0; /* page 1 was stored otherwise than SQLite holds it */
    f->wrote_counter = f->wrote_pages = 0;
    f->wrote_wal = 0;
    mvv_connection *c = connection_of(f);
    if (c)
        mvv_connection_done(c);
}

/* SQLite takes a transaction back whose commit failed (except with plain SQLITE_BUSY), by
 * writing what it had journalled. Pages it did not journal, being free, and pages that the
 * commit was to cut off come back only because the whole transaction is dropped. */
void mvv_file_refused(mvv_file *f, int rc)
{
    if (rc == SQLITE_BUSY_SNAPSHOT)
        mvv_retry_note(f, 1);
    if (rc != SQLITE_BUSY)
        mv_db_rollback(f->db);
}

/* SQLITE_FCNTL_SYNC at the end of a rollback: what SQLite played back is there already. */
static int rolled_back(mvv_file *f)
{
    mvv_playing_back = 0;
    f->wrote_counter = f->wrote_pages = 0;
    f->wrote_wal = 0;
    mv_db_rollback(f->db);
    return SQLITE_OK;
}

static int commit(mvv_file *f, const char *super)
{
    if (super && mvv_super_join(f, super))
        return SQLITE_OK;
    mvv_super_leave(f);
    if (mvv_playing_back)
        return rolled_back(f);
    int rc = mvv_file_before_commit(f);
    if (!rc) {
        int code = mv_db_commit(&f->db, 1, NULL);
        rc = code ? mvv_error(f->copy, code) : SQLITE_OK;
    }
    if (rc)
        mvv_file_refused(f, rc);
    else
        mvv_file_committed(f);
    return rc;
}

/* A flag that is told, and set where the argument is not negative. */
static int keep_flag(int *flag, int *arg)
{
    if (*arg >= 0)
        *flag = *arg != 0;
    *arg = *flag;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    mvv_file *f = mine(file);
    switch (op) {
    case SQLITE_FCNTL_SYNC:
        return commit(f, arg);
    case SQLITE_FCNTL_PRAGMA:
        return mvv_pragma(f, arg);
    case SQLITE_FCNTL_PDB:
        f->connection = arg;
        return SQLITE_OK;
    case SQLITE_FCNTL_VFSNAME:
        *(char **)arg = f->copy->api->mprintf("%s", MVV_NAME);
        return SQLITE_OK;
    case SQLITE_FCNTL_LOCKSTATE:
        *(int *)arg = f->level;
        return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE:
        mvv_mmap_size(f, arg);
        return SQLITE_OK;
    case SQLITE_FCNTL_PERSIST_WAL:
        return keep_flag(&f->persist_wal, arg);
    case SQLITE_FCNTL_POWERSAFE_OVERWRITE:
        return keep_flag(&f->powersafe_overwrite, arg);
    case SQLITE_FCNTL_BUSYHANDLER:
        f->busy = (int (*)(void *))((void **)arg)[0];
        f->busy_arg = ((void **)arg)[1];
        return SQLITE_OK;
    case SQLITE_FCNTL_SIZE_HINT:
    case SQLITE_FCNTL_CHUNK_SIZE:
        return SQLITE_OK;
    case MVV_FCNTL_FILE:
        *(mvv_file **)arg = f;
        return SQLITE_OK;
    default:
        return SQLITE_NOTFOUND;
    }
}

static int file_sector(sqlite3_file *file)
{
    (void)file;
    return 512;
}

static int file_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_SEQUENTIAL |
           SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN;
}

const sqlite3_io_methods mvv_file_methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_characteristics,
};

/* ---- opening -------------------------------------------------------------------- */

int mvv_read_stamp(const char *hex, mv_stamp *stamp)
{
    size_t n = strspn(hex, "0123456789abcdefABCDEF");
    if (n != 2 * MV_STAMP_SIZE || hex[n])
        return mv_fail(MV_NOVERSION, "\"%.40s\" is no version: one is 20 hexadecimal digits", hex);
    for (int i = 0; i < MV_STAMP_SIZE; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        stamp->bytes[i] = (uint8_t)byte;
    }
    return MV_OK;
}

int mvv_pin(mvv_file *f, const char *moment, const char *version)
{
    mv_stamp stamp;
    int rc = version ? mvv_read_stamp(version, &stamp) : mv_db_at(f->db, moment, &stamp);
    return rc ? rc : mv_db_pin(f->db, &stamp);
}

/* "2.5" or "2.5s": seconds; "500ms": milliseconds. */
static int read_duration(const char *name, const char *text, unsigned *ms)
{
    char *end;
    double number = strtod(text, &end);
    double scale = strcmp(end, "ms") == 0 ? 1 : strcmp(end, "s") == 0 || *end == 0 ? 1000 : 0;
    if (end == text || !scale || !(number >= 0 && number * scale <= 86400e3))
        return mv_fail(MV_MISUSE, "%s=%.40s is no duration: write 2s or 500ms", name, text);
    *ms = (unsigned)(number * scale + 0.5);
    return MV_OK;
}

static int set_staleness(mvv_file *f, const char *text, int flags)
{
    unsigned ms;
    if (flags & SQLITE_OPEN_READWRITE)
        return mv_fail(MV_MISUSE, "max_staleness= is for connections that only read: open with mode=ro");
    int rc = read_duration("max_staleness", text, &ms);
    return rc ? rc : mv_db_max_staleness(f->db, ms);
}

static int set_concurrency(mvv_file *f, const char *text, const char *lease)
{
    static const char *const names[] = {"host", "optimistic", "lease"}; /* in the order of mv_concurrency */
    unsigned ms = MV_LEASE_MS;
    int rc = lease ? read_duration("lease", lease, &ms) : MV_OK;
    for (int i = 0; i < 3 && !rc; i++)
        if (strcmp(text, names[i]) == 0)
            return mv_db_concurrency(f->db, i, ms);
    return rc ? rc : mv_fail(MV_MISUSE, "concurrency=%.40s is not known: write host, optimistic or lease", text);
}

/* How the connection reads and writes, beside which database. */
static int set_manners(mvv_file *f, const char *name, int flags)
{
    const sqlite3_api_routines *api = f->copy->api;
    const char *stale = api->uri_parameter(name, "max_staleness"), *lease = api->uri_parameter(name, "lease");
    const char *concurrency = api->uri_parameter(name, "concurrency");
    int rc = stale ? set_staleness(f, stale, flags) : MV_OK;
    if (!rc && (concurrency || lease))
        rc = set_concurrency(f, concurrency ? concurrency : "lease", lease);
    return rc;
}

int mvv_store_url(mvv_copy *copy, const char *name, char *url, size_t room)
{
    const char *store = copy->api->uri_parameter(name, "store");
    if (!store)
        return mv_default_url(url, room);
    if (strlen(store) >= room)
        return mv_fail(MV_URL, "store=%.100s... has %zu bytes: an address allows %zu", store, strlen(store), room - 1);
    memcpy(url, store, strlen(store) + 1);
    return MV_OK;
}

static int open_db(mvv_file *f, const char *name, const char *database, int flags)
{
    const sqlite3_api_routines *api = f->copy->api;
    char url[4096];
    const char *at = api->uri_parameter(name, "at"), *version = api->uri_parameter(name, "version");
    int rc = MV_OK;
    if (at && version)
        return mv_fail(MV_MISUSE, "at= and version= exclude each other");
    rc = mvv_store_url(f->copy, name, url, sizeof url);
    if (!rc)
        rc = mv_store_open(url, &f->store);
    int create = flags & SQLITE_OPEN_CREATE && !at && !version;
    if (!rc)
        rc = mv_db_open(f->store, database, create ? MV_CREATE : 0, &f->db);
    if (!rc)
        rc = set_manners(f, name, flags);
    if (!rc && flags & SQLITE_OPEN_READWRITE && !at && !version)
        rc = mvv_statements_open(f, api->uri_parameter(name, "statements"));
    if (!rc && (at || version))
        rc = mvv_pin(f, at, version);
    return rc;
}

int mvv_file_open(mvv_copy *copy, const char *name, const char *database, mvv_file *f, int flags, int *out_flags)
{
    memset(f, 0, sizeof *f);
    f->copy = copy;
    f->counter = 1;
    f->powersafe_overwrite = 1;
    int rc = open_db(f, name, database, flags);
    if (rc) {
        rc = mvv_error(copy, rc);
        mv_db_close(f->db);
        mv_store_close(f->store);
        return rc;
    }
    mv_snapshot snapshot;
    mv_db_snapshot(f->db, &snapshot);
    if (out_flags)
        *out_flags = snapshot.pinned ? (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY
                                     : flags;
    f->base.pMethods = &mvv_file_methods;
    return SQLITE_OK;
}

mvv_file *mvv_file_of(mvv_copy *copy, sqlite3 *db, const char *schema)
{
    mvv_file *file = NULL;
    return copy->api->file_control(db, schema, MVV_FCNTL_FILE, &file) == SQLITE_OK ? file : NULL;
}
