/* The page cache that all handles of a store share in a process.
 *
 * Every database has a stamp up to which the cache is known to be right: its
 * `current`. An entry is the image valid at `current`; it serves any snapshot V
 * with image stamp <= V <= current. Moving `current` forward means dropping what
 * the commits between have changed, or replacing it by what they wrote. Images read
 * at an older snapshot are not put in. Least recently used entries go first. */
#ifndef MV_CACHE_H
#define MV_CACHE_H

#include "keys.h"

typedef struct mvi_cache mvi_cache;

/* How an image came to be; kept with it for the commit that replaces it. */
typedef struct mvi_origin {
    mv_stamp stamp;
    uint32_t size;  /* bytes; 0: the page has never been written */
    uint8_t depth;
    uint8_t inherited; /* a branch has it from its base: there is no image of its own to replace */
} mvi_origin;

mvi_cache *mvi_cache_new(size_t bytes); /* NULL: out of memory */
void mvi_cache_free(mvi_cache *cache);
void mvi_cache_limit(mvi_cache *cache, size_t bytes);

/* Copies the page as of `at` into `page` (room for MVI_PAGE_MAX) and tells its
 * origin. 1: found. */
int mvi_cache_get(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mv_stamp *at, uint8_t *page,
                  mvi_origin *origin);
/* Whether mvi_cache_get would find it. */
int mvi_cache_has(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mv_stamp *at);
/* Offers an image read at `at`; taken if that is the database's `current`. */
void mvi_cache_put(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mv_stamp *at, const mvi_origin *origin,
                   const uint8_t *page);

mv_stamp mvi_cache_current(mvi_cache *cache, uint32_t ns);
/* Moves `current` from `from` to `to` (nothing happens if it is not `from`): drops the
 * n pages, or with pages NULL everything of the database. */
void mvi_cache_advance(mvi_cache *cache, uint32_t ns, const mv_stamp *from, const mv_stamp *to,
                       const uint32_t *pages, size_t n);

#endif
