/* What the files of the store share. */
#ifndef MV_STORE_INTERNAL_H
#define MV_STORE_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "cache.h"
#include "hostlock.h"
#include "image.h"
#include "lineage.h"
#include "pagemap.h"
#include "pageset.h"
#include "readers.h"
#include "record.h"
#include "walk.h"

struct mv_store {
    mv_store *next; /* among the open stores of this process */
    unsigned references;
    char *url;
    kv_engine *kv;
    const kv_traits *traits;
    mvi_cache *cache;
    mvi_hostlock *locks;
    mvi_readers *readers;
    size_t stage_bytes;
    uint8_t full_every;
    size_t piece_keys; /* walk.h: at most so many keys are read in one transaction of a long walk */
    uint64_t domain; /* of the lock file: who shares it takes turns, and knows the others dead */
    size_t buffer_bytes; /* a transaction keeps so much in memory before it stages */
    char host[64], program[64];
};

/* What a transaction has written: pages in memory, and pages already staged. */
typedef struct mvi_writes {
    int active;
    uint64_t size, lowest; /* bytes: of the database now, and at its shortest */
    uint32_t page_size;    /* 0: empty and unknown */
    mvi_pagemap dirty;
    mvi_pageset staged;
    mvi_pageset trimmed; /* staged once, then cut off: their images must not become visible */
    uint8_t txid[MV_TXID_SIZE]; /* of the staging; set with `has_txid` */
    int has_txid;
} mvi_writes;

typedef struct mvi_ahead mvi_ahead;

struct mv_db {
    mv_store *store;
    uint32_t ns;
    mvi_line *line; /* itself and, of a branch, those it came from; owned */
    char name[MV_NAME_MAX + 1];
    mvi_latest snap; /* the snapshot */
    int pinned, locked;
    int swept; /* this handle has looked for abandoned staging */
    uint64_t newer;     /* commits of others seen */
    mvi_pageset served; /* pages served since they were last declared stale: the read set */
    mvi_writes writes;
    char *message, *statements; /* for the next commit; owned */
    uint8_t kind;
    mv_stamp target;     /* of a revert or a promotion */
    const char *keep;    /* the next commit leaves what it follows as a branch of this name; the caller's */
    kv_txn *view;        /* kept between reads where beginning costs a round trip; owned */
    uint64_t view_at;    /* ms, when it was begun */
    int view_fits;       /* the snapshot is what the newest commit was in it */
    mvi_ahead *ahead;    /* owned; NULL until something is read */
    unsigned staleness_ms;
    uint32_t slot;       /* of readers.h, where the snapshot stands */
    uint32_t held;       /* it stands in the store too, for other hosts, with this database; 0: not */
    uint64_t held_at, snap_at; /* ms, when it was written there, and when it was taken */
    int uncertain;       /* a commit of this handle may be under way still */
    int concurrency, has_lease;
    unsigned lease_ms;
    uint64_t lease_at; /* ms, when it was taken or renewed */
    uint8_t lease_id[MV_TXID_SIZE];
    uint8_t *scratch;    /* MVI_PAGE_MAX bytes, for reads of parts of a page */
    char *version_texts; /* of mv_db_version */
};

/* fn's answer that a large commit must be settled first. */
#define MVI_PENDING_FIRST (-2)

/* ---- clock, ids -------------------------------------------------------- */
uint64_t mvi_now_ms(void);
uint64_t mvi_monotonic_ms(void);
int mvi_random(uint8_t *out, size_t n); /* MV_IO */

/* The commit fails, and its function runs again, if another one writes the key meanwhile. */
static inline int mvi_guard(kv_txn *txn, const mvi_key *key)
{
    mvi_key end = *key;
    end.bytes[end.size++] = 0; /* the key itself and nothing else */
    return kv_add_read_conflict(txn, mvi_key_slice(key), mvi_key_slice(&end));
}

/* ---- view.c: the handle's read transaction ----------------------------- */
/* One that is fresh enough: the one that is kept, or a new one. Undone by mvi_view_done,
 * with what the work in it came to. */
int mvi_view(mv_db *db, kv_txn **txn);
int mvi_view_begin(mv_db *db, unsigned max_age_ms, kv_txn **txn); /* always a new one */
void mvi_view_done(mv_db *db, kv_txn *txn, int rc);
void mvi_view_drop(mv_db *db);
int mvi_view_is_fresh(const mv_db *db);
/* For a commit, which ends it: the one the snapshot was taken in, NULL if there is none. */
kv_txn *mvi_view_take(mv_db *db);
/* After MV_STALE, some times: pauses, and 1 says to do the reading over. */
int mvi_again(int rc, int *tries);

/* ---- ahead.c: reading ahead ---------------------------------------------- */
/* Before a page is read from the store; after it was read there or in the cache. */
void mvi_ahead_before(mv_db *db, kv_txn *txn, uint32_t pgno);
int mvi_ahead_after(mv_db *db, uint32_t pgno, const uint8_t *page, uint32_t size, int cached);
/* These pages will be read next. */
void mvi_ahead_pages(mv_db *db, const uint32_t *pages, size_t n);
void mvi_ahead_free(mvi_ahead *ahead);

/* ---- lease.c: the write lease -------------------------------------------- */
/* Takes it, or renews it when it is time, if the handle works by lease. MV_BUSY: another
 * host has it; MV_CONFLICT: it was lost. */
int mvi_lease_take(mv_db *db);
int mvi_lease_renew(mv_db *db);
int mvi_lease_until(kv_txn *txn, uint32_t ns, uint64_t *ms); /* unix time; 0: nobody has it */
void mvi_lease_give(mv_db *db);
/* Inside a commit: checks that it is the handle's, and gives it back with the commit. */
int mvi_lease_commit(kv_txn *txn, mv_db *db);

/* ---- db.c: reading ----------------------------------------------------- */
int mvi_check_name(const char *name); /* MV_NAME */
int mvi_get_latest(kv_txn *txn, uint32_t ns, mvi_latest *latest); /* MV_GONE */
/* The page as of `at`, in `page` (of `room` bytes); origin->size 0 if it was not there. `pending`
 * (may be NULL): a large commit of that stamp whose pages may still be staged. */
int mvi_load(kv_txn *txn, const mvi_line *line, uint32_t pgno, const mv_stamp *at, const mvi_latest *pending,
             uint32_t room, uint8_t *page, mvi_origin *origin);
/* The same for a state that is probably past: asks for the head and the history in one round. */
int mvi_load_past(kv_txn *txn, const mvi_line *line, uint32_t pgno, const mv_stamp *at, const mvi_latest *pending,
                  uint32_t room, uint8_t *page, mvi_origin *origin);
/* MV_NOVERSION if that version was forgotten. Who finds nothing in a version asks this in the same
 * transaction: an image that is not there may have been forgotten with its version. */
int mvi_check_kept(kv_txn *txn, uint32_t ns, const mv_stamp *at);
/* The same through the shared cache, at the handle's snapshot. */
int mvi_base(mv_db *db, uint32_t pgno, uint8_t *page, mvi_origin *origin);
/* The page's size in bytes as the transaction sees the database. */
uint32_t mvi_page_size(const mv_db *db);
/* *hit: a commit in (after, until] changed a page of `a` or `b` (b may be NULL). */
int mvi_touched(kv_txn *txn, uint32_t ns, const mv_stamp *after, const mv_stamp *until, const mvi_pageset *a,
                const mvi_pageset *b, int *hit);
/* Adds the pages changed in (after, until] to `set`; takes its own transactions. */
int mvi_collect(mv_store *store, const mvi_line *line, const mv_stamp *after, const mv_stamp *until, mvi_pageset *set);
/* Reads the newest commit and what changed since the snapshot and since the shared cache,
 * and brings the cache there. *hit: a page the handle has served changed. MV_GONE. */
int mvi_follow(mv_db *db, kv_txn *txn, mvi_latest *latest, int *hit);
/* That commit is the snapshot now; `stale`: what was served before does not count any more. */
void mvi_take(mv_db *db, const mvi_latest *latest, int stale);

/* ---- names.c, discard.c: names, for transactions that do more than that -------- */
int mvi_name_get(kv_txn *txn, const char *name, uint32_t *ns); /* MV_NOTFOUND without a message; a conflict */
int mvi_name_set(kv_txn *txn, const char *name, uint32_t ns);
int mvi_name_clear(kv_txn *txn, const char *name);
int mvi_next_id(kv_txn *txn, uint32_t *ns);
int mvi_meta_get(kv_txn *txn, uint32_t ns, mvi_meta *meta);
int mvi_is_unfinished(const char *name);

/* ---- policy.c ------------------------------------------------------------- */
mv_policy mvi_policy_of(const mvi_meta *meta);

/* ---- revert.c --------------------------------------------------------------- */
/* Writes into `db`, as its transaction, the state `target` of `from` (the same handle, or one of
 * a branch); `differing` are the pages in which that may differ from the snapshot of `db`. */
int mvi_write_state(mv_db *db, mv_db *from, const mvi_latest *target, const mvi_pageset *differing);
/* Runs fn, which commits, with the lock held and no transaction begun. */
int mvi_replace(mv_db *db, int (*fn)(mv_db *db, void *ctx, mv_stamp *made), void *ctx, mv_stamp *made);

/* ---- branch.c -------------------------------------------------------------- */
/* In a transaction: makes the branch `as` that begins as `base`, a version of database `parent`. MV_EXISTS. */
int mvi_branch_make(kv_txn *txn, const mv_store *store, uint32_t parent, const mvi_latest *base, const char *as,
                    uint64_t now_ms, uint32_t *ns);

/* ---- hold.c: what a gc must leave ------------------------------------------ */
/* The handle's snapshot is the newest version, which others learn. */
void mvi_hold_follow(mv_db *db);
/* It is one that may be old: MV_NOVERSION if it is gone, else it stays while it is held. */
int mvi_hold_pin(mv_db *db);
/* Before the store is read: a snapshot that got old is held from then on. MV_NOVERSION. */
int mvi_hold_on(mv_db *db);
void mvi_hold_back(mv_db *db); /* the pin failed, and the snapshot is the one before */
void mvi_hold_release(mv_db *db);
/* Holds all versions of a database, for who reads them all; *slot is for undoing it. */
int mvi_hold_all(mv_store *store, uint32_t ns, uint32_t *slot);
void mvi_hold_all_end(mv_store *store, uint32_t ns, uint32_t slot);

/* ---- writes.c ---------------------------------------------------------- */
void mvi_writes_begin(mv_db *db);
void mvi_writes_drop(mv_db *db); /* also clears what was staged */
uint32_t mvi_pages_of(const mvi_writes *writes);
/* The page the transaction sees, if it wrote it: 1 found, 0 not, else a negative mv_code. */
int mvi_writes_find(mv_db *db, uint32_t pgno, uint8_t *page);

/* ---- stage.c: large commits ------------------------------------------- */
/* Stages what is in memory, but for pages that equal the snapshot. */
int mvi_stage_flush(mv_db *db, mvi_writes *writes);
/* Takes the images of pages that were cut off since out of the staging. */
int mvi_stage_trim(mv_db *db);
void mvi_stage_discard(mv_db *db, mvi_writes *writes);
/* Moves the staged pages of the visible large commit, if there is one. */
int mvi_settle(mv_store *store, uint32_t ns);
/* Drops staging whose writer is gone; the host lock is held. */
int mvi_sweep(mv_store *store, uint32_t ns, const uint8_t *own_txid);

/* ---- prepare.c: what a commit will write -------------------------------- */
typedef struct mvi_change {
    uint32_t pgno;
    int had_base;   /* there was an image before */
    mv_stamp base;  /* its stamp */
    mvi_buf head;    /* the new encoded image; empty: the page goes */
    mvi_buf history; /* the old one, encoded; empty if there was none */
} mvi_change;

/* Encodes one change: `page` (NULL: the page goes) over `old`/`origin`. `encoded` (may be
 * NULL) is the page as it was encoded before; then `page` is read only if there is an origin. */
int mvi_change_encode(mv_store *store, const mvi_line *line, uint32_t pgno, const uint8_t *page, uint32_t size, const uint8_t *old,
                      const mvi_origin *origin, const mvi_image *encoded, mvi_change *change);
void mvi_change_free(mvi_change *change);
/* Writes one change in a transaction. `stamp` NULL: that of this commit, else the known
 * one (a move). MV_CORRUPT if the stored head is not the one the change was made for. */
int mvi_change_put(kv_txn *txn, const kv_traits *traits, uint32_t ns, mvi_change *change, const mv_stamp *stamp);

typedef struct mvi_part {
    mv_db *db;
    mvi_change *changes;
    size_t n, room;
    mvi_pageset changed;
    mvi_buf set_bytes, packed; /* as the record has them: the set of pages, the statements */
    uint32_t pages, page_size; /* after the commit */
    int large, empty;
    int known; /* the run that committed is the last one: it was not found afterwards */
    uint8_t txid[MV_TXID_SIZE];
    mvi_latest made; /* the newest commit as this one leaves it (stamp: afterwards) */
} mvi_part;
int mvi_prepare(mv_db *db, mvi_part *part);
/* commit.c: after a commit of unknown outcome, makes sure that it happened or never will. */
int mvi_make_certain(mv_db *db);
void mvi_part_free(mvi_part *part);

#endif
