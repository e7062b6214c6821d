/* Statements that lose a race run again, where the step is under our control (preload). */
#include <time.h>

#include "vfs.h"

#define TRIES 100 /* at most, where a busy handler of the application's decides and no timeout is known */

/* What happened in this thread's step: `copy` NULL: nothing. */
typedef struct refusal {
    mvv_copy *copy;
    sqlite3 *db;
    int at_commit;
    int (*busy)(void *);
    void *busy_arg;
} refusal;

static _Thread_local refusal refused;

void mvv_retry_note(mvv_file *f, int at_commit)
{
    refused = (refusal){f->copy, f->connection ? *f->connection : NULL, at_commit, f->busy, f->busy_arg};
}

void mvv_retry_forget(void)
{
    refused.copy = NULL;
}

static int is_alone(const sqlite3_api_routines *api, sqlite3 *db, const sqlite3_stmt *statement)
{
    int alone = 1;
    for (sqlite3_stmt *s = api->next_stmt(db, NULL); s && alone; s = api->next_stmt(db, s))
        alone = s == statement || !api->stmt_busy(s);
    return alone;
}

/* In autocommit, with nothing told to the caller: no rows (those of RETURNING come before the
 * commit), and no other statement reads at the old snapshot, which would make it lose for ever.
 * COMMIT changes nothing itself, so it is not run again. */
static int may_run_again(const refusal *r, sqlite3_stmt *statement)
{
    const sqlite3_api_routines *api = r->copy->api;
    return r->db && api->db_handle(statement) == r->db && r->busy && api->get_autocommit(r->db) &&
           !api->stmt_readonly(statement) && !(r->at_commit && api->column_count(statement)) &&
           is_alone(api, r->db, statement);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* In milliseconds; 0: a handler of the application's decides. */
static uint64_t busy_timeout(const sqlite3_api_routines *api, sqlite3 *db)
{
    sqlite3_stmt *statement = NULL;
    int ms = 0;
    if (api->prepare_v2(db, "PRAGMA busy_timeout", -1, &statement, NULL) == SQLITE_OK &&
        api->step(statement) == SQLITE_ROW)
        ms = api->column_int(statement, 0);
    api->finalize(statement);
    return ms > 0 ? (uint64_t)ms : 0;
}

/* The application's own handler, or SQLite's, which sleeps; 0: there is none, or it gives up. */
static int wait_a_little(const refusal *r)
{
    const sqlite3_api_routines *api = r->copy->api;
    sqlite3_mutex *mutex = api->db_mutex(r->db);
    api->mutex_enter(mutex);
    int again = r->busy(r->busy_arg);
    api->mutex_leave(mutex);
    return again;
}

int mvv_step_again(sqlite3_stmt *statement, int rc, int (*step)(sqlite3_stmt *statement))
{
    uint64_t began = now_ms(), timeout = 0;
    for (int tries = 0;; tries++) {
        refusal r = refused;
        mvv_retry_forget();
        if (!r.copy || !may_run_again(&r, statement))
            return rc;
        if (tries && (timeout ? now_ms() - began >= timeout : tries >= TRIES))
            return rc;
        if (!wait_a_little(&r)) /* the error stays the connection's, as the caller wants it */
            return rc;
        r.copy->api->reset(statement);
        if (!tries)
            timeout = busy_timeout(r.copy->api, r.db);
        mvv_retry_forget();
        rc = step(statement);
        if (rc == SQLITE_ROW || rc == SQLITE_DONE)
            return rc;
    }
}
