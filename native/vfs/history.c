/* mv_history: the past states of a table's rows.
 *
 * Walks the versions from the newest back, and compares each with the one before. A row that a
 * version made is a state, told then; it was ended by the version that was last seen to change the
 * row, if any. A version that stands for forgotten ones counts for theirs. Which it was is kept in a temporary database of its own, which goes to disk when
 * it grows. */
#include "table.h"

typedef struct cursor {
    mvv_cursor base;
    mvv_past past;
    mv_log *log;
    mvv_difference difference;
    mvv_table model;       /* of the newest version that has the table: names and defaults; owned */
    mv_stamp next;         /* the version to go to */
    uint64_t next_ms;
    int cut;               /* versions before `next` are forgotten */
    int known;             /* the difference's states: the later one is described */
    int comparing, forgotten, ended_known;
    mv_stamp made, ended;
    uint64_t made_ms, ended_ms;
    sqlite3 *ends; /* owned: row, stamp and time of the version that ended its last state */
    sqlite3_stmt *get, *put;
} cursor;

enum { KEY, ROW, VERSION, TIME, ENDED, ENDED_TIME, KIND };
enum { TABLE, WHERE, SCHEMA }; /* arguments */

/* ---- which version ended a state ------------------------------------------------------------ */

static int open_ends(cursor *c)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    int rc = api->open_v2("", &c->ends, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (!rc)
        rc = api->exec(c->ends,
                       "PRAGMA journal_mode = OFF; BEGIN;"
                       "CREATE TABLE ends(row PRIMARY KEY, stamp, ms) WITHOUT ROWID",
                       NULL, NULL, NULL);
    if (!rc)
        rc = api->prepare_v2(c->ends, "SELECT stamp, ms FROM ends WHERE row = ?1", -1, &c->get, NULL);
    if (!rc)
        rc = api->prepare_v2(c->ends, "REPLACE INTO ends VALUES (?1, ?2, ?3)", -1, &c->put, NULL);
    return rc;
}

static void close_ends(cursor *c)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    api->finalize(c->get);
    api->finalize(c->put);
    api->close(c->ends);
    c->get = c->put = NULL;
    c->ends = NULL;
}

/* What tells a row from others: its rowid, or its key as JSON. */
static int bind_row(cursor *c, sqlite3_stmt *to, int side, sqlite3_stmt *row)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    mvv_state *state = &c->difference.states[side];
    mvi_buf key = {0};
    api->reset(to);
    if (state->table.by_rowid)
        return api->bind_value(to, 1, api->column_value(row, 0));
    mvv_row_json(state, row, 1, &key);
    int rc = key.failed ? SQLITE_NOMEM : api->bind_text(to, 1, (char *)key.data, (int)key.size, SQLITE_TRANSIENT);
    mvi_buf_free(&key);
    return rc;
}

static int find_end(cursor *c, sqlite3_stmt *row)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    int rc = bind_row(c, c->get, 1, row);
    if (!rc)
        rc = api->step(c->get);
    c->ended_known = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW) {
        memcpy(c->ended.bytes, api->column_blob(c->get, 0), MV_STAMP_SIZE);
        c->ended_ms = (uint64_t)api->column_int64(c->get, 1);
    }
    api->reset(c->get);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int note_end(cursor *c, sqlite3_stmt *row)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    int rc = bind_row(c, c->put, 0, row);
    if (!rc)
        rc = api->bind_blob(c->put, 2, c->made.bytes, MV_STAMP_SIZE, SQLITE_STATIC);
    if (!rc)
        rc = api->bind_int64(c->put, 3, (sqlite3_int64)c->made_ms);
    if (!rc)
        rc = api->step(c->put);
    api->reset(c->put);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- versions ---------------------------------------------------------------------------------- */

static void history_reset(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    mvv_difference_end(&c->difference);
    mvv_state_close(&c->difference.states[0]);
    mvv_state_close(&c->difference.states[1]);
    mvv_table_free(&c->model);
    if (c->ends)
        close_ends(c);
    mv_log_close(c->log);
    c->log = NULL;
    mvv_past_close(&c->past);
    c->known = c->comparing = c->forgotten = c->cut = 0;
}

static int fail(cursor *c, int rc)
{
    return mvv_cursor_fail(&c->base, rc, "%s", mvv_difference_message(&c->difference));
}

/* Takes the next older version of the log to `next`; zero after the last. */
static int read_log(cursor *c)
{
    mv_version version;
    const mv_stamp zero = {{0}};
    int rc = mv_log_next(c->log, &version);
    if (rc && rc != MV_NOTFOUND)
        return mvv_cursor_error(&c->base, rc);
    c->next = rc ? zero : version.stamp;
    c->next_ms = rc ? 0 : version.ms;
    if (!rc)
        c->cut = memcmp(&version.previous, &zero, sizeof zero) != 0;
    return SQLITE_OK;
}

/* The earlier state becomes the later one. */
static void step_back(cursor *c)
{
    mvv_state later = c->difference.states[1];
    mvv_difference_end(&c->difference);
    c->difference.states[1] = c->difference.states[0];
    c->difference.states[0] = later;
}

/* Whether pages alone tell that the version did nothing to the table; then the earlier state's
 * description is the later one's. */
static int is_idle(cursor *c, int *idle)
{
    mvv_difference *d = &c->difference;
    mv_suspects suspects = {.answer = MV_NOTHING};
    int rc = mv_rows_open(d->states[0].file->db, d->states[1].file->db, &d->rows);
    *idle = 0;
    if (rc || mv_rows_has_changed(d->rows, 1)) /* where the schema's cookie stands */
        return rc;
    if (d->states[1].table.exists)
        rc = mv_rows_suspects(d->rows, d->states[1].table.root, d->states[1].table.root, &suspects);
    *idle = !rc && suspects.answer == MV_NOTHING;
    if (*idle) {
        mvv_table same = d->states[1].table;
        d->states[1].table = d->states[0].table;
        d->states[0].table = same;
    }
    return rc;
}

static int take_model(cursor *c, mvv_state *state)
{
    if (state->table.refused)
        return mvv_cursor_fail(&c->base, SQLITE_ERROR, "%s", state->table.refused);
    return c->model.exists ? SQLITE_OK : mvv_table_copy(&state->table, &c->model);
}

/* Begins to compare the version `next` with the one before. */
static int begin(cursor *c)
{
    mvv_difference *d = &c->difference;
    const char *table = mvv_argument(&c->base, TABLE);
    int idle = 0, rc = SQLITE_OK;
    c->made = c->next;
    c->made_ms = c->next_ms;
    if (!c->known) {
        rc = mvv_state_go(&d->states[1], &c->past, &c->made);
        rc = rc ? rc : mvv_state_describe(&d->states[1], table);
        if (rc)
            return fail(c, rc);
        c->known = 1;
    }
    rc = take_model(c, &d->states[1]);
    int cut = c->cut;
    if (!rc)
        rc = read_log(c);
    if (rc)
        return rc;
    c->forgotten = cut && c->next_ms == 0;
    rc = mvv_state_go(&d->states[0], &c->past, &c->next);
    if (!rc && c->next_ms)
        rc = mv_error_sqlite(is_idle(c, &idle));
    if (!rc && !idle)
        rc = mvv_state_describe(&d->states[0], table);
    if (!rc && !idle)
        rc = mvv_difference_start(d, &c->model, mvv_argument(&c->base, WHERE));
    c->comparing = !rc && !idle;
    return rc ? fail(c, rc) : SQLITE_OK;
}

static int end(cursor *c)
{
    c->base.eof = 1;
    if (c->model.exists)
        return SQLITE_OK;
    return mvv_cursor_fail(&c->base, SQLITE_ERROR, "no version has a table \"%s\"", mvv_argument(&c->base, TABLE));
}

static int history_next(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    mvv_difference *d = &c->difference;
    for (;;) {
        int rc = c->comparing ? mvv_difference_next(d) : SQLITE_DONE;
        if (rc == SQLITE_ROW) {
            rc = d->after ? find_end(c, d->after) : SQLITE_OK;
            if (!rc && d->before)
                rc = note_end(c, d->before);
            if (rc)
                return mvv_cursor_fail(base, rc, "%s", base->copy->api->errmsg(c->ends));
            if (d->after)
                return SQLITE_OK;
            continue;
        }
        if (rc != SQLITE_DONE)
            return fail(c, rc);
        if (c->known)
            step_back(c);
        if (!c->next_ms)
            return end(c);
        if ((rc = begin(c)) != SQLITE_OK)
            return rc;
    }
}

static int history_filter(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    const char *schema = mvv_argument(base, SCHEMA);
    mv_error_clear();
    if (!mvv_argument(base, TABLE))
        return mvv_cursor_fail(base, SQLITE_ERROR, "no table is named: %s", base->function->usage);
    int rc = mvv_past_open(base->copy, base->db, schema ? schema : "main", &c->past);
    if (!rc)
        rc = mv_log_open(c->past.db, NULL, &c->past.now, 1, &c->log);
    if (rc)
        return mvv_cursor_error(base, rc);
    if ((rc = open_ends(c)) != SQLITE_OK)
        return mvv_cursor_fail(base, rc, "no temporary database: %s", base->copy->api->errmsg(c->ends));
    rc = read_log(c);
    return rc ? rc : history_next(base);
}

/* ---- columns ----------------------------------------------------------------------------------- */

static void give_json(cursor *c, sqlite3_context *context, int keys)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    mvi_buf json = {0};
    mvv_row_json(&c->difference.states[1], c->difference.after, keys, &json);
    if (json.failed)
        api->result_error_nomem(context);
    else if (json.size > INT32_MAX)
        api->result_error_toobig(context);
    else
        api->result_text(context, (char *)json.data, (int)json.size, SQLITE_TRANSIENT);
    mvi_buf_free(&json);
}

static void history_column(mvv_cursor *base, sqlite3_context *context, int column)
{
    cursor *c = (cursor *)base;
    const sqlite3_api_routines *api = base->copy->api;
    char text[MVV_TIME] = "";
    switch (column) {
    case KEY:
    case ROW:
        give_json(c, context, column == KEY);
        return;
    case VERSION:
        if (!c->forgotten)
            mv_stamp_text(&c->made, text);
        break;
    case TIME:
        if (!c->forgotten)
            mvv_time_text(c->made_ms, text);
        break;
    case ENDED:
        if (c->ended_known)
            mv_stamp_text(&c->ended, text);
        break;
    case ENDED_TIME:
        if (c->ended_known)
            mvv_time_text(c->ended_ms, text);
        break;
    default:
        strcpy(text, c->forgotten ? "kept" : c->difference.had ? "changed" : "added");
    }
    if (*text)
        api->result_text(context, text, -1, SQLITE_TRANSIENT);
}

const mvv_function mvv_history_function = {
    .name = "mv_history",
    .columns = "CREATE TABLE mv_history(key TEXT, row TEXT, version TEXT, time TEXT, ended TEXT, ended_time TEXT, "
               "kind TEXT, table_name HIDDEN, condition HIDDEN, schema HIDDEN)",
    .usage = "mv_history(table[, where[, schema]])",
    .arguments = 3,
    .least = 1,
    .size = sizeof(cursor),
    .filter = history_filter,
    .next = history_next,
    .column = history_column,
    .reset = history_reset,
};
