/* Pages by number, held in memory: what a transaction has written. */
#ifndef MV_PAGEMAP_H
#define MV_PAGEMAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct mvi_pagemap {
    struct mvi_pageslot {
        uint32_t pgno; /* 0: free */
        uint8_t *page; /* owned */
    } *slots;
    size_t room, count;
} mvi_pagemap; /* zero-initialise */

/* The page's memory (`size` bytes), or NULL if it is not there. */
uint8_t *mvi_pagemap_find(const mvi_pagemap *map, uint32_t pgno);
/* The same, made (contents undefined) if it is not there; NULL: out of memory. */
uint8_t *mvi_pagemap_make(mvi_pagemap *map, uint32_t pgno, uint32_t size);
/* Drops the pages beyond `last`. */
void mvi_pagemap_truncate(mvi_pagemap *map, uint32_t last);
void mvi_pagemap_clear(mvi_pagemap *map);
/* The numbers in ascending order; malloc'ed for the caller, NULL: out of memory or empty. */
uint32_t *mvi_pagemap_sorted(const mvi_pagemap *map);

#endif
