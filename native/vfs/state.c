/* One table in one version: its columns, the statements that read its rows, rows as JSON. */
#include <stdio.h>
#include <strings.h>

#include "../base/json.h"
#include "../store/btree.h"
#include "table.h"

static void add(mvi_buf *b, const char *text)
{
    mvi_buf_add(b, text, strlen(text));
}

static void add_name(mvi_buf *b, const char *name)
{
    mvi_buf_byte(b, '"');
    for (const char *p = name; *p; p++) {
        if (*p == '"')
            mvi_buf_byte(b, '"');
        mvi_buf_byte(b, (uint8_t)*p);
    }
    mvi_buf_byte(b, '"');
}

/* ---- going to a version ---------------------------------------------------------------- */

void mvv_table_free(mvv_table *table)
{
    for (int i = 0; i < table->n; i++) {
        free(table->columns[i].name);
        free(table->columns[i].value);
    }
    free(table->columns);
    free(table->name);
    free(table->refused);
    memset(table, 0, sizeof *table);
}

int mvv_table_copy(const mvv_table *from, mvv_table *to)
{
    memset(to, 0, sizeof *to);
    if (!from->exists)
        return SQLITE_OK;
    to->exists = 1;
    to->columns = calloc((size_t)from->n + 1, sizeof *to->columns);
    int failed = !to->columns;
    for (int i = 0; i < from->n && !failed; i++, to->n++) {
        const mvv_column *column = &from->columns[i];
        to->columns[i] = (mvv_column){strdup(column->name), column->value ? strdup(column->value) : NULL, column->key};
        failed = !to->columns[i].name || (column->value && !to->columns[i].value);
    }
    return failed ? SQLITE_NOMEM : SQLITE_OK;
}

static void finalize(mvv_state *state)
{
    if (state->scan)
        state->copy->api->finalize(state->scan);
    if (state->find)
        state->copy->api->finalize(state->find);
    state->scan = state->find = NULL;
}

int mvv_state_go(mvv_state *state, mvv_past *past, const mv_stamp *stamp)
{
    int rc;
    char hex[MV_STAMP_TEXT];
    state->copy = past->copy;
    state->stamp = *stamp;
    if (!state->db)
        return mvv_past_connect(past, stamp, &state->db, &state->file);
    finalize(state);
    mv_stamp_text(stamp, hex);
    rc = mvv_pin(state->file, NULL, hex);
    state->file->counter++; /* what SQLite holds is of another version */
    return rc ? mv_error_sqlite(rc) : SQLITE_OK;
}

void mvv_state_close(mvv_state *state)
{
    finalize(state);
    mvv_table_free(&state->table);
    if (state->db)
        state->copy->api->close_v2(state->db);
    state->db = NULL;
}

/* ---- what the table is -------------------------------------------------------------------- */

static char *copied(const sqlite3_api_routines *api, sqlite3_stmt *row, int i)
{
    const char *text = (const char *)api->column_text(row, i);
    return text ? strdup(text) : NULL;
}

static int add_column(mvv_state *state, sqlite3_stmt *row)
{
    enum { NAME = 1, DEFAULT = 4, KEY = 5 };
    const sqlite3_api_routines *api = state->copy->api;
    mvv_table *t = &state->table;
    mvv_column *columns = realloc(t->columns, ((size_t)t->n + 1) * sizeof *columns);
    if (!columns)
        return SQLITE_NOMEM;
    t->columns = columns;
    mvv_column *column = &columns[t->n++];
    *column = (mvv_column){copied(api, row, NAME), copied(api, row, DEFAULT), api->column_int(row, KEY)};
    t->keys += column->key > 0;
    return column->name ? SQLITE_OK : SQLITE_NOMEM;
}

/* Reads the columns; those that are generated hold nothing, but their names are taken. */
static int read_columns(mvv_state *state)
{
    enum { NAME = 1, HIDDEN = 6 };
    static const char *const rowids[] = {"rowid", "_rowid_", "oid"};
    const sqlite3_api_routines *api = state->copy->api;
    mvi_buf sql = {0};
    sqlite3_stmt *row = NULL;
    int taken[3] = {0, 0, 0};
    add(&sql, "PRAGMA main.table_xinfo(");
    add_name(&sql, state->table.name);
    mvi_buf_add(&sql, ")", 2);
    int rc = sql.failed ? SQLITE_NOMEM : api->prepare_v2(state->db, (char *)sql.data, -1, &row, NULL);
    while (!rc && (rc = api->step(row)) == SQLITE_ROW) {
        const char *name = (const char *)api->column_text(row, NAME);
        for (int i = 0; i < 3; i++)
            taken[i] |= name && strcasecmp(name, rowids[i]) == 0;
        rc = api->column_int(row, HIDDEN) ? SQLITE_OK : add_column(state, row);
    }
    api->finalize(row);
    mvi_buf_free(&sql);
    state->table.rowid = NULL;
    for (int i = 2; i >= 0; i--)
        state->table.rowid = taken[i] ? state->table.rowid : rowids[i];
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Whether the table's b-tree has rowids for keys, which its root page tells. */
static int read_root(mvv_state *state)
{
    mv_snapshot snapshot;
    mv_db_snapshot(state->file->db, &snapshot);
    uint8_t *page = malloc(snapshot.page_size);
    if (!page)
        return SQLITE_NOMEM;
    int rc = mv_db_read(state->file->db, state->table.root, page);
    uint8_t kind = rc ? 0 : page[mvi_btree_at(state->table.root)];
    state->table.by_rowid = kind == MVI_TABLE_INTERIOR || kind == MVI_TABLE_LEAF;
    free(page);
    return rc ? mv_error_sqlite(rc) : SQLITE_OK;
}

static int refuse(mvv_table *t, const char *why)
{
    size_t room = strlen(t->name) + strlen(why) + 4;
    t->refused = malloc(room);
    if (!t->refused)
        return SQLITE_NOMEM;
    snprintf(t->refused, room, "\"%s\" %s", t->name, why);
    return SQLITE_OK;
}

/* Names the module, which stands after USING, if it is a plain word. */
static int refuse_virtual(mvv_table *t, const char *sql)
{
    char why[300];
    int begin = 0, end = 0;
    const char *using = sql ? strcasestr(sql, " USING ") : NULL;
    if (using)
        sscanf(using, " %*[A-Za-z] %n%*[A-Za-z0-9_]%n", &begin, &end);
    const char *of = end > begin ? " of " : "";
    snprintf(why, sizeof why, "is a virtual table%s%.*s, whose rows are its module's affair: ask for the tables it "
                              "keeps them in, whose names begin with its own and _",
             of, end > begin ? end - begin : 0, using ? using + begin : "");
    return refuse(t, why);
}

static int describe(mvv_state *state, sqlite3_stmt *row)
{
    const sqlite3_api_routines *api = state->copy->api;
    mvv_table *t = &state->table;
    const char *type = (const char *)api->column_text(row, 2);
    t->exists = 1;
    t->name = copied(api, row, 0);
    t->root = (uint32_t)api->column_int64(row, 1);
    if (!t->name || !type)
        return SQLITE_NOMEM;
    if (strcmp(type, "view") == 0)
        return refuse(t, "is a view, which has no rows of its own: ask for the tables it reads");
    if (!t->root)
        return refuse_virtual(t, (const char *)api->column_text(row, 3));
    int rc = read_columns(state);
    if (!rc)
        rc = read_root(state);
    if (!rc && t->by_rowid && !t->rowid)
        rc = refuse(t, "has columns named rowid, _rowid_ and oid: its rows cannot be told apart");
    return rc;
}

int mvv_state_describe(mvv_state *state, const char *table)
{
    static const char sql[] = "SELECT name, rootpage, type, sql FROM main.sqlite_master WHERE type IN ('table', 'view') "
                              "AND name = ?1 COLLATE NOCASE";
    const sqlite3_api_routines *api = state->copy->api;
    sqlite3_stmt *row = NULL;
    mvv_table_free(&state->table);
    int rc = api->prepare_v2(state->db, sql, -1, &row, NULL);
    if (!rc)
        rc = api->bind_text(row, 1, table, -1, SQLITE_TRANSIENT);
    if (!rc && (rc = api->step(row)) == SQLITE_ROW)
        rc = describe(state, row);
    int end = api->finalize(row);
    return rc == SQLITE_DONE ? SQLITE_OK : rc ? rc : end;
}

const mvv_column *mvv_table_column(const mvv_table *table, const char *name, int *index)
{
    for (int i = 0; i < table->n; i++)
        if (strcasecmp(table->columns[i].name, name) == 0) {
            *index = i;
            return &table->columns[i];
        }
    return NULL;
}

/* ---- statements --------------------------------------------------------------------------- */

/* FROM the table; with columns that came later, so that `where` can be asked of earlier states. */
static void add_from(mvi_buf *sql, const mvv_table *t, const mvv_table *model)
{
    int index, inner = 0;
    mvi_buf more = {0};
    for (int i = 0; model && i < model->n; i++) {
        const mvv_column *column = &model->columns[i];
        if (mvv_table_column(t, column->name, &index))
            continue;
        add(&more, ", (");
        add(&more, column->value ? column->value : "NULL");
        add(&more, ") AS ");
        add_name(&more, column->name);
        inner = 1;
    }
    add(sql, " FROM ");
    if (inner) {
        add(sql, "(SELECT ");
        if (t->by_rowid) {
            add(sql, t->rowid);
            add(sql, " AS ");
            add(sql, t->rowid);
            add(sql, ", ");
        }
        add(sql, "*");
        mvi_buf_add(sql, more.data, more.size);
        add(sql, " FROM ");
    }
    add(sql, "main.");
    add_name(sql, t->name);
    if (inner)
        add(sql, ")");
    sql->failed |= more.failed;
    mvi_buf_free(&more);
}

/* SELECT the rowid (NULL without one) and the columns. */
static void add_select(mvi_buf *sql, const mvv_table *t, const mvv_table *model)
{
    add(sql, "SELECT ");
    add(sql, t->by_rowid ? t->rowid : "NULL");
    for (int i = 0; i < t->n; i++) {
        add(sql, ", ");
        add_name(sql, t->columns[i].name);
    }
    add_from(sql, t, model);
    add(sql, " WHERE ");
}

static int prepare(mvv_state *state, mvi_buf *sql, sqlite3_stmt **out)
{
    const char *tail = NULL;
    mvi_buf_byte(sql, 0);
    int rc = sql->failed ? SQLITE_NOMEM : state->copy->api->prepare_v2(state->db, (char *)sql->data, -1, out, &tail);
    if (!rc && *tail) {
        mv_fail(MV_MISUSE, "a condition is one expression, without a semicolon");
        rc = SQLITE_ERROR;
    }
    mvi_buf_free(sql);
    return rc;
}

/* `where` stands between line ends: it may end in a comment. */
static int prepare_scan(mvv_state *state, const mvv_table *model, const char *where)
{
    const mvv_table *t = &state->table;
    mvi_buf sql = {0};
    add_select(&sql, t, where ? model : NULL);
    if (t->by_rowid) {
        add(&sql, t->rowid);
        add(&sql, " BETWEEN ?1 AND ?2");
    } else {
        add(&sql, "1");
    }
    if (where) {
        add(&sql, " AND (\n");
        add(&sql, where);
        add(&sql, "\n)");
    }
    if (t->by_rowid) {
        add(&sql, " ORDER BY ");
        add(&sql, t->rowid);
    }
    return prepare(state, &sql, &state->scan);
}

static int prepare_find(mvv_state *state)
{
    const mvv_table *t = &state->table;
    char parameter[24];
    mvi_buf sql = {0};
    add_select(&sql, t, NULL);
    if (t->by_rowid) {
        add(&sql, t->rowid);
        add(&sql, " = ?1");
    }
    for (int i = 0, found = 0; !t->by_rowid && i < t->n; i++) {
        if (!t->columns[i].key)
            continue;
        if (found++)
            add(&sql, " AND ");
        add_name(&sql, t->columns[i].name);
        snprintf(parameter, sizeof parameter, " = ?%d", t->columns[i].key);
        add(&sql, parameter);
    }
    return prepare(state, &sql, &state->find);
}

int mvv_state_prepare(mvv_state *state, const mvv_table *model, const char *where)
{
    finalize(state);
    int rc = prepare_scan(state, model, where);
    return rc ? rc : prepare_find(state);
}

/* ---- rows ------------------------------------------------------------------------------------- */

static int is_utf8(const uint8_t *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t c = text[i++];
        int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1;
        if (more < 0 || (size_t)more > n - i)
            return 0;
        if ((c == 0xe0 && text[i] < 0xa0) || (c == 0xed && text[i] > 0x9f) || (c == 0xf0 && text[i] < 0x90) ||
            (c == 0xf4 && text[i] > 0x8f))
            return 0;
        for (; more; more--)
            if ((text[i++] & 0xc0) != 0x80)
                return 0;
    }
    return 1;
}

static void add_hex(mvi_buf *out, const char *name, const void *bytes, size_t n)
{
    add(out, "{");
    mvi_json_key(out, name);
    mvi_json_hex(out, bytes, n);
    add(out, "}");
}

/* The shortest of SQLite's own writings that reads back the same; one that JSON has no word for is
 * written as SQLite's JSON functions do. */
static void add_real(const sqlite3_api_routines *api, mvi_buf *out, double value)
{
    static const char *const formats[] = {"%!.15g", "%!.16g", "%!.17g"};
    char text[64] = "";
    if (value - value != 0) {
        add(out, value > 0 ? "9e999" : "-9e999");
        return;
    }
    for (int i = 0; i < 3 && (i == 0 || strtod(text, NULL) != value); i++)
        api->xsnprintf(sizeof text, text, formats[i], value);
    add(out, text);
}

static void add_value(const sqlite3_api_routines *api, mvi_buf *out, sqlite3_stmt *row, int i)
{
    char digits[24];
    switch (api->column_type(row, i)) {
    case SQLITE_INTEGER:
        snprintf(digits, sizeof digits, "%lld", (long long)api->column_int64(row, i));
        add(out, digits);
        break;
    case SQLITE_FLOAT:
        add_real(api, out, api->column_double(row, i));
        break;
    case SQLITE_NULL:
        add(out, "null");
        break;
    case SQLITE_BLOB: {
        const void *blob = api->column_blob(row, i);
        add_hex(out, "blob", blob, (size_t)api->column_bytes(row, i));
        break;
    }
    default: {
        const char *text = (const char *)api->column_text(row, i);
        size_t n = (size_t)api->column_bytes(row, i);
        if (!text)
            out->failed = 1;
        else if (is_utf8((const uint8_t *)text, n))
            mvi_json_text(out, text, n);
        else
            add_hex(out, "text", text, n);
    }
    }
}

void mvv_row_json(mvv_state *state, sqlite3_stmt *row, int keys, mvi_buf *out)
{
    const mvv_table *t = &state->table;
    add(out, "{");
    if (keys && !t->keys) {
        mvi_json_key(out, "rowid");
        add_value(state->copy->api, out, row, 0);
    }
    for (int i = 0; i < t->n; i++)
        if (!keys || t->columns[i].key) {
            mvi_json_key(out, t->columns[i].name);
            add_value(state->copy->api, out, row, i + 1);
        }
    add(out, "}");
}

int mvv_same_value(mvv_copy *copy, sqlite3_stmt *a, int i, sqlite3_stmt *b, int j)
{
    const sqlite3_api_routines *api = copy->api;
    int type = api->column_type(a, i);
    if (type != api->column_type(b, j))
        return 0;
    if (type == SQLITE_NULL)
        return 1;
    if (type == SQLITE_INTEGER)
        return api->column_int64(a, i) == api->column_int64(b, j);
    if (type == SQLITE_FLOAT) {
        double left = api->column_double(a, i), right = api->column_double(b, j);
        return memcmp(&left, &right, sizeof left) == 0;
    }
    const void *left = type == SQLITE_TEXT ? (const void *)api->column_text(a, i) : api->column_blob(a, i);
    const void *right = type == SQLITE_TEXT ? (const void *)api->column_text(b, j) : api->column_blob(b, j);
    int n = api->column_bytes(a, i);
    return n == api->column_bytes(b, j) && (n == 0 || (left && right && memcmp(left, right, (size_t)n) == 0));
}
