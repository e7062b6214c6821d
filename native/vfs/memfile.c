/* Journals and temporary files: memory, and beyond 16 MiB an unlinked file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "vfs.h"

#define SPILL ((sqlite3_int64)16 << 20)
#define JOURNAL_HEADER 28 /* bytes (fileformat2.html, 3) */

_Thread_local int mvv_playing_back;

typedef struct memfile {
    sqlite3_file base;
    uint8_t *data;
    sqlite3_int64 size, room;
    int fd; /* -1: in memory */
    int main_journal;
} memfile;

static int mem_close(sqlite3_file *file)
{
    memfile *f = (memfile *)file;
    free(f->data);
    if (f->fd >= 0)
        close(f->fd);
    f->data = NULL;
    f->fd = -1;
    return SQLITE_OK;
}

static int read_fd(memfile *f, void *out, int n, sqlite3_int64 offset)
{
    for (int got = 0; got < n;) {
        ssize_t part = pread(f->fd, (uint8_t *)out + got, (size_t)(n - got), offset + got);
        if (part == 0 || (part < 0 && errno != EINTR))
            return SQLITE_IOERR_READ;
        got += part > 0 ? (int)part : 0;
    }
    return SQLITE_OK;
}

static int mem_read(sqlite3_file *file, void *out, int n, sqlite3_int64 offset)
{
    memfile *f = (memfile *)file;
    int have = offset >= f->size ? 0 : offset + n > f->size ? (int)(f->size - offset) : n;
    int rc = SQLITE_OK;
    if (f->main_journal && offset < JOURNAL_HEADER) /* neither a commit nor a savepoint reads there */
        mvv_playing_back = 1;
    if (f->fd >= 0)
        rc = read_fd(f, out, have, offset);
    else if (have)
        memcpy(out, f->data + offset, (size_t)have);
    if (rc || have == n)
        return rc;
    memset((uint8_t *)out + have, 0, (size_t)(n - have));
    return SQLITE_IOERR_SHORT_READ;
}

static int write_fd(memfile *f, const void *data, sqlite3_int64 n, sqlite3_int64 offset)
{
    for (sqlite3_int64 done = 0; done < n;) {
        ssize_t part = pwrite(f->fd, (const uint8_t *)data + done, (size_t)(n - done), offset + done);
        if (part < 0 && errno != EINTR)
            return errno == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        done += part > 0 ? part : 0;
    }
    return SQLITE_OK;
}

static int spill(memfile *f)
{
    const char *directory = getenv("SQLITE_TMPDIR");
    char path[512];
    if (!directory && !(directory = getenv("TMPDIR")))
        directory = "/tmp";
    if (snprintf(path, sizeof path, "%s/mvsqlite-XXXXXX", directory) >= (int)sizeof path)
        return SQLITE_IOERR_WRITE;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return SQLITE_IOERR_GETTEMPPATH;
    unlink(path);
    f->fd = fd;
    int rc = write_fd(f, f->data, f->size, 0);
    if (rc) {
        close(fd);
        f->fd = -1;
        return rc;
    }
    free(f->data);
    f->data = NULL;
    f->room = 0;
    return SQLITE_OK;
}

static int grow(memfile *f, sqlite3_int64 end)
{
    sqlite3_int64 room = f->room ? f->room : 4096;
    while (room < end)
        room *= 2;
    uint8_t *data = room > f->room ? realloc(f->data, (size_t)room) : f->data;
    if (!data)
        return SQLITE_IOERR_NOMEM;
    f->data = data;
    f->room = room;
    return SQLITE_OK;
}

static int mem_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
    memfile *f = (memfile *)file;
    sqlite3_int64 end = offset + n;
    int rc = SQLITE_OK;
    if (f->main_journal)
        mvv_playing_back = 0;
    if (f->fd < 0)
        rc = end > SPILL ? spill(f) : grow(f, end);
    if (rc)
        return rc;
    if (f->fd >= 0) {
        rc = write_fd(f, data, n, offset);
    } else {
        if (offset > f->size)
            memset(f->data + f->size, 0, (size_t)(offset - f->size));
        memcpy(f->data + offset, data, (size_t)n);
    }
    if (!rc && end > f->size)
        f->size = end;
    return rc;
}

static int mem_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    memfile *f = (memfile *)file;
    if (f->fd >= 0 && ftruncate(f->fd, size) != 0)
        return SQLITE_IOERR_TRUNCATE;
    if (size < f->size)
        f->size = size;
    return SQLITE_OK;
}

static int mem_sync(sqlite3_file *file, int flags)
{
    (void)file, (void)flags;
    return SQLITE_OK;
}

static int mem_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = ((memfile *)file)->size;
    return SQLITE_OK;
}

static int mem_lock(sqlite3_file *file, int level)
{
    (void)file, (void)level;
    return SQLITE_OK;
}

static int mem_check_lock(sqlite3_file *file, int *held)
{
    (void)file;
    *held = 0;
    return SQLITE_OK;
}

static int mem_control(sqlite3_file *file, int op, void *arg)
{
    (void)file, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int mem_sector(sqlite3_file *file)
{
    (void)file;
    return 512;
}

static int mem_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_SEQUENTIAL | SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods mem_methods = {
    .iVersion = 1,
    .xClose = mem_close,
    .xRead = mem_read,
    .xWrite = mem_write,
    .xTruncate = mem_truncate,
    .xSync = mem_sync,
    .xFileSize = mem_size,
    .xLock = mem_lock,
    .xUnlock = mem_lock,
    .xCheckReservedLock = mem_check_lock,
    .xFileControl = mem_control,
    .xSectorSize = mem_sector,
    .xDeviceCharacteristics = mem_characteristics,
};

size_t mvv_memfile_size(void)
{
    return sizeof(memfile);
}

int mvv_memfile_open(sqlite3_file *file, int flags)
{
    memfile *f = (memfile *)file;
    memset(f, 0, sizeof *f);
    f->fd = -1;
    f->main_journal = (flags & SQLITE_OPEN_MAIN_JOURNAL) != 0;
    f->base.pMethods = &mem_methods;
    return SQLITE_OK;
}
