/* Databases by name: create, delete, undelete, rename, list. */
#include "internal.h"

typedef struct naming {
    mv_store *store;
    kv_fn fn;
    const char *name, *other;
    uint64_t now_ms;
    uint32_t ns;    /* of the run before, with the metadata it wrote; 0: it wrote none */
    mvi_meta wrote;
} naming;

int mvi_name_get(kv_txn *txn, const char *name, uint32_t *ns)
{
    mvi_key key = mvi_key_name(name);
    mv_slice value;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc && value.size != 4)
        rc = mv_fail(MV_CORRUPT, "the name \"%s\" leads to %zu bytes that are no database id", name, value.size);
    if (!rc)
        *ns = mvi_get32(value.data);
    return rc;
}

static int must_be_free(kv_txn *txn, const naming *n, const char *name)
{
    uint32_t taken;
    int rc = mvi_name_get(txn, name, &taken);
    if (rc == MV_NOTFOUND)
        return MV_OK;
    return rc ? rc : mv_fail(MV_EXISTS, "store %s has a database \"%s\" already: choose another name, or delete that one",
                             n->store->url, name);
}

static int must_exist(kv_txn *txn, const naming *n, uint32_t *ns)
{
    int rc = mvi_name_get(txn, n->name, ns);
    return rc == MV_NOTFOUND ? mv_fail(rc, "no database \"%s\" in store %s", n->name, n->store->url) : rc;
}

int mvi_meta_get(kv_txn *txn, uint32_t ns, mvi_meta *meta)
{
    mvi_key key = mvi_key_meta(ns);
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc == MV_NOTFOUND)
        return mv_fail(MV_CORRUPT, "database %u has no metadata", ns);
    return rc ? rc : mvi_meta_decode(value, meta);
}

static int set_meta(kv_txn *txn, naming *n, uint32_t ns, const mvi_meta *meta)
{
    mvi_key key = mvi_key_meta(ns);
    uint8_t value[MVI_META_ROOM];
    n->ns = ns;
    n->wrote = *meta;
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(value, mvi_meta_encode(meta, value)));
}

int mvi_name_set(kv_txn *txn, const char *name, uint32_t ns)
{
    mvi_key key = mvi_key_name(name);
    uint8_t value[4];
    mvi_put32(value, ns);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(value, 4));
}

int mvi_name_clear(kv_txn *txn, const char *name)
{
    mvi_key key = mvi_key_name(name);
    return kv_clear(txn, mvi_key_slice(&key));
}

/* Marks the newest-commit record, which makes commits under way notice. */
static int set_deleted(kv_txn *txn, uint32_t ns, int deleted)
{
    mvi_key key = mvi_key_latest(ns);
    mv_slice value;
    mvi_latest latest;
    uint8_t bytes[MVI_LATEST_ROOM];
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        rc = mvi_latest_decode(value, &latest);
    if (rc)
        return rc == MV_NOTFOUND ? mv_fail(MV_CORRUPT, "database %u has no record of its newest commit", ns) : rc;
    latest.flags = (uint8_t)((latest.flags & ~MVI_DELETED) | (deleted ? MVI_DELETED : 0));
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(bytes, mvi_latest_encode(&latest, bytes)));
}

/* ---- the transactions ----------------------------------------------------- */

int mvi_next_id(kv_txn *txn, uint32_t *ns)
{
    mvi_key key = mvi_key_next_id();
    mv_slice value;
    uint8_t next[4];
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc && rc != MV_NOTFOUND)
        return rc;
    *ns = !rc && value.size == 4 ? mvi_get32(value.data) : 1;
    mvi_put32(next, *ns + 1);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(next, 4));
}

static int create_in(kv_txn *txn, void *ctx)
{
    naming *n = ctx;
    uint32_t ns = 0;
    mvi_meta meta = {.created_ms = n->now_ms};
    mvi_latest latest = {.ms = 0};
    uint8_t value[MVI_LATEST_ROOM];
    memcpy(meta.name, n->name, strlen(n->name) + 1);
    int rc = must_be_free(txn, n, n->name);
    if (!rc)
        rc = mvi_next_id(txn, &ns);
    if (!rc)
        rc = mvi_name_set(txn, n->name, ns);
    if (!rc)
        rc = set_meta(txn, n, ns, &meta);
    mvi_key key = mvi_key_latest(ns);
    return rc ? rc : kv_set(txn, mvi_key_slice(&key), mvi_slice(value, mvi_latest_encode(&latest, value)));
}

static int delete_in(kv_txn *txn, void *ctx)
{
    naming *n = ctx;
    uint32_t ns = 0;
    mvi_meta meta;
    int rc = must_exist(txn, n, &ns);
    if (!rc)
        rc = mvi_meta_get(txn, ns, &meta);
    if (rc)
        return rc;
    meta.deleted_ms = n->now_ms;
    rc = set_meta(txn, n, ns, &meta);
    if (!rc)
        rc = set_deleted(txn, ns, 1);
    return rc ? rc : mvi_name_clear(txn, n->name);
}

/* The most recently deleted database of that name. */
static int find_deleted(kv_txn *txn, const naming *n, uint32_t *ns, mvi_meta *found)
{
    mvi_key begin = mvi_key_meta(0), end = mvi_key_meta(UINT32_MAX);
    kv_cursor *cursor;
    found->deleted_ms = 0;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, &cursor);
    while (!rc) {
        mv_slice key, value;
        mvi_meta meta;
        rc = kv_next(cursor, &key, &value);
        if (!rc)
            rc = mvi_meta_decode(value, &meta);
        if (!rc && meta.deleted_ms >= found->deleted_ms && meta.deleted_ms && strcmp(meta.name, n->name) == 0 &&
            !mvi_is_unfinished(meta.name)) {
            *found = meta;
            *ns = mvi_key_get_ns(key);
        }
    }
    kv_cursor_close(cursor);
    if (rc != MV_NOTFOUND)
        return rc;
    return found->deleted_ms ? MV_OK : mv_fail(MV_NOTFOUND, "no deleted database \"%s\" in store %s", n->name,
                                               n->store->url);
}

static int undelete_in(kv_txn *txn, void *ctx)
{
    naming *n = ctx;
    uint32_t ns = 0;
    mvi_meta meta;
    int rc = find_deleted(txn, n, &ns, &meta);
    if (!rc)
        rc = must_be_free(txn, n, n->other);
    if (rc)
        return rc;
    meta.deleted_ms = 0;
    memcpy(meta.name, n->other, strlen(n->other) + 1);
    rc = set_meta(txn, n, ns, &meta);
    if (!rc)
        rc = set_deleted(txn, ns, 0);
    return rc ? rc : mvi_name_set(txn, n->other, ns);
}

static int rename_in(kv_txn *txn, void *ctx)
{
    naming *n = ctx;
    uint32_t ns = 0;
    mvi_meta meta;
    int rc = must_exist(txn, n, &ns);
    if (!rc)
        rc = must_be_free(txn, n, n->other);
    if (!rc)
        rc = mvi_meta_get(txn, ns, &meta);
    if (rc)
        return rc;
    memcpy(meta.name, n->other, strlen(n->other) + 1);
    rc = set_meta(txn, n, ns, &meta);
    if (!rc)
        rc = mvi_name_clear(txn, n->name);
    return rc ? rc : mvi_name_set(txn, n->other, ns);
}

/* After an unknown result: does the store hold what the run before wrote? */
static int happened(kv_txn *txn, const naming *n, int *yes)
{
    mvi_key key = mvi_key_meta(n->ns);
    uint8_t wrote[MVI_META_ROOM];
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    *yes = !rc && mvi_slice_cmp(value, mvi_slice(wrote, mvi_meta_encode(&n->wrote, wrote))) == 0;
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int run_in(kv_txn *txn, void *ctx)
{
    naming *n = ctx;
    int yes = 0;
    int rc = n->ns && kv_maybe_committed(txn) ? happened(txn, n, &yes) : MV_OK;
    if (rc || yes)
        return rc ? rc : KV_NOTHING;
    n->ns = 0;
    return n->fn(txn, n);
}

static int run(mv_store *store, kv_fn fn, const char *name, const char *other)
{
    naming n = {.store = store, .fn = fn, .name = name, .other = other, .now_ms = mvi_now_ms()};
    int rc = mvi_check_name(name);
    if (!rc && other)
        rc = mvi_check_name(other);
    return rc ? rc : kv_transact(store->kv, run_in, &n, NULL);
}

int mv_create(mv_store *store, const char *name)
{
    return run(store, create_in, name, NULL);
}

int mv_delete(mv_store *store, const char *name)
{
    return run(store, delete_in, name, NULL);
}

int mv_undelete(mv_store *store, const char *name, const char *as)
{
    return run(store, undelete_in, name, as ? as : name);
}

int mv_rename(mv_store *store, const char *name, const char *to)
{
    return run(store, rename_in, name, to);
}

/* ---- listing -------------------------------------------------------------- */

typedef struct listed {
    mvi_meta meta;
    mvi_latest latest;
    uint32_t ns;
} listed;

static int add_listed(mvi_piece *piece, mv_slice key, mv_slice value, listed **all, size_t *n)
{
    listed entry = {.ns = mvi_key_get_ns(key)};
    mvi_key latest = mvi_key_latest(entry.ns);
    int rc = mvi_meta_decode(value, &entry.meta);
    if (!rc)
        rc = kv_get(piece->txn, mvi_key_slice(&latest), &value);
    if (!rc)
        rc = mvi_latest_decode(value, &entry.latest);
    if (rc && rc != MV_NOTFOUND) /* half discarded: listed, so that somebody finishes it */
        return rc;
    listed *bigger = (*n & (*n - 1)) ? *all : realloc(*all, (*n ? *n * 2 : 1) * sizeof **all);
    if (!bigger)
        return mv_fail(MV_NOMEM, "out of memory listing databases");
    *all = bigger;
    (*all)[(*n)++] = entry;
    return MV_OK;
}

static int collect(mv_store *store, listed **all, size_t *n)
{
    mvi_key begin = mvi_key_meta(0), end = mvi_key_meta(UINT32_MAX);
    mvi_piece piece = {.store = store};
    mvi_walk walk = mvi_walk_over(&piece, &begin, &end, 0);
    int rc = MV_OK;
    while (!rc) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        if (!rc)
            rc = mvi_walk_again(&walk, add_listed(&piece, key, value, all, n));
    }
    mvi_walk_close(&walk);
    mvi_piece_end(&piece);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

int mv_list(mv_store *store, int (*each)(void *ctx, const mv_info *info), void *ctx)
{
    listed *all = NULL;
    size_t n = 0;
    int rc = collect(store, &all, &n);
    for (size_t i = 0; i < n && !rc; i++) {
        mv_info info = {
            .name = all[i].meta.name,
            .id = all[i].ns,
            .created_ms = all[i].meta.created_ms,
            .deleted_ms = all[i].meta.deleted_ms,
            .newest = all[i].latest.stamp,
            .newest_ms = all[i].latest.ms,
            .pages = all[i].latest.pages,
            .page_size = all[i].latest.page_size,
            .parent = all[i].meta.parent,
            .base = all[i].meta.base.stamp,
            .base_ms = all[i].meta.base.ms,
        };
        rc = each(ctx, &info);
    }
    free(all);
    return rc;
}
