/* One writer per database and host: a byte of a lock file, locked for an open file
 * description (fcntl F_OFD_SETLK), so the lock ends with the process, and a table
 * for the threads of this process, which share the description. */
#ifndef MV_HOSTLOCK_H
#define MV_HOSTLOCK_H

#include <stdint.h>

typedef struct mvi_hostlock mvi_hostlock;

/* Opens <directory>/writers.lock. MV_PERM, MV_NOMEM. Undone by mvi_hostlock_close. */
int mvi_hostlock_open(const char *directory, mvi_hostlock **lock);
void mvi_hostlock_close(mvi_hostlock *lock);

/* MV_BUSY if another holds it, MV_FORKED in a forked child. Release what was acquired,
 * once. */
int mvi_hostlock_acquire(mvi_hostlock *lock, uint32_t ns);
void mvi_hostlock_release(mvi_hostlock *lock, uint32_t ns);

#endif
