/* mv_diff: the rows of a table that differ between two versions. */
#include "table.h"

typedef struct cursor {
    mvv_cursor base;
    mvv_past past;
    mvv_difference difference;
} cursor;

enum { KIND, ROWID, KEY, BEFORE, AFTER };
enum { TABLE, FROM, TO, SCHEMA }; /* arguments */

static void diff_reset(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    mvv_difference_end(&c->difference);
    mvv_state_close(&c->difference.states[0]);
    mvv_state_close(&c->difference.states[1]);
    mvv_past_close(&c->past);
}

static int diff_next(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    int rc = mvv_difference_next(&c->difference);
    base->eof = rc == SQLITE_DONE;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        return SQLITE_OK;
    return mvv_cursor_fail(base, rc, "%s", mvv_difference_message(&c->difference));
}

static int refused(mvv_cursor *base, const mvv_difference *d, const char *table)
{
    for (int s = 1; s >= 0; s--)
        if (d->states[s].table.refused)
            return mvv_cursor_fail(base, SQLITE_ERROR, "%s", d->states[s].table.refused);
    if (d->states[0].table.exists || d->states[1].table.exists)
        return SQLITE_OK;
    return mvv_cursor_fail(base, SQLITE_ERROR, "neither version has a table \"%s\"", table);
}

static int compare(cursor *c, const mv_stamp stamps[2])
{
    mvv_cursor *base = &c->base;
    mvv_difference *d = &c->difference;
    const char *table = mvv_argument(base, TABLE);
    int rc = SQLITE_OK;
    for (int s = 0; s < 2 && !rc; s++) {
        rc = mvv_state_go(&d->states[s], &c->past, &stamps[s]);
        if (!rc)
            rc = mvv_state_describe(&d->states[s], table);
    }
    if (!rc && (rc = refused(base, d, table)) != SQLITE_OK)
        return rc;
    if (!rc)
        rc = mvv_difference_start(d, NULL, NULL);
    return rc ? mvv_cursor_fail(base, rc, "%s", mvv_difference_message(d)) : diff_next(base);
}

static int diff_filter(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    mv_stamp stamps[2];
    const char *schema = mvv_argument(base, SCHEMA), *to = mvv_argument(base, TO);
    mv_error_clear();
    if (!mvv_argument(base, TABLE))
        return mvv_cursor_fail(base, SQLITE_ERROR, "no table is named: %s", base->function->usage);
    int rc = mvv_past_open(base->copy, base->db, schema ? schema : "main", &c->past);
    if (!rc)
        rc = mvv_past_stamp(&c->past, mvv_argument(base, FROM), &stamps[0]);
    stamps[1] = c->past.now;
    if (!rc && to)
        rc = mvv_past_stamp(&c->past, to, &stamps[1]);
    return rc ? mvv_cursor_error(base, rc) : compare(c, stamps);
}

static void give_json(mvv_cursor *base, sqlite3_context *context, int side, sqlite3_stmt *row, int keys)
{
    const sqlite3_api_routines *api = base->copy->api;
    mvi_buf json = {0};
    if (!row)
        return;
    mvv_row_json(&((cursor *)base)->difference.states[side], row, keys, &json);
    if (json.failed)
        api->result_error_nomem(context);
    else if (json.size > INT32_MAX)
        api->result_error_toobig(context);
    else
        api->result_text(context, (char *)json.data, (int)json.size, SQLITE_TRANSIENT);
    mvi_buf_free(&json);
}

static void diff_column(mvv_cursor *base, sqlite3_context *context, int column)
{
    const mvv_difference *d = &((cursor *)base)->difference;
    const sqlite3_api_routines *api = base->copy->api;
    int side = d->after != NULL;
    sqlite3_stmt *row = side ? d->after : d->before;
    switch (column) {
    case KIND:
        api->result_text(context, !d->before ? "added" : !d->after ? "removed" : "changed", -1, SQLITE_STATIC);
        break;
    case ROWID:
        api->result_value(context, api->column_value(row, 0));
        break;
    case KEY:
        give_json(base, context, side, row, 1);
        break;
    case BEFORE:
        give_json(base, context, 0, d->before, 0);
        break;
    default:
        give_json(base, context, 1, d->after, 0);
    }
}

const mvv_function mvv_diff_function = {
    .name = "mv_diff",
    .columns = "CREATE TABLE mv_diff(kind TEXT, rowid INTEGER, key TEXT, before TEXT, after TEXT, "
               "table_name HIDDEN, v1 HIDDEN, v2 HIDDEN, schema HIDDEN)",
    .usage = "mv_diff(table, version or moment[, version or moment[, schema]])",
    .arguments = 4,
    .least = 2,
    .size = sizeof(cursor),
    .filter = diff_filter,
    .next = diff_next,
    .column = diff_column,
    .reset = diff_reset,
};
