/* Copying a database into another store: beginning, going on, and showing it. */
#include <stdio.h>

#include "copy.h"
#include "gc.h"

int mvi_copy_tell(const mvi_copier *c, int verifying, uint64_t done, uint64_t of)
{
    const mv_copy *copy = c->copy;
    return copy->progress ? copy->progress(copy->ctx, verifying, done < of ? done : of, of) : MV_OK;
}

/* ---- the source --------------------------------------------------------------- */

static int read_latest(kv_txn *txn, uint32_t ns, mvi_latest *latest)
{
    mvi_key key = mvi_key_latest(ns);
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc == MV_NOTFOUND)
        return mv_fail(MV_CORRUPT, "database %u has no record of its newest commit", ns);
    return rc ? rc : mvi_latest_decode(value, latest);
}

typedef struct reading {
    mvi_copier *c;
    mvi_latest *latest;
} reading;

static int read_source_in(kv_txn *txn, void *ctx)
{
    const reading *r = ctx;
    mvi_copier *c = r->c;
    mvi_key key = mvi_key_meta(c->source);
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc == MV_NOTFOUND)
        return mv_fail(rc, "no database %u in store %s", c->source, c->from->url);
    if (!rc)
        rc = mvi_meta_decode(value, &c->meta);
    return rc ? rc : read_latest(txn, c->source, r->latest);
}

static int read_source(mvi_copier *c, mvi_latest *latest)
{
    reading r = {c, latest};
    return mvi_read_in(c->from, read_source_in, &r);
}

/* The newest version that is not still moving. */
static int settled(mvi_copier *c, mvi_latest *latest)
{
    int rc = read_source(c, latest);
    while (!rc && latest->flags & MVI_PENDING) {
        rc = mvi_settle(c->from, c->source);
        if (!rc)
            rc = mvi_copy_tell(c, 0, 0, 0);
        if (!rc)
            rc = read_source(c, latest);
    }
    return rc;
}

typedef struct identity {
    mvi_key key; /* of the record */
    uint8_t *txid;
} identity;

static int read_txid_in(kv_txn *txn, void *ctx)
{
    const identity *i = ctx;
    mv_slice value;
    mvi_record record;
    int rc = kv_get(txn, mvi_key_slice(&i->key), &value);
    if (!rc)
        rc = mvi_record_decode(value, &record);
    if (!rc)
        memcpy(i->txid, record.txid, MV_TXID_SIZE);
    return rc;
}

/* The id of a version's commit; MV_NOTFOUND without a message. */
static int read_txid(mv_store *store, uint32_t ns, const mv_stamp *stamp, uint8_t *txid)
{
    identity i = {mvi_key_commit(ns, stamp), txid};
    return mvi_read_in(store, read_txid_in, &i);
}

/* Counts the source's versions after `after`, newest first, up to the commit `txid` (NULL:
 * all); its stamp, or zero if it is not among them. */
static int count_later(mvi_copier *c, const mv_stamp *after, const uint8_t *txid, mv_stamp *found)
{
    mvi_key begin, end;
    mvi_record_range(c->source, after, &mvi_last_stamp, &begin, &end);
    mvi_walk walk = mvi_walk_over(&c->piece, &begin, &end, KV_REVERSE);
    int rc = MV_OK;
    c->copy->later = 0;
    *found = mvi_zero_stamp;
    while (!rc && mvi_stamp_is_zero(found)) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE)
            continue;
        if (txid && value.size > MV_TXID_SIZE && memcmp(value.data, txid, MV_TXID_SIZE) == 0)
            *found = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        else
            c->copy->later++;
    }
    mvi_walk_close(&walk);
    mvi_piece_end(&c->piece);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* ---- what the destination has ------------------------------------------------------ */

/* A database there came from this source and was not written since: its newest commit is
 * one of the source's. */
static int is_copy(mvi_copier *c, uint32_t ns, const mvi_meta *meta, const mvi_latest *latest, int *yes)
{
    uint8_t txid[MV_TXID_SIZE];
    int empty = mvi_stamp_is_zero(&latest->stamp) || (meta->parent && mvi_stamp_cmp(&latest->stamp, &meta->base.stamp) == 0);
    *yes = 0;
    if (meta->created_ms != c->meta.created_ms || (c->from == c->to && ns == c->source))
        return MV_OK;
    int rc = empty ? MV_OK : read_txid(c->to, ns, &latest->stamp, txid);
    if (!rc)
        rc = count_later(c, &mvi_zero_stamp, empty ? NULL : txid, &c->copy->source);
    *yes = !rc && (empty || !mvi_stamp_is_zero(&c->copy->source));
    c->copy->newest = latest->stamp;
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

typedef struct look {
    mvi_key name; /* to be looked up */
    uint32_t found; /* 0: none */
    mvi_meta meta;
    mvi_latest latest;
} look;

/* Deleted databases have no name that leads to them. */
static int find_deleted(mvi_copier *c, look *l)
{
    mvi_key begin = mvi_key_meta(0), end = mvi_key_meta(UINT32_MAX);
    mvi_piece piece = {.store = c->to};
    mvi_walk walk = mvi_walk_over(&piece, &begin, &end, 0);
    int rc = MV_OK;
    while (!rc && !l->found) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        if (!rc)
            rc = mvi_meta_decode(value, &l->meta);
        if (rc || l->meta.deleted_ms != c->meta.deleted_ms || strcmp(l->meta.name, c->name) != 0 ||
            l->meta.created_ms != c->meta.created_ms)
            continue;
        uint32_t ns = mvi_key_get_ns(key);
        rc = read_latest(piece.txn, ns, &l->latest);
        l->found = rc ? 0 : ns;
        rc = mvi_walk_again(&walk, rc);
    }
    mvi_walk_close(&walk);
    mvi_piece_end(&piece);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int find_named_in(kv_txn *txn, void *ctx)
{
    look *l = ctx;
    mv_slice value;
    l->found = 0;
    int rc = kv_get(txn, mvi_key_slice(&l->name), &value);
    if (!rc && value.size == 4) {
        l->found = mvi_get32(value.data);
        rc = mvi_meta_get(txn, l->found, &l->meta);
        if (!rc)
            rc = read_latest(txn, l->found, &l->latest);
    }
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int find_named(mvi_copier *c, const char *name, look *l)
{
    l->name = mvi_key_name(name);
    return mvi_read_in(c->to, find_named_in, l);
}

static int name_is_taken(const mvi_copier *c)
{
    return mv_fail(MV_EXISTS, "store %s has a database \"%s\" already, and it is not a copy of this one: choose "
                              "another name, or delete that one", c->to->url, c->name);
}

/* Sets copy->already; MV_EXISTS if the name is another database's. */
static int look_for_copy(mvi_copier *c)
{
    look l = {.found = 0};
    int rc = c->meta.deleted_ms ? find_deleted(c, &l) : find_named(c, c->name, &l), yes = 0;
    if (rc || !l.found)
        return rc;
    rc = is_copy(c, l.found, &l.meta, &l.latest, &yes);
    c->copy->already = yes;
    return rc || yes || c->meta.deleted_ms ? rc : name_is_taken(c);
}

/* ---- beginning, or going on ---------------------------------------------------------- */

static int decode_copied(mv_slice value, mvi_copied *copied)
{
    size_t fixed = MV_STAMP_SIZE + MV_TXID_SIZE + 10;
    if (value.size < fixed || value.size - fixed >= sizeof copied->last.bytes)
        return mv_fail(MV_CORRUPT, "the record of an unfinished copy has %zu bytes", value.size);
    const uint8_t *p = value.data;
    memset(copied, 0, sizeof *copied);
    memcpy(copied->version.bytes, p, MV_STAMP_SIZE);
    memcpy(copied->txid, p + MV_STAMP_SIZE, MV_TXID_SIZE);
    copied->done = mvi_get64(p + MV_STAMP_SIZE + MV_TXID_SIZE);
    copied->renamed = p[fixed - 2];
    copied->step = p[fixed - 1];
    copied->last.size = value.size - fixed;
    memcpy(copied->last.bytes, p + fixed, copied->last.size);
    return MV_OK;
}

/* Versions keep their names if all later ones of the destination will be greater. */
static int choose_names(mvi_copier *c)
{
    kv_stamp above;
    memcpy(above.bytes, c->copied.version.bytes, KV_STAMP_SIZE);
    int rc = mvi_stamp_is_zero(&c->copied.version) ? MV_OK : kv_raise_stamps(c->to->kv, &above);
    c->copied.renamed = rc == MV_MISUSE;
    return rc == MV_MISUSE ? MV_OK : rc;
}

/* New names are 1, 2, ...: also those must be smaller than all later ones. */
static int raise_above_new_names(const mvi_copier *c)
{
    kv_stamp above = {{0}};
    mvi_put64(above.bytes, mvi_get64(c->base.stamp.bytes) + c->stamps_n);
    return kv_raise_stamps(c->to->kv, &above);
}

static int begin_anew(mvi_copier *c)
{
    mvi_latest latest;
    int rc = settled(c, &latest);
    memset(&c->copied, 0, sizeof c->copied);
    c->copied.version = latest.stamp;
    if (c->meta.parent && mvi_stamp_cmp(&latest.stamp, &c->meta.base.stamp) == 0)
        c->copied.version = latest.stamp = mvi_zero_stamp; /* nothing of its own */
    if (!rc && !mvi_stamp_is_zero(&latest.stamp))
        rc = read_txid(c->from, c->source, &latest.stamp, c->copied.txid);
    if (rc == MV_NOTFOUND)
        rc = mv_fail(MV_CORRUPT, "the newest version of database \"%s\" has no record: verify it", c->meta.name);
    if (!rc)
        rc = choose_names(c);
    return rc ? rc : mvi_copy_flush(c);
}

/* What an interrupted copy left must be of this source. */
static int go_on(mvi_copier *c)
{
    uint8_t txid[MV_TXID_SIZE];
    int rc = decode_copied(mvi_slice(c->wrote.data, c->wrote.size), &c->copied);
    c->copy->resumed = 1;
    if (rc || mvi_stamp_is_zero(&c->copied.version))
        return rc;
    rc = read_txid(c->from, c->source, &c->copied.version, txid);
    if (rc == MV_NOTFOUND || (!rc && memcmp(txid, c->copied.txid, MV_TXID_SIZE) != 0))
        rc = mv_fail(MV_MISUSE, "what an interrupted copy of \"%s\" left is of another source: begin anew (--restart)",
                     c->meta.name);
    return rc;
}

static int read_wrote_in(kv_txn *txn, void *ctx)
{
    mvi_copier *c = ctx;
    mvi_key key = mvi_key_copying(c->target);
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        mvi_buf_add(&c->wrote, value.data, value.size);
    if (!rc && c->wrote.failed)
        return mv_fail(MV_NOMEM, "out of memory copying");
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* The hidden database: the one an interrupted copy left, or a new one. */
static int find_hidden(mvi_copier *c)
{
    look l = {.found = 0};
    int rc = find_named(c, c->hidden, &l);
    if (!rc && l.found && c->copy->restart) {
        rc = mv_discard(c->to, l.found);
        l.found = 0;
    }
    if (!rc && !l.found) {
        rc = c->parent ? mvi_copy_hide_branch(c) : mv_create(c->to, c->hidden);
        if (rc == MV_EXISTS)
            rc = MV_OK; /* another process was first; the lock tells who goes on */
        if (!rc)
            rc = find_named(c, c->hidden, &l);
    }
    c->target = l.found;
    return rc;
}

/* ---- showing it ------------------------------------------------------------------------ */

static size_t encode_meta(const mvi_copier *c, uint8_t *value)
{
    mvi_meta meta = c->meta;
    memcpy(meta.name, c->name, sizeof c->name);
    meta.parent = c->parent;
    meta.base = c->base;
    return mvi_meta_encode(&meta, value);
}

/* After an unknown result: was it shown? */
static int was_shown(kv_txn *txn, const mvi_copier *c, int *yes)
{
    mvi_key key = mvi_key_meta(c->target);
    uint8_t value[MVI_META_ROOM];
    mv_slice is;
    int rc = kv_get(txn, mvi_key_slice(&key), &is);
    *yes = !rc && mvi_slice_cmp(is, mvi_slice(value, encode_meta(c, value))) == 0;
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int take_name(kv_txn *txn, const mvi_copier *c)
{
    uint32_t taken;
    if (c->meta.deleted_ms)
        return MV_OK;
    int rc = mvi_name_get(txn, c->name, &taken);
    if (!rc)
        return name_is_taken(c);
    return rc == MV_NOTFOUND ? mvi_name_set(txn, c->name, c->target) : rc;
}

static int show_in(kv_txn *txn, void *ctx)
{
    mvi_copier *c = ctx;
    mvi_latest latest;
    mv_stamp newest;
    uint8_t value[MVI_META_ROOM];
    mvi_key meta = mvi_key_meta(c->target), key = mvi_key_latest(c->target), copying = mvi_key_copying(c->target);
    int yes = 0, rc = kv_maybe_committed(txn) ? was_shown(txn, c, &yes) : MV_OK;
    if (rc || yes)
        return rc ? rc : KV_NOTHING;
    rc = mvi_guard(txn, &key);
    if (!rc)
        rc = read_latest(txn, c->target, &latest);
    if (!rc)
        rc = mvi_copy_stamp(c, &c->copied.version, &newest);
    if (mvi_copy_is_bare(c))
        newest = c->base.stamp;
    if (!rc && mvi_stamp_cmp(&newest, &latest.stamp) != 0)
        rc = mv_fail(MV_CONFLICT, "the unfinished copy \"%s\" was written by somebody: begin anew (--restart)", c->hidden);
    if (!rc)
        rc = mvi_copy_put_tags(txn, c);
    if (!rc)
        rc = take_name(txn, c);
    if (!rc)
        rc = mvi_name_clear(txn, c->hidden);
    if (!rc)
        rc = kv_set(txn, mvi_key_slice(&meta), mvi_slice(value, encode_meta(c, value)));
    latest.flags = c->meta.deleted_ms ? MVI_DELETED : 0;
    if (!rc)
        rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(value, mvi_latest_encode(&latest, value)));
    return rc ? rc : kv_clear(txn, mvi_key_slice(&copying));
}

/* ---- all of it ---------------------------------------------------------------------------- */

static int copy_locked(mvi_copier *c)
{
    int rc = mvi_read_in(c->to, read_wrote_in, c);
    if (!rc)
        rc = c->wrote.size ? go_on(c) : begin_anew(c);
    if (!rc)
        rc = mvi_copy_plan(c);
    if (!rc && c->copied.renamed)
        rc = raise_above_new_names(c);
    if (!rc)
        rc = mvi_copy_keys(c);
    if (!rc)
        rc = mvi_copy_verify(c);
    if (!rc)
        rc = count_later(c, &c->copied.version, NULL, &c->copy->source);
    if (!rc)
        rc = mvi_copy_stamp(c, &c->copied.version, &c->copy->newest);
    c->copy->source = c->copied.version;
    c->copy->renamed = c->copied.renamed ? c->stamps_n : 0;
    return rc ? rc : kv_transact(c->to->kv, show_in, c, NULL); /* last: what was shown did not fail */
}

/* Nothing of the source may be forgotten meanwhile, nor be half forgotten. */
static int copy_held(mvi_copier *c)
{
    uint32_t slot;
    int rc = mvi_hold_all(c->from, c->source, &slot);
    if (rc)
        return rc;
    rc = mvi_forget_rest(c->from, c->source, mvi_readers_id(c->from->readers, slot));
    if (!rc)
        rc = copy_locked(c);
    mvi_hold_all_end(c->from, c->source, slot);
    return rc;
}

static int check_names(mvi_copier *c)
{
    const char *name = c->copy->as ? c->copy->as : c->meta.name;
    if (mvi_is_unfinished(c->meta.name))
        return mv_fail(MV_MISUSE, "\"%s\" is an unfinished import or copy itself", c->meta.name);
    if (mvi_is_unfinished(name))
        return mv_fail(MV_NAME, "\"%s\": such names are of unfinished imports and copies", name);
    int rc = mvi_check_name(name);
    if (!rc)
        memcpy(c->name, name, strlen(name) + 1);
    snprintf(c->hidden, sizeof c->hidden, MV_COPYING "%08x%016llx", c->source, (unsigned long long)c->meta.created_ms);
    return rc;
}

static void free_copier(mvi_copier *c)
{
    mvi_piece_end(&c->piece);
    mvi_buf_free(&c->wrote);
    mvi_buf_free(&c->bytes);
    free(c->puts);
    free(c->stamps);
    free(c->stands);
    mvi_buf_free(&c->tags);
    free(c->page);
}

int mv_copy_database(mv_store *from, uint32_t id, mv_store *to, mv_copy *copy)
{
    mvi_copier c = {.copy = copy, .from = from, .to = to, .source = id, .piece = {.store = from}};
    mvi_latest latest;
    copy->resumed = copy->already = 0;
    copy->source = copy->newest = mvi_zero_stamp;
    copy->versions = copy->pages = copy->history = copy->bytes = copy->renamed = copy->later = 0;
    c.page = malloc(MVI_PAGE_MAX);
    int rc = c.page ? read_source(&c, &latest) : mv_fail(MV_NOMEM, "out of memory copying");
    if (!rc)
        rc = check_names(&c);
    if (!rc)
        rc = look_for_copy(&c);
    if (!rc && !copy->already)
        rc = mvi_copy_find_parent(&c);
    if (!rc && !copy->already)
        rc = find_hidden(&c);
    if (!rc && !copy->already)
        rc = mvi_hostlock_acquire(to->locks, c.target);
    if (!rc && !copy->already) {
        rc = copy_held(&c);
        mvi_hostlock_release(to->locks, c.target);
    }
    free_copier(&c);
    return rc;
}
