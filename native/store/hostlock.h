/* One writer per database and host: a byte of a lock file, locked for an open file
 * description (fcntl F_OFD_SETLK), so the lock ends with the process, and a table
 * for the threads of this process, which share the description. */
#ifndef MV_HOSTLOCK_H
#define MV_HOSTLOCK_H

#include <stdint.h>

#include "mvstore.h"

typedef struct mvi_hostlock mvi_hostlock;

/* Opens <directory>/writers.lock. MV_PERM, MV_NOMEM. Undone by mvi_hostlock_close. */
int mvi_hostlock_open(const char *directory, mvi_hostlock **lock);
void mvi_hostlock_close(mvi_hostlock *lock);

/* MV_BUSY if another holds it, MV_FORKED in a forked child. Release what was acquired,
 * once. */
int mvi_hostlock_acquire(mvi_hostlock *lock, uint32_t ns);
void mvi_hostlock_release(mvi_hostlock *lock, uint32_t ns);

/* Names the lock file among those of all hosts, as long as the host runs; never 0. */
uint64_t mvi_hostlock_domain(const mvi_hostlock *lock);

/* What the holder leaves for the next one of this host: up to which commit it knows the
 * database, so that the next need not ask the engine. NULL: a commit is under way, and who
 * finds that must ask. Both by the holder of the lock only. */
void mvi_hostlock_note(mvi_hostlock *lock, uint32_t ns, const mv_stamp *newest);
/* 1: the last holder has noted a stamp, or there was none; 0: ask the engine. */
int mvi_hostlock_noted(mvi_hostlock *lock, uint32_t ns, mv_stamp *newest);

#endif
