/* Pragmas: time travel, and settings that mean nothing here but must be answered. */
#include <stdio.h>
#include <strings.h>

#include "vfs.h"

/* SQLITE_FCNTL_PRAGMA: args[1] name, args[2] value or NULL, args[0] answer. */

static int answer(mvv_file *f, char **args, const char *text)
{
    args[0] = f->copy->api->mprintf("%s", text);
    return args[0] ? SQLITE_OK : SQLITE_NOMEM;
}

/* What was asked wrongly is an SQL error; a failure below keeps its own code. */
static int refuse(mvv_file *f, char **args, int code)
{
    int asked = code == MV_MISUSE || code == MV_TIME || code == MV_NOVERSION;
    args[0] = f->copy->api->mprintf("%s", mv_error_text());
    return asked ? SQLITE_ERROR : mv_error_sqlite(code);
}

/* This VFS keeps no journal that could have a mode. The setting is remembered and
 * told; inside, SQLite stays in DELETE mode, the one that makes commits over several
 * databases atomic. DELETE itself is SQLite's to answer: it names the column rightly,
 * which no VFS can. */
static int journal_mode(mvv_file *f, char **args)
{
    static const char *const modes[] = {"delete", "truncate", "persist", "memory", "wal", "off"};
    for (size_t i = 0; args[2] && i < sizeof modes / sizeof *modes; i++)
        if (strcasecmp(args[2], modes[i]) == 0)
            snprintf(f->journal_mode, sizeof f->journal_mode, "%s", modes[i]);
    if (!*f->journal_mode || strcmp(f->journal_mode, "delete") == 0)
        return SQLITE_NOTFOUND;
    return answer(f, args, f->journal_mode);
}

/* As SQLite reads it (pragma.c, getSafetyLevel). */
static int means_off(const char *value)
{
    if (*value >= '0' && *value <= '9') {
        long level = strtol(value, NULL, 10);
        return (((uint8_t)(level > INT32_MAX ? 0 : level) + 1) & 7) <= 1;
    }
    return strcasecmp(value, "off") == 0 || strcasecmp(value, "no") == 0 || strcasecmp(value, "false") == 0;
}

/* OFF would silence the super-journal: SQLite gets to read ON instead. It is SQLite that
 * goes on with the statement in any case, for a setting that a VFS answers has a column,
 * without a name, and Python's sqlite3 takes that for a lack of memory. */
static int synchronous(mvv_file *f, char **args)
{
    char *value = args[2];
    if (!value)
        return f->synchronous_off ? answer(f, args, "0") : SQLITE_NOTFOUND;
    if (f->connection && !f->copy->api->get_autocommit(*f->connection))
        return SQLITE_NOTFOUND; /* SQLite refuses it inside a transaction */
    f->synchronous_off = means_off(value);
    if (f->synchronous_off)
        strcpy(value, *value >= '0' && *value <= '9' ? "1" : "on"); /* never longer than what stood there */
    return SQLITE_NOTFOUND;
}

/* Without a schema SQLite means all databases of the connection, those attached later too,
 * but tells only the main one, and not whether it was named: a lock too many does no harm,
 * a database that goes stale under an exclusive session would. */
static int locking_mode(mvv_file *f, const char *value)
{
    int exclusive = value && strcasecmp(value, "exclusive") == 0;
    if (!exclusive && !(value && strcasecmp(value, "normal") == 0))
        return SQLITE_NOTFOUND;
    f->exclusive = exclusive;
    mvv_connection *c = f->connection ? mvv_connection_find(f->copy, *f->connection) : NULL;
    if (c && mvv_file_of(f->copy, *f->connection, "main") == f) {
        c->exclusive = exclusive;
        f->copy->exclusive_seen |= exclusive;
    }
    return SQLITE_NOTFOUND; /* SQLite does the rest */
}

/* Nothing is mapped: the size is remembered and told. */
void mvv_mmap_size(mvv_file *f, sqlite3_int64 *size)
{
    sqlite3_int64 before = f->mmap_size;
    if (*size >= 0)
        f->mmap_size = *size;
    *size = before;
}

/* SQLite asks for the size afterwards, and gives the answer. A negative one means the default. */
static int mmap_size(mvv_file *f, const char *value)
{
    if (value) {
        sqlite3_int64 size = strtoll(value, NULL, strncasecmp(value, "0x", 2) == 0 ? 16 : 10);
        if (size < 0)
            size = 0;
        mvv_mmap_size(f, &size);
    }
    return SQLITE_NOTFOUND;
}

static int tell_version(mvv_file *f, char **args)
{
    mv_snapshot snapshot;
    char text[MV_STAMP_TEXT];
    mv_db_snapshot(f->db, &snapshot);
    return answer(f, args, mv_stamp_text(&snapshot.stamp, text));
}

/* PRAGMA mv_pinned: the version the connection is kept at; empty where it follows the present. */
static int tell_pin(mvv_file *f, char **args)
{
    mv_snapshot snapshot;
    mv_db_snapshot(f->db, &snapshot);
    return snapshot.pinned ? tell_version(f, args) : answer(f, args, "");
}

/* PRAGMA mv_at = 'moment', PRAGMA mv_version = 'hex': the connection reads that state
 * until PRAGMA mv_at = 'now'. The answer is the version it reads. */
static int travel(mvv_file *f, char **args, int by_version)
{
    const char *to = args[2];
    int rc = MV_OK;
    if (!to)
        return tell_version(f, args);
    if (f->level != SQLITE_LOCK_NONE)
        rc = mv_fail(MV_MISUSE, "PRAGMA %s inside a transaction: commit or roll back first", args[1]);
    else if (strcasecmp(to, "now") == 0 || *to == 0)
        rc = mv_db_unpin(f->db);
    else
        rc = mvv_pin(f, by_version ? NULL : to, by_version ? to : NULL);
    if (rc)
        return refuse(f, args, rc);
    f->counter++; /* what SQLite holds is of another version */
    return tell_version(f, args);
}

int mvv_pragma(mvv_file *f, char **args)
{
    const char *name = args[1];
    if (strcasecmp(name, "journal_mode") == 0)
        return journal_mode(f, args);
    if (strcasecmp(name, "synchronous") == 0)
        return synchronous(f, args);
    if (strcasecmp(name, "locking_mode") == 0)
        return locking_mode(f, args[2]);
    if (strcasecmp(name, "mmap_size") == 0)
        return mmap_size(f, args[2]);
    if (strcasecmp(name, "mv_at") == 0)
        return travel(f, args, 0);
    if (strcasecmp(name, "mv_version") == 0)
        return travel(f, args, 1);
    if (strcasecmp(name, "mv_pinned") == 0)
        return tell_pin(f, args);
    if (strcasecmp(name, "data_version") == 0)
        f->strict = 1; /* from now on every commit of others counts, not only those that matter */
    return SQLITE_NOTFOUND;
}
