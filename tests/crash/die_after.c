/* Preloaded: kills the process right after the n-th of the system calls by which an engine
 * makes things durable. Between two of them a store is in states no call of ours sees. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long left;

void die_after(long n)
{
    left = n;
}

static long step(long result)
{
    if (left > 0 && --left == 0)
        kill(getpid(), SIGKILL);
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    return step(syscall(SYS_pwrite64, fd, data, n, at));
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t at)
{
    return step(syscall(SYS_pwrite64, fd, data, n, at));
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return step(syscall(SYS_writev, fd, parts, n));
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
    return step(syscall(SYS_pwritev, fd, parts, n, at, 0));
}

int fdatasync(int fd)
{
    return (int)step(syscall(SYS_fdatasync, fd));
}

int fsync(int fd)
{
    return (int)step(syscall(SYS_fsync, fd));
}
