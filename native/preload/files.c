/* unlink, rename and their kin: of a stub they are meant for the database (native/route/files.h). */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../route/stub.h"
#include "preload.h"

/* ---- where a path leads --------------------------------------------------------- */

/* The path seen from the working directory. */
static int below(int at, const char *path, char *out, size_t room)
{
    char link[40], directory[PATH_MAX];
    if (*path == '/' || at == AT_FDCWD)
        return snprintf(out, room, "%s", path) < (int)room ? 0 : ENAMETOOLONG;
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t n = readlink(link, directory, sizeof directory - 1);
    if (n < 0)
        return errno;
    directory[n] = 0;
    return snprintf(out, room, "%s/%s", directory, path) < (int)room ? 0 : ENAMETOOLONG;
}

int mvp_absolute(int at, const char *path, char *out, size_t room)
{
    char whole[PATH_MAX], name[PATH_MAX], directory[PATH_MAX];
    int error = below(at, path, whole, sizeof whole);
    if (error)
        return error;
    memcpy(name, whole, strlen(whole) + 1);
    const char *last = basename(name);
    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || strcmp(last, "/") == 0)
        return EISDIR;
    memmove(name, last, strlen(last) + 1);
    if (!realpath(dirname(whole), directory))
        return errno;
    int n = snprintf(out, room, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);
    return n >= 0 && (size_t)n < room ? 0 : ENAMETOOLONG;
}

/* Whether a stub stands there itself; its absolute path. errno is left alone. */
static int is_stub(int at, const char *path, char *real, size_t room)
{
    struct stat st;
    mvr_stub stub;
    int kept = errno, found = 0;
    if (mvp_enabled && path && fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && mvr_stub_fits(&st) &&
        mvp_absolute(at, path, real, room) == 0)
        found = mvr_stub_at(real, &stub) != MV_NOTFOUND;
    errno = kept;
    return found;
}

/* ---- deleting -------------------------------------------------------------------- */

static int answer(int error)
{
    if (error)
        errno = error;
    return error ? -1 : 0;
}

/* 1: it was a stub, and *rc is the answer. */
static int unlinked(int at, const char *path, int *rc)
{
    char real[PATH_MAX];
    if (!is_stub(at, path, real, sizeof real))
        return 0;
    int kept = errno;
    int (*core)(const char *) = (int (*)(const char *))mvp_core("mvr_file_unlink");
    int error = core ? core(real) : EIO;
    errno = kept;
    *rc = answer(error);
    return 1;
}

MVP_EXPORTED int mvp_hook_unlink(const char *path) __asm__("unlink");
MVP_EXPORTED int mvp_hook_unlinkat(int at, const char *path, int flags) __asm__("unlinkat");
MVP_EXPORTED int mvp_hook_remove(const char *path) __asm__("remove");

int mvp_hook_unlink(const char *path)
{
    int rc;
    if (unlinked(AT_FDCWD, path, &rc))
        return rc;
    MVP_REAL(next, unlink)
    return next(path);
}

int mvp_hook_unlinkat(int at, const char *path, int flags)
{
    int rc;
    if (!(flags & AT_REMOVEDIR) && unlinked(at, path, &rc))
        return rc;
    MVP_REAL(next, unlinkat)
    return next(at, path, flags);
}

int mvp_hook_remove(const char *path)
{
    int rc;
    if (unlinked(AT_FDCWD, path, &rc))
        return rc;
    MVP_REAL(next, remove)
    return next(path);
}

/* ---- renaming --------------------------------------------------------------------- */

static int renamed(int from_at, const char *from, int to_at, const char *to, unsigned flags, int *rc)
{
    char source[PATH_MAX], target[PATH_MAX];
    if (!mvp_enabled || !from || !to)
        return 0;
    int is_source = is_stub(from_at, from, source, sizeof source);
    if (!is_stub(to_at, to, target, sizeof target) && !is_source)
        return 0;
    int kept = errno, error = is_source ? 0 : mvp_absolute(from_at, from, source, sizeof source);
    if (!error)
        error = mvp_absolute(to_at, to, target, sizeof target);
    if (!error) {
        int (*core)(const char *, const char *, unsigned) =
            (int (*)(const char *, const char *, unsigned))mvp_core("mvr_file_rename");
        error = core ? core(source, target, flags) : EIO;
    }
    errno = kept;
    *rc = answer(error);
    return 1;
}

MVP_EXPORTED int mvp_hook_rename(const char *from, const char *to) __asm__("rename");
MVP_EXPORTED int mvp_hook_renameat(int from_at, const char *from, int to_at, const char *to) __asm__("renameat");
MVP_EXPORTED int mvp_hook_renameat2(int from_at, const char *from, int to_at, const char *to,
                                    unsigned flags) __asm__("renameat2");

int mvp_hook_rename(const char *from, const char *to)
{
    int rc;
    if (renamed(AT_FDCWD, from, AT_FDCWD, to, 0, &rc))
        return rc;
    MVP_REAL(next, rename)
    return next(from, to);
}

int mvp_hook_renameat(int from_at, const char *from, int to_at, const char *to)
{
    int rc;
    if (renamed(from_at, from, to_at, to, 0, &rc))
        return rc;
    MVP_REAL(next, renameat)
    return next(from_at, from, to_at, to);
}

int mvp_hook_renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    int rc;
    if (renamed(from_at, from, to_at, to, flags, &rc))
        return rc;
    MVP_REAL(next, renameat2)
    return next ? next(from_at, from, to_at, to, flags)
                : (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
}
