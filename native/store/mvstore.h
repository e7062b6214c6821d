/* The upper seam: versioned databases made of pages.
 *
 * A store holds databases by name. A database is an array of pages (numbered from
 * 1, one size per version: 512 to 65536 bytes) with a history: every commit is a
 * version, named by its 10-byte stamp, and every past version reads exactly as it
 * was. The store knows pages and versions, not SQL; three facts of the SQLite file
 * format are used, all about page 1 (page1.h).
 *
 *     mv_store *store;
 *     mv_db *db;
 *     mv_store_open("lmdb:/var/lib/notes", &store);
 *     mv_db_open(store, "notes.db", MV_CREATE, &db);
 *     mv_db_begin(db, &stale);              take the newest snapshot
 *     mv_db_read(db, 1, page);              read pages of it
 *     mv_db_lock(db);                       become the writer of this host
 *     mv_db_write(db, 1, page);             buffered
 *     mv_db_commit(&db, 1, &stamp);         one version, durable when this returns
 *     mv_db_unlock(db);
 *
 * Threads: an mv_store may be used by any number of threads, an mv_db by one at a
 * time. Ownership: what a function hands out through a pointer argument belongs to
 * the caller and is released by the named function; strings in structs live as
 * stated there. Errors: every function returns an mv_code and leaves a sentence in
 * mv_error_text() (base/error.h). After any error the database is as before the
 * call or as after it, never between, and the handle can be used again.
 */
#ifndef MV_STORE_H
#define MV_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "../base/error.h"

#define MV_STAMP_SIZE 10
#define MV_TXID_SIZE 16
#define MV_NAME_MAX 255
#define MV_STORED_FORMAT 2 /* of the data; a newer one is refused with MV_FORMAT. 2: branches, forgotten versions */

typedef struct mv_store mv_store;
typedef struct mv_db mv_db;
typedef struct mv_log mv_log;

/* A version's name. All zero: the empty database before its first commit. */
typedef struct mv_stamp {
    uint8_t bytes[MV_STAMP_SIZE];
} mv_stamp;

/* A stamp as people write it: 20 hexadecimal digits, which stay the caller's. */
#define MV_STAMP_TEXT (2 * MV_STAMP_SIZE + 1)
static inline const char *mv_stamp_text(const mv_stamp *stamp, char text[MV_STAMP_TEXT])
{
    for (int i = 0; i < MV_STAMP_SIZE; i++) {
        text[2 * i] = "0123456789abcdef"[stamp->bytes[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[stamp->bytes[i] & 15];
    }
    text[MV_STAMP_TEXT - 1] = 0;
    return text;
}

/* ---- stores ------------------------------------------------------------ */

/* Opens the store at `url` (kv/kv.h lists the schemes), creating it if absent.
 * Handles of one URL in one process share its page cache. Undone by mv_store_close.
 * MV_URL, MV_PERM, MV_FORMAT (written by a newer release), MV_CORRUPT, MV_IO, MV_FULL. */
MV_API int mv_store_open(const char *url, mv_store **store);
MV_API void mv_store_close(mv_store *store);

/* The default store's URL: $MVSQLITE_STORE, or "lmdb:" with mvsqlite/store below
 * $XDG_DATA_HOME or ~/.local/share. MV_URL if it does not fit `room` bytes or no
 * home is known. */
MV_API int mv_default_url(char *url, size_t room);

/* Settings of a store in this process.
 *   MV_STAGE_BYTES  a transaction writing more than this is staged (default: what the
 *                   engine advises); also the size of each step of the move, and at
 *                   most so much is copied into it at a time
 *   MV_CACHE_BYTES  bound of the shared page cache (default 64 MiB)
 *   MV_FULL_EVERY   at most so many deltas in a row in a page's history (default 128) */
typedef enum mv_setting { MV_STAGE_BYTES, MV_CACHE_BYTES, MV_FULL_EVERY } mv_setting;
MV_API int mv_store_set(mv_store *store, int setting, uint64_t value);

/* What the store's engine has counted since this process opened it: the index-th name
 * (static) and number; kv/fdb_engine.h says what they mean. MV_NOTFOUND past the last. */
MV_API int mv_store_counter(mv_store *store, size_t index, const char **name, uint64_t *value);

/* What can be told about a store, for diagnosis: a JSON object in *json, released with
 * mv_free. Members: "engine" and one of its name (kv/kv.h: kv_examine); "failed" if the
 * store cannot be read, with the step that failed; "store" with its format and databases.
 * mv_describe_url makes nothing that is not there and needs no store that can be opened.
 * MV_NOMEM. */
MV_API int mv_store_describe(mv_store *store, char **json);
MV_API int mv_describe_url(const char *url, char **json);

/* ---- names ------------------------------------------------------------- */

/* Names are 1 to 255 bytes of UTF-8 without control characters, and do not end in
 * "-journal", "-wal" or "-shm" (MV_NAME). Deleting only takes the name away: the
 * data stay until mv_undelete gives them a name again, the newest deletion first. */
MV_API int mv_create(mv_store *store, const char *name);                      /* MV_EXISTS */
MV_API int mv_delete(mv_store *store, const char *name);                      /* MV_NOTFOUND */
MV_API int mv_undelete(mv_store *store, const char *name, const char *as);    /* MV_NOTFOUND, MV_EXISTS */
MV_API int mv_rename(mv_store *store, const char *name, const char *to);      /* MV_NOTFOUND, MV_EXISTS */

typedef struct mv_info {
    const char *name; /* lives until the callback returns */
    uint32_t id;
    uint64_t created_ms, deleted_ms; /* unix time; deleted_ms 0: not deleted */
    mv_stamp newest;
    uint64_t newest_ms;
    uint32_t pages, page_size;
    uint32_t parent; /* of a branch: the id of the database it began in; 0: it is none */
    mv_stamp base;   /* and the version it began at */
    uint64_t base_ms;
} mv_info;
/* Calls `each` for every database by id, deleted ones too; stops at its first
 * non-zero answer and returns it. */
MV_API int mv_list(mv_store *store, int (*each)(void *ctx, const mv_info *info), void *ctx);

/* Drops, for good, a database that was never shown: an import or a copy that did not end.
 * Its name begins with one of these (MV_MISUSE otherwise; MV_BUSY: it is being written). */
#define MV_UNFINISHED ".importing-"
#define MV_COPYING ".copying-"
#define MV_DROPPED ".dropped-" /* or a deleted one whose time was over (mv_gc_deleted) */
MV_API int mv_discard(mv_store *store, uint32_t id);

/* ---- branches -------------------------------------------------------------- */

/* Makes a database that begins as version `at` (NULL: the newest) of the one named, in constant
 * time: it shares that one's pages until it writes its own. Its history goes on from there, that
 * before included; both are written from then on without the other. The parent's version stays
 * while the branch needs it, also if the parent is deleted.
 * MV_NOTFOUND, MV_EXISTS, MV_NOVERSION. */
MV_API int mv_branch(mv_store *store, const char *name, const mv_stamp *at, const char *as);

/* ---- copies ------------------------------------------------------------ */

/* Copies a database with all its versions into another store (or this one, under another
 * name), which may be of another engine. Versions up to the source's newest one at the
 * beginning are copied; the source may be written meanwhile. The copy is hidden until it is
 * whole and verified: mv_db_verify finds nothing in it, and numbers and checksums of
 * versions and images are those of the source. A deleted database is deleted in the copy.
 *
 * What was copied when the process died, or the call failed, is kept: the same call goes on
 * from there. A call for what was copied before does nothing.
 *
 * Versions keep their names if the destination's later ones will be greater. Else they get
 * new names, in the same order; `renamed` says how many. */
typedef struct mv_copy {
    const char *as; /* the copy's name; NULL: as in the source */
    int restart;    /* drop what an interrupted copy has left, and begin anew */
    int (*progress)(void *ctx, int verifying, uint64_t done, uint64_t of); /* may be NULL; not 0: stop */
    void *ctx;
    int resumed, already;    /* results: an interrupted copy went on; it was copied before */
    mv_stamp source, newest; /* the newest version that was copied, there and here */
    uint64_t versions, pages, history, bytes; /* in the copy: now, and of keys and values */
    uint64_t renamed;
    uint64_t later; /* versions that the source has beyond the copied ones */
} mv_copy;

/* `id` is of mv_list. MV_NOTFOUND; MV_EXISTS: the name is another database's; MV_BUSY: it is
 * being copied; MV_MISUSE: an interrupted copy was of another source; MV_CORRUPT: the source
 * or the copy is damaged, which then is not shown; the answer of `progress`. */
MV_API int mv_copy_database(mv_store *from, uint32_t id, mv_store *to, mv_copy *copy);

/* ---- an open database -------------------------------------------------- */

#define MV_CREATE 1 /* create the database if there is none of that name */

/* MV_NOTFOUND, MV_NAME. Undone by mv_db_close, which drops what is not committed. */
MV_API int mv_db_open(mv_store *store, const char *name, int flags, mv_db **db);
MV_API void mv_db_close(mv_db *db);

/* Moves to the newest snapshot. *stale says that pages this handle has served since
 * they were last declared stale have changed: whoever caches them must drop them.
 * A pinned handle stays where it is. Not while a transaction is being written. */
MV_API int mv_db_begin(mv_db *db, int *stale);

/* Says that no more is read at this snapshot: what the engine keeps for it is let go. Reading
 * on is allowed, and costs asking anew. */
MV_API void mv_db_end(mv_db *db);

/* The handle only reads, and may be so many milliseconds behind: on a cluster that saves
 * asking for the newest version (at most the engine's four seconds; on one machine there is
 * nothing to save). It never goes back. MV_MISUSE: it holds the write lock. */
MV_API int mv_db_max_staleness(mv_db *db, unsigned ms);

/* What the current snapshot is. `newer` counts only in mv_db_begin's sense: commits
 * of others seen since the handle was opened. */
typedef struct mv_snapshot {
    mv_stamp stamp;
    uint64_t ms;
    uint32_t pages, page_size; /* 0, 0: empty */
    uint64_t newer;
    int pinned;
} mv_snapshot;
MV_API void mv_db_snapshot(const mv_db *db, mv_snapshot *snapshot);

/* Pins the handle to a version (MV_NOVERSION) or lets it follow the newest again.
 * Everything served before counts as stale. Not while writing (MV_MISUSE). */
MV_API int mv_db_pin(mv_db *db, const mv_stamp *stamp);
MV_API int mv_db_unpin(mv_db *db);

/* Finds the version of a moment: the newest commit not later than it.
 *   ISO 8601 "2026-11-24[ T]10:15[:30[.5]][Z|+01:00]" (local time without a zone),
 *   unix seconds "1790000000[.5]", an age "-5m", "90 s ago", "5 minutes ago", "now".
 * MV_TIME: not understood, or in the future; MV_NOVERSION: before the first commit. */
MV_API int mv_db_at(mv_db *db, const char *moment, mv_stamp *stamp);
/* Reads `moment` alone: unix milliseconds, `now_ms` being the present. */
MV_API int mv_parse_moment(const char *moment, uint64_t now_ms, uint64_t *ms);

/* Copies one page of the transaction being written, or of the snapshot, to `page`
 * (page_size bytes). Pages beyond the end, or never written, are zero. */
MV_API int mv_db_read(mv_db *db, uint32_t pgno, void *page);

/* ---- writing ----------------------------------------------------------- */

/* Becomes the one writer of this host, and moves to the newest snapshot. MV_BUSY: another
 * one is writing. MV_CONFLICT: pages this handle has served have changed since, or the
 * size of the database; the snapshot stays. MV_READONLY: pinned. The lock ends
 * with mv_db_unlock, which also drops what is not committed, or with the process. */
MV_API int mv_db_lock(mv_db *db);
MV_API void mv_db_unlock(mv_db *db);

/* How the handle keeps out of other writers' way.
 *   MV_HOST_LOCK    one writer of a host at a time, and between hosts the first commit wins
 *   MV_OPTIMISTIC   no lock: the first commit wins (MV_CONFLICT at the commit)
 *   MV_WRITE_LEASE  one writer among all hosts: mv_db_lock answers MV_BUSY while another has
 *                   the lease, which ends by itself `lease_ms` after its last sign of life
 * Not while holding the lock (MV_MISUSE). */
typedef enum mv_concurrency { MV_HOST_LOCK, MV_OPTIMISTIC, MV_WRITE_LEASE } mv_concurrency;
#define MV_LEASE_MS 10000
MV_API int mv_db_concurrency(mv_db *db, int concurrency, unsigned lease_ms);

/* Bytes [offset, offset+n) of the database as a file, of the transaction being
 * written; a write beyond the end makes the database longer. The first write to an
 * empty database should be of one page, and sets the page size. */
MV_API int mv_db_write_bytes(mv_db *db, uint64_t offset, const void *data, size_t n);
MV_API int mv_db_read_bytes(mv_db *db, uint64_t offset, void *data, size_t n, size_t *got);
MV_API int mv_db_truncate(mv_db *db, uint64_t bytes);
MV_API uint64_t mv_db_size(const mv_db *db);

/* What the next commit of the handle records, besides host, program and process:
 * copied; NULL takes it back. Cleared by commit and unlock. */
MV_API int mv_db_message(mv_db *db, const char *message);
MV_API int mv_db_statements(mv_db *db, const char *sql);

/* Commits what `n` handles of one store have written, all or none, as one version of
 * each. A handle whose pages are all as they were gets no version. Handles stay
 * locked. *stamp (may be NULL) is the version, zero if there was none.
 * MV_CONFLICT: pages served to a handle were changed by others since its snapshot;
 * MV_GONE: the database was deleted; MV_IO, MV_FULL, MV_UNREACHABLE. MV_UNKNOWN: it may have
 * happened; the handle's next snapshot tells, for it makes sure that it has or never will. */
MV_API int mv_db_commit(mv_db **dbs, size_t n, mv_stamp *stamp);

/* Drops what is not committed, keeping the lock. */
MV_API void mv_db_rollback(mv_db *db);

/* Makes the state of `stamp` the newest one, as a commit of its own. Takes and
 * releases the lock. MV_NOVERSION, MV_BUSY, and what mv_db_commit returns. */
MV_API int mv_db_revert(mv_db *db, const mv_stamp *stamp, mv_stamp *made);

/* Makes the newest state of a branch (or of any database that shares an ancestor with this one) the
 * newest one of this database, as a commit of its own, which whoever has it open sees like any other; the state before becomes the branch `keep` (NULL:
 * it stays as a version only), in the same transaction. The branch itself stays as it is.
 * MV_NOTFOUND; MV_MISUSE: the two have no ancestor in common; MV_EXISTS: `keep`
 * is taken; and what mv_db_revert returns. */
MV_API int mv_db_promote(mv_db *db, const char *branch, const char *keep, mv_stamp *made);

/* ---- tags and retention ----------------------------------------------------
 * A tag is a name for a version, which is then kept for ever. */

/* Names are as of databases. MV_NOVERSION, MV_EXISTS: the tag names another version already. */
MV_API int mv_db_tag(mv_db *db, const char *tag, const mv_stamp *stamp);
MV_API int mv_db_untag(mv_db *db, const char *tag); /* MV_NOTFOUND */
/* Calls `each` for every tag by name; stops at its first non-zero answer and returns it. */
MV_API int mv_db_tags(mv_db *db, int (*each)(void *ctx, const char *tag, const mv_stamp *stamp), void *ctx);

/* How long versions of a database are kept. A version is kept if any line says so: it is the newest
 * one, it was followed by the next one less than all_ms or least_ms ago, or it is the last one of
 * one of the last so many hours, days, weeks (UTC, Monday) in which there is a version; or a tag, a
 * branch or an open snapshot needs it. Nothing is forgotten but by mv_gc. */
#define MV_FOR_EVER UINT64_MAX
typedef enum mv_statement_mode { MV_STATEMENTS_TEXT, MV_STATEMENTS_OFF, MV_STATEMENTS_VALUES } mv_statement_mode;
typedef struct mv_policy {
    uint64_t all_ms;                /* default: for ever */
    uint32_t hourly, daily, weekly; /* default: 0 */
    uint64_t least_ms;              /* the least age of what is forgotten, whatever else is said; default: one hour */
    uint64_t deleted_ms;            /* a deleted database can be brought back for so long; default: for ever */
    uint8_t statements;             /* what commits record of their statements: mv_statement_mode */
} mv_policy;
MV_API int mv_db_policy(mv_db *db, mv_policy *policy);
MV_API int mv_db_set_policy(mv_db *db, const mv_policy *policy); /* MV_MISUSE: a field is out of range */

/* Forgets the versions that nothing keeps, and frees what only they needed, in small transactions
 * beside whoever reads and writes. It can end anywhere: what is left reads as before, and the next call
 * goes on. MV_BUSY: somebody copies or verifies the database, who needs all versions; the answer of
 * `progress`. */
typedef struct mv_gc {
    int dry_run;     /* only find out */
    uint64_t now_ms; /* unix time; 0: by the clock */
    int (*progress)(void *ctx, uint64_t done, uint64_t of); /* versions; may be NULL; not 0: stop */
    void *ctx;
    uint64_t removed, kept; /* results: versions */
    uint64_t images;        /* that were freed */
    int64_t bytes;          /* freed, of keys and values; of a dry run exact but for deltas made anew in several steps */
    uint64_t for_tags, for_branches, for_snapshots; /* kept for one of these alone */
} mv_gc;
MV_API int mv_db_gc(mv_db *db, mv_gc *gc);

/* A deleted database: drops it for good if its time is over (*dropped), else does nothing. `id` is of
 * mv_list. MV_BUSY: a branch needs it, or a snapshot of it is open. */
MV_API int mv_gc_deleted(mv_store *store, uint32_t id, mv_gc *gc, int *dropped);

/* ---- history ----------------------------------------------------------- */

typedef enum mv_kind { MV_KIND_COMMIT = 0, MV_KIND_REVERT = 1, MV_KIND_PROMOTE = 2 } mv_kind;

typedef struct mv_version {
    mv_stamp stamp, previous;
    uint64_t ms;
    uint32_t pages, page_size; /* of the database at this version */
    uint32_t changed;          /* pages this commit changed */
    int kind;
    mv_stamp target; /* of a revert: the version it went back to; of a promotion: of the branch */
    uint8_t txid[MV_TXID_SIZE];
    const char *host, *program, *message, *statements; /* "" if unknown; live until the next mv_log call */
    uint64_t pid;
    uint64_t merged; /* so many versions before this one were forgotten; `changed` counts their pages too */
} mv_version;

/* Walks the versions in (after, until], newest first if `reverse`. NULL: no bound. */
MV_API int mv_log_open(mv_db *db, const mv_stamp *after, const mv_stamp *until, int reverse, mv_log **log);
MV_API int mv_log_next(mv_log *log, mv_version *version); /* MV_NOTFOUND: no more */
MV_API void mv_log_close(mv_log *log);

/* One version (MV_NOVERSION). Its strings live until the handle's next call of this. */
MV_API int mv_db_version(mv_db *db, const mv_stamp *stamp, mv_version *version);

/* The pages changed by the commits in (after, until], ascending. *pages is released
 * with mv_free. */
MV_API int mv_db_changed(mv_db *db, const mv_stamp *after, const mv_stamp *until, uint32_t **pages, size_t *n);
MV_API void mv_free(void *memory);

/* The pages in which the snapshots of two handles may differ, whichever is the older: of one
 * database, or of branches that have an ancestor in common (MV_MISUSE: they have none). */
MV_API int mv_db_differing(mv_db *a, mv_db *b, uint32_t **pages, size_t *n);

/* What the database takes in the store, in bytes of keys and values. */
typedef struct mv_usage {
    uint64_t versions, heads, head_bytes, history, history_bytes, records, record_bytes, staged_bytes;
} mv_usage;
MV_API int mv_db_usage(mv_db *db, mv_usage *usage);
/* The same by the id of mv_list, deleted databases included. */
MV_API int mv_usage_of(mv_store *store, uint32_t id, mv_usage *usage);

/* What the commits of one day left behind: their records, and the images they replaced. */
typedef struct mv_day {
    uint32_t date; /* 20261124 is 2026-11-24, in the time zone of the process */
    uint64_t versions, history, history_bytes, record_bytes;
} mv_day;
/* The days in which there are versions, in order. *days is released with mv_free. */
MV_API int mv_db_days(mv_db *db, mv_day **days, size_t *n);

/* Reads every image of every version and every record, and calls `problem` with a
 * sentence for each thing that is wrong; `progress` (may be NULL) with how many of
 * how many images are done. Returns MV_OK if it could read everything (whatever it
 * found), *problems says how many sentences there were. */
typedef struct mv_check {
    void (*problem)(void *ctx, const char *what);
    void (*progress)(void *ctx, uint64_t done, uint64_t of);
    void *ctx;
    int stop;                  /* set by a callback: read no more */
    uint64_t images, problems; /* results */
} mv_check;
MV_API int mv_db_verify(mv_db *db, mv_check *check);

/* Finishes the move of a large commit whose writer died, and drops abandoned
 * staging. Writers do it by themselves. */
MV_API int mv_db_settle(mv_db *db);

#endif
