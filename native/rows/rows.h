/* Which rows may differ between two versions of a database, from the pages that differ.
 *
 * A commit of one row in a table of a million changes a handful of pages. Each of those that
 * is a page of a table's b-tree bears the rowids it holds, and following one of them down from
 * the table's root tells in a few page reads whether the page belongs to that table. So the
 * cost is the number of changed pages times the depth of the b-tree, whatever the size of the
 * database. Wherever the pages do not prove that a row is untouched, the answer is to compare
 * it; any doubt or damage means everything.
 *
 * Knows SQLite's file format (sqlite.org/fileformat2.html) and mv_db; no SQLite struct.
 *
 *     mv_rows *rows;
 *     mv_rows_open(before, after, &rows);       two handles, pinned to the versions
 *     mv_rows_suspects(rows, 7, 7, &suspects);  the table with root page 7 in both
 *     ...
 *     mv_rows_close(rows);
 *
 * Threads: as the two handles, which stay the caller's and open for as long as the mv_rows. */
#ifndef MV_ROWS_H
#define MV_ROWS_H

#include "../store/mvstore.h"

typedef struct mv_rows mv_rows;

/* Compares the versions that two handles are pinned to, in either order of age: of one database, or of
 * branches of one (MV_MISUSE otherwise). */
MV_API int mv_rows_open(mv_db *before, mv_db *after, mv_rows **rows);
MV_API void mv_rows_close(mv_rows *rows);

typedef struct mv_rowids {
    int64_t low, high; /* both included */
} mv_rowids;

/* MV_NOTHING: all rows are the same. MV_SOME: rows whose rowids are in none of the ranges are the
 * same. MV_EVERYTHING: any row may differ. */
typedef enum mv_answer { MV_NOTHING, MV_SOME, MV_EVERYTHING } mv_answer;

typedef struct mv_suspects {
    int answer;
    mv_rowids *ranges; /* ascending, none touches another; live until the mv_rows is closed */
    size_t n;
} mv_suspects;

/* Where the rows of one b-tree may differ, its root page being root_before and root_after. Of a
 * b-tree with other keys than rowids (WITHOUT ROWID, an index) the answer is nothing or everything. */
MV_API int mv_rows_suspects(mv_rows *rows, uint32_t root_before, uint32_t root_after, mv_suspects *suspects);

/* Whether a page is among those that changed. */
MV_API int mv_rows_has_changed(const mv_rows *rows, uint32_t pgno);

/* What a page is for. */
typedef enum mv_use {
    MV_USE_NONE,    /* beyond the end of the database, or of no b-tree that was named */
    MV_USE_BTREE,
    MV_USE_OVERFLOW,
    MV_USE_FREE,    /* of the list of free pages */
    MV_USE_POINTERS /* pointer map of a database with auto-vacuum */
} mv_use;

typedef struct mv_place {
    uint32_t pgno;
    int use;
    uint32_t root; /* of the b-tree it belongs to; 0: not known */
} mv_place;

/* What the changed pages are in one of the versions, ascending, `roots` being those of its b-trees.
 * An overflow page whose row lies on a page that did not change has no known root.
 * *places is released with mv_free. */
MV_API int mv_rows_places(mv_rows *rows, int which, const uint32_t *roots, size_t n_roots, mv_place **places, size_t *n);

/* What it has cost: pages read so far, and what both versions have. */
typedef struct mv_rows_cost {
    uint64_t changed, read, whole;
} mv_rows_cost;
MV_API void mv_rows_figures(const mv_rows *rows, mv_rows_cost *cost);

#endif
