/* The open snapshots of this host: a file that its processes map, with a slot for every handle.
 *
 * A slot is its owner's while the owner's process holds a lock on a byte of the file (fcntl
 * F_OFD_SETLK), so a process that dies frees its slots. A handle writes into its slot which version
 * it reads; that costs a few stores. Who forgets versions (gc.c) reads the slots.
 *
 * A pin and a gc meet like this: the pin is written first, and mvi_readers_pass then waits for a gc
 * that may have read the slots before; what it forgot is gone by then, and the pin finds that out.
 * Every later gc sees the pin. */
#ifndef MV_READERS_H
#define MV_READERS_H

#include "mvstore.h"

typedef struct mvi_readers mvi_readers;

/* Opens <directory>/readers.lock. MV_PERM, MV_FULL, MV_NOMEM. Undone by mvi_readers_close. */
int mvi_readers_open(const char *directory, mvi_readers **readers);
void mvi_readers_close(mvi_readers *readers);

/* Takes a slot. MV_FULL, MV_FORKED. Undone by mvi_readers_leave. */
int mvi_readers_join(mvi_readers *readers, uint32_t *slot);
void mvi_readers_leave(mvi_readers *readers, uint32_t slot);

/* What the slot's owner reads, of database `ns`. */
typedef enum mvi_reading { MVI_READS_NOTHING, MVI_READS_ONE, MVI_READS_ALL } mvi_reading;
void mvi_readers_set(mvi_readers *readers, uint32_t slot, uint32_t ns, mvi_reading reading, const mv_stamp *stamp);
/* The owner's id (MV_TXID_SIZE bytes), new with every mvi_readers_join. */
const uint8_t *mvi_readers_id(const mvi_readers *readers, uint32_t slot);
/* Whether the owner of that id still has the slot. */
int mvi_readers_alive(mvi_readers *readers, uint32_t slot, const uint8_t *id);

/* Waits until a gc of the database that has read the slots is over. MV_BUSY: it takes very long. */
int mvi_readers_pass(mvi_readers *readers, uint32_t ns);

/* For a gc: one at a time, from reading the slots to the end of what it does after that. MV_BUSY. */
int mvi_readers_stop(mvi_readers *readers, uint32_t ns);
void mvi_readers_go(mvi_readers *readers, uint32_t ns);

/* Calls `each` for every slot of the database in which a living process reads something; its non-zero
 * answer ends the walk and is returned. */
typedef int (*mvi_each_reader)(void *ctx, const uint8_t *id, mvi_reading reading, const mv_stamp *stamp, uint64_t pid);
int mvi_readers_each(mvi_readers *readers, uint32_t ns, mvi_each_reader each, void *ctx);

#endif
