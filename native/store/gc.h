/* Forgetting versions, as its files share it.
 *
 * A version is known by its commit record. To forget version X, whose next one is N, X's record is
 * merged into N's: N then names the pages of both and follows what X followed, and says how many
 * versions it stands for (record.h). Stored images keep their stamps and keys: an image [W, K) answers
 * for the versions from W to before K, and when none of those is left it goes. With P the version before
 * N that is left, that is W > P and K <= N.
 *
 * Each step is one transaction after which every version that is left reads as before, so it can end
 * anywhere. Pages that a step has no room for stand in mv/y, and whoever comes next goes on with them.
 *
 * retain.c  what the policy keeps
 * hold.c    what others need: tags, branches, open snapshots
 * forget.c  the images of one page
 * gc.c      the steps */
#ifndef MV_GC_H
#define MV_GC_H

#include "internal.h"

/* No policy forgets a version that ceased to be the newest one more recently: who follows the newest
 * version, or looks whether its commit happened, needs no hold for so long. */
#define MV_LEAST_AGE_MS 60000

/* ---- retain.c -------------------------------------------------------------- */

typedef struct mvi_planned {
    mv_stamp stamp;
    uint64_t ms;
    int keep;
} mvi_planned;

typedef struct mvi_plan {
    mvi_planned *versions; /* all of them, ascending; owned */
    size_t n, room;
} mvi_plan;

/* Reads the versions there are, and marks those that the policy keeps. */
int mvi_plan_make(mv_store *store, uint32_t ns, const mv_policy *policy, uint64_t now_ms, mvi_plan *plan);
void mvi_plan_free(mvi_plan *plan);
/* The first version from i on that goes; plan->n: none. */
size_t mvi_plan_next(const mvi_plan *plan, size_t i);

/* ---- hold.c ------------------------------------------------------------------ */

enum { MVI_FOR_TAG = 1, MVI_FOR_BRANCH = 2, MVI_FOR_SNAPSHOT = 4 };
typedef struct mvi_need {
    mv_stamp stamp;
    int why;
} mvi_need;

typedef struct mvi_needs {
    mvi_need *list; /* ascending; owned */
    size_t n, room;
    char reader[160]; /* who reads all versions; "": nobody */
} mvi_needs;

/* What is needed of a database. `clear`: in a writing transaction, which runs again if something else
 * is needed meanwhile; holds that have ended are taken away. `mine` (may be NULL): the caller's own hold. */
int mvi_needs_read(kv_txn *txn, mv_store *store, uint32_t ns, int clear, const uint8_t *mine, mvi_needs *needs);
/* Why that version is needed; 0: it is not. */
int mvi_needs_why(const mvi_needs *needs, const mv_stamp *stamp);
void mvi_needs_free(mvi_needs *needs);

/* ---- forget.c ------------------------------------------------------------------ */

typedef struct mvi_forgetting {
    mv_store *store;
    uint32_t ns;
    mv_stamp previous, until; /* the versions in between are forgotten */
    int write;                /* 0: only count */
    uint64_t images;          /* that go */
    int64_t bytes;            /* of keys and values that are freed */
} mvi_forgetting;

/* Takes the images of these pages that answer for nothing between two versions. */
int mvi_forget_pages(kv_txn *txn, mvi_forgetting *f, const uint32_t *pages, size_t n);

/* ---- gc_step.c --------------------------------------------------------------------- */

/* A step's answer that other versions are there than those planned. */
#define MVI_PLAN_AGAIN (-3)

typedef struct mvi_merged {
    mv_stamp stamp;
    uint64_t ms;
} mvi_merged;

#define MVI_VERSIONS_A_STEP 256

typedef struct mvi_gc_step {
    mv_store *store;
    uint32_t ns;
    const uint8_t *mine; /* the caller's own hold; NULL: none */
    mvi_plan *plan;      /* NULL: only pages are left */
    size_t first;        /* the version in the plan that is next to go; after a step, what comes then */
    size_t pages_max;
    /* of one run: */
    mvi_needs needs;
    size_t next, spent; /* where in the plan it is; images that went, at most */
    /* of one row of versions that go together: */
    mvi_merged versions[MVI_VERSIONS_A_STEP + 2]; /* those that go, then the one that stands for them */
    size_t n;
    mv_stamp previous;       /* of the first of them */
    uint64_t merged, chunks; /* versions those stand for, themselves included; of the last record */
    mvi_buf last;            /* that record */
    mvi_pageset once, twice; /* pages that one of them names, and those that another one names too */
    size_t repeats;          /* so many images go, at most */
    uint64_t record_bytes;   /* of all of them */
    int kept;                /* the first version is needed after all */
    int rest;                /* pages were left for the next step, or some that were left are done */
    uint64_t removed;        /* versions */
    mvi_forgetting forgetting;
} mvi_gc_step;

void mvi_gc_step_begin(mvi_gc_step *step, mv_store *store, uint32_t ns, uint32_t page_size);
void mvi_gc_step_end(mvi_gc_step *step);
/* One transaction. MVI_PLAN_AGAIN, MVI_PENDING_FIRST; MV_BUSY: somebody reads all versions. */
int mvi_gc_step_run(mvi_gc_step *step);

/* Adds pages to those that are named once, or to those that are named again. */
int mvi_unite(mvi_pageset *once, mvi_pageset *twice, const mvi_pageset *here);

/* Finishes what an interrupted gc has begun. The caller has the hold `mine` on all versions. MV_BUSY. */
int mvi_forget_rest(mv_store *store, uint32_t ns, const uint8_t *mine);

#endif
