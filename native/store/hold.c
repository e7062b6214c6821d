/* What others need of a database: tags, branches and open snapshots, of this host and of others.
 *
 * An open snapshot of this host stands in a slot (readers.h). Where other hosts may read, it also stands
 * in the store, under mv/r:
 *
 *   stamp 10 | until ms 8 | lock domain 8 | slot 4 | what is read 1 | process 8 | host
 *
 * It is written in a transaction in which the version was there, so a gc either sees it or has forgotten
 * the version. It ends by itself some time after the last sign of life. Where the policy kept
 * everything when the handle was opened, it is written when the version has been read for half a minute: a
 * gc by a policy that was set since may come first, and then the reader gets an error. */
#include <stdio.h>
#include <unistd.h>

#include "gc.h"

#define HOLD_MS ((uint64_t)24 * 3600 * 1000)
#define FIXED 39
#define UNKNOWN_MAX 3

typedef struct held {
    mv_stamp stamp;
    uint64_t until_ms, domain, pid;
    uint32_t slot;
    mvi_reading reading;
    mv_slice host; /* borrowed from the value */
} held;

static void encode_held(const held *h, mvi_buf *out)
{
    uint8_t fixed[FIXED];
    memcpy(fixed, h->stamp.bytes, MV_STAMP_SIZE);
    mvi_put64(fixed + 10, h->until_ms);
    mvi_put64(fixed + 18, h->domain);
    mvi_put32(fixed + 26, h->slot);
    fixed[30] = (uint8_t)h->reading;
    mvi_put64(fixed + 31, h->pid);
    mvi_buf_add(out, fixed, sizeof fixed);
    mvi_buf_add(out, h->host.data, h->host.size);
}

static int decode_held(mv_slice value, held *h)
{
    if (value.size < FIXED)
        return mv_fail(MV_CORRUPT, "the record of an open snapshot has %zu bytes", value.size);
    memcpy(h->stamp.bytes, value.data, MV_STAMP_SIZE);
    h->until_ms = mvi_get64(value.data + 10);
    h->domain = mvi_get64(value.data + 18);
    h->slot = mvi_get32(value.data + 26);
    h->reading = (mvi_reading)value.data[30];
    h->pid = mvi_get64(value.data + 31);
    h->host = mvi_slice(value.data + FIXED, value.size - FIXED);
    return MV_OK;
}

/* ---- what is needed ------------------------------------------------------------- */

static int add_need(mvi_needs *needs, const mv_stamp *stamp, int why)
{
    if (needs->n == needs->room) {
        size_t room = needs->room ? needs->room * 2 : 64;
        mvi_need *list = realloc(needs->list, room * sizeof *list);
        if (!list)
            return mv_fail(MV_NOMEM, "out of memory listing what is needed");
        needs->list = list;
        needs->room = room;
    }
    needs->list[needs->n++] = (mvi_need){*stamp, why};
    return MV_OK;
}

static int compare(const void *a, const void *b)
{
    return mvi_stamp_cmp(&((const mvi_need *)a)->stamp, &((const mvi_need *)b)->stamp);
}

int mvi_needs_why(const mvi_needs *needs, const mv_stamp *stamp)
{
    size_t low = 0, high = needs->n;
    int why = 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mvi_stamp_cmp(&needs->list[middle].stamp, stamp) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < needs->n && mvi_stamp_cmp(&needs->list[low].stamp, stamp) == 0; low++)
        why |= needs->list[low].why;
    return why;
}

void mvi_needs_free(mvi_needs *needs)
{
    free(needs->list);
    memset(needs, 0, sizeof *needs);
}

typedef struct reading {
    kv_txn *txn;
    mv_store *store;
    uint32_t ns;
    const uint8_t *mine;
    uint64_t now_ms;
    mvi_needs *needs;
    mvi_buf ended; /* ids of holds that are to be taken away */
} reading;

static int add_reader(reading *r, const uint8_t *id, mvi_reading what, const mv_stamp *stamp, uint64_t pid, mv_slice host)
{
    if (r->mine && memcmp(id, r->mine, MV_TXID_SIZE) == 0)
        return MV_OK;
    if (what == MVI_READS_ONE)
        return add_need(r->needs, stamp, MVI_FOR_SNAPSHOT);
    snprintf(r->needs->reader, sizeof r->needs->reader, "process %llu of host %.*s", (unsigned long long)pid,
             (int)(host.size < 64 ? host.size : 64), (const char *)host.data);
    return MV_OK;
}

static int add_slot(void *ctx, const uint8_t *id, mvi_reading what, const mv_stamp *stamp, uint64_t pid)
{
    reading *r = ctx;
    const char *host = r->store->host;
    return add_reader(r, id, what, stamp, pid, mvi_slice(host, strlen(host)));
}

/* One key: a tag, a branch, or an open snapshot. */
static int add_key(reading *r, char kind, mv_slice key, mv_slice value)
{
    mv_stamp stamp;
    held h = {.until_ms = 0};
    const uint8_t *id = key.data + 8;
    if (kind == 'r') {
        int rc = decode_held(value, &h);
        if (rc)
            return rc;
        if (h.until_ms < r->now_ms || (h.domain == r->store->domain && !mvi_readers_alive(r->store->readers, h.slot, id)))
            mvi_buf_add(&r->ended, id, MV_TXID_SIZE);
        else
            return add_reader(r, id, h.reading, &h.stamp, h.pid, h.host);
        return r->ended.failed ? mv_fail(MV_NOMEM, "out of memory listing what is needed") : MV_OK;
    }
    if (value.size != MV_STAMP_SIZE)
        return mv_fail(MV_CORRUPT, "a %s has %zu bytes", kind == 'g' ? "tag" : "branch's reference", value.size);
    memcpy(stamp.bytes, value.data, MV_STAMP_SIZE);
    return add_need(r->needs, &stamp, kind == 'g' ? MVI_FOR_TAG : MVI_FOR_BRANCH);
}

static int read_kind(reading *r, char kind)
{
    mvi_key begin = mvi_key_kind(kind, r->ns), end = mvi_key_after(begin);
    kv_cursor *cursor;
    int rc = kv_range(r->txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, KV_BULK, &cursor);
    while (!rc) {
        mv_slice key, value;
        rc = kv_next(cursor, &key, &value);
        if (!rc)
            rc = add_key(r, kind, key, value);
    }
    kv_cursor_close(cursor);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int guard_kind(reading *r, char kind)
{
    mvi_key begin = mvi_key_kind(kind, r->ns), end = mvi_key_after(begin);
    return kv_add_read_conflict(r->txn, mvi_key_slice(&begin), mvi_key_slice(&end));
}

int mvi_needs_read(kv_txn *txn, mv_store *store, uint32_t ns, int clear, const uint8_t *mine, mvi_needs *needs)
{
    reading r = {.txn = txn, .store = store, .ns = ns, .mine = mine, .now_ms = mvi_now_ms(), .needs = needs};
    needs->n = 0;
    needs->reader[0] = 0;
    int rc = mvi_readers_each(store->readers, ns, add_slot, &r);
    for (const char *kind = "gbr"; *kind && !rc; kind++) {
        rc = clear ? guard_kind(&r, *kind) : MV_OK;
        if (!rc)
            rc = read_kind(&r, *kind);
    }
    for (size_t at = 0; clear && !rc && at < r.ended.size; at += MV_TXID_SIZE) {
        mvi_key key = mvi_key_hold(ns, r.ended.data + at);
        rc = kv_clear(txn, mvi_key_slice(&key));
    }
    mvi_buf_free(&r.ended);
    if (!rc && needs->n)
        qsort(needs->list, needs->n, sizeof *needs->list, compare);
    return rc;
}

/* ---- holding ---------------------------------------------------------------------- */

typedef struct holding {
    mv_store *store;
    uint32_t ns, slot;
    mvi_reading what;
    const mv_stamp *stamp;
} holding;

static mvi_key hold_key(const holding *h)
{
    return mvi_key_hold(h->ns, mvi_readers_id(h->store->readers, h->slot));
}

static int hold_in(kv_txn *txn, void *ctx)
{
    const holding *h = ctx;
    mvi_key key = hold_key(h), record = mvi_key_commit(h->ns, h->stamp);
    mvi_buf value = {0};
    held is = {.stamp = *h->stamp,
               .until_ms = mvi_now_ms() + HOLD_MS,
               .domain = h->store->domain,
               .pid = (uint64_t)getpid(),
               .slot = h->slot,
               .reading = h->what,
               .host = mvi_slice(h->store->host, strlen(h->store->host))};
    int rc = mvi_guard(txn, &record);
    if (!rc)
        rc = mvi_check_kept(txn, h->ns, h->stamp);
    if (rc)
        return rc;
    encode_held(&is, &value);
    rc = value.failed ? mv_fail(MV_NOMEM, "out of memory holding a version") : MV_OK;
    if (!rc)
        rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(value.data, value.size));
    mvi_buf_free(&value);
    return rc;
}

/* Writing it twice is writing it once, so an outcome that stays open is answered by another one. */
static int write_hold(holding *h)
{
    int rc, tries = 0, unknown = 0;
    do
        rc = kv_transact(h->store->kv, hold_in, h, NULL);
    while (mvi_again(rc, &tries) || (rc == MV_UNKNOWN && unknown++ < UNKNOWN_MAX));
    return rc;
}

static int release_in(kv_txn *txn, void *ctx)
{
    mvi_key key = hold_key(ctx);
    return kv_clear(txn, mvi_key_slice(&key));
}

static holding hold_of(mv_db *db)
{
    uint32_t ns = mvi_line_of(db->line, &db->snap.stamp)->ns; /* where the version would be forgotten */
    return (holding){db->store, ns, db->slot, MVI_READS_ONE, &db->snap.stamp};
}

void mvi_hold_release(mv_db *db)
{
    holding h = {.store = db->store, .ns = db->held, .slot = db->slot};
    mvi_readers_set(db->store->readers, db->slot, 0, MVI_READS_NOTHING, NULL);
    if (db->held)
        (void)kv_transact(db->store->kv, release_in, &h, NULL); /* else it ends with the process, or by itself */
    db->held = 0;
}

static void show(mv_db *db)
{
    holding h = hold_of(db);
    mvi_readers_set(db->store->readers, db->slot, h.ns, MVI_READS_ONE, h.stamp);
}

void mvi_hold_back(mv_db *db)
{
    show(db);
}

void mvi_hold_follow(mv_db *db)
{
    if (db->held)
        mvi_hold_release(db);
    db->snap_at = mvi_monotonic_ms();
    show(db);
}

/* Where other hosts may forget: in the store. */
static int hold_there(mv_db *db)
{
    holding h = hold_of(db);
    uint64_t now = mvi_monotonic_ms();
    mvi_view_drop(db);
    if (db->held && db->held != h.ns) /* one key, for the version read now */
        mvi_hold_release(db);
    int rc = write_hold(&h);
    if (!rc) {
        show(db);
        db->held = h.ns;
        db->held_at = now;
    }
    return rc;
}

static int check_in(kv_txn *txn, void *ctx)
{
    const holding *h = ctx;
    return mvi_check_kept(txn, h->ns, h->stamp);
}

int mvi_hold_pin(mv_db *db)
{
    if (mvi_stamp_is_zero(&db->snap.stamp))
        return MV_OK; /* nothing is stored of that state */
    holding h = hold_of(db);
    if (db->held)
        mvi_hold_release(db);
    show(db);
    db->snap_at = mvi_monotonic_ms();
    if (db->store->traits->many_hosts) /* where all is kept, a look into the past is not paid with a commit */
        return mvi_line_of(db->line, h.stamp)->for_ever ? MV_OK : hold_there(db);
    int rc = mvi_readers_pass(db->store->readers, h.ns);
    return rc ? rc : mvi_read_in(db->store, check_in, &h);
}

int mvi_hold_on(mv_db *db)
{
    if (!db->store->traits->many_hosts || mvi_stamp_is_zero(&db->snap.stamp))
        return MV_OK;
    uint64_t since = mvi_monotonic_ms() - (db->held ? db->held_at : db->snap_at);
    return since < (db->held ? HOLD_MS / 4 : MV_LEAST_AGE_MS / 2) ? MV_OK : hold_there(db);
}

int mvi_hold_all(mv_store *store, uint32_t ns, uint32_t *slot)
{
    int rc = mvi_readers_join(store->readers, slot);
    if (rc)
        return rc;
    holding h = {store, ns, *slot, MVI_READS_ALL, &mvi_zero_stamp};
    mvi_readers_set(store->readers, *slot, ns, MVI_READS_ALL, &mvi_zero_stamp);
    rc = store->traits->many_hosts ? write_hold(&h) : mvi_readers_pass(store->readers, ns);
    if (rc)
        mvi_readers_leave(store->readers, *slot);
    return rc;
}

void mvi_hold_all_end(mv_store *store, uint32_t ns, uint32_t slot)
{
    holding h = {store, ns, slot, MVI_READS_ALL, &mvi_zero_stamp};
    if (store->traits->many_hosts)
        (void)kv_transact(store->kv, release_in, &h, NULL);
    mvi_readers_leave(store->readers, slot);
}
