/* Who goes past us: files at routed paths that something else opens or copies.
 *
 * A program may carry a SQLite that nobody can reach, or copy the file of a database. It is told
 * in the log, once for each path. Looking costs other files nothing: only what is open for reading and
 * writing, as SQLite opens, and has a size that a database can have is looked at more closely. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/logging.h"
#include "../route/stub.h"
#include "preload.h"

#define TOLD 64

/* Whether it was told of this path before; when the table is full, nothing more is told. */
static int is_news(const char *path)
{
    static _Atomic uint64_t told[TOLD];
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = path; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    for (size_t i = 0; i < TOLD; i++) {
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&told[i], &there, hash))
            return 1;
        if (there == hash)
            return 0;
    }
    return 0;
}

static int path_of(int fd, char *path, size_t room)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, room - 1);
    path[n < 0 ? 0 : n] = 0;
    return n > 0;
}

/* ---- opening -------------------------------------------------------------------- */

/* Whether libmvsqlite.so itself is at work in this thread: it takes a file in. */
static int core_is_at_work(void)
{
    int (*working)(void) = (int (*)(void))mvp_core_if_loaded("mvr_is_at_work");
    return working && working();
}

static void tell_opened(int fd, const void *caller, int overwrites)
{
    char path[PATH_MAX], real[PATH_MAX];
    Dl_info info;
    if (mvp_is_ours(caller) || !path_of(fd, path, sizeof path) || core_is_at_work() ||
        mvp_is_routed(path, real, sizeof real) != 1 || !is_news(real))
        return;
    const char *by = dladdr((const char *)caller - 1, &info) && info.dli_fname ? info.dli_fname : "the program";
    if (overwrites)
        mvi_log(MVI_LOG_WARN,
                "%s was overwritten as a file by %s: the database it stood for is in the store, unchanged; to put a "
                "file in its place rename it there, with MVSQLITE_IMPORT=1",
                real, by);
    else
        mvi_log(MVI_LOG_WARN,
                "%s is opened for writing by %s, past mvsqlite: it has a SQLite of its own, or treats the database as "
                "a file; nothing that is done so is kept in the store",
                real, by);
}

static int is_stub_at(int at, const char *path)
{
    struct stat st;
    int kept = errno;
    int found = fstatat(at, path, &st, 0) == 0 && mvr_stub_fits(&st);
    errno = kept;
    return found;
}

/* A touch opens only for writing, and a new empty file is no database yet. */
static void look(int fd, int flags, int was_stub, const void *caller)
{
    struct stat st;
    int kept = errno;
    if (was_stub)
        tell_opened(fd, caller, 1);
    else if ((flags & O_ACCMODE) == O_RDWR && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
             (st.st_size % 512 == 0 || mvr_stub_fits(&st)))
        tell_opened(fd, caller, 0);
    errno = kept;
}

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY)

#define WATCHED(opening, at)                                                              \
    do {                                                                                  \
        mode_t mode = 0;                                                                  \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {                        \
            va_list more;                                                                 \
            va_start(more, flags);                                                        \
            mode = va_arg(more, mode_t);                                                  \
            va_end(more);                                                                 \
        }                                                                                 \
        int was_stub = mvp_enabled && flags & O_TRUNC && WRITES(flags) && path && is_stub_at(at, path); \
        int fd = opening;                                                                 \
        if (fd >= 0 && mvp_enabled && WRITES(flags))                                      \
            look(fd, flags, was_stub, MVP_CALLER);                                        \
        return fd;                                                                        \
    } while (0)

MVP_EXPORTED int mvp_hook_open(const char *path, int flags, ...) __asm__("open");
MVP_EXPORTED int mvp_hook_open64(const char *path, int flags, ...) __asm__("open64");
MVP_EXPORTED int mvp_hook_openat(int at, const char *path, int flags, ...) __asm__("openat");
MVP_EXPORTED int mvp_hook_openat64(int at, const char *path, int flags, ...) __asm__("openat64");

int mvp_hook_open(const char *path, int flags, ...)
{
    MVP_REAL(next, open)
    WATCHED(next(path, flags, mode), AT_FDCWD);
}

int mvp_hook_open64(const char *path, int flags, ...)
{
    MVP_REAL(next, open64)
    WATCHED(next(path, flags, mode), AT_FDCWD);
}

int mvp_hook_openat(int at, const char *path, int flags, ...)
{
    MVP_REAL(next, openat)
    WATCHED(next(at, path, flags, mode), at);
}

int mvp_hook_openat64(int at, const char *path, int flags, ...)
{
    MVP_REAL(next, openat64)
    WATCHED(next(at, path, flags, mode), at);
}

/* ---- copying --------------------------------------------------------------------- */

static void look_at_source(int fd)
{
    struct stat st;
    char path[PATH_MAX];
    mvr_stub stub;
    int kept = errno;
    if (fstat(fd, &st) == 0 && mvr_stub_fits(&st) && path_of(fd, path, sizeof path) &&
        mvr_stub_at(path, &stub) == MV_OK && is_news(path))
        mvi_log(MVI_LOG_WARN,
                "the file %s was copied, which only stands for the database \"%s\": for a copy of the data use mvsqlite "
                "export, or SQLite's VACUUM INTO or backup",
                path, stub.name);
    errno = kept;
}

MVP_EXPORTED ssize_t mvp_hook_copy(int from, off64_t *from_at, int to, off64_t *to_at, size_t n,
                                   unsigned flags) __asm__("copy_file_range");
MVP_EXPORTED ssize_t mvp_hook_sendfile(int to, int from, off_t *at, size_t n) __asm__("sendfile");
MVP_EXPORTED ssize_t mvp_hook_sendfile64(int to, int from, off64_t *at, size_t n) __asm__("sendfile64");

ssize_t mvp_hook_copy(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
    MVP_REAL(next, copy_file_range)
    if (mvp_enabled)
        look_at_source(from);
    return next(from, from_at, to, to_at, n, flags);
}

ssize_t mvp_hook_sendfile(int to, int from, off_t *at, size_t n)
{
    MVP_REAL(next, sendfile)
    if (mvp_enabled)
        look_at_source(from);
    return next(to, from, at, n);
}

ssize_t mvp_hook_sendfile64(int to, int from, off64_t *at, size_t n)
{
    MVP_REAL(next, sendfile64)
    if (mvp_enabled)
        look_at_source(from);
    return next(to, from, at, n);
}
