/* Tags: names for versions, which are then kept. */
#include "gc.h"

typedef struct tagging {
    mv_db *db;
    uint32_t ns; /* where the version is */
    const char *tag;
    const mv_stamp *stamp;
} tagging;

/* MV_NOTFOUND without a message; a conflict with whoever sets or takes back that tag. */
static int get_tag(kv_txn *txn, const tagging *t, mv_stamp *stamp)
{
    mvi_key key = mvi_key_tag(t->ns, t->tag);
    mv_slice value;
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc && value.size != MV_STAMP_SIZE)
        rc = mv_fail(MV_CORRUPT, "the tag \"%s\" of database \"%s\" has %zu bytes", t->tag, t->db->name, value.size);
    if (!rc)
        memcpy(stamp->bytes, value.data, MV_STAMP_SIZE);
    return rc;
}

/* The version's record is guarded: a version is tagged or forgotten, never both. */
static int tag_in(kv_txn *txn, void *ctx)
{
    const tagging *t = ctx;
    mv_stamp is;
    mvi_latest latest;
    mvi_key record = mvi_key_commit(t->ns, t->stamp), key = mvi_key_tag(t->ns, t->tag);
    int rc = mvi_get_latest(txn, t->db->ns, &latest);
    if (!rc)
        rc = mvi_guard(txn, &record);
    if (!rc)
        rc = mvi_check_kept(txn, t->ns, t->stamp);
    if (!rc)
        rc = get_tag(txn, t, &is);
    if (!rc && mvi_stamp_cmp(&is, t->stamp) == 0)
        return KV_NOTHING;
    if (rc != MV_NOTFOUND)
        return rc ? rc : mv_fail(MV_EXISTS, "database \"%s\" has a tag \"%s\" already, of another version: take it back "
                                            "first, or choose another name", t->db->name, t->tag);
    return kv_set(txn, mvi_key_slice(&key), mvi_slice(t->stamp->bytes, MV_STAMP_SIZE));
}

int mv_db_tag(mv_db *db, const char *tag, const mv_stamp *stamp)
{
    tagging t = {db, mvi_line_of(db->line, stamp)->ns, tag, stamp};
    int rc = mvi_check_name(tag);
    if (!rc && mvi_stamp_is_zero(stamp))
        rc = mv_fail(MV_NOVERSION, "the state before the first commit is no version, and cannot have a tag");
    return rc ? rc : kv_transact(db->store->kv, tag_in, &t, NULL);
}

/* Of a branch, those of the versions before it too: its own first. */
static int find_tag(kv_txn *txn, tagging *t)
{
    mv_stamp is, until = mvi_last_stamp;
    for (const mvi_line *line = t->db->line; line; line = line->parent) {
        t->ns = line->ns;
        int rc = get_tag(txn, t, &is);
        if (rc != MV_NOTFOUND && (rc || mvi_stamp_cmp(&is, &until) <= 0))
            return rc;
        if (mvi_stamp_cmp(&line->base.stamp, &until) < 0)
            until = line->base.stamp;
    }
    return MV_NOTFOUND;
}

static int untag_in(kv_txn *txn, void *ctx)
{
    tagging *t = ctx;
    int rc = find_tag(txn, t);
    if (rc == MV_NOTFOUND && kv_maybe_committed(txn))
        return KV_NOTHING;
    if (rc == MV_NOTFOUND)
        return mv_fail(rc, "database \"%s\" has no tag \"%s\"", t->db->name, t->tag);
    mvi_key key = mvi_key_tag(t->ns, t->tag);
    return rc ? rc : kv_clear(txn, mvi_key_slice(&key));
}

int mv_db_untag(mv_db *db, const char *tag)
{
    tagging t = {.db = db, .tag = tag};
    int rc = mvi_check_name(tag);
    return rc ? rc : kv_transact(db->store->kv, untag_in, &t, NULL);
}

typedef struct listing {
    const mvi_line *line;
    mvi_buf tags; /* for each: stamp, name, 0 */
} listing;

static int is_listed(const listing *l, mv_slice tag)
{
    for (size_t at = 0; at < l->tags.size;) {
        const char *name = (const char *)l->tags.data + at + MV_STAMP_SIZE;
        size_t n = strlen(name);
        if (n == tag.size && memcmp(name, tag.data, n) == 0)
            return 1;
        at += MV_STAMP_SIZE + n + 1;
    }
    return 0;
}

/* The tags of one database of the line, up to a version. Those of a later one hide others of that name. */
static int list_part(kv_txn *txn, listing *l, uint32_t ns, const mv_stamp *until)
{
    mvi_key begin = mvi_key_kind('g', ns), end = mvi_key_after(begin);
    kv_cursor *cursor;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, KV_BULK, &cursor);
    while (!rc) {
        mv_slice key, value;
        rc = kv_next(cursor, &key, &value);
        if (!rc && value.size != MV_STAMP_SIZE)
            rc = mv_fail(MV_CORRUPT, "a tag has %zu bytes", value.size);
        mv_slice tag = rc ? mvi_slice("", 0) : mvi_slice(key.data + begin.size, key.size - begin.size);
        if (rc || memcmp(value.data, until->bytes, MV_STAMP_SIZE) > 0 || (ns != l->line->ns && is_listed(l, tag)))
            continue;
        mvi_buf_add(&l->tags, value.data, MV_STAMP_SIZE);
        mvi_buf_add(&l->tags, tag.data, tag.size);
        mvi_buf_byte(&l->tags, 0);
    }
    kv_cursor_close(cursor);
    if (l->tags.failed)
        return mv_fail(MV_NOMEM, "out of memory listing tags");
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int list_in(kv_txn *txn, void *ctx)
{
    listing *l = ctx;
    mv_stamp until = mvi_last_stamp;
    int rc = MV_OK;
    l->tags.size = 0;
    for (const mvi_line *line = l->line; line && !rc; line = line->parent) {
        rc = list_part(txn, l, line->ns, &until);
        if (mvi_stamp_cmp(&line->base.stamp, &until) < 0)
            until = line->base.stamp;
    }
    return rc;
}

int mv_db_tags(mv_db *db, int (*each)(void *ctx, const char *tag, const mv_stamp *stamp), void *ctx)
{
    listing l = {.line = db->line};
    int rc = mvi_read_in(db->store, list_in, &l);
    for (size_t at = 0; !rc && at < l.tags.size;) {
        mv_stamp stamp;
        const char *tag = (const char *)l.tags.data + at + MV_STAMP_SIZE;
        memcpy(stamp.bytes, l.tags.data + at, MV_STAMP_SIZE);
        at += MV_STAMP_SIZE + strlen(tag) + 1;
        rc = each(ctx, tag, &stamp);
    }
    mvi_buf_free(&l.tags);
    return rc;
}
