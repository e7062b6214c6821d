/* Children of interior b-tree pages: a hint for reading ahead, never relied upon.
 * SQLite's file format, "B-tree Pages" (fileformat2.html, section 1.6). */
#ifndef MV_BTREE_H
#define MV_BTREE_H

#include "../base/bytes.h"

/* Writes the numbers of the child pages in key order, at most `room`; 0 if the page is no
 * interior page. */
static inline uint32_t mvi_btree_children(const uint8_t *page, uint32_t size, uint32_t pgno, uint32_t *out,
                                          uint32_t room)
{
    const uint32_t interior_index = 0x02, interior_table = 0x05, header = 12;
    uint32_t at = pgno == 1 ? 100 : 0; /* page 1 begins with the file's header */
    if (size < at + header || (page[at] != interior_index && page[at] != interior_table))
        return 0;
    uint32_t cells = (uint32_t)page[at + 3] << 8 | page[at + 4], n = 0;
    if (at + header + 2 * cells > size)
        return 0;
    for (uint32_t i = 0; i < cells && n < room; i++) {
        const uint8_t *pointer = page + at + header + 2 * i;
        uint32_t cell = (uint32_t)pointer[0] << 8 | pointer[1];
        if (cell + 4 > size)
            return 0;
        out[n++] = mvi_get32(page + cell);
    }
    if (n < room)
        out[n++] = mvi_get32(page + at + 8); /* the right-most child */
    return n;
}

#endif
