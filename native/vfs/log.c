/* mv_log: the versions of a database. */
#include "table.h"

typedef struct cursor {
    mvv_cursor base;
    mvv_past past;
    mv_log *log;
    mv_version version;
} cursor;

enum { VERSION, TIME, PREVIOUS, KIND, TARGET, PAGES, SIZE, HOST, PROGRAM, PID, MESSAGE, STATEMENTS, MERGED };

static void log_reset(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    mv_log_close(c->log);
    c->log = NULL;
    mvv_past_close(&c->past);
}

static int log_next(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    int rc = mv_log_next(c->log, &c->version);
    base->eof = rc == MV_NOTFOUND;
    return rc && !base->eof ? mvv_cursor_error(base, rc) : SQLITE_OK;
}

static int log_filter(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    const char *schema = mvv_argument(base, 0);
    int rc = mvv_past_open(base->copy, base->db, schema ? schema : "main", &c->past);
    if (!rc && memcmp(&base->after, &base->until, sizeof base->after) >= 0) {
        base->eof = 1;
        return SQLITE_OK;
    }
    if (!rc)
        rc = mv_log_open(c->past.db, &base->after, &base->until, 1, &c->log);
    return rc ? mvv_cursor_error(base, rc) : log_next(base);
}

static void give(mvv_copy *copy, sqlite3_context *context, const char *text)
{
    if (text && *text)
        copy->api->result_text(context, text, -1, SQLITE_TRANSIENT);
}

static void give_stamp(mvv_copy *copy, sqlite3_context *context, const mv_stamp *stamp)
{
    char hex[MV_STAMP_TEXT];
    const mv_stamp zero = {{0}};
    mv_stamp_text(stamp, hex);
    if (memcmp(stamp, &zero, sizeof zero) != 0)
        give(copy, context, hex);
}

static const char *text_of(const mv_version *v, int column)
{
    static const char *const kinds[] = {"commit", "revert", "promote"}; /* in the order of mv_kind */
    switch (column) {
    case KIND:
        return v->kind >= 0 && v->kind <= MV_KIND_PROMOTE ? kinds[v->kind] : NULL;
    case HOST:
        return v->host;
    case PROGRAM:
        return v->program;
    case MESSAGE:
        return v->message;
    default:
        return v->statements;
    }
}

static void log_column(mvv_cursor *base, sqlite3_context *context, int column)
{
    mvv_copy *copy = base->copy;
    const mv_version *v = &((cursor *)base)->version;
    char time[MVV_TIME];
    switch (column) {
    case VERSION:
        give_stamp(copy, context, &v->stamp);
        break;
    case PREVIOUS:
        give_stamp(copy, context, &v->previous);
        break;
    case TARGET:
        give_stamp(copy, context, &v->target);
        break;
    case TIME:
        mvv_time_text(v->ms, time);
        give(copy, context, time);
        break;
    case PAGES:
        copy->api->result_int64(context, v->changed);
        break;
    case SIZE:
        copy->api->result_int64(context, (sqlite3_int64)v->pages * v->page_size);
        break;
    case PID:
        copy->api->result_int64(context, (sqlite3_int64)v->pid);
        break;
    case MERGED:
        copy->api->result_int64(context, (sqlite3_int64)v->merged);
        break;
    default:
        give(copy, context, text_of(v, column));
    }
}

const mvv_function mvv_log_function = {
    .name = "mv_log",
    .columns = "CREATE TABLE mv_log(version TEXT, time TEXT, previous TEXT, kind TEXT, target TEXT, pages INTEGER, "
               "size INTEGER, host TEXT, program TEXT, pid INTEGER, message TEXT, statements TEXT, merged INTEGER, "
               "schema HIDDEN)",
    .usage = "mv_log([schema])",
    .arguments = 1,
    .least = 0,
    .by_version = 1,
    .size = sizeof(cursor),
    .filter = log_filter,
    .next = log_next,
    .column = log_column,
    .reset = log_reset,
};
