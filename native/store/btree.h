/* B-tree pages, of SQLite's file format: "B-tree Pages" (fileformat2.html, section 1.6). The store
 * uses this as a hint for reading ahead, never relied upon; native/rows reads rows' places with it. */
#ifndef MV_BTREE_H
#define MV_BTREE_H

#include "../base/bytes.h"

#define MVI_INDEX_INTERIOR 2u
#define MVI_TABLE_INTERIOR 5u
#define MVI_INDEX_LEAF 10u
#define MVI_TABLE_LEAF 13u

/* Where the b-tree's header begins: page 1 begins with that of the file. */
static inline uint32_t mvi_btree_at(uint32_t pgno)
{
    return pgno == 1 ? 100 : 0;
}

static inline int mvi_btree_is_interior(uint32_t kind)
{
    return kind == MVI_INDEX_INTERIOR || kind == MVI_TABLE_INTERIOR;
}

static inline int mvi_btree_is_page(uint32_t kind)
{
    return mvi_btree_is_interior(kind) || kind == MVI_INDEX_LEAF || kind == MVI_TABLE_LEAF;
}

/* A page's kind and where its parts are. */
typedef struct mvi_btree {
    const uint8_t *page;
    uint32_t kind, cells, pointers, size;
    uint32_t right; /* of an interior page: its right-most child */
} mvi_btree;

/* 1: it is a b-tree page whose array of cells fits. `size` is the usable one. */
static inline int mvi_btree_read(const uint8_t *page, uint32_t size, uint32_t pgno, mvi_btree *b)
{
    uint32_t at = mvi_btree_at(pgno), kind = page[at], header = mvi_btree_is_interior(kind) ? 12 : 8;
    if (!mvi_btree_is_page(kind) || size < at + header)
        return 0;
    uint32_t cells = (uint32_t)page[at + 3] << 8 | page[at + 4];
    *b = (mvi_btree){page, kind, cells, at + header, size, header == 12 ? mvi_get32(page + at + 8) : 0};
    return at + header + 2 * cells <= size;
}

/* Where the i-th cell begins; 0: not inside the page, with its first four bytes. */
static inline uint32_t mvi_btree_cell(const mvi_btree *b, uint32_t i)
{
    const uint8_t *pointer = b->page + b->pointers + 2 * i;
    uint32_t cell = (uint32_t)pointer[0] << 8 | pointer[1];
    return cell >= b->pointers && cell + 4 <= b->size ? cell : 0;
}

/* The i-th child of an interior page, 0 to `cells`; 0: the page is damaged. */
static inline uint32_t mvi_btree_child(const mvi_btree *b, uint32_t i)
{
    if (i == b->cells)
        return b->right;
    uint32_t cell = mvi_btree_cell(b, i);
    return cell ? mvi_get32(b->page + cell) : 0;
}

/* Writes the numbers of the child pages in key order, at most `room`; 0 if the page is no
 * interior page. */
static inline uint32_t mvi_btree_children(const uint8_t *page, uint32_t size, uint32_t pgno, uint32_t *out,
                                          uint32_t room)
{
    mvi_btree b;
    if (!mvi_btree_read(page, size, pgno, &b) || !mvi_btree_is_interior(b.kind))
        return 0;
    for (uint32_t i = 0; i <= b.cells && i < room; i++)
        if (!(out[i] = mvi_btree_child(&b, i)) && i < b.cells)
            return 0;
    return b.cells < room ? b.cells + 1 : room;
}

#endif
