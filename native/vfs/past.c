/* Past states of a database that a connection has, opened apart from it. */
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "table.h"

/* Takes what the connection would read now, as mv_version() does. */
static int look(mvv_copy *copy, sqlite3 *db, const char *schema, mvv_past *past)
{
    mv_snapshot snapshot;
    mvv_file *file = mvv_file_of(copy, db, schema);
    if (!file)
        return mv_fail(MV_MISUSE, "\"%.100s\" is no database of the mvsqlite VFS in this connection", schema);
    if (file->level == SQLITE_LOCK_NONE && mvv_file_refresh(file))
        return mv_error_code();
    mv_db_snapshot(file->db, &snapshot);
    past->now = snapshot.stamp;
    return MV_OK;
}

int mvv_past_open(mvv_copy *copy, sqlite3 *db, const char *schema, mvv_past *past)
{
    char url[4096];
    past->copy = copy;
    int rc = look(copy, db, schema, past);
    if (rc)
        return rc;
    const char *name = copy->api->db_filename(db, schema);
    const char *store = name ? copy->api->uri_parameter(name, "store") : NULL;
    if (!store && (rc = mv_default_url(url, sizeof url)) != MV_OK)
        return rc;
    past->name = name ? strdup(name) : NULL;
    past->url = strdup(store ? store : url);
    if (!past->name || !past->url)
        return mv_fail(MV_NOMEM, "out of memory opening a past state");
    rc = mv_store_open(past->url, &past->store);
    return rc ? rc : mv_db_open(past->store, past->name, 0, &past->db);
}

void mvv_past_close(mvv_past *past)
{
    if (past->db)
        mv_db_close(past->db);
    if (past->store)
        mv_store_close(past->store);
    free(past->name);
    free(past->url);
    memset(past, 0, sizeof *past);
}

int mvv_past_stamp(mvv_past *past, const char *text, mv_stamp *stamp)
{
    memset(stamp, 0, sizeof *stamp);
    if (!text)
        return MV_OK;
    if (strspn(text, "0123456789abcdefABCDEF") == 2 * MV_STAMP_SIZE && !text[2 * MV_STAMP_SIZE])
        return mvv_read_stamp(text, stamp);
    return mv_db_at(past->db, text, stamp);
}

int mvv_past_previous(mvv_past *past, const mv_stamp *stamp, mv_stamp *previous, int *cut)
{
    mv_log *log;
    mv_version version, older;
    const mv_stamp zero = {{0}};
    *previous = zero;
    *cut = 0;
    int rc = mv_db_version(past->db, stamp, &version);
    if (!rc)
        rc = mv_log_open(past->db, NULL, stamp, 1, &log);
    if (rc)
        return rc;
    rc = mv_log_next(log, &older);
    if (!rc)
        rc = mv_log_next(log, &older);
    if (!rc)
        *previous = older.stamp;
    else
        *cut = memcmp(&version.previous, &zero, sizeof zero) != 0;
    mv_log_close(log);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* ---- connections -------------------------------------------------------------------------- */

/* As in an address. */
static void add_encoded(mvi_buf *b, const char *text)
{
    char code[4];
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')) {
            mvi_buf_byte(b, *p);
        } else {
            snprintf(code, sizeof code, "%%%02X", (unsigned)*p);
            mvi_buf_add(b, code, 3);
        }
    }
}

static void add(mvi_buf *b, const char *text)
{
    mvi_buf_add(b, text, strlen(text));
}

/* Nothing but reading, of the database's own tables: who asks may have put SQL into the question. */
static int allow(void *ctx, int action, const char *a, const char *b, const char *schema, const char *trigger)
{
    (void)ctx, (void)schema, (void)trigger;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_READ:
        return a && strncasecmp(a, "mv_", 3) == 0 ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_FUNCTION:
        return b && (strcasecmp(b, "load_extension") == 0 || strncasecmp(b, "mv_", 3) == 0) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_UPDATE: /* older releases ask this when an eponymous table is met, and write nothing */
        return a && strcmp(a, "sqlite_master") == 0 ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_PRAGMA:
        return a && strcasecmp(a, "table_xinfo") == 0 ? SQLITE_OK : SQLITE_DENY;
    default:
        return SQLITE_DENY;
    }
}

int mvv_past_connect(mvv_past *past, const mv_stamp *stamp, sqlite3 **db, mvv_file **file)
{
    const sqlite3_api_routines *api = past->copy->api;
    mvi_buf uri = {0};
    char hex[MV_STAMP_TEXT];
    mv_stamp_text(stamp, hex);
    add(&uri, "file:");
    add_encoded(&uri, past->name);
    add(&uri, "?vfs=" MVV_NAME "&mode=ro&statements=off&version=");
    add(&uri, hex);
    add(&uri, "&store=");
    add_encoded(&uri, past->url);
    mvi_buf_byte(&uri, 0);
    *db = NULL;
    int rc = uri.failed ? SQLITE_NOMEM
                        : api->open_v2((char *)uri.data, db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    mvi_buf_free(&uri);
    if (!rc && !(*file = mvv_file_of(past->copy, *db, "main")))
        rc = SQLITE_ERROR;
    if (!rc)
        rc = api->set_authorizer(*db, allow, NULL);
    if (rc) {
        api->close(*db);
        *db = NULL;
    }
    return rc;
}

void mvv_time_text(uint64_t ms, char out[MVV_TIME])
{
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    size_t used = gmtime_r(&seconds, &tm) ? strftime(out, MVV_TIME, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    snprintf(out + used, MVV_TIME - used, ".%03uZ", (unsigned)(ms % 1000));
}
