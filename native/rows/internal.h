/* What the files of native/rows share. */
#ifndef MV_ROWS_INTERNAL_H
#define MV_ROWS_INTERNAL_H

#include "../store/btree.h"
#include "../store/pageset.h"
#include "rows.h"

/* SQLite's own limit (BTCURSOR_MAX_DEPTH): a deeper b-tree is damaged. */
#define MVR_DEPTH 20

/* A changed page of a table's b-tree, and a rowid that leads to it. */
typedef struct mvr_entry {
    int64_t rowid;
    uint32_t pgno, root; /* root 0: not found yet */
} mvr_entry;

/* One of the two versions. */
typedef struct mvr_side {
    mv_rows *rows;
    mv_db *db; /* borrowed */
    uint32_t pages, page_size, usable;
    uint32_t map_every; /* every so many pages one is a pointer map; 0: there is none */
    uint32_t trunk;     /* the first of the free list */
    mvr_entry *entries; /* by rowid; owned */
    size_t n, room;
    mvi_pageset trees; /* changed pages that are of a b-tree, or free */
    mvi_pageset loose; /* changed pages that may be overflow pages */
    int entries_known;
    mvi_pageset searched; /* roots in whose b-trees the entries were looked for */
    mvi_pageset free;     /* members of the free list, if free_known */
    int free_known, has_index_pages;
} mvr_side;

struct mv_rows {
    mvr_side sides[2];
    uint32_t *changed; /* owned */
    size_t n;
    mvi_pageset set; /* the same, and pages that count as changed */
    int doubt;       /* the pages prove nothing: every answer is everything */
    int looked;      /* at the changed pages */
    uint64_t read;
    mvi_buf *answers; /* the ranges given out; owned */
    size_t n_answers;
};

/* Whether the b-tree of a root page has rowids for keys. MV_CORRUPT: the page is no root. */
int mvr_by_rowid(mv_rows *rows, int which, uint32_t root, int *by_rowid);

/* ---- pages.c: reading pages ------------------------------------------------------- */
int mvr_side_open(mv_rows *rows, mvr_side *side, mv_db *db);
void mvr_side_close(mvr_side *side);
int mvr_read(mvr_side *side, uint32_t pgno, uint8_t *page);
/* A buffer for a page; NULL with MV_NOMEM left. */
uint8_t *mvr_buffer(const mvr_side *side);
int mvr_is_map(const mvr_side *side, uint32_t pgno);
/* Whether a page in use that begins with this byte may be an overflow page: those begin with the
 * number of another page. */
int mvr_may_be_overflow(const mvr_side *side, uint8_t first);
/* The rowid of a cell of a table's b-tree. 0: the cell is damaged. */
int mvr_rowid(const mvi_btree *b, uint32_t cell, int64_t *rowid);
/* The first overflow page of a cell, 0 if it has none. 0: the cell is damaged. */
int mvr_spill(const mvi_btree *b, uint32_t cell, uint32_t *pgno);
/* Reads the list of free pages, once. Sets rows->doubt if it is damaged. */
int mvr_read_free(mvr_side *side);

/* ---- search.c: which pages belong to a table's b-tree ------------------------------- */
/* Reads the changed pages, once: those of tables' b-trees become entries. */
int mvr_read_changed(mvr_side *side);
/* Takes one page more for a changed one. */
int mvr_take(mvr_side *side, uint32_t pgno);
/* Sets `root` of the entries that belong to the b-tree. */
int mvr_search(mvr_side *side, uint32_t root);
/* The interior pages of a b-tree and the numbers of its leaves, in no order, until `each` answers
 * other than 0, which is returned. Reads no leaf but one. */
int mvr_walk(mvr_side *side, uint32_t root, int (*each)(void *ctx, uint32_t pgno), void *ctx);
/* Calls `each` for every page of a b-tree, overflow pages included; reads them all. */
int mvr_walk_all(mvr_side *side, uint32_t root, int (*each)(void *ctx, uint32_t pgno), void *ctx);

/* ---- overflow.c: changed overflow pages ---------------------------------------------- */
/* Sets rows->doubt if a changed page may be an overflow page of a row whose leaf did not change. */
int mvr_explain(mv_rows *rows);
/* Calls `each` for the overflow pages of the cells on a b-tree page; only as long as they changed,
 * if `changed`. */
int mvr_overflow(mvr_side *side, uint32_t pgno, int changed, int (*each)(void *ctx, uint32_t pgno), void *ctx);

/* ---- owner.c: and the rows they belong to ---------------------------------------------- */
/* Removes those whose leaf is found from the set; the leaf counts as changed. */
int mvr_find_owners(mv_rows *rows, mvi_pageset *left);

#endif
