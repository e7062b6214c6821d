/* Branches: making one, what differs between two, making one's state the database's. */
#include "internal.h"

int mvi_branch_make(kv_txn *txn, const mv_store *store, uint32_t parent, const mvi_latest *base, const char *as,
                    uint64_t now_ms, uint32_t *ns)
{
    mvi_meta meta = {.created_ms = now_ms, .parent = parent, .base = *base}, of;
    mvi_latest latest = *base;
    uint8_t value[MVI_META_ROOM], newest[MVI_LATEST_ROOM];
    int rc = mvi_name_get(txn, as, ns);
    if (rc != MV_NOTFOUND)
        return rc ? rc : mv_fail(MV_EXISTS, "store %s has a database \"%s\" already: choose another name", store->url, as);
    rc = mvi_meta_get(txn, parent, &of);
    if (!rc)
        rc = mvi_next_id(txn, ns);
    if (!rc)
        rc = mvi_name_set(txn, as, *ns);
    if (rc)
        return rc;
    memcpy(meta.name, as, strlen(as) + 1);
    meta.has_policy = of.has_policy;
    meta.policy = of.policy;
    latest.flags = 0;
    mvi_key key = mvi_key_meta(*ns), l = mvi_key_latest(*ns), b = mvi_key_branch(parent, *ns);
    rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(value, mvi_meta_encode(&meta, value)));
    if (!rc)
        rc = kv_set(txn, mvi_key_slice(&l), mvi_slice(newest, mvi_latest_encode(&latest, newest)));
    return rc ? rc : kv_set(txn, mvi_key_slice(&b), mvi_slice(base->stamp.bytes, MV_STAMP_SIZE));
}

typedef struct branching {
    mv_db *db;
    const mv_stamp *at;
    const char *as;
    uint64_t now_ms;
    uint32_t made; /* of an earlier run */
} branching;

/* The version to begin at, guarded: it cannot be forgotten meanwhile. */
static int get_base(kv_txn *txn, const branching *b, mvi_latest *base, uint32_t *parent)
{
    const mvi_line *line = b->db->line;
    mvi_latest latest;
    mvi_key key = mvi_key_latest(line->ns);
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = mvi_get_latest(txn, line->ns, &latest);
    if (rc)
        return rc;
    const mv_stamp at = b->at ? *b->at : latest.stamp;
    if (latest.flags & MVI_PENDING && mvi_stamp_cmp(&at, &latest.stamp) == 0)
        return MVI_PENDING_FIRST; /* its pages are still staged, where a branch does not look */
    line = mvi_line_of(line, &at);
    *parent = line->ns;
    if (mvi_stamp_is_zero(&at)) {
        *base = (mvi_latest){.ms = 0};
        return MV_OK;
    }
    mv_slice value;
    mvi_record record;
    key = mvi_key_commit(line->ns, &at);
    rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        rc = mvi_record_decode(value, &record);
    if (!rc)
        *base = (mvi_latest){.stamp = at, .pages = record.pages, .page_size = record.page_size, .ms = record.ms};
    return rc == MV_NOTFOUND ? mv_fail(MV_NOVERSION, "database \"%s\" does not have that version", b->db->name) : rc;
}

/* After an unknown result: is the branch there? */
static int happened(kv_txn *txn, const branching *b, int *yes)
{
    uint32_t ns = 0;
    mvi_meta meta = {.created_ms = 0};
    int rc = mvi_name_get(txn, b->as, &ns);
    if (!rc && ns == b->made)
        rc = mvi_meta_get(txn, ns, &meta);
    *yes = !rc && ns == b->made && meta.created_ms == b->now_ms;
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int branch_in(kv_txn *txn, void *ctx)
{
    branching *b = ctx;
    mvi_latest base;
    uint32_t parent;
    int yes = 0, rc = b->made && kv_maybe_committed(txn) ? happened(txn, b, &yes) : MV_OK;
    if (rc || yes)
        return rc ? rc : KV_NOTHING;
    rc = get_base(txn, b, &base, &parent);
    return rc ? rc : mvi_branch_make(txn, b->db->store, parent, &base, b->as, b->now_ms, &b->made);
}

int mv_branch(mv_store *store, const char *name, const mv_stamp *at, const char *as)
{
    branching b = {.at = at, .as = as, .now_ms = mvi_now_ms()};
    int rc = mvi_check_name(as);
    if (!rc)
        rc = mv_db_open(store, name, 0, &b.db);
    for (int tries = 0; !rc; tries++) {
        rc = kv_transact(store->kv, branch_in, &b, NULL);
        if (rc != MVI_PENDING_FIRST || tries == 3)
            break;
        rc = mvi_settle(store, b.db->ns);
    }
    mv_db_close(b.db);
    return rc == MVI_PENDING_FIRST ? mv_fail(MV_BUSY, "large commits of others keep coming between") : rc;
}

/* ---- what differs ------------------------------------------------------------- */

/* The newest version that both lines have, up to the snapshots. 0: they have no database in common. */
static int find_common(const mvi_line *a, mv_stamp at_a, const mvi_line *b, mv_stamp at_b, mv_stamp *common)
{
    while (a && b && a->ns != b->ns) {
        const mvi_line **older = a->ns > b->ns ? &a : &b; /* a branch has a greater id than its parent */
        mv_stamp *at = older == &a ? &at_a : &at_b;
        if (mvi_stamp_cmp(&(*older)->base.stamp, at) < 0)
            *at = (*older)->base.stamp;
        *older = (*older)->parent;
    }
    *common = mvi_stamp_cmp(&at_a, &at_b) < 0 ? at_a : at_b;
    return a && b;
}

static int collect_differing(mv_db *a, mv_db *b, mvi_pageset *set)
{
    mv_stamp common;
    if (a->store != b->store || !find_common(a->line, a->snap.stamp, b->line, b->snap.stamp, &common))
        return mv_fail(MV_MISUSE, "\"%s\" and \"%s\" are not branches of one database", a->name, b->name);
    int rc = mvi_collect(a->store, a->line, &common, &a->snap.stamp, set);
    return rc ? rc : mvi_collect(b->store, b->line, &common, &b->snap.stamp, set);
}

int mv_db_differing(mv_db *a, mv_db *b, uint32_t **pages, size_t *n)
{
    mvi_pageset set = {0};
    *pages = NULL;
    *n = 0;
    int rc = collect_differing(a, b, &set);
    if (!rc)
        rc = mvi_pageset_list(&set, pages, n);
    mvi_pageset_clear(&set);
    return rc;
}

/* ---- promoting ------------------------------------------------------------------ */

typedef struct promotion {
    mv_db *branch;
    const char *keep;
} promotion;

static int promote_locked(mv_db *db, void *ctx, mv_stamp *made)
{
    promotion *p = ctx;
    mv_db *branch = p->branch;
    mvi_pageset differing = {0};
    int stale, rc = mv_db_begin(db, &stale);
    if (!rc)
        rc = mv_db_begin(branch, &stale);
    if (!rc)
        rc = collect_differing(db, branch, &differing);
    if (!rc)
        rc = mvi_write_state(db, branch, &branch->snap, &differing);
    if (!rc) {
        db->kind = MV_KIND_PROMOTE;
        db->target = branch->snap.stamp;
        db->keep = p->keep;
        rc = mv_db_commit(&db, 1, made);
    }
    mvi_pageset_clear(&differing);
    return rc;
}

int mv_db_promote(mv_db *db, const char *branch, const char *keep, mv_stamp *made)
{
    promotion p = {.keep = keep};
    *made = mvi_zero_stamp;
    int rc = keep ? mvi_check_name(keep) : MV_OK;
    if (!rc)
        rc = mv_db_open(db->store, branch, 0, &p.branch);
    if (!rc && p.branch->ns == db->ns)
        rc = mv_fail(MV_MISUSE, "\"%s\" is the database itself: give one of its branches", branch);
    if (!rc)
        rc = mvi_replace(db, promote_locked, &p, made);
    if (!rc && keep && mvi_stamp_is_zero(made)) /* nothing differed, so there was no commit to do it */
        rc = mv_branch(db->store, db->name, NULL, keep);
    mv_db_close(p.branch);
    return rc;
}
