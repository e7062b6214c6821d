/* The SQLite VFS "mvsqlite": a database file is a database of a store.
 *
 *   file:NAME?vfs=mvsqlite[&store=URL][&at=MOMENT | &version=20 HEX][&statements=off|text|values]
 *       [&concurrency=host|optimistic|lease[&lease=DURATION]][&max_staleness=DURATION]
 *
 * A process may hold several copies of SQLite (the standard library's, apsw's own).
 * Each is met through its own API pointers, kept in an mvv_copy; nothing here calls
 * sqlite3_* directly. Loading the shared library as an extension into a connection
 * registers the VFS in that connection's copy, for the life of the process; and, where
 * MVSQLITE_MAP names routes (route/map.h), the router as its default VFS, so that a program
 * opens its own paths and gets databases of the store. */
#ifndef MV_VFS_H
#define MV_VFS_H

#include <pthread.h>
#include <sqlite3ext.h>
#include <stdatomic.h>

#include "../base/bytes.h"
#include "../store/mvstore.h"

#define MVV_NAME "mvsqlite"
#define MVV_ROUTER_NAME "mvsqlite-router"

/* A file control of our own: hands out the mvv_file, also through a VFS that wraps this one. */
#define MVV_FCNTL_FILE 0x6d767371

/* At most so many copies of SQLite in one process. */
#define MVV_COPIES 4

typedef struct mvv_copy mvv_copy;
typedef struct mvv_file mvv_file;
typedef struct mvv_connection mvv_connection;
typedef struct mvv_super mvv_super;
typedef struct mvv_place mvv_place;

/* One copy of SQLite in this process. Never freed: SQLite keeps the VFS. */
struct mvv_copy {
    int index;
    const sqlite3_api_routines *api;
    sqlite3_vfs vfs;
    sqlite3_vfs *fallback; /* the copy's own default: clocks, randomness, files that are not routed */
    sqlite3_vfs router;    /* zName NULL: not registered */
    pthread_mutex_t lock;  /* guards: connections, supers, places */
    mvv_place *places;
    mvv_connection *connections;
    mvv_super *supers;
    atomic_int values_seen;    /* some database records bound values: connections note them */
    atomic_int exclusive_seen; /* some connection was told locking_mode=EXCLUSIVE for all it has */
};

/* Texts of statements, one after the other. */
typedef struct mvv_texts {
    mvi_buf text;
    size_t last, last_size; /* where the last one begins, and its size */
    unsigned repeated;      /* how often it came in a row */
} mvv_texts;

/* What a connection says about its next commit. */
struct mvv_connection {
    mvv_connection *next;
    mvv_copy *copy;
    sqlite3 *db;
    int exclusive;          /* PRAGMA locking_mode=EXCLUSIVE, of its main database: means all */
    char *message;          /* owned */
    mvv_texts plain, values; /* the writing statements of this transaction, without bound values and with */
    int without_values;      /* `values` is not all of them */
};

/* An open main database. */
struct mvv_file {
    sqlite3_file base;
    mvv_copy *copy;
    mv_store *store; /* owned */
    mv_db *db;       /* owned */
    sqlite3 **connection; /* SQLite's, told by SQLITE_FCNTL_PDB; may be NULL */
    int level;            /* SQLITE_LOCK_... */
    int exclusive;        /* PRAGMA locking_mode=EXCLUSIVE */
    int strict;           /* PRAGMA data_version was asked for: every foreign commit counts */
    int asked_statements; /* what environment and URI want recorded: mv_statement_mode; -1: nothing said */
    int statements;       /* the same, with what the database says */
    uint64_t policy_ms;   /* when that was read */
    uint64_t newer;       /* foreign commits when `strict` last looked */
    uint32_t counter;     /* the change counter this connection sees */
    uint32_t wrote_counter, wrote_pages, wrote_page_size; /* of the last page 1 written; 0: none */
    int wrote_wal;        /* it said "WAL" */
    char journal_mode[12]; /* as the application set it; "" if it did not */
    int synchronous_off;
    sqlite3_int64 mmap_size; /* these three: as the application set them, and without effect */
    int persist_wal, powersafe_overwrite;
    mvv_super *super;      /* waits for this super-journal's end; file: its next member */
    mvv_file *super_next;
    mvv_place *place;      /* the routed path it was opened by; NULL: opened by its name */
    int (*busy)(void *);   /* the connection's busy handler; NULL: not told yet */
    void *busy_arg;
};

/* ---- vfs.c ---------------------------------------------------------------- */
/* The copy behind an API, registered if it is new. SQLite code. */
int mvv_register(const sqlite3_api_routines *api, mvv_copy **copy);
mvv_copy *mvv_copy_at(int index);
/* Registers the VFS under one more name in every copy that has it. SQLite code. */
MV_API int mv_vfs_alias(const char *name);
/* Reports the thread's message to SQLite's error log; returns the SQLite code. */
int mvv_error(mvv_copy *copy, int code);

/* ---- file.c --------------------------------------------------------------- */
extern const sqlite3_io_methods mvv_file_methods;
/* `name` bears the URI parameters, `database` is the database's name. SQLite code. */
int mvv_file_open(mvv_copy *copy, const char *name, const char *database, mvv_file *file, int flags, int *out_flags);
/* The store that URI parameters, the environment or the default name: `room` bytes. mv_code. */
int mvv_store_url(mvv_copy *copy, const char *name, char *url, size_t room);
/* Takes the newest snapshot; tells SQLite's cache by the change counter. */
int mvv_file_refresh(mvv_file *file);
/* Pins to a moment, or to a version written as 20 hexadecimal digits. mv_code. */
int mvv_pin(mvv_file *file, const char *moment, const char *version);
/* A version's 20 hexadecimal digits; MV_NOVERSION: they are none. */
int mvv_read_stamp(const char *hex, mv_stamp *stamp);
/* The file behind a schema of a connection, NULL if it is not ours. */
mvv_file *mvv_file_of(mvv_copy *copy, sqlite3 *db, const char *schema);
/* After a commit, and after its failure with an SQLite code. */
void mvv_file_committed(mvv_file *file);
void mvv_file_refused(mvv_file *file, int rc);
/* Before a commit: cuts the file to what page 1 says, hands over texts. */
int mvv_file_before_commit(mvv_file *file);

/* ---- router.c: the default VFS where paths are routed ------------------------- */
/* Registers it, once per copy. SQLite code. */
int mvv_router_register(mvv_copy *copy);
/* A routed path is in use from now on, until mvv_place_leave. NULL: no memory. */
mvv_place *mvv_place_enter(mvv_copy *copy, const char *path);
void mvv_place_leave(mvv_copy *copy, mvv_place *place);

/* ---- place.c: what stands at a path, and what opening it means ------------------ */
/* *routed 0: the path is none of ours, and nothing was done. SQLite code. */
int mvv_place_open(mvv_copy *copy, const char *path, mvv_file *file, int flags, int *out_flags, int *routed);

/* Whether this thread is opening a routed path: files it opens meanwhile are our doing. */
MV_API int mvr_is_at_work(void);

/* ---- retry.c -------------------------------------------------------------------- */
/* This thread's statement lost a race: it was refused the write lock, or the commit. */
void mvv_retry_note(mvv_file *file, int at_commit);
/* It begins to read anew: what was refused before is over. */
void mvv_retry_forget(void);
/* What a statement came to whose `step` answered rc: runs it again while it loses races, if it is
 * one in autocommit that nothing came of yet, for as long as the connection's busy timeout. SQLite code. */
MV_API int mvv_step_again(sqlite3_stmt *statement, int rc, int (*step)(sqlite3_stmt *statement));

/* ---- preload.c: for the preload library ------------------------------------------ */
/* An auto extension that makes a copy known and its router the default. SQLite code. */
MV_API int mvv_preload_entry(sqlite3 *db, char **message, const sqlite3_api_routines *api);
/* Lets the copy that has this sqlite3_vfs_register route (again) if it has met us before.
 * SQLITE_NOTFOUND: it has not. SQLite code. */
MV_API int mvv_preload_again(const void *vfs_register);

/* ---- import.c ------------------------------------------------------------------ */
/* Takes the ordinary SQLite file at a path in as a database of the store of that URL: copied, checked,
 * and only then moved aside (to PATH.before-mvsqlite). Goes on where a crash interrupted it. mv_code; on
 * failure the file is where it was. MV_EXISTS: the store has another database of that name. */
int mvv_import(mvv_copy *copy, const char *path, const char *url, const char *name);

/* ---- pragma.c ------------------------------------------------------------- */
int mvv_pragma(mvv_file *file, char **args);
/* SQLITE_FCNTL_MMAP_SIZE: tells the size, and takes one that is not negative. */
void mvv_mmap_size(mvv_file *file, sqlite3_int64 *size);

/* ---- memfile.c: journals and temporary files ------------------------------- */
size_t mvv_memfile_size(void);
int mvv_memfile_open(sqlite3_file *file, int flags);
/* This thread's SQLite reads the header of a main journal: it plays the whole journal back,
 * which ends a transaction. Over with the next write to a journal, lock, unlock or sync. */
extern _Thread_local int mvv_playing_back;

/* ---- super.c: commits over several databases -------------------------------- */
int mvv_super_begin(mvv_copy *copy, const char *name);
/* SQLite reads the super-journal: it rolls back. */
void mvv_super_give_up(mvv_copy *copy, const char *name);
int mvv_super_exists(mvv_copy *copy, const char *name);
/* The file is ready; 1: it waits for the super-journal, 0: there is none of that name. */
int mvv_super_join(mvv_file *file, const char *name);
void mvv_super_leave(mvv_file *file);
/* The super-journal is deleted: commits all members in one transaction. SQLite code. */
int mvv_super_commit(mvv_copy *copy, const char *name);

/* ---- table.c: table-valued functions -------------------------------------------- */
int mvv_create_tables(mvv_copy *copy, sqlite3 *db);

/* ---- connection.c ----------------------------------------------------------- */
int mvv_connection_setup(mvv_copy *copy, sqlite3 *db);
/* The connection's texts for the next commit, and forgetting them. */
mvv_connection *mvv_connection_find(mvv_copy *copy, sqlite3 *db);
void mvv_connection_done(mvv_connection *connection);

/* ---- statements.c ----------------------------------------------------------- */
/* Decides what a file's commits record, with its URI parameter (NULL without). MV_MISUSE. */
int mvv_statements_open(mvv_file *file, const char *parameter);
/* What the file's next commit records of the connection's statements; NULL: nothing. */
const char *mvv_statements(mvv_file *file, mvv_connection *connection);
void mvv_statements_forget(mvv_connection *connection);
/* For sqlite3_trace_v2; the context is the connection. */
int mvv_on_statement(unsigned event, void *ctx, void *statement, void *text);

#endif
