/* Who may begin a write transaction: one thread of one process, waiting a bounded time.
 *
 * LMDB's own write lock waits for ever, so a process that is stopped (not dead) in the
 * middle of a commit would hang all others. The gate is taken before it: a robust mutex
 * shared between processes in a small mapped file. It is freed by the system when its
 * owner dies, and made anew by whoever opens the file when nobody else has it open. */
#ifndef MV_GATE_H
#define MV_GATE_H

typedef struct kvi_gate kvi_gate;

/* Opens <directory>/gate. MV_PERM, MV_IO, MV_NOMEM. Undone by kvi_gate_close. */
int kvi_gate_open(const char *directory, kvi_gate **gate);
void kvi_gate_close(kvi_gate *gate);

/* Takes the gate within wait_ms, or MV_UNREACHABLE. Leave what was entered, once, in the
 * same thread. */
int kvi_gate_enter(kvi_gate *gate, unsigned wait_ms);
void kvi_gate_leave(kvi_gate *gate);

/* Who has held the gate for all of wait_ms; 0: nobody. *died: whose hold ended with its
 * death, just now noticed; 0: nobody's. For diagnosis. */
long kvi_gate_holder(kvi_gate *gate, unsigned wait_ms, long *died);

#endif
