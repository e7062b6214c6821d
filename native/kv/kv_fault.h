/* A wrapper round any engine that fails on demand: "fault:<inner url>".
 *
 * One plan per process. Calls of every fault engine are counted, by kind and in
 * all; the plan names a kind and the n-th call of it from the moment it is armed.
 * For tests: how an application sees an engine that stops answering, loses its
 * disk, forgets to say whether a commit happened, or dies. */
#ifndef MV_KV_FAULT_H
#define MV_KV_FAULT_H

#include <stdint.h>

#include "../base/error.h"

#define MV_FAULTS(X)                                                              \
    X(ANY, 0)          /* any of the calls below but the last two */              \
    X(OPEN, 1)                                                                    \
    X(READ_BEGIN, 2)                                                              \
    X(GET, 3)                                                                     \
    X(RANGE, 4)        /* opening a range or stepping through one */              \
    X(WRITE, 5)        /* set, clear, clear_range */                              \
    X(COMMIT, 6)       /* before the commit: nothing is written */                \
    X(UNKNOWN_DONE, 7) /* after the commit: the engine asks whether it happened */ \
    X(UNKNOWN_LOST, 8) /* before the commit: the engine asks likewise */

typedef enum mv_fault_kind {
#define MV_FAULT_ENUM(name, number) MV_FAULT_##name = number,
    MV_FAULTS(MV_FAULT_ENUM)
#undef MV_FAULT_ENUM
    MV_FAULT_KINDS
} mv_fault_kind;

/* Arms the plan: the nth (from 1) call of `kind` fails with `code`, and every later
 * one too if `forever`. With code MV_FAULT_KILL the process kills itself (SIGKILL), with
 * MV_FAULT_STOP it stops (SIGSTOP) and, once continued, goes on as if nothing were. */
#define MV_FAULT_KILL (-9)
#define MV_FAULT_STOP (-19)
MV_API void mv_fault_arm(int kind, uint64_t nth, int forever, int code);
/* Disarms and sets all counts to zero. */
MV_API void mv_fault_reset(void);
/* Calls of `kind` since the last reset; failures the plan has caused since then. */
MV_API uint64_t mv_fault_calls(int kind);
MV_API uint64_t mv_fault_fired(void);

#endif
