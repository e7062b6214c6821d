/* An ordinary SQLite file becomes a database of the store: copied, checked, then moved aside. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../base/logging.h"
#include "../route/aside.h"
#include "../route/writers.h"
#include "vfs.h"

#define BUSY_MS 2000          /* how long to wait for whoever writes to the file */
#define LOOK_MS 20            /* how often to look meanwhile */
#define HIDDEN ".importing-"  /* how the name of a database begins while it is imported */

typedef struct import {
    const sqlite3_api_routines *api;
    mvv_copy *copy;
    const char *path, *url, *name;
    mv_store *store;
    sqlite3 *source, *target;
    struct stat file;
    char hidden[48];
} import;

/* ---- SQLite -------------------------------------------------------------------- */

static int in_use(import *i)
{
    return mv_fail(MV_BUSY, "%.300s cannot be taken in while another process has it open: stop that first", i->path);
}

static int sqlite_failed(import *i, sqlite3 *db, int rc)
{
    if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED)
        return in_use(i);
    if ((rc & 0xff) == SQLITE_NOTADB)
        return mv_fail(MV_MISUSE, "%.300s is no SQLite database (or an encrypted one): it cannot be taken in", i->path);
    return mv_fail((rc & 0xff) == SQLITE_FULL ? MV_FULL : MV_IO, "cannot take in %.200s: %.200s", i->path,
                   db ? i->api->errmsg(db) : i->api->errstr(rc));
}

/* Runs one statement; its first value, if it has one, is compared with `wanted` (NULL: any). */
static int run(import *i, sqlite3 *db, const char *sql, const char *wanted, int *equal)
{
    sqlite3_stmt *statement = NULL;
    int rc = i->api->prepare_v2(db, sql, -1, &statement, NULL);
    if (!rc)
        rc = i->api->step(statement);
    if (equal)
        *equal = 0;
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)i->api->column_text(statement, 0);
        if (equal)
            *equal = text && strcmp(text, wanted) == 0;
        rc = SQLITE_OK;
    }
    int finalized = i->api->finalize(statement);
    rc = rc == SQLITE_DONE || rc == SQLITE_ROW ? finalized : rc;
    return rc ? sqlite_failed(i, db, rc) : MV_OK;
}

static int open_source(import *i)
{
    static const char *const lock[] = {"PRAGMA locking_mode=EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT"};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE, equal;
    int rc = i->api->open_v2(i->path, &i->source, flags, i->copy->fallback->zName);
    if (rc)
        return sqlite_failed(i, i->source, rc);
    i->api->busy_timeout(i->source, BUSY_MS);
    /* A log is taken into the file first; SQLite refuses while another has the file open. */
    rc = run(i, i->source, "PRAGMA journal_mode=DELETE", "delete", &equal);
    if (!rc && !equal)
        return sqlite_failed(i, i->source, SQLITE_BUSY);
    /* The lock stays, without a transaction: one that writes could not be read by a backup. */
    for (size_t n = 0; n < sizeof lock / sizeof *lock && !rc; n++)
        rc = run(i, i->source, lock[n], NULL, NULL);
    return rc;
}

/* Another process may have taken it in while this one waited for the lock. */
static int still_there(import *i)
{
    struct stat now;
    if (stat(i->path, &now) != 0 || now.st_ino != i->file.st_ino || now.st_dev != i->file.st_dev)
        return mv_fail(MV_BUSY, "%.300s was taken in by another process at the same time: open it again", i->path);
    return MV_OK;
}

/* Who has the file open and is idle holds no lock of SQLite's, and would go on writing to the file that
 * was moved aside. Before this process opens it: the kernel counts writers, whoever they are. */
static int wait_for_writers(import *i)
{
    int rc = MV_OK;
    for (int ms = 0; !rc && mvr_has_writer(i->path); ms += LOOK_MS) {
        if (ms >= BUSY_MS)
            return in_use(i);
        i->copy->fallback->xSleep(i->copy->fallback, LOOK_MS * 1000);
        rc = still_there(i);
    }
    return rc;
}

/* ---- the hidden copy -------------------------------------------------------------- */

static int open_target(import *i)
{
    uint64_t random = 0;
    char uri[4096 + 200];
    i->copy->fallback->xRandomness(i->copy->fallback, sizeof random, (char *)&random);
    snprintf(i->hidden, sizeof i->hidden, HIDDEN "%016llx", (unsigned long long)random);
    int rc = mv_create(i->store, i->hidden);
    if (rc)
        return rc;
    char *escaped = i->api->mprintf("%s", i->url), *out = uri;
    if (!escaped)
        return mv_fail(MV_NOMEM, "out of memory taking in %.300s", i->path);
    out += snprintf(uri, sizeof uri, "file:%s?vfs=" MVV_NAME "&store=", i->hidden);
    for (const char *c = escaped; *c && out < uri + sizeof uri - 4; c++)
        out += snprintf(out, 4, strchr("%&#+?", *c) ? "%%%02X" : "%c", (unsigned char)*c);
    i->api->free(escaped);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_PRIVATECACHE;
    rc = i->api->open_v2(uri, &i->target, flags, NULL);
    return rc ? sqlite_failed(i, i->target, rc) : MV_OK;
}

static int copy_pages(import *i)
{
    sqlite3_backup *backup = i->api->backup_init(i->target, "main", i->source, "main");
    int rc = backup ? i->api->backup_step(backup, -1) : i->api->errcode(i->target);
    int finished = backup ? i->api->backup_finish(backup) : SQLITE_OK;
    if (rc == SQLITE_DONE)
        rc = finished;
    return rc ? sqlite_failed(i, i->target, rc) : MV_OK;
}

/* In one commit, under a lock that keeps others from taking the hidden database for abandoned. */
static int copy_in(import *i)
{
    int sound;
    int rc = open_target(i);
    if (!rc)
        rc = run(i, i->target, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL);
    if (!rc)
        rc = run(i, i->target, "SELECT mv_message('taken in from a file')", NULL, NULL);
    if (!rc)
        rc = copy_pages(i);
    if (!rc)
        rc = run(i, i->target, "PRAGMA quick_check(1)", "ok", &sound);
    if (!rc && !sound)
        rc = mv_fail(MV_CORRUPT, "%.300s is damaged (PRAGMA quick_check): repair it first, with the sqlite3 shell's .recover",
                     i->path);
    return rc;
}

/* ---- the name ---------------------------------------------------------------------- */

#define CHUNK 65536
#define COUNTER 24 /* page 1 differs in what SQLite counts there, and in its own number */

static void blank_counters(uint8_t *page1, size_t n)
{
    if (n >= 100) {
        memset(page1 + COUNTER, 0, 4);
        memset(page1 + 92, 0, 8);
    }
}

static int same_bytes(mv_db *a, mv_db *b, int *same)
{
    uint8_t *left = malloc(CHUNK), *right = malloc(CHUNK);
    int rc = left && right ? MV_OK : mv_fail(MV_NOMEM, "out of memory comparing two databases");
    *same = !rc && mv_db_size(a) == mv_db_size(b);
    for (uint64_t at = 0; !rc && *same && at < mv_db_size(a); at += CHUNK) {
        size_t got = 0, other = 0;
        rc = mv_db_read_bytes(a, at, left, CHUNK, &got);
        if (!rc)
            rc = mv_db_read_bytes(b, at, right, CHUNK, &other);
        if (at == 0 && !rc) {
            blank_counters(left, got);
            blank_counters(right, other);
        }
        *same = !rc && got == other && memcmp(left, right, got) == 0;
    }
    free(left);
    free(right);
    return rc;
}

static int open_newest(import *i, const char *name, mv_db **db)
{
    int stale;
    int rc = mv_db_open(i->store, name, 0, db);
    return rc ? rc : mv_db_begin(*db, &stale);
}

/* The store has that name already: right if a crash came between the copy and the moving aside. */
static int adopt(import *i)
{
    mv_db *mine = NULL, *theirs = NULL;
    int same = 0;
    int rc = open_newest(i, i->hidden, &mine);
    if (!rc)
        rc = open_newest(i, i->name, &theirs);
    if (!rc)
        rc = same_bytes(mine, theirs, &same);
    mv_db_close(mine);
    mv_db_close(theirs);
    if (!rc && !same)
        rc = mv_fail(MV_EXISTS,
                     "%.200s cannot be taken in as \"%.100s\": the store has a database of that name with other contents; "
                     "import it under another name with mvsqlite import, and move the file away",
                     i->path, i->name);
    return rc;
}

static int give_name(import *i)
{
    int rc = mv_rename(i->store, i->hidden, i->name);
    if (rc == MV_EXISTS)
        return adopt(i);
    if (!rc)
        i->hidden[0] = 0;
    return rc;
}

static int find_hidden(void *ctx, const mv_info *info)
{
    import *i = ctx;
    if (strcmp(info->name, i->hidden) != 0)
        return 0;
    mv_discard(i->store, info->id);
    return 1;
}

/* ---- the file ------------------------------------------------------------------------ */

static int move_aside(import *i)
{
    char aside[1200];
    int error = mvr_move_aside(i->path, i->path, aside, sizeof aside);
    if (error)
        return mv_fail(MV_IO, "%.300s was taken in as \"%.100s\" but cannot be moved aside: %s", i->path, i->name,
                       strerror(error));
    mvi_log(MVI_LOG_INFO, "%s was taken in as \"%s\"; the file itself is kept as %s", i->path, i->name, aside);
    return MV_OK;
}

static int take_in(import *i)
{
    int rc = wait_for_writers(i);
    if (!rc)
        rc = open_source(i);
    if (!rc)
        rc = still_there(i);
    if (!rc)
        rc = mv_store_open(i->url, &i->store);
    if (!rc)
        rc = copy_in(i);
    if (!rc)
        rc = give_name(i);
    if (!rc)
        rc = move_aside(i); /* still locked, so that nothing is written to it in between */
    return rc;
}

int mvv_import(mvv_copy *copy, const char *path, const char *url, const char *name)
{
    import i = {.api = copy->api, .copy = copy, .path = path, .url = url, .name = name};
    if (stat(path, &i.file) != 0)
        return mv_fail(MV_IO, "cannot look at %.300s: %s", path, strerror(errno));
    int rc = take_in(&i);
    char kept[600];
    snprintf(kept, sizeof kept, "%s", mv_error_text());
    i.api->close(i.source);
    i.api->close(i.target);
    if (i.store && i.hidden[0])
        mv_list(i.store, find_hidden, &i);
    mv_store_close(i.store);
    return rc ? mv_fail(rc, "%s", kept) : MV_OK;
}
