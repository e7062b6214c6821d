/* Table-valued functions: history in SQL, on every connection of ours.
 *
 * Each is an eponymous virtual table, read-only. Whatever it reads, it reads through handles and
 * connections of its own, which are pinned to versions: the connection that asks may commit, or
 * detach the schema, while a statement is stepped through. */
#ifndef MV_TABLE_H
#define MV_TABLE_H

#include "../rows/rows.h"
#include "vfs.h"

#define MVV_ARGUMENTS 5
#define MVV_TIME 32

/* ---- functions (table.c) -------------------------------------------------------------- */

typedef struct mvv_cursor mvv_cursor;

typedef struct mvv_function {
    const char *name, *columns, *usage;
    int arguments;  /* the last columns, hidden; the last of them is the schema */
    int least;      /* so many must be given */
    int by_version; /* column 0 is a version, rows come newest first: bounds are of use */
    size_t size;    /* of its cursor */
    int (*filter)(mvv_cursor *c); /* stands on the first row after it, or sets eof */
    int (*next)(mvv_cursor *c);
    void (*column)(mvv_cursor *c, sqlite3_context *context, int column);
    void (*reset)(mvv_cursor *c); /* releases what filter has made; may be called twice */
} mvv_function;

struct mvv_cursor {
    sqlite3_vtab_cursor base;
    const mvv_function *function;
    mvv_copy *copy;
    sqlite3 *db; /* the connection that asks */
    sqlite3_int64 rowid;
    int eof;
    sqlite3_value *arguments[MVV_ARGUMENTS]; /* owned; NULL: not given */
    mv_stamp after, until; /* by_version: the bounds asked for, (after, until] */
};

/* The text of an argument; NULL if it was not given or is NULL. */
const char *mvv_argument(mvv_cursor *c, int i);
/* Leaves a message for SQLite and returns the code. */
int mvv_cursor_fail(mvv_cursor *c, int code, const char *format, ...) MV_PRINTF(3, 4);
/* The same for what the thread's last error says, of an mv_code. */
int mvv_cursor_error(mvv_cursor *c, int code);

/* The SQLite code: of what was asked wrongly SQLITE_ERROR, of a failure below its own. */
int mvv_sql_code(int code);

extern const mvv_function mvv_log_function, mvv_changed_function, mvv_diff_function, mvv_history_function;
/* moments.c: mv_version_at, mv_time_of. */
int mvv_create_moments(mvv_copy *copy, sqlite3 *db);

/* ---- past states (past.c) ------------------------------------------------------------------ */

/* A database as a connection has it, in handles of its own. Zero-initialise. */
typedef struct mvv_past {
    mvv_copy *copy;
    char *name, *url; /* owned */
    mv_store *store;  /* owned */
    mv_db *db;        /* owned; for questions about versions */
    mv_stamp now;     /* what the connection reads */
} mvv_past;

/* MV_MISUSE: the schema is no database of ours. */
int mvv_past_open(mvv_copy *copy, sqlite3 *db, const char *schema, mvv_past *past);
void mvv_past_close(mvv_past *past);
/* The version that text names: 20 hexadecimal digits, or a moment. NULL: the empty database. */
int mvv_past_stamp(mvv_past *past, const char *text, mv_stamp *stamp);
/* The version before; zero: none. *cut: there was one, which is forgotten. */
int mvv_past_previous(mvv_past *past, const mv_stamp *stamp, mv_stamp *previous, int *cut);
/* A read-only connection of the same copy of SQLite to a version. SQLite code; *file is its file.
 * Whoever opened it closes it with close_v2. */
int mvv_past_connect(mvv_past *past, const mv_stamp *stamp, sqlite3 **db, mvv_file **file);
void mvv_time_text(uint64_t ms, char out[MVV_TIME]);

/* ---- a table in one version (state.c) --------------------------------------------------------- */

typedef struct mvv_column {
    char *name, *value; /* owned; value: the default's SQL, or NULL */
    int key;            /* place in the primary key, from 1; 0: not of it */
} mvv_column;

typedef struct mvv_table {
    int exists, by_rowid;
    uint32_t root;
    char *name, *refused; /* owned; refused: why its rows cannot be told, or NULL */
    const char *rowid;    /* a name of the rowid */
    mvv_column *columns;  /* that hold data; owned */
    int n, keys;
} mvv_table;

/* One of two states that are compared. Zero-initialise. */
typedef struct mvv_state {
    mvv_copy *copy;
    sqlite3 *db;    /* owned */
    mvv_file *file; /* of db */
    mv_stamp stamp;
    mvv_table table;
    sqlite3_stmt *scan, *find; /* owned */
} mvv_state;

/* Goes to a version, connecting if need be. */
int mvv_state_go(mvv_state *state, mvv_past *past, const mv_stamp *stamp);
/* Reads what the table is in that version. */
int mvv_state_describe(mvv_state *state, const char *table);
void mvv_state_close(mvv_state *state);
/* Prepares the statements that read its rows: scan (?1 and ?2: rowids from and to) and find (by
 * rowid or primary key), with columns of `model` that it does not have at their defaults. */
int mvv_state_prepare(mvv_state *state, const mvv_table *model, const char *where);
/* Copies names and defaults of the columns. */
int mvv_table_copy(const mvv_table *from, mvv_table *to);
void mvv_table_free(mvv_table *table);
const mvv_column *mvv_table_column(const mvv_table *table, const char *name, int *index);

/* The columns of a statement's row as a JSON object; of the primary key only, if `keys`. */
void mvv_row_json(mvv_state *state, sqlite3_stmt *row, int keys, mvi_buf *out);
/* The same value, of the same type. */
int mvv_same_value(mvv_copy *copy, sqlite3_stmt *a, int i, sqlite3_stmt *b, int j);

/* ---- how a table differs between two versions (difference.c) ------------------------------------ */

/* Rows are told apart by rowid, those of tables without one by primary key. */
typedef struct mvv_difference {
    mvv_state states[2];
    mv_rows *rows;
    mv_suspects suspects;
    const char *where; /* borrowed; NULL: all rows */
    int *common[2];    /* columns both have, by their places; owned */
    int n_common;
    enum { BY_ROWID, BY_KEY, APART } manner;
    int side;        /* of those that go through one state after the other: which one */
    size_t range[2]; /* of the suspects */
    int on[2];       /* scan stands on a row */
    /* The rows that differ; NULL: there is none, or `where` does not hold for it. */
    sqlite3_stmt *before, *after;
    int had; /* the row was there before, whether or not `where` held for it */
} mvv_difference;

/* Begins to compare; the states have been gone to and described. SQLite code. */
int mvv_difference_start(mvv_difference *d, const mvv_table *model, const char *where);
/* SQLITE_ROW, SQLITE_DONE. */
int mvv_difference_next(mvv_difference *d);
/* Ends the comparison; the states stay. */
void mvv_difference_end(mvv_difference *d);
/* What went wrong last. */
const char *mvv_difference_message(mvv_difference *d);

#endif
