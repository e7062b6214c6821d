/* mv_version_at(moment[, schema]) and mv_time_of(version[, schema]). */
#include "table.h"

static void fail(mvv_copy *copy, sqlite3_context *context, int code)
{
    copy->api->result_error(context, mv_error_text(), -1);
    copy->api->result_error_code(context, mvv_sql_code(code));
}

/* The database that the second argument names, or main. 1: it is open. */
static int open_past(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values, mvv_past *past)
{
    const sqlite3_api_routines *api = copy->api;
    const char *schema = n > 1 ? (const char *)api->value_text(values[1]) : NULL;
    int rc = mvv_past_open(copy, api->context_db_handle(context), schema ? schema : "main", past);
    if (rc)
        fail(copy, context, rc);
    return !rc;
}

static void version_at(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values)
{
    mvv_past past = {.copy = copy};
    mv_stamp stamp;
    char hex[MV_STAMP_TEXT];
    const char *moment = (const char *)copy->api->value_text(values[0]);
    if (moment && open_past(copy, context, n, values, &past)) {
        int rc = mvv_past_stamp(&past, moment, &stamp);
        if (rc) {
            fail(copy, context, rc);
        } else {
            mv_stamp_text(&stamp, hex);
            copy->api->result_text(context, hex, -1, SQLITE_TRANSIENT);
        }
    }
    mvv_past_close(&past);
}

static void time_of(mvv_copy *copy, sqlite3_context *context, int n, sqlite3_value **values)
{
    mvv_past past = {.copy = copy};
    mv_stamp stamp;
    mv_version version;
    char text[MVV_TIME];
    const char *hex = (const char *)copy->api->value_text(values[0]);
    if (hex && open_past(copy, context, n, values, &past)) {
        int rc = mvv_read_stamp(hex, &stamp);
        if (!rc)
            rc = mv_db_version(past.db, &stamp, &version);
        if (rc) {
            fail(copy, context, rc);
        } else {
            mvv_time_text(version.ms, text);
            copy->api->result_text(context, text, -1, SQLITE_TRANSIENT);
        }
    }
    mvv_past_close(&past);
}

typedef void (*sql_function)(sqlite3_context *context, int n, sqlite3_value **values);

/* Only its own copy of SQLite can read a context: each has functions of its own, which know it. */
#define FOR(i)                                                                                        \
    static void version_at_##i(sqlite3_context *x, int n, sqlite3_value **v)                          \
    {                                                                                                 \
        version_at(mvv_copy_at(i), x, n, v);                                                          \
    }                                                                                                 \
    static void time_of_##i(sqlite3_context *x, int n, sqlite3_value **v)                             \
    {                                                                                                 \
        time_of(mvv_copy_at(i), x, n, v);                                                             \
    }
FOR(0) FOR(1) FOR(2) FOR(3)
#undef FOR

static const sql_function functions[MVV_COPIES][2] = {
    {version_at_0, time_of_0},
    {version_at_1, time_of_1},
    {version_at_2, time_of_2},
    {version_at_3, time_of_3},
};

int mvv_create_moments(mvv_copy *copy, sqlite3 *db)
{
    static const char *const names[] = {"mv_version_at", "mv_time_of"};
    int rc = SQLITE_OK;
    for (int i = 0; i < 2; i++)
        for (int n = 1; n <= 2 && !rc; n++)
            rc = copy->api->create_function(db, names[i], n, SQLITE_UTF8, NULL, functions[copy->index][i], NULL, NULL);
    return rc;
}
