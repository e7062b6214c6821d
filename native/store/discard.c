/* Dropping, for good, what was never shown: a database whose import or copy did not end. */
#include "internal.h"

#define KEYS_A_STEP 4096

typedef struct discard {
    mv_store *store;
    uint32_t ns;
    char kind;
    size_t cleared;
} discard;

int mvi_is_unfinished(const char *name)
{
    return strncmp(name, MV_UNFINISHED, strlen(MV_UNFINISHED)) == 0 || strncmp(name, MV_COPYING, strlen(MV_COPYING)) == 0;
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
    key = mvi_key_name(meta.name);
    return kv_clear(txn, mvi_key_slice(&key));
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
