#include "readers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/* Written by the owner alone, read by others while it writes: who reads a version half written reads
 * one that is new, or a pin that has not passed yet. */
typedef struct slot {
    uint32_t ns;
    uint32_t reading; /* mvi_reading, set last */
    uint64_t pid;
    mv_stamp stamp;
    uint8_t unused[6];
    uint8_t id[MV_TXID_SIZE];
    uint8_t room[16];
} slot;
_Static_assert(sizeof(slot) == 64, "a slot fills a cache line, so that handles do not slow each other down");

#define SLOTS_MAX 65536u /* of a host; this much address space is taken, and as much of the file as is used */
#define SLOTS_STEP 512u
/* Bytes that are locked lie beyond those that are written. */
#define SLOT_BYTE ((off_t)1 << 40)
#define GROW_BYTE ((off_t)1 << 41)
#define GC_BYTE ((off_t)1 << 42)

#define WAIT_MS 10000

struct mvi_readers {
    mvi_readers *next; /* among the open ones of this process */
    int fd;
    slot *slots;
    pthread_mutex_t lock;    /* guards mine */
    uint8_t *mine;           /* by slot: LOCKED, or also USED by a handle; SLOTS_MAX of them */
    uint32_t first;          /* no slot of ours below is free */
    pthread_mutex_t gc_lock; /* held by a gc of this process, whose file locks do not show here */
    char path[PATH_MAX];
};

enum { LOCKED = 1, USED = 2 };

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static mvi_readers *all; /* guarded by all_lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A forked child shares the file description and would keep a dead parent's slots alive: it lets
 * go of it at once, and writes no slot of its parent's. */
static void in_child(void)
{
    for (mvi_readers *r = all; r; r = r->next) {
        close(r->fd);
        r->fd = -1;
    }
    all = NULL;
    pthread_mutex_init(&all_lock, NULL);
}
static void register_at_fork(void)
{
    pthread_atfork(NULL, NULL, in_child); /* no locks taken: fork may come at any point of ours */
}

static int forked(void)
{
    return mv_fail(MV_FORKED, "the store was opened before fork: open it again in the child process");
}

/* ---- opening ---------------------------------------------------------------- */

int mvi_readers_open(const char *directory, mvi_readers **out)
{
    pthread_once(&once, register_at_fork);
    mvi_readers *r = calloc(1, sizeof *r);
    if (!r || !(r->mine = calloc(SLOTS_MAX, 1))) {
        free(r);
        return mv_fail(MV_NOMEM, "out of memory opening %s/readers.lock", directory);
    }
    int rc = MV_OK;
    r->fd = -1;
    r->slots = MAP_FAILED;
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->gc_lock, NULL);
    if (snprintf(r->path, sizeof r->path, "%s/readers.lock", directory) >= (int)sizeof r->path)
        rc = mv_fail(MV_URL, "the path of lock directory %.80s... is too long", directory);
    if (!rc && (r->fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
        rc = mv_fail(errno == ENOSPC ? MV_FULL : MV_PERM, "cannot open %s: %s", r->path, strerror(errno));
    if (!rc)
        r->slots = mmap(NULL, SLOTS_MAX * sizeof(slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, r->fd, 0);
    if (!rc && r->slots == MAP_FAILED)
        rc = mv_fail(MV_NOMEM, "cannot map %s: %s", r->path, strerror(errno));
    if (rc) {
        mvi_readers_close(r);
        return rc;
    }
    pthread_mutex_lock(&all_lock);
    r->next = all;
    __atomic_store_n(&all, r, __ATOMIC_RELEASE); /* whole when a fork sees it */
    pthread_mutex_unlock(&all_lock);
    *out = r;
    return MV_OK;
}

void mvi_readers_close(mvi_readers *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&all_lock);
    for (mvi_readers **link = &all; *link; link = &(*link)->next)
        if (*link == r) {
            *link = r->next;
            break;
        }
    pthread_mutex_unlock(&all_lock);
    if (r->slots != MAP_FAILED)
        munmap(r->slots, SLOTS_MAX * sizeof(slot));
    if (r->fd >= 0)
        close(r->fd);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->gc_lock);
    free(r->mine);
    free(r);
}

/* ---- locks -------------------------------------------------------------------- */

static int set(const mvi_readers *r, off_t at, short type)
{
    struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    int rc;
    do
        rc = fcntl(r->fd, F_OFD_SETLK, &f);
    while (rc != 0 && errno == EINTR);
    return rc;
}

/* Whether another one holds the lock. */
static int is_locked(const mvi_readers *r, off_t at)
{
    struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(r->fd, F_OFD_GETLK, &f) == 0 && f.l_type != F_UNLCK;
}

/* Pauses that grow, WAIT_MS in all; 0: that time is over. */
static int wait_a_little(unsigned *waited_us)
{
    if (*waited_us >= WAIT_MS * 1000u)
        return 0;
    unsigned us = *waited_us < 1000 ? 50 : *waited_us < 100000 ? 500 : 5000;
    struct timespec pause = {0, (long)us * 1000};
    nanosleep(&pause, NULL);
    *waited_us += us;
    return 1;
}

/* The file is as long as slots are used. What is mapped must be there in blocks: a page of a full
 * disk's file would end the process that writes it. */
static int grow(mvi_readers *r, uint32_t slots)
{
    static const slot none[SLOTS_STEP];
    struct stat st;
    unsigned waited_us = 0;
    while (set(r, GROW_BYTE, F_WRLCK) != 0)
        if (!wait_a_little(&waited_us))
            return mv_fail(MV_BUSY, "cannot lock %s to make it longer: %s", r->path, strerror(errno));
    int rc = fstat(r->fd, &st);
    while (!rc && (uint64_t)st.st_size < slots * sizeof(slot)) {
        size_t n = sizeof none - (size_t)st.st_size % sizeof none;
        ssize_t wrote = pwrite(r->fd, none, n, st.st_size);
        rc = wrote <= 0 ? -1 : 0;
        st.st_size += wrote > 0 ? wrote : 0;
    }
    int why = errno;
    set(r, GROW_BYTE, F_UNLCK);
    return rc ? mv_fail(why == ENOSPC ? MV_FULL : MV_IO, "cannot write %s: %s", r->path, strerror(why)) : MV_OK;
}

/* ---- slots ----------------------------------------------------------------------- */

static int take_slot(mvi_readers *r, uint32_t *at)
{
    uint32_t i = r->first;
    while (i < SLOTS_MAX && (r->mine[i] & USED || (!(r->mine[i] & LOCKED) && set(r, SLOT_BYTE + i, F_WRLCK) != 0)))
        i++;
    if (i == SLOTS_MAX)
        return mv_fail(MV_FULL, "%u databases are open on this host, which is as many as can be", SLOTS_MAX);
    int known = r->mine[i] & LOCKED;
    r->mine[i] |= LOCKED;
    int rc = known ? MV_OK : grow(r, i + 1);
    if (rc)
        return rc;
    r->mine[i] |= USED;
    r->first = i + 1;
    *at = i;
    return MV_OK;
}

int mvi_readers_join(mvi_readers *r, uint32_t *at)
{
    uint8_t id[MV_TXID_SIZE];
    if (r->fd < 0)
        return forked();
    int rc = mvi_random(id, sizeof id);
    pthread_mutex_lock(&r->lock);
    if (!rc)
        rc = take_slot(r, at);
    pthread_mutex_unlock(&r->lock);
    if (rc)
        return rc;
    slot *s = &r->slots[*at];
    __atomic_store_n(&s->reading, MVI_READS_NOTHING, __ATOMIC_SEQ_CST);
    memcpy(s->id, id, sizeof id);
    s->pid = (uint64_t)getpid();
    return MV_OK;
}

/* The lock stays for the next handle of this process. */
void mvi_readers_leave(mvi_readers *r, uint32_t at)
{
    if (r->fd < 0)
        return;
    mvi_readers_set(r, at, 0, MVI_READS_NOTHING, NULL);
    pthread_mutex_lock(&r->lock);
    r->mine[at] &= (uint8_t)~USED;
    if (at < r->first)
        r->first = at;
    pthread_mutex_unlock(&r->lock);
}

void mvi_readers_set(mvi_readers *r, uint32_t at, uint32_t ns, mvi_reading reading, const mv_stamp *stamp)
{
    if (r->fd < 0)
        return;
    slot *s = &r->slots[at];
    __atomic_store_n(&s->reading, MVI_READS_NOTHING, __ATOMIC_RELEASE);
    if (stamp)
        s->stamp = *stamp;
    s->ns = ns;
    __atomic_store_n(&s->reading, (uint32_t)reading, __ATOMIC_RELEASE);
}

const uint8_t *mvi_readers_id(const mvi_readers *r, uint32_t at)
{
    return r->slots[at].id;
}

/* A slot that is locked has an owner, in this process or another one. */
static int has_owner(mvi_readers *r, uint32_t at)
{
    pthread_mutex_lock(&r->lock);
    uint8_t mine = r->mine[at];
    pthread_mutex_unlock(&r->lock);
    return mine ? mine & USED : is_locked(r, SLOT_BYTE + at);
}

static uint32_t slots_in_file(const mvi_readers *r)
{
    struct stat st;
    if (fstat(r->fd, &st) != 0)
        return 0;
    uint64_t n = (uint64_t)st.st_size / sizeof(slot);
    return n < SLOTS_MAX ? (uint32_t)n : SLOTS_MAX;
}

int mvi_readers_alive(mvi_readers *r, uint32_t at, const uint8_t *id)
{
    return r->fd >= 0 && at < slots_in_file(r) && memcmp(r->slots[at].id, id, MV_TXID_SIZE) == 0 && has_owner(r, at);
}

int mvi_readers_each(mvi_readers *r, uint32_t ns, mvi_each_reader each, void *ctx)
{
    if (r->fd < 0)
        return forked();
    uint32_t n = slots_in_file(r);
    int rc = MV_OK;
    for (uint32_t i = 0; i < n && !rc; i++) {
        const slot *s = &r->slots[i];
        uint32_t reading = __atomic_load_n(&s->reading, __ATOMIC_ACQUIRE);
        mv_stamp stamp = s->stamp;
        if (s->ns == ns && reading != MVI_READS_NOTHING && has_owner(r, i))
            rc = each(ctx, s->id, (mvi_reading)reading, &stamp, s->pid);
    }
    return rc;
}

/* ---- forgetting --------------------------------------------------------------------- */

static int too_long(void)
{
    return mv_fail(MV_BUSY, "a gc of the database has been in the middle of a step for %d s: is its process stopped?",
                   WAIT_MS / 1000);
}

/* The lock of a gc in this process; it is held for one transaction. */
static int lock_gc(mvi_readers *r)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    return pthread_mutex_timedlock(&r->gc_lock, &until) == 0 ? MV_OK : too_long();
}

int mvi_readers_pass(mvi_readers *r, uint32_t ns)
{
    unsigned waited_us = 0;
    if (r->fd < 0)
        return forked();
    int rc = lock_gc(r);
    if (rc)
        return rc;
    pthread_mutex_unlock(&r->gc_lock);
    __sync_synchronize();
    while (is_locked(r, GC_BYTE + ns))
        if (!wait_a_little(&waited_us))
            return too_long();
    return MV_OK;
}

int mvi_readers_stop(mvi_readers *r, uint32_t ns)
{
    unsigned waited_us = 0;
    if (r->fd < 0)
        return forked();
    int rc = lock_gc(r);
    while (!rc && set(r, GC_BYTE + ns, F_WRLCK) != 0)
        if (!wait_a_little(&waited_us)) {
            pthread_mutex_unlock(&r->gc_lock);
            rc = too_long();
        }
    __sync_synchronize();
    return rc;
}

void mvi_readers_go(mvi_readers *r, uint32_t ns)
{
    set(r, GC_BYTE + ns, F_UNLCK);
    pthread_mutex_unlock(&r->gc_lock);
}
