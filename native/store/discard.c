/* Dropping, for good, what was never shown: a database whose import or copy did not end; and a deleted
 * database whose time is over. */
#include <stdio.h>

#include "gc.h"

#define KEYS_A_STEP 4096

typedef struct discard {
    mv_store *store;
    uint32_t ns;
    char kind;
    size_t cleared;
} discard;

int mvi_is_unfinished(const char *name)
{
    return strncmp(name, MV_UNFINISHED, strlen(MV_UNFINISHED)) == 0 ||
           strncmp(name, MV_COPYING, strlen(MV_COPYING)) == 0 || strncmp(name, MV_DROPPED, strlen(MV_DROPPED)) == 0;
}

/* Takes the name away first, so that nobody opens what is half gone. */
static int hide_in(kv_txn *txn, void *ctx)
{
    discard *d = ctx;
    mvi_key key = mvi_key_meta(d->ns);
    mv_slice value;
    mvi_meta meta;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc == MV_NOTFOUND)
        return mv_fail(rc, "no database %u in store %s", d->ns, d->store->url);
    if (!rc)
        rc = mvi_meta_decode(value, &meta);
    if (rc)
        return rc;
    if (!mvi_is_unfinished(meta.name))
        return mv_fail(MV_MISUSE, "database \"%s\" is not an unfinished import or copy: mv_delete hides it", meta.name);
    mvi_key branch = mvi_key_branch(meta.parent, d->ns); /* the parent need not keep its base any more */
    key = mvi_key_name(meta.name);
    rc = meta.parent ? kv_clear(txn, mvi_key_slice(&branch)) : MV_OK;
    return rc ? rc : kv_clear(txn, mvi_key_slice(&key));
}

static int clear_in(kv_txn *txn, void *ctx)
{
    discard *d = ctx;
    mvi_key begin = mvi_key_meta(d->ns), end;
    begin.bytes[3] = (uint8_t)d->kind;
    end = mvi_key_after(begin);
    d->cleared = 0;
    if (d->store->traits->many_hosts) /* a cluster takes a range at once, whatever is in it */
        return kv_clear_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end));
    mvi_key *keys = malloc(KEYS_A_STEP * sizeof *keys);
    kv_cursor *cursor;
    if (!keys)
        return mv_fail(MV_NOMEM, "out of memory dropping an unfinished database");
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), KEYS_A_STEP, 0, &cursor);
    if (!rc) {
        mv_slice key, value;
        while ((rc = kv_next(cursor, &key, &value)) == MV_OK) {
            memcpy(keys[d->cleared].bytes, key.data, key.size);
            keys[d->cleared++].size = key.size;
        }
        kv_cursor_close(cursor);
    }
    for (size_t i = 0; rc == MV_NOTFOUND && i < d->cleared; i++) {
        int cleared = kv_clear(txn, mvi_key_slice(&keys[i]));
        rc = cleared ? cleared : rc;
    }
    free(keys);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* Data first, metadata last: what stops in between is found and finished later. */
static int clear_all(discard *d)
{
    int rc = kv_transact(d->store->kv, hide_in, d, NULL);
    for (const char *kind = "shvctpwxgryblm"; *kind && !rc; kind++) {
        d->kind = *kind;
        do
            rc = kv_transact(d->store->kv, clear_in, d, NULL);
        while (!rc && d->cleared == KEYS_A_STEP);
    }
    return rc;
}

int mv_discard(mv_store *store, uint32_t id)
{
    discard d = {.store = store, .ns = id};
    int rc = mvi_hostlock_acquire(store->locks, id);
    if (rc)
        return rc;
    rc = clear_all(&d);
    mvi_hostlock_release(store->locks, id);
    return rc;
}

/* ---- deleted databases ------------------------------------------------------------ */

typedef struct dropping {
    mv_store *store;
    uint32_t ns;
    uint64_t now_ms;
    int dry_run, due;
} dropping;

static int is_due(const mvi_meta *meta, uint64_t now_ms)
{
    mv_policy policy = mvi_policy_of(meta);
    uint64_t age = policy.deleted_ms > policy.least_ms ? policy.deleted_ms : policy.least_ms;
    if (age < MV_LEAST_AGE_MS)
        age = MV_LEAST_AGE_MS;
    return meta->deleted_ms && age != MV_FOR_EVER && now_ms >= meta->deleted_ms && now_ms - meta->deleted_ms >= age;
}

static int check_unneeded(kv_txn *txn, const dropping *d, const char *name)
{
    mvi_needs needs = {.n = 0};
    int why = 0, rc = mvi_needs_read(txn, d->store, d->ns, !d->dry_run, NULL, &needs);
    for (size_t i = 0; i < needs.n; i++)
        why |= needs.list[i].why;
    if (!rc && why & MVI_FOR_BRANCH)
        rc = mv_fail(MV_BUSY, "deleted database \"%s\" stays, for a branch of it is there: delete that one too", name);
    else if (!rc && (why & MVI_FOR_SNAPSHOT || needs.reader[0]))
        rc = mv_fail(MV_BUSY, "deleted database \"%s\" is being read: run gc again when that is done", name);
    mvi_needs_free(&needs);
    return rc;
}

/* From then on nobody can bring it back, and what clears it can stop and go on. */
static int drop_in(kv_txn *txn, void *ctx)
{
    dropping *d = ctx;
    mvi_meta meta;
    mvi_key key = mvi_key_meta(d->ns);
    uint8_t value[MVI_META_ROOM];
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = mvi_meta_get(txn, d->ns, &meta);
    if (rc)
        return rc;
    d->due = is_due(&meta, d->now_ms) || mvi_is_unfinished(meta.name);
    if (!d->due || mvi_is_unfinished(meta.name))
        return KV_NOTHING;
    rc = check_unneeded(txn, d, meta.name);
    if (rc || d->dry_run)
        return rc ? rc : KV_NOTHING;
    snprintf(meta.name, sizeof meta.name, MV_DROPPED "%u", d->ns);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(value, mvi_meta_encode(&meta, value)));
}

int mv_gc_deleted(mv_store *store, uint32_t id, mv_gc *gc, int *dropped)
{
    dropping d = {.store = store, .ns = id, .now_ms = gc->now_ms ? gc->now_ms : mvi_now_ms(), .dry_run = gc->dry_run};
    mv_usage usage;
    *dropped = 0;
    gc->removed = gc->kept = gc->images = gc->for_tags = gc->for_branches = gc->for_snapshots = 0;
    gc->bytes = 0;
    int rc = mvi_readers_stop(store->readers, id);
    if (rc)
        return rc;
    rc = kv_transact(store->kv, drop_in, &d, NULL);
    mvi_readers_go(store->readers, id);
    if (rc || !d.due)
        return rc;
    rc = mv_usage_of(store, id, &usage);
    if (!rc && !gc->dry_run)
        rc = mv_discard(store, id);
    if (rc)
        return rc;
    gc->removed = usage.versions;
    gc->images = usage.heads + usage.history;
    gc->bytes = (int64_t)(usage.head_bytes + usage.history_bytes + usage.record_bytes + usage.staged_bytes);
    *dropped = 1;
    return MV_OK;
}
