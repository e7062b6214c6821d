/* Whether a copy is whole: verification finds nothing in it, and it has what the source
 * had in the version copied. */
#include "copy.h"

/* Counts, and a sum over hashes: where and when an image was, and its checksum. The order
 * of reading does not matter, so pages that change meanwhile can be looked up afterwards. */
typedef struct sums {
    uint64_t versions, history, heads, bytes, records_sum, history_sum, heads_sum;
} sums;

typedef struct meter {
    mvi_copier *c;
    int here; /* in the destination: stamps are as they are */
    mvi_piece piece;
    uint32_t ns;
    mv_stamp until;
    sums sums;
    mvi_pageset heads; /* counted */
} meter;

static int stamp_of(const meter *m, const mv_stamp *stamp, mv_stamp *out)
{
    *out = *stamp;
    return m->here ? MV_OK : mvi_copy_stamp(m->c, stamp, out);
}

static int tell(meter *m)
{
    uint64_t seen = m->sums.versions + m->sums.history + m->sums.heads;
    return seen % 256 ? MV_OK : mvi_copy_tell(m->c, 1, 0, 0);
}

static int hash_image(const meter *m, uint32_t pgno, const mv_stamp *replaced, const mvi_image *image, uint64_t *hash)
{
    uint8_t bytes[2 * MV_STAMP_SIZE + 16];
    mv_stamp from, to = *replaced;
    int rc = stamp_of(m, &image->stamp, &from);
    if (!rc)
        rc = stamp_of(m, replaced, &to);
    memcpy(bytes, from.bytes, MV_STAMP_SIZE);
    memcpy(bytes + MV_STAMP_SIZE, to.bytes, MV_STAMP_SIZE);
    mvi_put32(bytes + 2 * MV_STAMP_SIZE, pgno);
    mvi_put32(bytes + 2 * MV_STAMP_SIZE + 4, image->size);
    mvi_put64(bytes + 2 * MV_STAMP_SIZE + 8, image->checksum);
    *hash = mvi_checksum(bytes, sizeof bytes, 0);
    return rc;
}

static int add_record(meter *m, mv_slice key, mv_slice value)
{
    mv_stamp at = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT), previous, target = mvi_zero_stamp;
    mvi_record record;
    if (key.size > MVI_COMMIT_KEY_SIZE) {
        m->sums.records_sum += mvi_checksum(value.data, value.size, key.data[key.size - 1]);
        return MV_OK;
    }
    int rc = mvi_record_decode(value, &record);
    if (!rc)
        rc = stamp_of(m, &at, &at);
    if (!rc)
        rc = stamp_of(m, &record.previous, &previous);
    if (!rc)
        target = m->here ? record.target : mvi_copy_target(m->c, &record.target);
    mvi_buf whole = {0};
    mvi_buf_add(&whole, at.bytes, MV_STAMP_SIZE);
    mvi_buf_add(&whole, value.data, value.size);
    if (!rc && whole.failed)
        rc = mv_fail(MV_NOMEM, "out of memory verifying a copy");
    if (!rc) {
        mvi_record_restamp(whole.data + MV_STAMP_SIZE, value.size, &previous, &target);
        m->sums.records_sum += mvi_checksum(whole.data, whole.size, 0);
        m->sums.versions++;
    }
    mvi_buf_free(&whole);
    return rc;
}

static int add_past(meter *m, mv_slice key, mv_slice value)
{
    mv_stamp replaced = mvi_key_get_stamp(key, MVI_STAMP_IN_HISTORY);
    mvi_image image;
    uint64_t hash;
    if (mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE) || mvi_stamp_cmp(&replaced, &m->until) > 0)
        return MV_OK;
    int rc = mvi_image_parse(value, "an image", &image);
    if (!rc)
        rc = hash_image(m, mvi_key_get_pgno(key), &replaced, &image, &hash);
    if (rc)
        return rc;
    m->sums.history++;
    m->sums.history_sum += hash;
    return MV_OK;
}

static int add_head(meter *m, uint32_t pgno, const mvi_image *image)
{
    uint64_t hash;
    int rc = hash_image(m, pgno, &mvi_zero_stamp, image, &hash);
    if (!rc)
        rc = mvi_pageset_add(&m->heads, pgno);
    if (rc)
        return rc;
    m->sums.heads++;
    m->sums.heads_sum += hash;
    return MV_OK;
}

static int add_newest(meter *m, mv_slice key, mv_slice value)
{
    mvi_image image;
    if (mvi_key_is_more(key, MVI_HEAD_KEY_SIZE))
        return MV_OK;
    int rc = mvi_image_parse(value, "an image", &image);
    if (rc || mvi_stamp_cmp(&image.stamp, &m->until) > 0)
        return rc;
    return add_head(m, mvi_key_get_pgno(key), &image);
}

static int walk_all(meter *m, mvi_walk walk, int (*add)(meter *, mv_slice, mv_slice))
{
    mv_slice key, value;
    int rc;
    while ((rc = mvi_walk_next(&walk, &key, &value)) == MV_OK) {
        m->sums.bytes += key.size + value.size;
        rc = add(m, key, value);
        if (!rc)
            rc = tell(m);
        if (rc)
            break;
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* A page that was changed since: the image that answered for the version, wherever it is. */
static int add_changed(meter *m, uint32_t pgno)
{
    mvi_key head = mvi_key_head(m->ns, pgno), end = mvi_key_after(head);
    mvi_key begin = mvi_key_after(mvi_key_history(m->ns, pgno, &m->until));
    mv_slice key, value;
    mvi_image image;
    end.bytes[3] = 'v';
    int rc = mvi_piece_begin(&m->piece);
    if (!rc)
        rc = kv_get(m->piece.txn, mvi_key_slice(&head), &value);
    if (!rc)
        rc = mvi_image_parse(value, "an image", &image);
    if (rc == MV_NOTFOUND || (!rc && mvi_stamp_cmp(&image.stamp, &m->until) > 0)) {
        kv_cursor *cursor;
        rc = kv_range(m->piece.txn, mvi_key_slice(&begin), mvi_key_slice(&end), 1, 0, &cursor);
        if (!rc)
            rc = kv_next(cursor, &key, &value);
        if (!rc)
            rc = mvi_image_parse(value, "an image", &image);
        kv_cursor_close(cursor);
    }
    if (!rc && mvi_stamp_cmp(&image.stamp, &m->until) <= 0)
        return add_head(m, pgno, &image);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int add_all_changed(meter *m)
{
    mvi_pageset changed = {0};
    mvi_line own = {.ns = m->ns};
    int rc = mvi_collect(m->piece.store, &own, &m->until, &mvi_last_stamp, &changed), tries = 0;
    uint32_t p = mvi_pageset_next(&changed, 0);
    while (p && !rc) {
        rc = mvi_pageset_has(&m->heads, p) ? MV_OK : add_changed(m, p);
        if (mvi_again(rc, &tries)) {
            mvi_piece_end(&m->piece);
            rc = MV_OK;
            continue;
        }
        tries = 0;
        p = mvi_pageset_next(&changed, p);
    }
    mvi_pageset_clear(&changed);
    return rc;
}

static int measure(mvi_copier *c, int here, sums *out)
{
    meter m = {.c = c, .here = here, .piece = {.store = here ? c->to : c->from}, .ns = here ? c->target : c->source};
    mvi_key begin, end;
    m.until = c->copied.version;
    int rc = here ? mvi_copy_stamp(c, &c->copied.version, &m.until) : MV_OK;
    mvi_record_range(m.ns, &mvi_zero_stamp, &m.until, &begin, &end);
    if (!rc)
        rc = walk_all(&m, mvi_walk_over(&m.piece, &begin, &end, KV_BULK), add_record);
    if (!rc)
        rc = walk_all(&m, mvi_walk_kind(&m.piece, m.ns, 'v'), add_past);
    if (!rc)
        rc = walk_all(&m, mvi_walk_kind(&m.piece, m.ns, 'h'), add_newest);
    if (!rc)
        rc = add_all_changed(&m);
    mvi_piece_end(&m.piece);
    mvi_pageset_clear(&m.heads);
    *out = m.sums;
    return rc;
}

typedef struct checking {
    mvi_copier *c;
    mv_check check;
    char first[300]; /* problem */
    int stop;        /* the answer of the caller's progress */
} checking;

static void keep_first(void *ctx, const char *what)
{
    checking *checked = ctx;
    if (!checked->first[0])
        strncpy(checked->first, what, sizeof checked->first - 1);
}

static void tell_images(void *ctx, uint64_t done, uint64_t of)
{
    checking *checked = ctx;
    if (!checked->stop)
        checked->stop = mvi_copy_tell(checked->c, 1, done, of);
    checked->check.stop = checked->stop != 0;
}

static int check_images(mvi_copier *c)
{
    checking checked = {.c = c, .check = {.problem = keep_first, .progress = tell_images, .ctx = &checked}};
    mv_db *db;
    int rc = mv_db_open(c->to, c->hidden, 0, &db);
    if (rc)
        return rc;
    rc = mv_db_verify(db, &checked.check);
    mv_db_close(db);
    if (!rc && checked.stop)
        rc = checked.stop;
    if (!rc && checked.check.problems)
        rc = mv_fail(MV_CORRUPT, "the copy of \"%s\" has %llu problems and is not shown (%s): verify the source",
                     c->meta.name, (unsigned long long)checked.check.problems, checked.first);
    return rc;
}

int mvi_copy_verify(mvi_copier *c)
{
    sums there, here;
    int rc = check_images(c);
    if (!rc)
        rc = measure(c, 0, &there);
    if (!rc)
        rc = measure(c, 1, &here);
    if (rc)
        return rc;
    there.bytes = here.bytes; /* engines store images in their own ways */
    if (memcmp(&there, &here, sizeof here) != 0)
        return mv_fail(MV_CORRUPT, "the copy of \"%s\" is not what was copied, and is not shown: begin anew (--restart)",
                       c->meta.name);
    c->copy->versions = here.versions;
    c->copy->history = here.history;
    c->copy->pages = here.heads;
    c->copy->bytes = here.bytes;
    return MV_OK;
}
