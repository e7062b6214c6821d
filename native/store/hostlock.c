#include "hostlock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/error.h"
#include "image.h"

struct mvi_hostlock {
    mvi_hostlock *next; /* among the open ones of this process */
    int fd;
    pthread_mutex_t lock; /* guards held, n, room */
    uint32_t *held;
    size_t n, room;
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static mvi_hostlock *all; /* guarded by all_lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A forked child shares the file description and would keep a dead parent's locks
 * alive: it lets go of it at once. */
static void in_child(void)
{
    for (mvi_hostlock *l = all; l; l = l->next) {
        close(l->fd);
        l->fd = -1;
    }
    all = NULL;
    pthread_mutex_init(&all_lock, NULL);
}
static void register_at_fork(void)
{
    pthread_atfork(NULL, NULL, in_child); /* no locks taken: fork may come at any point of ours */
}

int mvi_hostlock_open(const char *directory, mvi_hostlock **out)
{
    char path[PATH_MAX];
    pthread_once(&once, register_at_fork);
    if (snprintf(path, sizeof path, "%s/writers.lock", directory) >= (int)sizeof path)
        return mv_fail(MV_URL, "the path of lock directory %.80s... is too long", directory);
    mvi_hostlock *l = calloc(1, sizeof *l);
    if (!l)
        return mv_fail(MV_NOMEM, "out of memory opening %s", path);
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (l->fd < 0) {
        free(l);
        return mv_fail(errno == ENOSPC ? MV_FULL : MV_PERM, "cannot open %s: %s", path, strerror(errno));
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_lock(&all_lock);
    l->next = all;
    __atomic_store_n(&all, l, __ATOMIC_RELEASE); /* whole when a fork sees it */
    pthread_mutex_unlock(&all_lock);
    *out = l;
    return MV_OK;
}

void mvi_hostlock_close(mvi_hostlock *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&all_lock);
    for (mvi_hostlock **link = &all; *link; link = &(*link)->next)
        if (*link == l) {
            *link = l->next;
            break;
        }
    pthread_mutex_unlock(&all_lock);
    if (l->fd >= 0)
        close(l->fd);
    pthread_mutex_destroy(&l->lock);
    free(l->held);
    free(l);
}

static int set(int fd, uint32_t ns, short type)
{
    struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)ns, .l_len = 1};
    int rc;
    do
        rc = fcntl(fd, F_OFD_SETLK, &f);
    while (rc != 0 && errno == EINTR);
    return rc;
}

static int acquire_locked(mvi_hostlock *l, uint32_t ns)
{
    if (l->fd < 0)
        return mv_fail(MV_FORKED, "the store was opened before fork: open it again in the child process");
    for (size_t i = 0; i < l->n; i++)
        if (l->held[i] == ns)
            return mv_fail(MV_BUSY, "another connection of this process is writing to the database");
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 8;
        uint32_t *held = realloc(l->held, room * sizeof *held);
        if (!held)
            return mv_fail(MV_NOMEM, "out of memory for a lock");
        l->held = held;
        l->room = room;
    }
    if (set(l->fd, ns, F_WRLCK) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            return mv_fail(MV_BUSY, "another process of this host is writing to the database");
        return mv_fail(MV_IO, "cannot lock the database for writing: %s", strerror(errno));
    }
    l->held[l->n++] = ns;
    return MV_OK;
}

int mvi_hostlock_acquire(mvi_hostlock *l, uint32_t ns)
{
    pthread_mutex_lock(&l->lock);
    int rc = acquire_locked(l, ns);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

void mvi_hostlock_release(mvi_hostlock *l, uint32_t ns)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->n; i++)
        if (l->held[i] == ns) {
            l->held[i] = l->held[--l->n];
            if (l->fd >= 0)
                set(l->fd, ns, F_UNLCK);
            break;
        }
    pthread_mutex_unlock(&l->lock);
}

uint64_t mvi_hostlock_domain(const mvi_hostlock *l)
{
    char boot[64] = "";
    struct stat st = {0};
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    size_t n = f ? fread(boot, 1, sizeof boot, f) : 0;
    if (f)
        fclose(f);
    fstat(l->fd, &st);
    uint64_t parts[] = {(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    uint64_t domain = mvi_checksum((const uint8_t *)boot, n, mvi_checksum((const uint8_t *)parts, sizeof parts, 0));
    return domain ? domain : 1;
}

/* ---- what the holder knows --------------------------------------------------- */

#define NOTE_SIZE 16
enum { KNOWN = 1, UNDER_WAY = 2 }; /* behind the stamp; 0: nobody has written yet */

void mvi_hostlock_note(mvi_hostlock *l, uint32_t ns, const mv_stamp *newest)
{
    uint8_t note[NOTE_SIZE] = {0};
    if (newest)
        memcpy(note, newest->bytes, MV_STAMP_SIZE);
    note[MV_STAMP_SIZE] = newest ? KNOWN : UNDER_WAY;
    ssize_t unused = pwrite(l->fd, note, sizeof note, (off_t)ns * NOTE_SIZE);
    (void)unused; /* a note of before stays: then the commit itself finds what came between */
}

int mvi_hostlock_noted(mvi_hostlock *l, uint32_t ns, mv_stamp *newest)
{
    uint8_t note[NOTE_SIZE] = {0};
    if (pread(l->fd, note, sizeof note, (off_t)ns * NOTE_SIZE) < 0)
        return 0;
    memcpy(newest->bytes, note, MV_STAMP_SIZE);
    return note[MV_STAMP_SIZE] != UNDER_WAY;
}
