/* What all table-valued functions share: a virtual table whose hidden columns are the arguments. */
#include <stdio.h>

#include "table.h"

typedef struct binding {
    mvv_copy *copy;
    const mvv_function *function;
} binding;

typedef struct vtab {
    sqlite3_vtab base;
    const binding *of;
    sqlite3 *db;
    int columns; /* before the hidden ones */
} vtab;

/* Which constraints a plan uses: bits of idxNum. The first are of the arguments. */
enum { EQUAL = 1 << 8, ABOVE = 1 << 9, FROM = 1 << 10, BELOW = 1 << 11, UPTO = 1 << 12 };

static const mvv_function *const functions[] = {
    &mvv_log_function,
    &mvv_changed_function,
    &mvv_diff_function,
    &mvv_history_function,
};
#define FUNCTIONS (sizeof functions / sizeof *functions)

/* ---- errors and arguments ------------------------------------------------------------- */

const char *mvv_argument(mvv_cursor *c, int i)
{
    sqlite3_value *value = c->arguments[i];
    return value ? (const char *)c->copy->api->value_text(value) : NULL;
}

int mvv_cursor_fail(mvv_cursor *c, int code, const char *format, ...)
{
    const sqlite3_api_routines *api = c->copy->api;
    va_list ap;
    va_start(ap, format);
    char *text = api->vmprintf(format, ap);
    va_end(ap);
    api->free(c->base.pVtab->zErrMsg);
    c->base.pVtab->zErrMsg = api->mprintf("%s: %s", c->function->name, text ? text : "out of memory");
    api->free(text);
    return code;
}

int mvv_sql_code(int code)
{
    int asked = code == MV_MISUSE || code == MV_TIME || code == MV_NOVERSION;
    return asked ? SQLITE_ERROR : mv_error_sqlite(code);
}

int mvv_cursor_error(mvv_cursor *c, int code)
{
    return mvv_cursor_fail(c, mvv_sql_code(code), "%s", mv_error_text());
}

/* ---- the virtual table ----------------------------------------------------------------- */

static int table_connect(sqlite3 *db, void *client, int n, const char *const *words, sqlite3_vtab **out, char **message)
{
    const binding *of = client;
    (void)n, (void)words, (void)message;
    int rc = of->copy->api->declare_vtab(db, of->function->columns);
    if (rc)
        return rc;
    vtab *table = calloc(1, sizeof *table);
    if (!table)
        return SQLITE_NOMEM;
    table->of = of;
    table->db = db;
    table->columns = 1;
    for (const char *p = of->function->columns; (p = strchr(p, ',')) != NULL; p++)
        table->columns++;
    table->columns -= of->function->arguments;
    *out = &table->base;
    return SQLITE_OK;
}

static int table_disconnect(sqlite3_vtab *base)
{
    free(base);
    return SQLITE_OK;
}

static int bound(unsigned char op)
{
    switch (op) {
    case SQLITE_INDEX_CONSTRAINT_EQ:
        return EQUAL;
    case SQLITE_INDEX_CONSTRAINT_GT:
        return ABOVE;
    case SQLITE_INDEX_CONSTRAINT_GE:
        return FROM;
    case SQLITE_INDEX_CONSTRAINT_LT:
        return BELOW;
    case SQLITE_INDEX_CONSTRAINT_LE:
        return UPTO;
    default:
        return 0;
    }
}

/* The bit of a constraint; 0: of no use. *missing: an argument that this plan cannot have. */
static int use_of(const vtab *table, const struct sqlite3_index_constraint *c, int *missing)
{
    int argument = c->iColumn - table->columns;
    if (argument >= 0 && c->op == SQLITE_INDEX_CONSTRAINT_EQ) {
        *missing |= !c->usable;
        return c->usable ? 1 << argument : 0;
    }
    return table->of->function->by_version && c->iColumn == 0 && c->usable ? bound(c->op) : 0;
}

static int table_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    const vtab *table = (vtab *)base;
    int places[16] = {0}, missing = 0, next = 1;
    info->idxNum = 0;
    for (int i = 0; i < info->nConstraint; i++) {
        int use = use_of(table, &info->aConstraint[i], &missing);
        if (!use || info->idxNum & use)
            continue;
        info->idxNum |= use;
        places[__builtin_ctz((unsigned)use)] = i + 1;
    }
    if (missing)
        return SQLITE_CONSTRAINT;
    for (int bit = 0; bit < 16; bit++) {
        if (!places[bit])
            continue;
        info->aConstraintUsage[places[bit] - 1].argvIndex = next++;
        info->aConstraintUsage[places[bit] - 1].omit = bit < 8; /* a bound may be no version */
    }
    info->estimatedCost = info->idxNum & EQUAL ? 10 : info->idxNum >= EQUAL ? 1000 : 100000;
    info->estimatedRows = info->idxNum & EQUAL ? 1 : 1000;
    info->orderByConsumed = table->of->function->by_version && info->nOrderBy == 1 && info->aOrderBy[0].iColumn == 0 &&
                            info->aOrderBy[0].desc;
    return SQLITE_OK;
}

static int table_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out)
{
    const vtab *table = (vtab *)base;
    mvv_cursor *c = calloc(1, table->of->function->size);
    if (!c)
        return SQLITE_NOMEM;
    c->function = table->of->function;
    c->copy = table->of->copy;
    c->db = table->db;
    *out = &c->base;
    return SQLITE_OK;
}

static void reset(mvv_cursor *c)
{
    c->function->reset(c);
    for (int i = 0; i < MVV_ARGUMENTS; i++) {
        c->copy->api->value_free(c->arguments[i]);
        c->arguments[i] = NULL;
    }
}

static int table_close(sqlite3_vtab_cursor *base)
{
    reset((mvv_cursor *)base);
    free(base);
    return SQLITE_OK;
}

static int is_less(const mv_stamp *a, const mv_stamp *b)
{
    return memcmp(a->bytes, b->bytes, MV_STAMP_SIZE) < 0;
}

/* The stamp just before; zero stays. */
static mv_stamp before(mv_stamp stamp)
{
    const mv_stamp zero = {{0}};
    for (int i = MV_STAMP_SIZE - 1; is_less(&zero, &stamp) && i >= 0 && stamp.bytes[i]-- == 0; i--)
        ;
    return stamp;
}

/* A bound that is no version is left to SQLite, which looks at every row again. */
static void narrow(mvv_cursor *c, int use, sqlite3_value *value)
{
    mv_stamp stamp;
    const char *text = (const char *)c->copy->api->value_text(value);
    if (!text || mvv_read_stamp(text, &stamp))
        return;
    mv_stamp least = use & (EQUAL | FROM) ? before(stamp) : stamp, most = use & BELOW ? before(stamp) : stamp;
    if (use & (EQUAL | FROM | ABOVE) && is_less(&c->after, &least))
        c->after = least;
    if (use & (EQUAL | UPTO | BELOW) && is_less(&most, &c->until))
        c->until = most;
}

static int table_filter(sqlite3_vtab_cursor *base, int plan, const char *text, int n, sqlite3_value **values)
{
    mvv_cursor *c = (mvv_cursor *)base;
    int next = 0, given = 0;
    (void)text;
    reset(c);
    c->eof = 0;
    c->rowid = 1;
    memset(c->after.bytes, 0, MV_STAMP_SIZE);
    memset(c->until.bytes, 0xff, MV_STAMP_SIZE);
    for (int bit = 0; bit < 16 && next < n; bit++) {
        if (!(plan & 1 << bit))
            continue;
        if (bit >= 8)
            narrow(c, 1 << bit, values[next]);
        else if (!(c->arguments[bit] = c->copy->api->value_dup(values[next])))
            return SQLITE_NOMEM;
        given |= bit < 8 ? 1 << bit : 0;
        next++;
    }
    for (int i = 0; i < c->function->least; i++)
        if (!(given & 1 << i))
            return mvv_cursor_fail(c, SQLITE_ERROR, "too few arguments: %s", c->function->usage);
    return c->function->filter(c);
}

static int table_next(sqlite3_vtab_cursor *base)
{
    mvv_cursor *c = (mvv_cursor *)base;
    c->rowid++;
    return c->function->next(c);
}

static int table_eof(sqlite3_vtab_cursor *base)
{
    return ((mvv_cursor *)base)->eof;
}

static int table_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    mvv_cursor *c = (mvv_cursor *)base;
    int argument = column - ((vtab *)base->pVtab)->columns;
    if (argument < 0)
        c->function->column(c, context, column);
    else if (c->arguments[argument])
        c->copy->api->result_value(context, c->arguments[argument]);
    return SQLITE_OK;
}

static int table_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid)
{
    *rowid = ((mvv_cursor *)base)->rowid;
    return SQLITE_OK;
}

static const sqlite3_module module = {
    .iVersion = 0,
    .xConnect = table_connect, /* no xCreate: it is there without being created, and cannot be */
    .xBestIndex = table_best_index,
    .xDisconnect = table_disconnect,
    .xOpen = table_open,
    .xClose = table_close,
    .xFilter = table_filter,
    .xNext = table_next,
    .xEof = table_eof,
    .xColumn = table_column,
    .xRowid = table_rowid,
};

int mvv_create_tables(mvv_copy *copy, sqlite3 *db)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < FUNCTIONS && !rc; i++) {
        binding *of = malloc(sizeof *of);
        if (!of)
            return SQLITE_NOMEM;
        *of = (binding){copy, functions[i]};
        rc = copy->api->create_module_v2(db, functions[i]->name, &module, of, free); /* frees it if it fails, too */
    }
    return rc ? rc : mvv_create_moments(copy, db);
}
