/* Copying a branch: what it shares with its parent is in the parent's copy, which must be there
 * already; only what the branch itself has stored is copied. */
#include "copy.h"

typedef struct parents {
    mvi_copier *c;
    mvi_meta meta;          /* of the parent in the source */
    uint8_t txid[MV_TXID_SIZE]; /* of the version the branch begins at */
    uint32_t found;         /* in the destination; 0: not yet */
    mv_stamp base;          /* there */
} parents;

static int read_parent_in(kv_txn *txn, void *ctx)
{
    parents *p = ctx;
    const mvi_meta *branch = &p->c->meta;
    mvi_key key = mvi_key_commit(branch->parent, &branch->base.stamp);
    mv_slice value;
    mvi_record record;
    int rc = mvi_meta_get(txn, branch->parent, &p->meta);
    if (rc || mvi_stamp_is_zero(&branch->base.stamp))
        return rc;
    rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        rc = mvi_record_decode(value, &record);
    if (rc)
        return rc == MV_NOTFOUND ? mv_fail(MV_CORRUPT, "the version that \"%s\" begins at has no record", branch->name) : rc;
    memcpy(p->txid, record.txid, MV_TXID_SIZE);
    return MV_OK;
}

/* The version of that commit in a database of the destination; zero: it has none. */
static int find_base(parents *p, uint32_t ns)
{
    mvi_piece piece = {.store = p->c->to};
    mvi_key begin, end;
    mvi_record_range(ns, &mvi_zero_stamp, &mvi_last_stamp, &begin, &end);
    mvi_walk walk = mvi_walk_over(&piece, &begin, &end, KV_BULK);
    int rc = MV_OK;
    while (!rc && !p->found) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE || value.size < MV_TXID_SIZE ||
            memcmp(value.data, p->txid, MV_TXID_SIZE) != 0)
            continue;
        p->base = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        p->found = ns;
    }
    mvi_walk_close(&walk);
    mvi_piece_end(&piece);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int look_at(void *ctx, const mv_info *info)
{
    parents *p = ctx;
    if (p->found || info->created_ms != p->meta.created_ms || mvi_is_unfinished(info->name))
        return MV_OK;
    if (!mvi_stamp_is_zero(&p->c->meta.base.stamp))
        return find_base(p, info->id);
    p->found = info->id;
    return MV_OK;
}

int mvi_copy_find_parent(mvi_copier *c)
{
    parents p = {.c = c};
    if (!c->meta.parent)
        return MV_OK;
    c->base = c->meta.base;
    int rc = mvi_read_in(c->from, read_parent_in, &p);
    if (!rc && c->from == c->to) { /* the very same */
        c->parent = c->meta.parent;
        return MV_OK;
    }
    if (!rc)
        rc = mv_list(c->to, look_at, &p);
    if (!rc && !p.found)
        rc = mv_fail(MV_NOTFOUND, "\"%s\" is a branch of \"%s\", of which store %s has no copy with the version it begins "
                                  "at: copy that one first", c->meta.name, p.meta.name, c->to->url);
    c->parent = p.found;
    c->base.stamp = p.base;
    return rc;
}

typedef struct hiding {
    mvi_copier *c;
    uint64_t now_ms;
} hiding;

static int hide_in(kv_txn *txn, void *ctx)
{
    const hiding *h = ctx;
    uint32_t ns;
    return mvi_branch_make(txn, h->c->to, h->c->parent, &h->c->base, h->c->hidden, h->now_ms, &ns);
}

int mvi_copy_hide_branch(mvi_copier *c)
{
    hiding h = {c, mvi_now_ms()};
    return kv_transact(c->to->kv, hide_in, &h, NULL); /* after an unknown result: MV_EXISTS, which is as good */
}
