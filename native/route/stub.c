#include "stub.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/bytes.h"

#define PAGE 4096
#define HEADER 100  /* bytes of the database header; the b-tree page's follows */
#define LINES 112   /* our lines, in what SQLite takes for free space */
#define MAGIC "mvsqlite stub "
#define FORMAT 1
#define CELL 2048

/* ---- writing ------------------------------------------------------------------ */

/* SQLite's: big-endian, seven bits a byte; two bytes are enough here. */
static void put_varint(mvi_buf *to, unsigned v)
{
    mvi_buf_byte(to, (uint8_t)(0x80 | v >> 7));
    mvi_buf_byte(to, (uint8_t)(v & 0x7f));
}

/* One cell of a table's leaf: a row of the schema that SQLite cannot take in, whose name
 * it tells (fileformat2.html, 1.6 and 2.1). Returns its size. */
static size_t make_cell(uint8_t cell[CELL], const mvr_stub *stub)
{
    char says[700];
    int n = snprintf(says, sizeof says,
                     "this is not the data: the database \"%s\" is kept in an mvsqlite store, with every version; "
                     "start the program by way of mvsqlite, as before, or get an ordinary file with mvsqlite export",
                     stub->name);
    mvi_buf row = {0}, all = {0};
    const char *type = "table";
    mvi_buf_byte(&row, 8); /* size of the record's header */
    mvi_buf_byte(&row, (uint8_t)(13 + 2 * strlen(type)));
    put_varint(&row, 13 + 2 * (unsigned)n); /* name: a text of n bytes */
    mvi_buf_byte(&row, 13);                 /* tbl_name: an empty one */
    mvi_buf_byte(&row, 0);                  /* rootpage NULL: what SQLite cannot take */
    put_varint(&row, 13 + 2 * (unsigned)n); /* sql: so that a dump says it too */
    mvi_buf_add(&row, type, strlen(type));
    mvi_buf_add(&row, says, (size_t)n);
    mvi_buf_add(&row, says, (size_t)n);
    put_varint(&all, (unsigned)row.size);
    mvi_buf_byte(&all, 1); /* rowid */
    mvi_buf_add(&all, row.data, row.size);
    size_t size = all.failed || row.failed || all.size > CELL ? 0 : all.size;
    if (size)
        memcpy(cell, all.data, size);
    mvi_buf_free(&row);
    mvi_buf_free(&all);
    return size;
}

static int make_stub(uint8_t out[MVR_STUB_SIZE], const mvr_stub *stub)
{
    uint8_t cell[CELL];
    size_t n = make_cell(cell, stub);
    if (!n)
        return mv_fail(MV_NOMEM, "out of memory making a stub");
    memset(out, 0, MVR_STUB_SIZE);
    memcpy(out, "SQLite format 3", 16);
    out[16] = PAGE >> 8;
    out[18] = 3; /* write version: more than SQLite knows, so read-only */
    out[19] = 1; /* read version */
    out[21] = 64, out[22] = 32, out[23] = 32;
    mvi_put32(out + 24, 1); /* change counter */
    mvi_put32(out + 28, 1); /* pages */
    mvi_put32(out + 40, 1); /* schema cookie */
    mvi_put32(out + 44, 4); /* schema format */
    mvi_put32(out + 56, 1); /* UTF-8 */
    mvi_put32(out + 92, 1); /* valid for that change counter */
    mvi_put32(out + 96, 3040000);
    uint8_t *leaf = out + HEADER;
    size_t at = PAGE - n;
    leaf[0] = 13; /* leaf of a table */
    leaf[4] = 1;  /* cells */
    leaf[5] = leaf[8] = (uint8_t)(at >> 8);
    leaf[6] = leaf[9] = (uint8_t)at;
    memcpy(out + at, cell, n);
    snprintf((char *)out + LINES, at - LINES, "\n" MAGIC "%d\nname=%s\npath=%s\n", FORMAT, stub->name, stub->path);
    memset(out + PAGE, '\n', MVR_STUB_SIZE - PAGE);
    return MV_OK;
}

static int write_all(int fd, const uint8_t *data, size_t n)
{
    while (n) {
        ssize_t wrote = write(fd, data, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -1;
        data += wrote;
        n -= (size_t)wrote;
    }
    return 0;
}

/* Its mode, and its owner where that may be given. */
static void take_after(int fd, const char *path, const struct stat *like)
{
    struct stat there;
    if (!like && stat(path, &there) == 0)
        like = &there;
    if (!like)
        return;
    if (fchown(fd, like->st_uid, like->st_gid) != 0)
        mv_error_clear(); /* then it is this user's, as any file made here */
    fchmod(fd, like->st_mode & 07777);
}

static int sync_directory_of(const char *path)
{
    char copy[MVR_PATH_MAX + 1];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

/* By system calls: where libc's are watched for what applications do to stubs (preload), this
 * is not meant. */
static int move(const char *from, const char *to)
{
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static void discard(const char *path)
{
    syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static int open_beside(const char *path, char *temporary, size_t room)
{
    for (unsigned i = 0; i < 100; i++) {
        snprintf(temporary, room, "%s.stub-%ld-%u", path, (long)getpid(), i);
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

int mvr_stub_put(const mvr_stub *stub, const struct stat *like)
{
    uint8_t bytes[MVR_STUB_SIZE];
    char temporary[MVR_PATH_MAX + 40];
    if (strlen(stub->path) > MVR_PATH_MAX - 40 || strchr(stub->path, '\n'))
        return mv_fail(MV_NAME, "%.300s is too long a path to be routed, or holds a line break", stub->path);
    int rc = make_stub(bytes, stub);
    if (rc)
        return rc;
    int fd = open_beside(stub->path, temporary, sizeof temporary);
    if (fd < 0)
        return mv_fail(MV_IO, "cannot write beside %.300s: %s", stub->path, strerror(errno));
    take_after(fd, stub->path, like);
    if (write_all(fd, bytes, sizeof bytes) || fsync(fd) || move(temporary, stub->path) ||
        sync_directory_of(stub->path)) {
        rc = mv_fail(MV_IO, "cannot write %.300s: %s", stub->path, strerror(errno));
        discard(temporary);
    }
    close(fd);
    return rc;
}

int mv_stub_put(const char *path, const char *name)
{
    mvr_stub stub;
    if (strlen(path) >= sizeof stub.path || strlen(name) >= sizeof stub.name)
        return mv_fail(MV_NAME, "%.300s or its database's name is too long", path);
    memcpy(stub.path, path, strlen(path) + 1);
    memcpy(stub.name, name, strlen(name) + 1);
    return mvr_stub_put(&stub, NULL);
}

/* ---- reading ------------------------------------------------------------------ */

int mvr_stub_fits(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size == MVR_STUB_SIZE;
}

static int read_value(const char *text, const char *key, char *value, size_t room)
{
    const char *at = strstr(text, key);
    if (!at)
        return -1;
    at += strlen(key);
    size_t n = strcspn(at, "\n");
    if (n >= room)
        return -1;
    memcpy(value, at, n);
    value[n] = 0;
    return 0;
}

static int parse(const char *text, const char *path, mvr_stub *stub)
{
    if (strncmp(text, "\n" MAGIC, 1 + strlen(MAGIC)) != 0)
        return MV_NOTFOUND;
    if (atoi(text + 1 + strlen(MAGIC)) != FORMAT)
        return mv_fail(MV_FORMAT, "%.300s was made by a newer release of mvsqlite: this one cannot tell what it stands for",
                       path);
    if (read_value(text, "\nname=", stub->name, sizeof stub->name) ||
        read_value(text, "\npath=", stub->path, sizeof stub->path))
        return mv_fail(MV_IO, "%.300s is a damaged stub of mvsqlite: remove it if its database is in the store", path);
    return MV_OK;
}

/* A file of a stub's size that is none. It stays open, so that no other file gets its number. */
typedef struct stranger {
    dev_t device;
    ino_t number;
    struct stranger *next;
} stranger;

static _Atomic(stranger *) strangers; /* of this process; never released */

static int is_stranger(const struct stat *st)
{
    const stranger *known = atomic_load(&strangers);
    while (known && !(known->device == st->st_dev && known->number == st->st_ino))
        known = known->next;
    return known != NULL;
}

static void keep_open(int fd)
{
    struct stat st;
    stranger *made = malloc(sizeof *made);
    if (!made || fstat(fd, &st) != 0) {
        free(made);
        return;
    }
    *made = (stranger){st.st_dev, st.st_ino, atomic_load(&strangers)};
    while (!atomic_compare_exchange_weak(&strangers, &made->next, made))
        ;
}

int mvr_stub_at(const char *path, mvr_stub *stub)
{
    struct stat st;
    char bytes[PAGE];
    if (stat(path, &st) != 0 || !mvr_stub_fits(&st) || is_stranger(&st))
        return MV_NOTFOUND;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mv_fail(MV_IO, "cannot read %.300s: %s", path, strerror(errno));
    ssize_t n = read(fd, bytes, sizeof bytes - 1);
    bytes[n > 0 ? n : 0] = 0;
    int rc = n == (ssize_t)sizeof bytes - 1 ? parse(bytes + LINES, path, stub) : MV_NOTFOUND;
    if (rc == MV_NOTFOUND)
        keep_open(fd);
    else
        close(fd);
    return rc;
}

int mv_stub_is_at(const char *path)
{
    mvr_stub stub;
    return mvr_stub_at(path, &stub) != MV_NOTFOUND;
}
