/* mv_changed: the pages a version changed, what they are, and what it did to the rows of their tables. */
#include "table.h"

typedef struct object {
    uint32_t root;
    char *name, *type; /* owned */
    enum { NOT_YET, COUNTED, UNTOLD } known;
    sqlite3_int64 rows[3]; /* added, removed, changed */
} object;

typedef struct cursor {
    mvv_cursor base;
    mvv_past past;
    object *objects; /* owned */
    size_t n_objects;
    mv_place *places; /* released with mv_free */
    size_t n, at;
    uint32_t pages; /* of the database at this version */
    mv_stamp stamp, previous;
    int cut; /* the version before is forgotten */
    mvv_difference difference;
} cursor;

enum { PAGE, KIND, NAME, ADDED, REMOVED, CHANGED };
enum { VERSION, SCHEMA }; /* arguments */

static void changed_reset(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    for (size_t i = 0; i < c->n_objects; i++) {
        free(c->objects[i].name);
        free(c->objects[i].type);
    }
    free(c->objects);
    mv_free(c->places);
    c->objects = NULL;
    c->places = NULL;
    c->n_objects = c->n = c->at = 0;
    mvv_difference_end(&c->difference);
    mvv_state_close(&c->difference.states[0]);
    mvv_state_close(&c->difference.states[1]);
    mvv_past_close(&c->past);
}

/* ---- the b-trees of the version ------------------------------------------------------------- */

static int add_object(cursor *c, uint32_t root, const char *name, const char *type)
{
    object *objects = realloc(c->objects, (c->n_objects + 1) * sizeof *objects);
    if (!objects)
        return SQLITE_NOMEM;
    c->objects = objects;
    objects[c->n_objects] = (object){root, name ? strdup(name) : NULL, type ? strdup(type) : NULL, NOT_YET, {0}};
    c->n_objects++;
    return objects[c->n_objects - 1].name && objects[c->n_objects - 1].type ? SQLITE_OK : SQLITE_NOMEM;
}

static int read_objects(cursor *c, sqlite3 *db)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    sqlite3_stmt *row = NULL;
    int rc = add_object(c, 1, "sqlite_schema", "table");
    if (!rc)
        rc = api->prepare_v2(db, "SELECT rootpage, name, type FROM main.sqlite_master WHERE rootpage", -1, &row, NULL);
    while (!rc && (rc = api->step(row)) == SQLITE_ROW)
        rc = add_object(c, (uint32_t)api->column_int64(row, 0), (const char *)api->column_text(row, 1),
                        (const char *)api->column_text(row, 2));
    if (rc && rc != SQLITE_DONE)
        mv_fail(MV_CORRUPT, "the version's schema cannot be read: %s", api->errmsg(db));
    api->finalize(row);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static object *object_of(const cursor *c, uint32_t root)
{
    for (size_t i = 0; root && i < c->n_objects; i++)
        if (c->objects[i].root == root)
            return &c->objects[i];
    return NULL;
}

/* ---- the pages ------------------------------------------------------------------------------- */

static int read_places(cursor *c, mv_db *before, mv_db *after)
{
    mv_rows *rows = NULL;
    mv_snapshot snapshot;
    uint32_t *roots = malloc(c->n_objects * sizeof *roots);
    if (!roots)
        return mv_fail(MV_NOMEM, "out of memory listing pages");
    for (size_t i = 0; i < c->n_objects; i++)
        roots[i] = c->objects[i].root;
    mv_db_snapshot(after, &snapshot);
    c->pages = snapshot.pages;
    int rc = mv_rows_open(before, after, &rows);
    if (!rc)
        rc = mv_rows_places(rows, 1, roots, c->n_objects, &c->places, &c->n);
    mv_rows_close(rows);
    free(roots);
    return rc;
}

static int read_version(cursor *c)
{
    sqlite3 *db = NULL;
    mvv_file *file;
    mv_db *before = NULL;
    int rc = mvv_past_connect(&c->past, &c->stamp, &db, &file);
    if (!rc)
        rc = read_objects(c, db);
    int code = rc ? (mv_error_code() ? mv_error_code() : MV_IO) : MV_OK;
    if (!rc)
        code = mv_db_open(c->past.store, c->past.name, 0, &before);
    if (!code)
        code = mv_db_pin(before, &c->previous);
    if (!code)
        code = read_places(c, before, file->db);
    if (before)
        mv_db_close(before);
    c->base.copy->api->close(db);
    return code ? mvv_cursor_error(&c->base, code) : SQLITE_OK;
}

static int changed_filter(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    int rc = MV_OK;
    const char *schema = mvv_argument(base, SCHEMA), *version = mvv_argument(base, VERSION);
    mv_error_clear();
    if (!version)
        rc = mv_fail(MV_NOVERSION, "no version is named: %s", base->function->usage);
    if (!rc)
        rc = mvv_past_open(base->copy, base->db, schema ? schema : "main", &c->past);
    if (!rc)
        rc = mvv_past_stamp(&c->past, version, &c->stamp);
    if (!rc)
        rc = mvv_past_previous(&c->past, &c->stamp, &c->previous, &c->cut);
    if (rc)
        return mvv_cursor_error(base, rc);
    rc = read_version(c);
    base->eof = !rc && c->n == 0;
    return rc;
}

static int changed_next(mvv_cursor *base)
{
    cursor *c = (cursor *)base;
    base->eof = ++c->at >= c->n;
    return SQLITE_OK;
}

static const char *kind_of(const cursor *c, const mv_place *place, const object *o)
{
    if (place->pgno > c->pages)
        return "cut off";
    switch (place->use) {
    case MV_USE_BTREE:
        return o ? o->type : "b-tree";
    case MV_USE_OVERFLOW:
        return "overflow";
    case MV_USE_FREE:
        return "free";
    case MV_USE_POINTERS:
        return "pointer map";
    default:
        return NULL;
    }
}

/* ---- the rows of a table, counted when they are first asked for ------------------------------- */

static int count(cursor *c, object *o)
{
    mvv_difference *d = &c->difference;
    int rc = SQLITE_OK;
    for (int s = 0; s < 2 && !rc; s++) {
        rc = mvv_state_go(&d->states[s], &c->past, s ? &c->stamp : &c->previous);
        if (!rc)
            rc = mvv_state_describe(&d->states[s], o->name);
    }
    int told = d->states[1].table.exists && !d->states[1].table.refused && !d->states[0].table.refused && !c->cut;
    if (!rc && told)
        rc = mvv_difference_start(d, NULL, NULL);
    while (!rc && told && (rc = mvv_difference_next(d)) == SQLITE_ROW) {
        o->rows[!d->before ? 0 : !d->after ? 1 : 2]++;
        rc = SQLITE_OK;
    }
    mvv_difference_end(d);
    o->known = told ? COUNTED : UNTOLD;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static void give_count(cursor *c, sqlite3_context *context, object *o, int which)
{
    const sqlite3_api_routines *api = c->base.copy->api;
    int rc = SQLITE_OK;
    if (!o || strcmp(o->type, "table") != 0)
        return;
    if (o->known == NOT_YET)
        rc = count(c, o);
    if (rc) {
        api->result_error(context, mvv_difference_message(&c->difference), -1);
        api->result_error_code(context, rc);
    } else if (o->known == COUNTED) {
        api->result_int64(context, o->rows[which]);
    }
}

static void changed_column(mvv_cursor *base, sqlite3_context *context, int column)
{
    cursor *c = (cursor *)base;
    const sqlite3_api_routines *api = base->copy->api;
    const mv_place *place = &c->places[c->at];
    object *o = object_of(c, place->root);
    if (column >= ADDED) {
        give_count(c, context, o, column - ADDED);
        return;
    }
    const char *text = column == KIND ? kind_of(c, place, o) : o ? o->name : NULL;
    if (column == PAGE)
        api->result_int64(context, place->pgno);
    else if (text)
        api->result_text(context, text, -1, SQLITE_TRANSIENT);
}

const mvv_function mvv_changed_function = {
    .name = "mv_changed",
    .columns = "CREATE TABLE mv_changed(page INTEGER, kind TEXT, name TEXT, added INTEGER, removed INTEGER, "
               "changed INTEGER, version HIDDEN, schema HIDDEN)",
    .usage = "mv_changed(version or moment[, schema])",
    .arguments = 2,
    .least = 1,
    .size = sizeof(cursor),
    .filter = changed_filter,
    .next = changed_next,
    .column = changed_column,
    .reset = changed_reset,
};
