/* Commits: check, write, be visible, all in one engine transaction. */
#include <unistd.h>

#include "internal.h"

typedef struct commit {
    mvi_part *parts;
    size_t n;
    uint64_t now_ms;
    mv_stamp found;  /* of an earlier run that turned out to be committed */
    const mv_db *reader_of; /* the handle in whose read transaction the first run works */
} commit;

/* ---- inside the engine's transaction ------------------------------------ */

typedef struct search {
    const uint8_t *txid;
    mv_stamp stamp;
    int found;
} search;

static int compare_txid(void *ctx, kv_txn *txn, const mv_stamp *stamp, const mvi_record *record)
{
    search *s = ctx;
    (void)txn;
    if (memcmp(record->txid, s->txid, MV_TXID_SIZE) != 0)
        return 0;
    s->found = 1;
    s->stamp = *stamp;
    return KV_NOTHING;
}

/* After an unknown result: did this very commit happen? */
static int look_for(kv_txn *txn, commit *c, const mvi_part *part)
{
    search s = {.txid = part->txid};
    int rc = mvi_records(txn, part->db->ns, &part->db->snap.stamp, &mvi_last_stamp, 0, 0, compare_txid, &s);
    if (s.found)
        c->found = s.stamp;
    return rc;
}

/* The newest commit, guarded: every commit writes that record, so one that comes between makes
 * this one run again, and see it. In the transaction it was read in it need not be read again. */
static int get_newest(kv_txn *txn, const commit *c, mv_db *db, mvi_latest *latest)
{
    mvi_key key = mvi_key_latest(db->ns);
    int rc = mvi_guard(txn, &key);
    if (rc)
        return rc;
    if (db == c->reader_of && kv_on_reader(txn)) {
        *latest = db->snap;
        return MV_OK;
    }
    return mvi_get_latest(txn, db->ns, latest);
}

/* A large commit needs its staging, which another host may have swept as abandoned. */
static int check_staging(kv_txn *txn, const mvi_part *part)
{
    mvi_key key = mvi_key_pending(part->db->ns, part->txid);
    mv_slice value;
    if (!part->large)
        return MV_OK;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    return rc == MV_NOTFOUND ? mv_fail(MV_IO, "what this transaction had staged in the store was swept: it gave no sign "
                                              "of life for an hour. Run it again") : rc;
}

static int check_part(kv_txn *txn, commit *c, mvi_part *part)
{
    mv_db *db = part->db;
    mvi_latest latest;
    int hit = 0;
    int rc = get_newest(txn, c, db, &latest);
    if (!rc && kv_maybe_committed(txn)) {
        rc = look_for(txn, c, part);
        part->known = 0;
        if (rc || !mvi_stamp_is_zero(&c->found))
            return rc ? rc : KV_NOTHING;
    }
    if (!rc && latest.flags & MVI_PENDING)
        return MVI_PENDING_FIRST;
    if (!rc && mvi_stamp_cmp(&latest.stamp, &db->snap.stamp) != 0)
        rc = mvi_touched(txn, db->ns, &db->snap.stamp, &latest.stamp, &db->served, &part->changed, &hit);
    if (!rc && (hit || latest.pages != db->snap.pages || latest.page_size != db->snap.page_size))
        rc = mv_fail(MV_CONFLICT, "database \"%s\" was changed by another commit where this transaction has read",
                     db->name);
    if (!rc)
        rc = check_staging(txn, part);
    if (!rc)
        rc = mvi_lease_commit(txn, db);
    part->made = latest;
    part->known = 1;
    return rc;
}

static mv_slice text(const char *s)
{
    return mvi_slice(s ? s : "", s ? strlen(s) : 0);
}

static int write_record(kv_txn *txn, mvi_part *part)
{
    mv_db *db = part->db;
    mvi_buf value = {0};
    mvi_key key = mvi_key_commit(db->ns, &mvi_zero_stamp);
    mvi_record record = {
        .txid = part->txid,
        .previous = part->made.stamp,
        .target = db->target,
        .ms = part->made.ms,
        .changed = part->changed.count,
        .pid = (uint64_t)getpid(),
        .pages = part->pages,
        .page_size = part->page_size,
        .kind = db->kind,
        .host = text(db->store->host),
        .program = text(db->store->program),
        .message = text(db->message),
        .statements = text(part->packed.size ? NULL : db->statements),
        .packed = mvi_slice(part->packed.data, part->packed.size),
    };
    mv_slice set = mvi_slice(part->set_bytes.data, part->set_bytes.size);
    mvi_record_encode(&record, set, &value);
    int rc = value.failed ? mv_fail(MV_NOMEM, "out of memory for a commit record") : MV_OK;
    if (!rc)
        rc = kv_set_stamped_key(txn, mvi_key_slice(&key), MVI_STAMP_IN_COMMIT, mvi_slice(value.data, value.size));
    for (size_t i = 0, chunks = mvi_record_chunks(&record, set.size); !rc && i < chunks; i++) {
        size_t at = i * MVI_SET_CHUNK, n = set.size - at < MVI_SET_CHUNK ? set.size - at : MVI_SET_CHUNK;
        key = mvi_key_chunk(db->ns, &mvi_zero_stamp, (uint16_t)i);
        rc = kv_set_stamped_key(txn, mvi_key_slice(&key), MVI_STAMP_IN_COMMIT, mvi_slice(set.data + at, n));
    }
    mvi_buf_free(&value);
    return rc;
}

/* A large commit: its record says how the database looks once its pages have moved. */
static int write_pending(kv_txn *txn, mvi_part *part)
{
    mvi_key key = mvi_key_pending(part->db->ns, part->txid);
    mvi_pending pending = {part->made.ms, part->pages, part->page_size, 0};
    uint8_t bytes[MVI_PENDING_ROOM];
    size_t n = mvi_pending_encode(&pending, bytes);
    int rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(bytes, n));
    part->made.flags |= MVI_PENDING;
    memcpy(part->made.pending, part->txid, MV_TXID_SIZE);
    return rc;
}

static int write_part(kv_txn *txn, commit *c, mvi_part *part)
{
    mv_db *db = part->db;
    uint8_t value[MVI_LATEST_ROOM];
    int rc = MV_OK;
    if (c->now_ms > part->made.ms)
        part->made.ms = c->now_ms; /* never backwards: a time names one version */
    rc = write_record(txn, part);
    for (size_t i = 0; i < part->n && !rc; i++)
        rc = mvi_change_put(txn, db->store->traits, db->ns, &part->changes[i], NULL);
    if (!rc && part->large)
        rc = write_pending(txn, part);
    part->made.pages = part->pages;
    part->made.page_size = part->page_size;
    mvi_key time = mvi_key_time(db->ns, part->made.ms, &mvi_zero_stamp), newest = mvi_key_latest(db->ns);
    if (!rc)
        rc = kv_set_stamped_key(txn, mvi_key_slice(&time), MVI_STAMP_IN_TIME, mvi_slice(NULL, 0));
    if (!rc)
        rc = kv_set_stamped_value(txn, mvi_key_slice(&newest), mvi_slice(value, mvi_latest_encode(&part->made, value)),
                                  0);
    return rc;
}

/* What the commit follows becomes a branch, if that was asked for. */
static int keep_branch(kv_txn *txn, const commit *c, const mvi_part *part)
{
    const mv_db *db = part->db;
    uint32_t ns;
    if (!db->keep)
        return MV_OK;
    return mvi_branch_make(txn, db->store, mvi_line_of(db->line, &part->made.stamp)->ns, &part->made, db->keep,
                           c->now_ms, &ns);
}

static int commit_in(kv_txn *txn, void *ctx)
{
    commit *c = ctx;
    int rc = MV_OK;
    memset(&c->found, 0, sizeof c->found);
    for (size_t i = 0; i < c->n && !rc; i++)
        if (!c->parts[i].empty)
            rc = check_part(txn, c, &c->parts[i]);
    for (size_t i = 0; i < c->n && !rc; i++)
        if (!c->parts[i].empty)
            rc = keep_branch(txn, c, &c->parts[i]);
    for (size_t i = 0; i < c->n && !rc; i++)
        if (!c->parts[i].empty)
            rc = write_part(txn, c, &c->parts[i]);
    return rc;
}

/* ---- outside ------------------------------------------------------------- */

/* The shared cache goes forward with what was written. */
static void refresh_cache(mvi_part *part, const mv_stamp *before, const mv_stamp *stamp)
{
    mv_db *db = part->db;
    mvi_cache *cache = db->store->cache;
    uint32_t *pages = malloc((part->n + 1) * sizeof *pages);
    for (size_t i = 0; pages && i < part->n; i++)
        pages[i] = part->changes[i].pgno;
    mvi_cache_advance(cache, db->ns, before, stamp, part->large ? NULL : pages, part->n);
    free(pages);
    for (size_t i = 0; i < part->n; i++) {
        const mvi_change *change = &part->changes[i];
        const uint8_t *page = mvi_pagemap_find(&db->writes.dirty, change->pgno);
        if (!page || !change->head.size)
            continue;
        mvi_origin origin = {*stamp, part->page_size, change->head.data[MV_STAMP_SIZE + 1], 0};
        mvi_cache_put(cache, db->ns, change->pgno, stamp, &origin, page);
    }
}

static void committed(mvi_part *part, const mv_stamp *stamp)
{
    mv_db *db = part->db;
    mv_stamp before = part->made.stamp;
    if (!part->empty) {
        db->has_lease = 0; /* given back with the commit */
        db->newer += mvi_stamp_cmp(&before, &db->snap.stamp) != 0; /* others committed elsewhere meanwhile */
        if (part->known) /* else the cache catches up at the next snapshot */
            refresh_cache(part, &before, stamp);
        part->made.stamp = *stamp;
        db->snap = part->made;
        mvi_hold_follow(db);
        mvi_view_drop(db); /* it does not see the commit */
        db->writes.has_txid = part->large ? 0 : db->writes.has_txid; /* the staging is the commit's now */
    }
    mvi_writes_drop(db);
    if (part->large && !part->empty && mvi_settle(db->store, db->ns) == MV_OK)
        db->snap.flags &= (uint8_t)~MVI_PENDING; /* else the next writer moves the pages */
}

static int prepare_all(mv_db **dbs, size_t n, mvi_part *parts, int *something)
{
    int rc = MV_OK;
    *something = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        if (dbs[i]->store != dbs[0]->store)
            return mv_fail(MV_MISUSE, "databases of different stores cannot commit together");
        rc = mvi_prepare(dbs[i], &parts[i]);
        *something |= !parts[i].empty;
    }
    return rc;
}

static int settle_all(mv_db **dbs, size_t n)
{
    int rc = MV_OK;
    for (size_t i = 0; i < n && !rc; i++)
        rc = mvi_settle(dbs[i]->store, dbs[i]->ns);
    return rc;
}

static void free_parts(mvi_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mvi_part_free(&parts[i]);
}

/* What the next writer of this host may rely on. After an error that leaves the outcome open
 * it must ask. */
static void leave_notes(const commit *c, int rc, const mv_stamp *made)
{
    for (size_t i = 0; i < c->n; i++) {
        const mvi_part *part = &c->parts[i];
        mv_store *store = part->db->store;
        if (part->empty || !store->traits->hold_ms || part->db->concurrency == MV_OPTIMISTIC)
            continue;
        mvi_hostlock_note(store->locks, part->db->ns, rc ? NULL : made);
    }
}

/* The handle in whose read transaction the commit can work; NULL: none. That transaction must
 * not be older than what the commit looks at: staged pages, or another handle's snapshot. */
static mv_db *find_reader(const commit *c)
{
    mv_db *only = NULL;
    for (size_t i = 0; i < c->n; i++) {
        if (c->parts[i].empty)
            continue;
        if (only || c->parts[i].large)
            return NULL;
        only = c->parts[i].db;
    }
    return only;
}

static int transact(commit *c, mv_db **dbs, kv_stamp *stamp)
{
    mv_db *reader_of = find_reader(c);
    kv_txn *reader = reader_of ? mvi_view_take(reader_of) : NULL;
    c->reader_of = reader ? reader_of : NULL;
    leave_notes(c, MV_UNKNOWN, NULL);
    return kv_transact_from(dbs[0]->store->kv, reader, commit_in, c, stamp);
}

/* Writes the newest-commit record as it is. Every commit guards it, so one that is still under
 * way fails from now on; one that was first has changed it. */
static int rewrite_newest(kv_txn *txn, void *ctx)
{
    mv_db *db = ctx;
    mvi_key key = mvi_key_latest(db->ns);
    uint8_t copy[MVI_LATEST_ROOM];
    mv_slice value;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc || value.size > sizeof copy)
        return rc ? rc : mv_fail(MV_CORRUPT, "the record of the newest commit has %zu bytes", value.size);
    memcpy(copy, value.data, value.size);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(copy, value.size));
}

int mvi_make_certain(mv_db *db)
{
    int rc = db->uncertain ? kv_transact(db->store->kv, rewrite_newest, db, NULL) : MV_OK;
    if (!rc)
        db->uncertain = 0;
    return rc;
}

int mv_db_commit(mv_db **dbs, size_t n, mv_stamp *stamp)
{
    mv_stamp made = mvi_zero_stamp;
    kv_stamp engine_stamp = {{0}};
    mvi_part *parts = calloc(n ? n : 1, sizeof *parts);
    commit c = {.parts = parts, .n = n, .now_ms = mvi_now_ms()};
    int something = 0, rc = parts ? MV_OK : mv_fail(MV_NOMEM, "out of memory preparing a commit");
    for (int tried = 0; !rc; tried++) {
        rc = prepare_all(dbs, n, parts, &something);
        if (!rc && something)
            rc = transact(&c, dbs, &engine_stamp);
        if (rc != MVI_PENDING_FIRST || tried >= 3)
            break;
        rc = settle_all(dbs, n);
        free_parts(parts, n);
    }
    if (rc == MVI_PENDING_FIRST)
        rc = mv_fail(MV_BUSY, "large commits of others keep coming between");
    if (!rc && something) {
        memcpy(made.bytes, engine_stamp.bytes, MV_STAMP_SIZE);
        if (mvi_stamp_is_zero(&made)) {
            made = c.found;
            for (size_t i = 0; i < n; i++)
                parts[i].known = 0;
        }
        leave_notes(&c, MV_OK, &made);
    }
    for (size_t i = 0; i < n && !rc; i++)
        committed(&parts[i], &made);
    for (size_t i = 0; i < n && rc == MV_UNKNOWN; i++)
        dbs[i]->uncertain = 1;
    if (parts)
        free_parts(parts, n);
    free(parts);
    if (stamp)
        *stamp = made;
    return rc;
}
