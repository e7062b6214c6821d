/* How a table differs between two versions: its rows where pages say that they may, side by side,
 * never more than one of each held. */
#include <stdio.h>
#include <strings.h>

#include "table.h"

enum { CLOSED, BETWEEN, ON, ENDED }; /* what `on` says of a scan; it begins closed */

static const mv_rowids all = {INT64_MIN, INT64_MAX};

const char *mvv_difference_message(mvv_difference *d)
{
    for (int s = 0; s < 2; s++) {
        const mvv_state *state = &d->states[s];
        const sqlite3_api_routines *api = state->db ? state->copy->api : NULL;
        if (api && api->errcode(state->db) != SQLITE_OK && api->errcode(state->db) < SQLITE_ROW)
            return api->errcode(state->db) == SQLITE_AUTH ? "a condition may only read the database's own tables"
                                                          : api->errmsg(state->db);
    }
    return *mv_error_text() ? mv_error_text() : "out of memory";
}

/* ---- beginning ---------------------------------------------------------------------------- */

static int same_keys(const mvv_table *a, const mvv_table *b)
{
    int index;
    for (int i = 0; i < a->n; i++) {
        const mvv_column *other = mvv_table_column(b, a->columns[i].name, &index);
        if (a->columns[i].key && (!other || other->key != a->columns[i].key))
            return 0;
    }
    return a->keys == b->keys;
}

static int find_common(mvv_difference *d)
{
    const mvv_table *b = &d->states[0].table, *a = &d->states[1].table;
    for (int s = 0; s < 2; s++)
        if (!(d->common[s] = calloc((size_t)a->n + 1, sizeof(int))))
            return SQLITE_NOMEM;
    for (int i = 0; i < a->n; i++) {
        int index;
        if (!mvv_table_column(b, a->columns[i].name, &index))
            continue;
        d->common[0][d->n_common] = index + 1; /* after the rowid */
        d->common[1][d->n_common++] = i + 1;
    }
    return SQLITE_OK;
}

static int find_suspects(mvv_difference *d)
{
    const mvv_table *b = &d->states[0].table, *a = &d->states[1].table;
    int rc = MV_OK;
    if (!d->rows)
        rc = mv_rows_open(d->states[0].file->db, d->states[1].file->db, &d->rows);
    if (!rc)
        rc = mv_rows_suspects(d->rows, b->root, a->root, &d->suspects);
    return rc ? mv_error_sqlite(rc) : SQLITE_OK;
}

int mvv_difference_start(mvv_difference *d, const mvv_table *model, const char *where)
{
    const mvv_table *b = &d->states[0].table, *a = &d->states[1].table;
    int rc = SQLITE_OK;
    d->where = where;
    d->suspects = (mv_suspects){.answer = MV_EVERYTHING};
    d->manner = !b->exists || !a->exists || b->by_rowid != a->by_rowid ? APART
                : b->by_rowid                                           ? BY_ROWID
                : same_keys(b, a)                                       ? BY_KEY
                                                                        : APART;
    d->side = d->manner == BY_KEY ? 1 : 0;
    if (b->exists && a->exists && (rc = find_suspects(d)) != SQLITE_OK)
        return rc;
    for (int s = 0; s < 2 && !rc && d->suspects.answer != MV_NOTHING; s++)
        if (d->states[s].table.exists)
            rc = mvv_state_prepare(&d->states[s], model, where);
    return rc ? rc : find_common(d);
}

void mvv_difference_end(mvv_difference *d)
{
    mv_rows_close(d->rows);
    free(d->common[0]);
    free(d->common[1]);
    d->rows = NULL;
    d->common[0] = d->common[1] = NULL;
    d->n_common = 0;
    d->range[0] = d->range[1] = 0;
    d->on[0] = d->on[1] = CLOSED;
    d->before = d->after = NULL;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static const sqlite3_api_routines *api_of(const mvv_difference *d)
{
    return d->states[0].copy->api;
}

static size_t ranges(const mvv_difference *d, int s)
{
    return !d->states[s].table.by_rowid || d->suspects.answer == MV_EVERYTHING ? 1 : d->suspects.n;
}

static int open_range(mvv_difference *d, int s)
{
    const sqlite3_api_routines *api = api_of(d);
    sqlite3_stmt *scan = d->states[s].scan;
    const mv_rowids *range = d->suspects.answer == MV_EVERYTHING ? &all : &d->suspects.ranges[d->range[s]];
    api->reset(scan);
    if (!d->states[s].table.by_rowid)
        return SQLITE_OK;
    int rc = api->bind_int64(scan, 1, range->low);
    return rc ? rc : api->bind_int64(scan, 2, range->high);
}

/* Takes the next row of one state, if it does not stand on one. */
static int advance(mvv_difference *d, int s)
{
    int rc = SQLITE_OK;
    if (!d->states[s].scan)
        d->on[s] = ENDED;
    while (!rc && (d->on[s] == CLOSED || d->on[s] == BETWEEN)) {
        if (d->on[s] == CLOSED && (rc = open_range(d, s)) != SQLITE_OK)
            return rc;
        rc = api_of(d)->step(d->states[s].scan);
        if (rc == SQLITE_ROW)
            d->on[s] = ON;
        else if (rc == SQLITE_DONE)
            d->on[s] = ++d->range[s] < ranges(d, s) ? CLOSED : ENDED;
        rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
    }
    return rc;
}

static int same(mvv_difference *d, sqlite3_stmt *before, sqlite3_stmt *after)
{
    for (int i = 0; i < d->n_common; i++)
        if (!mvv_same_value(d->states[0].copy, before, d->common[0][i], after, d->common[1][i]))
            return 0;
    return 1;
}

/* Looks for a row of one state in the other. SQLITE_ROW, SQLITE_DONE. */
static int find(mvv_difference *d, sqlite3_stmt *row, int from)
{
    const sqlite3_api_routines *api = api_of(d);
    const mvv_table *t = &d->states[from].table;
    sqlite3_stmt *other = d->states[1 - from].find;
    int rc = SQLITE_OK;
    api->reset(other);
    if (t->by_rowid)
        rc = api->bind_value(other, 1, api->column_value(row, 0));
    for (int i = 0; !t->by_rowid && i < t->n && !rc; i++)
        if (t->columns[i].key)
            rc = api->bind_value(other, t->columns[i].key, api->column_value(row, i + 1));
    return rc ? rc : api->step(other);
}

static int told(mvv_difference *d, sqlite3_stmt *before, sqlite3_stmt *after, int had)
{
    d->before = before;
    d->after = after;
    d->had = had;
    return SQLITE_ROW;
}

/* Both states in the order of rowids. */
static int next_by_rowid(mvv_difference *d)
{
    const sqlite3_api_routines *api = api_of(d);
    sqlite3_stmt *before = d->states[0].scan, *after = d->states[1].scan;
    for (;;) {
        int rc = advance(d, 0);
        if (!rc)
            rc = advance(d, 1);
        if (rc)
            return rc;
        if (d->on[0] != ON && d->on[1] != ON)
            return SQLITE_DONE;
        sqlite3_int64 b = d->on[0] == ON ? api->column_int64(before, 0) : INT64_MAX;
        sqlite3_int64 a = d->on[1] == ON ? api->column_int64(after, 0) : INT64_MAX;
        int takes_before = d->on[0] == ON && (d->on[1] != ON || b <= a);
        int takes_after = d->on[1] == ON && (d->on[0] != ON || a <= b);
        if (takes_before)
            d->on[0] = BETWEEN;
        if (takes_after)
            d->on[1] = BETWEEN;
        if (takes_before && takes_after && same(d, before, after))
            continue;
        if (takes_before)
            return told(d, before, takes_after ? after : NULL, 1);
        rc = d->where ? find(d, after, 1) : SQLITE_DONE;
        return rc == SQLITE_ROW || rc == SQLITE_DONE ? told(d, NULL, after, rc == SQLITE_ROW) : rc;
    }
}

/* First the rows after, each with its partner before; then those before that have none. Rows that
 * no longer fulfil `where` are among the latter. */
static int next_by_key(mvv_difference *d)
{
    for (; d->side >= 0; d->side--) {
        int s = d->side;
        sqlite3_stmt *row = d->states[s].scan, *other = d->states[1 - s].find;
        int rc;
        while (!(rc = advance(d, s)) && d->on[s] == ON) {
            d->on[s] = BETWEEN;
            rc = find(d, row, s);
            if (rc != SQLITE_ROW && rc != SQLITE_DONE)
                return rc;
            int found = rc == SQLITE_ROW;
            if (found && ((s == 0 && !d->where) || same(d, s ? other : row, s ? row : other)))
                continue;
            return s ? told(d, found ? other : NULL, row, found) : told(d, row, NULL, 1);
        }
        if (rc)
            return rc;
    }
    return SQLITE_DONE;
}

/* States that have nothing in common: all that was is gone, and all that is is new. */
static int next_apart(mvv_difference *d)
{
    for (; d->side < 2; d->side++) {
        int rc = advance(d, d->side);
        if (rc)
            return rc;
        if (d->on[d->side] != ON)
            continue;
        sqlite3_stmt *row = d->states[d->side].scan;
        d->on[d->side] = BETWEEN;
        return d->side ? told(d, NULL, row, 0) : told(d, row, NULL, 1);
    }
    return SQLITE_DONE;
}

int mvv_difference_next(mvv_difference *d)
{
    d->before = d->after = NULL;
    if (d->suspects.answer == MV_NOTHING)
        return SQLITE_DONE;
    switch (d->manner) {
    case BY_ROWID:
        return next_by_rowid(d);
    case BY_KEY:
        return next_by_key(d);
    default:
        return next_apart(d);
    }
}
