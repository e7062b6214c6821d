/* What every connection of ours has: SQL functions, and texts for its next commit. */
#include <stdio.h>
#include <time.h>

#include "vfs.h"

/* ---- SQL functions -------------------------------------------------------------
 * A function is called with a context that only its own copy of SQLite can read, so
 * each copy gets functions of its own, which know it. */

/* The snapshot of the schema named by the first argument (main without one). 1: there is one. */
static int snapshot_of(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values, mv_snapshot *out)
{
    const sqlite3_api_routines *api = copy->api;
    const char *schema = n ? (const char *)api->value_text(values[0]) : "main";
    mvv_file *file = schema ? mvv_file_of(copy, api->context_db_handle(context), schema) : NULL;
    if (!file) {
        api->result_error(context, "this schema is not a database of the mvsqlite VFS", -1);
        return 0;
    }
    int rc = file->level == SQLITE_LOCK_NONE ? mvv_file_refresh(file) : SQLITE_OK;
    if (rc) {
        api->result_error(context, mv_error_text(), -1);
        api->result_error_code(context, rc);
        return 0;
    }
    mv_db_snapshot(file->db, out);
    return 1;
}

static void version_function(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values)
{
    mv_snapshot snapshot;
    char text[MV_STAMP_TEXT];
    if (!snapshot_of(copy, context, n, values, &snapshot))
        return;
    mv_stamp_text(&snapshot.stamp, text);
    copy->api->result_text(context, text, -1, SQLITE_TRANSIENT);
}

static void time_function(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values)
{
    mv_snapshot snapshot;
    char text[40];
    struct tm tm;
    if (!snapshot_of(copy, context, n, values, &snapshot))
        return;
    time_t seconds = (time_t)(snapshot.ms / 1000);
    size_t used = gmtime_r(&seconds, &tm) ? strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    snprintf(text + used, sizeof text - used, ".%03uZ", (unsigned)(snapshot.ms % 1000));
    copy->api->result_text(context, text, -1, SQLITE_TRANSIENT);
}

static void message_function(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values)
{
    const sqlite3_api_routines *api = copy->api;
    mvv_connection *c = mvv_connection_find(copy, api->context_db_handle(context));
    const char *text = (const char *)api->value_text(values[0]);
    (void)n;
    char *kept = text ? strdup(text) : NULL;
    if (!c || (text && !kept)) {
        api->result_error_nomem(context);
        return;
    }
    free(c->message);
    c->message = kept;
    api->result_value(context, values[0]);
}

static void error_function(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n, (void)values;
    copy->api->result_text(context, mv_error_text(), -1, SQLITE_TRANSIENT);
}

typedef void (*sql_function)(sqlite3_context *context, int n, sqlite3_value **values);

#define FOR(i)                                                                                        \
    static void version_##i(sqlite3_context *x, int n, sqlite3_value **v)                             \
    {                                                                                                 \
        version_function(mvv_copy_at(i), x, n, v);                                                    \
    }                                                                                                 \
    static void time_##i(sqlite3_context *x, int n, sqlite3_value **v)                                \
    {                                                                                                 \
        time_function(mvv_copy_at(i), x, n, v);                                                       \
    }                                                                                                 \
    static void message_##i(sqlite3_context *x, int n, sqlite3_value **v)                             \
    {                                                                                                 \
        message_function(mvv_copy_at(i), x, n, v);                                                    \
    }                                                                                                 \
    static void error_##i(sqlite3_context *x, int n, sqlite3_value **v)                               \
    {                                                                                                 \
        error_function(mvv_copy_at(i), x, n, v);                                                      \
    }
FOR(0) FOR(1) FOR(2) FOR(3)
#undef FOR

static const struct {
    sql_function version, time, message, error;
} functions[MVV_COPIES] = {
    {version_0, time_0, message_0, error_0},
    {version_1, time_1, message_1, error_1},
    {version_2, time_2, message_2, error_2},
    {version_3, time_3, message_3, error_3},
};

static int create_functions(mvv_copy *copy, sqlite3 *db)
{
    const sqlite3_api_routines *api = copy->api;
    int i = copy->index, rc = SQLITE_OK;
    for (int n = 0; n < 2 && !rc; n++) {
        rc = api->create_function(db, "mv_version", n, SQLITE_UTF8, NULL, functions[i].version, NULL, NULL);
        if (!rc)
            rc = api->create_function(db, "mv_time", n, SQLITE_UTF8, NULL, functions[i].time, NULL, NULL);
    }
    if (!rc)
        rc = api->create_function(db, "mv_message", 1, SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL, functions[i].message,
                                  NULL, NULL);
    return rc ? rc : api->create_function(db, "mv_error", 0, SQLITE_UTF8, NULL, functions[i].error, NULL, NULL);
}

/* ---- connections ------------------------------------------------------------------ */

static void connection_free(void *memory)
{
    mvv_connection *c = memory;
    mvv_copy *copy = c->copy;
    pthread_mutex_lock(&copy->lock);
    for (mvv_connection **link = &copy->connections; *link; link = &(*link)->next)
        if (*link == c) {
            *link = c->next;
            break;
        }
    pthread_mutex_unlock(&copy->lock);
    free(c->message);
    mvi_buf_free(&c->plain.text);
    mvi_buf_free(&c->values.text);
    free(c);
}

mvv_connection *mvv_connection_find(mvv_copy *copy, sqlite3 *db)
{
    pthread_mutex_lock(&copy->lock);
    mvv_connection *c = copy->connections;
    while (c && c->db != db)
        c = c->next;
    pthread_mutex_unlock(&copy->lock);
    return c;
}

void mvv_connection_done(mvv_connection *c)
{
    free(c->message);
    c->message = NULL;
    mvv_statements_forget(c);
}

/* Never called; it carries the connection, whose end ends it (its destructor). */
static void carrier(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)context, (void)n, (void)values;
}

int mvv_connection_setup(mvv_copy *copy, sqlite3 *db)
{
    if (mvv_connection_find(copy, db))
        return SQLITE_OK;
    mvv_connection *c = calloc(1, sizeof *c);
    if (!c)
        return SQLITE_NOMEM;
    c->copy = copy;
    c->db = db;
    pthread_mutex_lock(&copy->lock);
    c->next = copy->connections;
    copy->connections = c;
    pthread_mutex_unlock(&copy->lock);
    int rc = copy->api->create_function_v2(db, "mv_connection", 0, SQLITE_UTF8 | SQLITE_DIRECTONLY, c, carrier, NULL,
                                           NULL, connection_free);
    if (!rc)
        rc = create_functions(copy, db);
    if (!rc)
        rc = mvv_create_tables(copy, db);
    if (!rc)
        rc = copy->api->trace_v2(db, SQLITE_TRACE_STMT, mvv_on_statement, c);
    return rc;
}
