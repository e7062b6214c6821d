/* The facts of the SQLite file format (sqlite.org/fileformat2.html, 1.3) the
 * store uses, all in the first hundred bytes of page 1 of a file that begins with
 * "SQLite format 3\0":
 *   - 24-27 (change counter), 92-95 (version-valid-for) and 96-99 (number of the
 *     library that wrote last) change with every commit and mean nothing here: the
 *     first two are stored as zero, and a page 1 that differs in nothing else was
 *     not changed;
 *   - 18-19 say "WAL" with 2: stored as 1, for this VFS keeps no log;
 *   - 16-17 hold the page size;
 *   - 40-43 (schema cookie) must grow when a revert brings other tables back. */
#ifndef MV_PAGE1_H
#define MV_PAGE1_H

#include <stdint.h>
#include <string.h>

#define MVI_SCHEMA_COOKIE 40

static inline int mvi_page1_is_sqlite(const uint8_t *page)
{
    return memcmp(page, "SQLite format 3", 16) == 0;
}

static inline uint32_t mvi_page1_page_size(const uint8_t *page)
{
    uint32_t v = (uint32_t)page[16] << 8 | page[17];
    return v == 1 ? 65536 : v;
}

static inline void mvi_page1_normalise(uint8_t *page)
{
    if (!mvi_page1_is_sqlite(page))
        return;
    memset(page + 24, 0, 4);
    memset(page + 92, 0, 4);
    if (page[18] == 2)
        page[18] = 1;
    if (page[19] == 2)
        page[19] = 1;
}

/* Equal but for the writer's library number; both normalised. */
static inline int mvi_page1_same(const uint8_t *a, const uint8_t *b, uint32_t size)
{
    return memcmp(a, b, 96) == 0 && memcmp(a + 100, b + 100, size - 100) == 0;
}

#endif
