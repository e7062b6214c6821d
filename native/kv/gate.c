#include "gate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../base/error.h"

typedef struct shared {
    pthread_mutex_t mutex;
    pid_t owner; /* for the message; read without the mutex, so only a hint */
    int mark;    /* a kvi_gate_mark; written with the mutex held, read by anybody */
} shared;

struct kvi_gate {
    int fd; /* its lock says: somebody has the gate open */
    shared *shared;
    char *path;
};

static int lock_file(int fd, int command, short type)
{
    struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    int rc;
    do
        rc = fcntl(fd, command, &f);
    while (rc != 0 && errno == EINTR);
    return rc;
}

static int init(shared *s)
{
    pthread_mutexattr_t attributes;
    memset(s, 0, sizeof *s);
    int rc = pthread_mutexattr_init(&attributes);
    if (!rc)
        rc = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!rc)
        rc = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (!rc)
        rc = pthread_mutex_init(&s->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    s->mark = KVI_GATE_INHERITED; /* who had it before, and how it ended, is not known */
    return rc;
}

static int failed(const char *path, const char *doing, int error)
{
    int code = error == ENOSPC ? MV_FULL : error == EACCES || error == EROFS || error == EPERM ? MV_PERM : MV_IO;
    return mv_fail(code, "cannot %s %s: %s", doing, path, strerror(error));
}

static void mark(kvi_gate *g, kvi_gate_mark m)
{
    __atomic_store_n(&g->shared->mark, m, __ATOMIC_RELEASE);
}

kvi_gate_mark kvi_gate_look(const kvi_gate *g)
{
    return __atomic_load_n(&g->shared->mark, __ATOMIC_ACQUIRE);
}

/* The first to open it, which nobody else has open, makes it anew: what a crash of the
 * machine left in the file is no lock. The exclusive lock becomes a shared one. */
static int attach(kvi_gate *g)
{
    int first = lock_file(g->fd, F_OFD_SETLK, F_WRLCK) == 0;
    if (!first && lock_file(g->fd, F_OFD_SETLKW, F_RDLCK) != 0)
        return failed(g->path, "lock", errno);
    int error = first ? posix_fallocate(g->fd, 0, sizeof(shared)) : 0;
    if (error)
        return failed(g->path, "make room in", error);
    void *at = mmap(NULL, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
    if (at == MAP_FAILED)
        return failed(g->path, "map", errno);
    g->shared = at;
    if (first && (error = init(g->shared)) != 0)
        return failed(g->path, "make a lock in", error);
    if (first && lock_file(g->fd, F_OFD_SETLK, F_RDLCK) != 0)
        return failed(g->path, "lock", errno);
    return MV_OK;
}

int kvi_gate_open(const char *directory, kvi_gate **out)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/gate", directory) >= (int)sizeof path)
        return mv_fail(MV_URL, "the path of store directory %.80s... is too long", directory);
    kvi_gate *g = calloc(1, sizeof *g);
    if (!g || !(g->path = strdup(path))) {
        free(g);
        return mv_fail(MV_NOMEM, "out of memory opening %s", path);
    }
    g->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = g->fd < 0 ? failed(path, "open", errno) : attach(g);
    if (rc)
        kvi_gate_close(g);
    else
        *out = g;
    return rc;
}

void kvi_gate_close(kvi_gate *g)
{
    if (!g)
        return;
    if (g->shared)
        munmap(g->shared, sizeof(shared));
    if (g->fd >= 0)
        close(g->fd);
    free(g->path);
    free(g);
}

static int wait_for(pthread_mutex_t *mutex, unsigned wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_timedlock(mutex, &until);
}

int kvi_gate_enter(kvi_gate *g, unsigned wait_ms)
{
    int rc = pthread_mutex_trylock(&g->shared->mutex);
    if (rc == EBUSY && wait_ms == 0)
        return MV_BUSY;
    if (rc == EBUSY)
        rc = wait_for(&g->shared->mutex, wait_ms);
    if (rc == EOWNERDEAD) /* it died at work; LMDB's transaction died with it */
        rc = pthread_mutex_consistent(&g->shared->mutex);
    if (rc == ETIMEDOUT)
        return mv_fail(MV_UNREACHABLE, "process %ld has been committing for more than %u ms: is it stopped?",
                       (long)g->shared->owner, wait_ms);
    if (rc)
        return failed(g->path, "take the lock in", rc);
    /* Who leaves takes the mark away: one that is still there is that of a dead owner. */
    mark(g, kvi_gate_look(g) == KVI_GATE_CLEAR ? KVI_GATE_COMMITTING : KVI_GATE_INHERITED);
    g->shared->owner = getpid();
    return MV_OK;
}

void kvi_gate_settled(kvi_gate *g)
{
    mark(g, KVI_GATE_COMMITTING);
}

void kvi_gate_leave(kvi_gate *g)
{
    if (kvi_gate_look(g) == KVI_GATE_COMMITTING)
        mark(g, KVI_GATE_CLEAR);
    pthread_mutex_unlock(&g->shared->mutex);
}

long kvi_gate_holder(kvi_gate *g, unsigned wait_ms, long *died)
{
    long owner = (long)g->shared->owner;
    int rc = pthread_mutex_trylock(&g->shared->mutex);
    if (rc == EBUSY)
        rc = wait_for(&g->shared->mutex, wait_ms);
    *died = rc == EOWNERDEAD ? owner : 0;
    if (rc == EOWNERDEAD)
        rc = pthread_mutex_consistent(&g->shared->mutex);
    if (rc)
        return (long)g->shared->owner;
    pthread_mutex_unlock(&g->shared->mutex); /* the mark stays: it is of the dead owner's commit */
    return 0;
}
