/* The keys of a copy: which, from where, as what. */
#include "copy.h"

/* Large enough to make syncs rare, small enough to be kept in memory; on a cluster below
 * the megabyte from which transactions are discouraged. */
#define BATCH_BYTES ((size_t)4 << 20)
#define CLUSTER_BATCH_BYTES ((size_t)800 << 10)
#define CLUSTER_VALUE 100000
#define BATCH_KEYS 8192
#define TELL_EVERY 256

/* ---- versions -------------------------------------------------------------- */

/* The place of a version, or of the next one. 1: it is there. */
static int find_version(const mvi_copier *c, const mv_stamp *stamp, size_t *at)
{
    size_t low = 0, high = c->stamps_n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mvi_stamp_cmp(&c->stamps[middle], stamp) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *at = low;
    return low < c->stamps_n && mvi_stamp_cmp(&c->stamps[low], stamp) == 0;
}

int mvi_copy_stamp(const mvi_copier *c, const mv_stamp *stamp, mv_stamp *out)
{
    size_t at;
    int known = find_version(c, stamp, &at);
    *out = *stamp;
    if (mvi_stamp_is_zero(stamp))
        return MV_OK;
    if (c->meta.parent && mvi_stamp_cmp(stamp, &c->meta.base.stamp) == 0) {
        *out = c->base.stamp;
        return MV_OK;
    }
    if (!known && !(at < c->stamps_n && c->stands[at]))
        return mv_fail(MV_CORRUPT, "database \"%s\" names a version it has no record of: verify it", c->meta.name);
    if (c->copied.renamed) {
        *out = mvi_zero_stamp;
        mvi_put64(out->bytes, mvi_get64(c->base.stamp.bytes) + at + 1);
    }
    return MV_OK;
}

mv_stamp mvi_copy_target(const mvi_copier *c, const mv_stamp *stamp)
{
    mv_stamp out;
    size_t at;
    int known = find_version(c, stamp, &at) || (c->meta.parent && mvi_stamp_cmp(stamp, &c->meta.base.stamp) == 0);
    if (!known || mvi_copy_stamp(c, stamp, &out) != MV_OK)
        out = c->copied.renamed ? mvi_zero_stamp : *stamp;
    return out;
}

static int add_version(mvi_copier *c, const mv_stamp *stamp, const mvi_record *record)
{
    if (c->stamps_n == c->stamps_room) {
        size_t room = c->stamps_room ? c->stamps_room * 2 : 1024;
        mv_stamp *stamps = realloc(c->stamps, room * sizeof *stamps);
        c->stamps = stamps ? stamps : c->stamps;
        uint8_t *stands = stamps ? realloc(c->stands, room) : NULL;
        c->stands = stands ? stands : c->stands;
        if (!stands)
            return mv_fail(MV_NOMEM, "out of memory copying");
        c->stamps_room = room;
    }
    c->stands[c->stamps_n] = record->merged > 0;
    c->stamps[c->stamps_n++] = *stamp;
    c->images_of += record->changed;
    c->newest.pages = record->pages;
    c->newest.page_size = record->page_size;
    c->newest.ms = record->ms;
    return MV_OK;
}

/* The tags of versions that are copied, with their names there. */
static int read_tags_in(kv_txn *txn, void *ctx)
{
    mvi_copier *c = ctx;
    mvi_key begin = mvi_key_kind('g', c->source), end = mvi_key_after(begin);
    kv_cursor *cursor;
    c->tags.size = 0;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, KV_BULK, &cursor);
    while (!rc) {
        mv_slice key, value;
        mv_stamp stamp = mvi_zero_stamp;
        rc = kv_next(cursor, &key, &value);
        if (!rc && value.size == MV_STAMP_SIZE)
            memcpy(stamp.bytes, value.data, MV_STAMP_SIZE);
        if (rc || mvi_stamp_is_zero(&stamp) || mvi_stamp_cmp(&stamp, &c->copied.version) > 0)
            continue;
        rc = mvi_copy_stamp(c, &stamp, &stamp);
        mvi_buf_add(&c->tags, stamp.bytes, MV_STAMP_SIZE);
        mvi_buf_add(&c->tags, key.data + begin.size, key.size - begin.size);
        mvi_buf_byte(&c->tags, 0);
    }
    kv_cursor_close(cursor);
    if (c->tags.failed)
        return mv_fail(MV_NOMEM, "out of memory copying");
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

int mvi_copy_put_tags(kv_txn *txn, const mvi_copier *c)
{
    int rc = MV_OK;
    for (size_t at = 0; at < c->tags.size && !rc;) {
        const char *tag = (const char *)c->tags.data + at + MV_STAMP_SIZE;
        mvi_key key = mvi_key_tag(c->target, tag);
        rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(c->tags.data + at, MV_STAMP_SIZE));
        at += MV_STAMP_SIZE + strlen(tag) + 1;
    }
    return rc;
}

int mvi_copy_plan(mvi_copier *c)
{
    mvi_key begin, end;
    mvi_record_range(c->source, &mvi_zero_stamp, &c->copied.version, &begin, &end);
    mvi_walk walk = mvi_walk_over(&c->piece, &begin, &end, KV_BULK);
    int rc = MV_OK;
    c->newest = (mvi_latest){.stamp = c->copied.version};
    while (!rc) {
        mv_slice key, value;
        mvi_record record;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE)
            continue;
        mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        rc = mvi_record_decode(value, &record);
        if (!rc)
            rc = add_version(c, &stamp, &record);
        if (!rc && c->stamps_n % TELL_EVERY == 0)
            rc = mvi_copy_tell(c, 0, 0, 0);
    }
    mvi_walk_close(&walk);
    mvi_piece_end(&c->piece);
    return rc == MV_NOTFOUND ? mvi_read_in(c->from, read_tags_in, c) : rc;
}

/* ---- batches ----------------------------------------------------------------- */

static mvi_buf encode_copied(const mvi_copied *copied)
{
    mvi_buf b = {0};
    uint8_t done[8];
    mvi_put64(done, copied->done);
    mvi_buf_add(&b, copied->version.bytes, MV_STAMP_SIZE);
    mvi_buf_add(&b, copied->txid, MV_TXID_SIZE);
    mvi_buf_add(&b, done, sizeof done);
    mvi_buf_byte(&b, copied->renamed);
    mvi_buf_byte(&b, copied->step);
    mvi_buf_add(&b, copied->last.bytes, copied->last.size);
    return b;
}

typedef struct writing {
    mvi_copier *c;
    mvi_buf now; /* mv/x after the batch */
} writing;

/* The copy must stand where this process left it. */
static int check_copied(kv_txn *txn, const writing *w)
{
    const mvi_copier *c = w->c;
    mvi_key key = mvi_key_copying(c->target);
    mv_slice is, wrote = mvi_slice(c->wrote.data, c->wrote.size);
    int rc = mvi_guard(txn, &key);
    if (!rc)
        rc = kv_get(txn, mvi_key_slice(&key), &is);
    if (rc && rc != MV_NOTFOUND)
        return rc;
    if (!rc && kv_maybe_committed(txn) && mvi_slice_cmp(is, mvi_slice(w->now.data, w->now.size)) == 0)
        return KV_NOTHING;
    if (mvi_slice_cmp(is, wrote) != 0)
        return mv_fail(MV_BUSY, "\"%s\" is being copied by another process", c->meta.name);
    return MV_OK;
}

/* The newest version, once all is there: mv_db_verify wants to know it. */
static int set_newest(kv_txn *txn, const mvi_copier *c)
{
    mvi_latest latest = c->newest;
    mvi_key key = mvi_key_latest(c->target);
    uint8_t value[MVI_LATEST_ROOM];
    int rc = mvi_copy_stamp(c, &c->newest.stamp, &latest.stamp);
    if (mvi_copy_is_bare(c))
        return MV_OK; /* it is as it was made */
    return rc ? rc : kv_set(txn, mvi_key_slice(&key), mvi_slice(value, mvi_latest_encode(&latest, value)));
}

static int write_in(kv_txn *txn, void *ctx)
{
    writing *w = ctx;
    mvi_copier *c = w->c;
    mvi_key key = mvi_key_copying(c->target);
    int rc = check_copied(txn, w);
    for (size_t i = 0; i < c->n && !rc; i++) {
        const mvi_put *p = &c->puts[i];
        uint8_t *value = c->bytes.data + p->at;
        rc = p->image ? mvi_image_put(txn, c->to->traits, &p->key, MVI_PLAIN, value, p->size)
                      : kv_set(txn, mvi_key_slice(&p->key), mvi_slice(value, p->size));
    }
    if (!rc && c->copied.step == MVI_WHOLE)
        rc = set_newest(txn, c);
    return rc ? rc : kv_set(txn, mvi_key_slice(&key), mvi_slice(w->now.data, w->now.size));
}

int mvi_copy_flush(mvi_copier *c)
{
    writing w = {c, encode_copied(&c->copied)};
    mvi_piece_end(&c->piece); /* an engine may wait for its readers to write */
    int rc = w.now.failed || c->bytes.failed ? mv_fail(MV_NOMEM, "out of memory copying") : MV_OK;
    if (!rc)
        rc = kv_transact(c->to->kv, write_in, &w, NULL);
    if (rc) {
        mvi_buf_free(&w.now);
        return rc;
    }
    mvi_buf_free(&c->wrote);
    c->wrote = w.now;
    c->n = c->bytes.size = 0;
    return mvi_copy_tell(c, 0, c->copied.done, c->stamps_n + c->images_of);
}

/* Room for one more key in the batch. */
static int add_put(mvi_copier *c, const mvi_key *key, int image)
{
    if (c->n == c->room) {
        size_t room = c->room ? c->room * 2 : 256;
        mvi_put *puts = realloc(c->puts, room * sizeof *puts);
        if (!puts)
            return mv_fail(MV_NOMEM, "out of memory copying");
        c->puts = puts;
        c->room = room;
    }
    c->puts[c->n++] = (mvi_put){*key, c->bytes.size, 0, image};
    return MV_OK;
}

static int add_value(mvi_copier *c, const mvi_key *key, mv_slice value)
{
    if (c->to->traits->many_hosts && value.size > CLUSTER_VALUE)
        return mv_fail(MV_FULL, "a version of \"%s\" has a record of %zu bytes, and the destination takes %d: its "
                                "message is too long", c->meta.name, value.size, CLUSTER_VALUE);
    int rc = add_put(c, key, 0);
    if (rc)
        return rc;
    mvi_buf_add(&c->bytes, value.data, value.size);
    c->puts[c->n - 1].size = value.size;
    return c->bytes.failed ? mv_fail(MV_NOMEM, "out of memory copying") : MV_OK;
}

/* An image as it is stored, whole, with its stamp here. */
static int add_image(mvi_copier *c, const mvi_key *key, const mvi_image *image)
{
    mv_stamp stamp;
    int rc = mvi_copy_stamp(c, &image->stamp, &stamp);
    if (!rc)
        rc = add_put(c, key, 1);
    if (rc)
        return rc;
    mvi_put *p = &c->puts[c->n - 1];
    rc = mvi_image_copy(&c->bytes, image);
    if (rc)
        return rc;
    memcpy(c->bytes.data + p->at, stamp.bytes, MV_STAMP_SIZE);
    mvi_image_set_depth(c->bytes.data + p->at, image->depth);
    p->size = c->bytes.size - p->at;
    return MV_OK;
}

/* After the keys made from one of the source. */
static int added(mvi_copier *c, mvi_walk *walk, mv_slice key)
{
    size_t most = c->to->traits->many_hosts ? CLUSTER_BATCH_BYTES : BATCH_BYTES;
    if (most > c->to->stage_bytes)
        most = c->to->stage_bytes;
    c->copied.done++;
    memcpy(c->copied.last.bytes, key.data, key.size);
    c->copied.last.size = key.size;
    if (c->bytes.size >= most || c->n >= BATCH_KEYS) {
        if (walk)
            mvi_walk_close(walk);
        return mvi_copy_flush(c);
    }
    return c->copied.done % TELL_EVERY ? MV_OK : mvi_copy_tell(c, 0, c->copied.done, c->stamps_n + c->images_of);
}

/* ---- the steps ----------------------------------------------------------------- */

/* A commit record or a chunk of its pages; a record brings its entry of the time index. */
static int copy_record(mvi_copier *c, mv_slice key, mv_slice value)
{
    mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT), previous, target = mvi_zero_stamp;
    mvi_record record;
    int rc = mvi_copy_stamp(c, &stamp, &stamp);
    mvi_key to = mvi_key_commit(c->target, &stamp);
    if (!rc && key.size > MVI_COMMIT_KEY_SIZE) {
        mvi_key chunk = mvi_key_chunk(c->target, &stamp, (uint16_t)(key.data[key.size - 2] << 8 | key.data[key.size - 1]));
        return add_value(c, &chunk, value);
    }
    if (!rc)
        rc = mvi_record_decode(value, &record);
    if (!rc)
        rc = mvi_copy_stamp(c, &record.previous, &previous);
    if (!rc)
        target = mvi_copy_target(c, &record.target);
    if (!rc)
        rc = add_value(c, &to, value);
    if (!rc && c->copied.renamed)
        mvi_record_restamp(c->bytes.data + c->puts[c->n - 1].at, value.size, &previous, &target);
    to = mvi_key_time(c->target, record.ms, &stamp);
    return rc ? rc : add_value(c, &to, mvi_slice(NULL, 0));
}

/* A replaced image, if it was replaced by a version that is copied. KV_NOTHING: not. */
static int copy_past(mvi_copier *c, mv_slice key, mv_slice value)
{
    mv_stamp replaced = mvi_key_get_stamp(key, MVI_STAMP_IN_HISTORY);
    mvi_buf scratch = {0};
    mvi_image image;
    if (mvi_stamp_cmp(&replaced, &c->copied.version) > 0)
        return KV_NOTHING;
    int rc = mvi_copy_stamp(c, &replaced, &replaced);
    mvi_key to = mvi_key_history(c->target, mvi_key_get_pgno(key), &replaced);
    if (!rc)
        rc = mvi_image_parse(value, "an image to be copied", &image);
    if (!rc)
        rc = mvi_image_complete(c->piece.txn, key, &scratch, &image);
    if (!rc)
        rc = add_image(c, &to, &image);
    mvi_buf_free(&scratch);
    return rc;
}

/* A newest image, if it is of a version that is copied. KV_NOTHING: not; the page has
 * changed since. */
static int copy_head(mvi_copier *c, mv_slice key, mv_slice value)
{
    mvi_key to = mvi_key_head(c->target, mvi_key_get_pgno(key));
    mvi_buf scratch = {0};
    mvi_image image;
    int rc = mvi_image_parse(value, "an image to be copied", &image);
    if (rc || mvi_stamp_cmp(&image.stamp, &c->copied.version) > 0)
        return rc ? rc : KV_NOTHING;
    rc = mvi_image_complete(c->piece.txn, key, &scratch, &image);
    if (!rc)
        rc = add_image(c, &to, &image);
    mvi_buf_free(&scratch);
    return rc;
}

/* One of the steps that walk over a kind of keys. */
static int walk_keys(mvi_copier *c, mvi_walk walk, size_t skip, int (*copy)(mvi_copier *, mv_slice, mv_slice))
{
    int rc = MV_OK;
    if (c->copied.last.size) {
        walk.begin = c->copied.last;
        walk.begin.bytes[walk.begin.size++] = 0;
    }
    while (!rc) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || (skip && mvi_key_is_more(key, skip)))
            continue;
        size_t n = c->n, bytes = c->bytes.size;
        rc = copy(c, key, value);
        if (rc == KV_NOTHING) {
            rc = MV_OK;
        } else if (rc) { /* what was added of it goes */
            c->n = n;
            c->bytes.size = bytes;
            rc = mvi_walk_again(&walk, rc);
        } else {
            rc = added(c, &walk, mvi_slice(walk.last.bytes, walk.last.size));
        }
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* How many deltas in a row stand behind the page as it was in the version copied. */
static int depth_of(mvi_copier *c, uint32_t pgno, uint8_t *depth)
{
    mvi_key begin = mvi_key_history(c->source, pgno, &mvi_zero_stamp);
    mvi_key end = mvi_key_after(mvi_key_history(c->source, pgno, &c->copied.version));
    kv_cursor *cursor;
    int rc = kv_range(c->piece.txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, KV_REVERSE, &cursor), more = 1;
    *depth = 0;
    while (!rc && more && *depth < 255) {
        mv_slice key, value;
        mvi_image image;
        rc = kv_next(cursor, &key, &value);
        if (rc || mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE))
            continue;
        rc = mvi_image_parse(value, "an image to be copied", &image);
        more = !rc && mvi_is_delta(image.codec);
        *depth = (uint8_t)(*depth + more);
    }
    kv_cursor_close(cursor);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* A page that was changed since, as it was: read from the history and encoded anew. */
static int copy_changed(mvi_copier *c, uint32_t pgno)
{
    mvi_origin origin;
    mvi_buf encoded = {0};
    mvi_image image;
    uint8_t depth = 0;
    mvi_key to = mvi_key_head(c->target, pgno);
    mvi_line own = {.ns = c->source};
    int rc = mvi_piece_begin(&c->piece);
    if (!rc)
        rc = mvi_load(c->piece.txn, &own, pgno, &c->copied.version, NULL, MVI_PAGE_MAX, c->page, &origin);
    if (rc || !origin.size)
        return rc; /* it was not there */
    rc = depth_of(c, pgno, &depth);
    if (!rc)
        rc = mvi_image_encode(&encoded, c->page, origin.size, pgno, &origin.stamp, NULL, NULL);
    if (!rc)
        rc = mvi_image_parse(mvi_slice(encoded.data, encoded.size), "an image to be copied", &image);
    if (!rc) {
        image.depth = depth;
        rc = add_image(c, &to, &image);
    }
    mvi_buf_free(&encoded);
    return rc;
}

/* What the heads walk may have missed is all among the pages changed until after it. */
static int copy_all_changed(mvi_copier *c)
{
    mvi_pageset changed = {0};
    mvi_line own = {.ns = c->source};
    int rc = mvi_collect(c->from, &own, &c->copied.version, &mvi_last_stamp, &changed), tries = 0;
    mv_slice last = mvi_key_slice(&c->copied.last);
    uint32_t p = mvi_pageset_next(&changed, last.size ? mvi_key_get_pgno(last) : 0);
    while (p && p <= c->newest.pages && !rc) {
        mvi_key key = mvi_key_head(c->source, p);
        rc = copy_changed(c, p);
        if (mvi_again(rc, &tries)) {
            mvi_piece_end(&c->piece);
            rc = MV_OK;
            continue;
        }
        if (!rc)
            rc = added(c, NULL, mvi_key_slice(&key));
        tries = 0;
        p = mvi_pageset_next(&changed, p);
    }
    mvi_pageset_clear(&changed);
    return rc;
}

static int take_step(mvi_copier *c)
{
    mvi_key begin, end;
    switch (c->copied.step) {
    case MVI_RECORDS:
        mvi_record_range(c->source, &mvi_zero_stamp, &c->copied.version, &begin, &end);
        return walk_keys(c, mvi_walk_over(&c->piece, &begin, &end, KV_BULK), 0, copy_record);
    case MVI_PAST:
        return walk_keys(c, mvi_walk_kind(&c->piece, c->source, 'v'), MVI_HISTORY_KEY_SIZE, copy_past);
    case MVI_HEADS:
        return walk_keys(c, mvi_walk_kind(&c->piece, c->source, 'h'), MVI_HEAD_KEY_SIZE, copy_head);
    default:
        return copy_all_changed(c);
    }
}

int mvi_copy_keys(mvi_copier *c)
{
    int rc = MV_OK;
    while (!rc && c->copied.step < MVI_WHOLE) {
        rc = take_step(c);
        if (rc)
            break;
        c->copied.step++;
        c->copied.last.size = 0;
        rc = mvi_copy_flush(c);
    }
    mvi_piece_end(&c->piece);
    return rc;
}
