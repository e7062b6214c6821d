/* The text of a transaction's writing statements, for its commit record: which of it is kept. */
#include <stdio.h>
#include <time.h>

#include "../base/settings.h"
#include "vfs.h"

#define TEXT_LIMIT 4000      /* bytes kept of one transaction's statements */
#define STATEMENT_LIMIT 1000 /* of one statement */
#define EXPANDED_LIMIT 16384 /* of one with its values, while it is made: the rest would be cut anyway */
#define POLICY_MS 10000      /* so long a process may go on with a database's setting that was changed */

/* ---- collecting ------------------------------------------------------------------ */

static void end_repetition(mvv_texts *t)
{
    char note[32];
    if (t->repeated > 1) {
        snprintf(note, sizeof note, " /* %u times */", t->repeated);
        mvi_buf_add(&t->text, note, strlen(note));
    }
    t->repeated = 0;
}

static void forget(mvv_texts *t)
{
    t->text.size = 0;
    t->last_size = 0;
    t->repeated = 0;
}

static void add(mvv_texts *t, const char *sql)
{
    size_t n = strlen(sql);
    while (n && (sql[n - 1] == ';' || sql[n - 1] == ' ' || sql[n - 1] == '\n'))
        n--;
    if (n > STATEMENT_LIMIT)
        n = STATEMENT_LIMIT;
    while (n && ((uint8_t)sql[n] & 0xc0) == 0x80)
        n--; /* not in the middle of a character */
    if (t->last_size == n && n && memcmp(t->text.data + t->last, sql, n) == 0) {
        t->repeated++;
        return;
    }
    end_repetition(t);
    if (n == 0 || t->text.size + n > TEXT_LIMIT)
        return;
    if (t->text.size)
        mvi_buf_add(&t->text, ";\n", 2);
    t->last = t->text.size;
    mvi_buf_add(&t->text, sql, n);
    t->last_size = t->text.failed ? 0 : n;
    t->repeated = 1;
}

/* Values that are longer than would be kept are not written out at all: a limit on the length of
 * what SQLite makes lets it give up, and the statement's own text stands for it. */
static void add_values(mvv_connection *c, sqlite3_stmt *statement, const char *sql)
{
    const sqlite3_api_routines *api = c->copy->api;
    int limit = api->limit(c->db, SQLITE_LIMIT_LENGTH, EXPANDED_LIMIT);
    char *expanded = api->expanded_sql(statement);
    api->limit(c->db, SQLITE_LIMIT_LENGTH, limit);
    add(&c->values, expanded ? expanded : sql);
    api->free(expanded);
}

int mvv_on_statement(unsigned event, void *ctx, void *statement, void *text)
{
    mvv_connection *c = ctx;
    const sqlite3_api_routines *api = c->copy->api;
    const char *sql = text;
    if (event != SQLITE_TRACE_STMT || (sql && sql[0] == '-' && sql[1] == '-'))
        return 0; /* a trigger's inner statement */
    if (api->get_autocommit(c->db))
        mvv_statements_forget(c);
    if (api->stmt_readonly(statement) || (sql = api->sql(statement)) == NULL)
        return 0;
    add(&c->plain, sql);
    if (c->copy->values_seen)
        add_values(c, statement, sql);
    else
        c->without_values = 1;
    return 0;
}

void mvv_statements_forget(mvv_connection *c)
{
    forget(&c->plain);
    forget(&c->values);
    c->without_values = 0;
}

/* ---- what is kept ---------------------------------------------------------------- */

/* -1: nothing was said. */
static int read_mode(const char *where, const char *text, int *mode)
{
    static const char *const names[] = {"text", "off", "values"}; /* in the order of mv_statement_mode */
    *mode = -1;
    if (!text || !*text)
        return MV_OK;
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0)
            *mode = i;
    if (strcmp(text, "on") == 0)
        *mode = MV_STATEMENTS_TEXT;
    return *mode >= 0 ? MV_OK : mv_fail(MV_MISUSE, "%s%.40s is not known: write text, values or off", where, text);
}

/* How much a mode records. */
static int rank(int mode)
{
    return mode == MV_STATEMENTS_OFF ? 0 : mode == MV_STATEMENTS_TEXT ? 1 : 2;
}

static int lesser(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : rank(a) < rank(b) ? a : b;
}

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int read_policy(mvv_file *f)
{
    mv_policy policy;
    int rc = mv_db_policy(f->db, &policy);
    if (rc)
        return rc;
    f->policy_ms = monotonic_ms();
    /* TEXT is what a database says that was told nothing */
    int said = policy.statements == MV_STATEMENTS_TEXT ? -1 : policy.statements;
    int mode = lesser(f->asked_statements, said);
    f->statements = mode < 0 ? MV_STATEMENTS_TEXT : mode;
    if (f->statements == MV_STATEMENTS_VALUES)
        f->copy->values_seen = 1;
    return MV_OK;
}

int mvv_statements_open(mvv_file *f, const char *uri)
{
    int environment, parameter;
    int rc = read_mode("MVSQLITE_STATEMENTS=", mvi_setting("MVSQLITE_STATEMENTS"), &environment);
    if (!rc)
        rc = read_mode("statements=", uri, &parameter);
    if (rc)
        return rc;
    f->asked_statements = lesser(environment, parameter);
    return read_policy(f);
}

static const char *text_of(mvv_texts *t)
{
    end_repetition(t);
    if (!t->text.size)
        return NULL;
    mvi_buf_byte(&t->text, 0);
    t->last_size = 0;
    if (t->text.failed)
        return NULL;
    t->text.size--;
    return (const char *)t->text.data;
}

const char *mvv_statements(mvv_file *f, mvv_connection *c)
{
    uint64_t now = monotonic_ms();
    if (now - f->policy_ms > POLICY_MS && f->asked_statements != MV_STATEMENTS_OFF)
        (void)read_policy(f); /* if that fails, so will the commit, and says so */
    if (f->statements == MV_STATEMENTS_OFF)
        return NULL;
    return text_of(f->statements == MV_STATEMENTS_VALUES && !c->without_values ? &c->values : &c->plain);
}
