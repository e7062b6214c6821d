/* A database takes over the contents of another one, or of a file, as one commit. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../base/bytes.h"
#include "../store/page1.h"
#include "files.h"

#define WAIT_MS 5000 /* for another writer */
#define CONFLICTS 5  /* commits that others may come before, on a cluster */

/* Where SQLite keeps its locks on a file (os.h of SQLite). */
#define LOCK_SHARED 0x40000002
#define LOCK_SIZE 510

/* What is taken over: a database, or a file. */
typedef struct contents {
    mv_db *db; /* NULL: the file */
    int fd;
    const char *path;
    uint64_t size;
    uint32_t page_size;
} contents;

static int read_contents(const contents *from, uint64_t offset, uint8_t *page)
{
    size_t done = 0, n = from->page_size;
    if (from->db)
        return mv_db_read_bytes(from->db, offset, page, n, &done);
    while (done < n) {
        ssize_t got = pread(from->fd, page + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return mv_fail(MV_IO, "cannot read %.300s: %s", from->path, got ? strerror(errno) : "it became shorter");
        done += (size_t)got;
    }
    return MV_OK;
}

/* SQLite tells by the schema's number whether a connection's idea of the tables is still right:
 * it must not be one that was used here for other tables. */
static void advance_schema(uint8_t *page1, const uint8_t *before)
{
    if (mvi_page1_is_sqlite(page1) && mvi_page1_is_sqlite(before))
        mvi_put32(page1 + MVI_SCHEMA_COOKIE, mvi_get32(before + MVI_SCHEMA_COOKIE) + 1);
}

static int copy_page(mv_db *db, const contents *from, uint64_t offset, uint8_t *page, uint8_t *there)
{
    size_t n = from->page_size, got = 0;
    int rc = read_contents(from, offset, page);
    if (!rc && offset < mv_db_size(db))
        rc = mv_db_read_bytes(db, offset, there, n, &got);
    if (!rc && offset == 0 && got >= 100)
        advance_schema(page, there);
    if (rc || (got == n && memcmp(page, there, n) == 0))
        return rc;
    return mv_db_write_bytes(db, offset, page, n);
}

static int copy_all(mv_db *db, const contents *from)
{
    uint8_t *pages = from->page_size ? malloc(2 * (size_t)from->page_size) : NULL;
    int rc = pages || !from->size ? MV_OK : mv_fail(MV_NOMEM, "out of memory replacing a database");
    for (uint64_t at = 0; at < from->size && !rc; at += from->page_size)
        rc = copy_page(db, from, at, pages, pages + from->page_size);
    free(pages);
    return rc ? rc : mv_db_truncate(db, from->size);
}

static int lock_patiently(mv_db *db)
{
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    int rc = MV_BUSY, stale;
    for (int waited = 0; waited <= WAIT_MS && (rc == MV_BUSY || rc == MV_CONFLICT); waited += 20) {
        if (waited)
            nanosleep(&pause, NULL);
        rc = mv_db_begin(db, &stale);
        if (!rc)
            rc = mv_db_lock(db);
    }
    return rc;
}

static int take_over(mv_db *db, const contents *from, const char *message)
{
    int rc = MV_CONFLICT;
    for (int tries = 0; rc == MV_CONFLICT && tries < CONFLICTS; tries++) {
        rc = lock_patiently(db);
        if (rc)
            return rc;
        rc = copy_all(db, from);
        if (!rc)
            rc = mv_db_message(db, message);
        if (!rc)
            rc = mv_db_commit(&db, 1, NULL);
        mv_db_unlock(db);
    }
    return rc;
}

int mvr_replace_by_database(mv_store *store, const char *name, const char *source)
{
    char message[MV_NAME_MAX + 40];
    mv_snapshot snapshot = {.page_size = 0};
    mv_db *db = NULL, *other = NULL;
    int stale, rc = mv_db_open(store, source, 0, &other);
    if (!rc)
        rc = mv_db_begin(other, &stale);
    if (!rc)
        rc = mv_db_open(store, name, 0, &db);
    if (!rc) {
        mv_db_snapshot(other, &snapshot);
        contents from = {.db = other, .fd = -1, .size = mv_db_size(other), .page_size = snapshot.page_size};
        snprintf(message, sizeof message, "replaced by the database %s", source);
        rc = take_over(db, &from, message);
    }
    mv_db_close(db);
    mv_db_close(other);
    return rc;
}

/* ---- files --------------------------------------------------------------------------- */

static int has_unfinished(const char *path, const char *suffix)
{
    char name[4200];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return stat(name, &st) == 0 && st.st_size > 0;
}

/* A lock of the open file, not of the process: it ends with this descriptor and no other. */
static int lock_file(const contents *file)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = LOCK_SHARED, .l_len = LOCK_SIZE};
    if (has_unfinished(file->path, "-journal") || has_unfinished(file->path, "-wal"))
        return mv_fail(MV_BUSY,
                       "%.300s has a journal or a log beside it: open it once with the sqlite3 shell and run PRAGMA "
                       "wal_checkpoint(TRUNCATE), then rename it again",
                       file->path);
    if (fcntl(file->fd, F_OFD_SETLK, &lock) != 0 && (errno == EAGAIN || errno == EACCES))
        return mv_fail(MV_BUSY, "%.300s is being written: wait until that is over", file->path);
    return MV_OK;
}

static int measure_file(contents *file)
{
    uint8_t header[100];
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return mv_fail(MV_IO, "cannot look at %.300s: %s", file->path, strerror(errno));
    if (pread(file->fd, header, sizeof header, 0) != sizeof header || !mvi_page1_is_sqlite(header))
        return mv_fail(MV_MISUSE, "%.300s is no SQLite database (or an encrypted one): it cannot replace one",
                       file->path);
    file->page_size = mvi_page1_page_size(header);
    if (file->page_size < 512 || file->page_size > 65536 || file->page_size & (file->page_size - 1))
        return mv_fail(MV_CORRUPT, "%.300s is damaged: its pages have %u bytes", file->path, file->page_size);
    uint64_t pages = (uint64_t)st.st_size / file->page_size, named = mvi_get32(header + 28);
    if (named && memcmp(header + 24, header + 92, 4) == 0) { /* the header's number counts (1.3.8) */
        if (named > pages)
            return mv_fail(MV_CORRUPT, "%.300s is damaged: it should have %u pages and has %u", file->path,
                           (unsigned)named, (unsigned)pages);
        pages = named;
    }
    file->size = pages * file->page_size;
    return MV_OK;
}

int mvr_replace_by_file(mv_store *store, const char *name, const char *path)
{
    char message[400];
    mv_db *db = NULL;
    contents file = {.fd = open(path, O_RDONLY | O_CLOEXEC), .path = path};
    if (file.fd < 0)
        return mv_fail(MV_IO, "cannot open %.300s: %s", path, strerror(errno));
    int rc = lock_file(&file);
    if (!rc)
        rc = measure_file(&file);
    if (!rc)
        rc = mv_db_open(store, name, 0, &db);
    if (!rc) {
        snprintf(message, sizeof message, "replaced by the file %.300s", path);
        rc = take_over(db, &file, message);
    }
    mv_db_close(db);
    close(file.fd);
    return rc;
}
