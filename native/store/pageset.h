/* A set of page numbers: a bitmap in chunks, small when the set is local. */
#ifndef MV_PAGESET_H
#define MV_PAGESET_H

#include "../base/bytes.h"

typedef struct mvi_pageset {
    uint64_t **chunks; /* owned; NULL where empty */
    size_t room;
    size_t count;
} mvi_pageset; /* zero-initialise */

/* Adds; MV_NOMEM. Adding twice is once. */
int mvi_pageset_add(mvi_pageset *set, uint32_t pgno);
void mvi_pageset_remove(mvi_pageset *set, uint32_t pgno);
int mvi_pageset_has(const mvi_pageset *set, uint32_t pgno);
/* The smallest member greater than `after`; 0 if there is none. */
uint32_t mvi_pageset_next(const mvi_pageset *set, uint32_t after);
void mvi_pageset_clear(mvi_pageset *set);
/* Its members, ascending; *pages is the caller's to free. MV_NOMEM. */
int mvi_pageset_list(const mvi_pageset *set, uint32_t **pages, size_t *n);

/* Encoded: number of runs, then for each run the distance from the end of the run
 * before and its length - 1, all varints. Decoding calls `each` in ascending order
 * until it answers non-zero, which is returned; MV_CORRUPT for bytes that are no set. */
void mvi_pageset_encode(const mvi_pageset *set, mvi_buf *out);
int mvi_pageset_decode(mv_slice bytes, int (*each)(void *ctx, uint32_t pgno), void *ctx);

#endif
