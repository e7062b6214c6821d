/* Who may begin a write transaction: one thread of one process, waiting a bounded time.
 *
 * LMDB's own write lock waits for ever, so a process that is stopped (not dead) in the
 * middle of a commit would hang all others. The gate is taken before it: a robust mutex
 * shared between processes in a small mapped file. It is freed by the system when its
 * owner dies, and made anew by whoever opens the file when nobody else has it open.
 *
 * A process can die after LMDB has written its commit and before LMDB's lock file tells
 * the others of it; LMDB makes up for that when its write lock is next taken. Until
 * then readers, and with them the snapshots of writers to be, would lack that commit.
 * So the gate bears a mark that outlives its owner. */
#ifndef MV_GATE_H
#define MV_GATE_H

typedef struct kvi_gate kvi_gate;

/* Opens <directory>/gate. MV_PERM, MV_IO, MV_NOMEM. Undone by kvi_gate_close. */
int kvi_gate_open(const char *directory, kvi_gate **gate);
void kvi_gate_close(kvi_gate *gate);

typedef enum kvi_gate_mark {
    KVI_GATE_CLEAR,      /* nobody is inside, and LMDB tells of every commit */
    KVI_GATE_COMMITTING, /* somebody is inside, or died there */
    KVI_GATE_INHERITED,  /* an owner died, or may have, and no LMDB transaction began since */
} kvi_gate_mark;

/* The mark: one load of a word. Look before the snapshot is taken that it is to speak for. */
kvi_gate_mark kvi_gate_look(const kvi_gate *gate);

/* Takes the gate within wait_ms, or MV_UNREACHABLE; with 0, at once or MV_BUSY (without a
 * message). Leave what was entered, once, in the same thread. */
int kvi_gate_enter(kvi_gate *gate, unsigned wait_ms);
/* To be called inside, when an LMDB write transaction has begun. */
void kvi_gate_settled(kvi_gate *gate);
void kvi_gate_leave(kvi_gate *gate);

/* Who has held the gate for all of wait_ms; 0: nobody. *died: whose hold ended with its
 * death, just now noticed; 0: nobody's. For diagnosis. */
long kvi_gate_holder(kvi_gate *gate, unsigned wait_ms, long *died);

#endif
