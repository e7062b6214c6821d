/* The images of pages between two versions that are left. */
#include "gc.h"

#define PAGES_AT_ONCE 64 /* asked for together where that saves round trips */

/* History entries of a page that were replaced after the version before, oldest first. */
typedef struct entry {
    mv_stamp replaced, stamp;
    uint8_t codec;
    size_t bytes; /* of keys and values */
} entry;

typedef struct look {
    kv_cursor *cursor;
    uint32_t pgno;
    entry *entries; /* owned */
    size_t n, room;
} look;

static int open_look(kv_txn *txn, const mvi_forgetting *f, uint32_t pgno, look *l)
{
    mvi_key begin = mvi_key_after(mvi_key_history(f->ns, pgno, &f->previous));
    mvi_key end = mvi_key_after(mvi_key_history(f->ns, pgno, &f->until));
    if (mvi_stamp_is_zero(&f->previous))
        begin = mvi_key_history(f->ns, pgno, &f->previous);
    *l = (look){.pgno = pgno};
    return kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, &l->cursor);
}

static int add_entry(look *l, mv_slice key, mv_slice value)
{
    mvi_image image;
    int rc = mvi_image_parse(value, "an image to be forgotten", &image);
    if (rc)
        return rc;
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 8;
        entry *entries = realloc(l->entries, room * sizeof *entries);
        if (!entries)
            return mv_fail(MV_NOMEM, "out of memory forgetting");
        l->entries = entries;
        l->room = room;
    }
    l->entries[l->n++] = (entry){mvi_key_get_stamp(key, MVI_STAMP_IN_HISTORY), image.stamp,
                                 (uint8_t)(image.codec & ~MVI_CONTINUED), key.size + value.size};
    return MV_OK;
}

static int read_look(look *l)
{
    int rc = MV_OK;
    while (!rc) {
        mv_slice key, value;
        rc = kv_next(l->cursor, &key, &value);
        if (!rc && !mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE))
            rc = add_entry(l, key, value);
        else if (!rc && l->n)
            l->entries[l->n - 1].bytes += key.size + value.size;
    }
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* ---- the image that stays ------------------------------------------------------------
 * The oldest of the entries may be of the version before, and stays. If it is a delta and what it was
 * made from goes, it is made anew: from the image that is next now, or complete if one of those that
 * go was. So a complete image stays among every so many. */

typedef struct chain {
    mvi_buf bytes; /* of the entries' values, one after the other */
    size_t *ends;  /* of each; owned */
    size_t n, room;
    uint8_t *pages[3]; /* MVI_PAGE_MAX each */
    uint32_t size;     /* of a page; of the next image too, if that is in pages[2] */
    int has_next;
} chain;

static int add_link(kv_txn *txn, chain *c, mv_slice key, mv_slice value, mvi_image *image)
{
    mvi_buf scratch = {0};
    int rc = mvi_image_parse(value, "an image to be forgotten", image);
    if (!rc)
        rc = mvi_image_complete(txn, key, &scratch, image);
    if (!rc && c->n == c->room) {
        size_t room = c->room ? c->room * 2 : 64;
        size_t *ends = realloc(c->ends, room * sizeof *ends);
        if (ends) {
            c->ends = ends;
            c->room = room;
        } else {
            rc = mv_fail(MV_NOMEM, "out of memory forgetting");
        }
    }
    if (!rc)
        rc = mvi_image_copy(&c->bytes, image);
    if (!rc)
        c->ends[c->n++] = c->bytes.size;
    mvi_buf_free(&scratch);
    return rc;
}

/* The entries from the first one on, up to one that is complete: the newest image, if all are deltas. */
static int read_chain(kv_txn *txn, const mvi_forgetting *f, uint32_t pgno, const mv_stamp *first, chain *c)
{
    mvi_key begin = mvi_key_history(f->ns, pgno, first), head = mvi_key_head(f->ns, pgno), end = mvi_key_after(head);
    end.bytes[3] = 'v';
    kv_cursor *cursor;
    mvi_image image = {.codec = MVI_DELTA};
    mv_slice key, value;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, &cursor);
    while (!rc && mvi_is_delta(image.codec)) {
        rc = kv_next(cursor, &key, &value);
        if (!rc && !mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE))
            rc = add_link(txn, c, key, value, &image);
    }
    kv_cursor_close(cursor);
    if (rc != MV_NOTFOUND)
        return rc;
    rc = kv_get(txn, mvi_key_slice(&head), &value);
    if (!rc)
        rc = add_link(txn, c, mvi_key_slice(&head), value, &image);
    return rc == MV_NOTFOUND ? mv_fail(MV_CORRUPT, "page %u: the image its history builds on is missing", pgno) : rc;
}

/* Decodes down to the first entry, whose page is in pages[0] then, and the image `next` on the way. */
static int decode_chain(chain *c, uint32_t pgno, size_t next)
{
    uint32_t newer_size = 0;
    int rc = MV_OK;
    for (size_t i = c->n; i-- > 0 && !rc;) {
        size_t begin = i ? c->ends[i - 1] : 0;
        mvi_image image;
        rc = mvi_image_parse(mvi_slice(c->bytes.data + begin, c->ends[i] - begin), "an image to be forgotten", &image);
        if (!rc)
            rc = mvi_image_decode(&image, pgno, newer_size ? c->pages[0] : NULL, newer_size, c->pages[1]);
        if (rc)
            break;
        uint8_t *swap = c->pages[0];
        c->pages[0] = c->pages[1];
        c->pages[1] = swap;
        newer_size = image.size;
        c->has_next |= i == next && image.codec != MVI_ZERO; /* zeros may be of another size, and teach nothing */
        if (i == next)
            memcpy(c->pages[2], c->pages[0], image.size);
    }
    c->size = newer_size;
    return rc;
}

static int encode_anew(kv_txn *txn, mvi_forgetting *f, const look *l, chain *c)
{
    const entry *stays = &l->entries[0];
    mvi_key key = mvi_key_history(f->ns, l->pgno, &stays->replaced);
    mvi_buf out = {0};
    int rc = read_chain(txn, f, l->pgno, &stays->replaced, c);
    if (!rc)
        rc = decode_chain(c, l->pgno, l->n);
    if (!rc)
        rc = mvi_image_encode(&out, c->pages[0], c->size, l->pgno, &stays->stamp, c->has_next ? c->pages[2] : NULL, NULL);
    f->bytes += (int64_t)stays->bytes - (int64_t)(MVI_HISTORY_KEY_SIZE + out.size);
    if (mvi_image_is_split(f->store->traits, out.size))
        f->bytes -= MVI_HISTORY_KEY_SIZE + 1;
    if (!rc && f->write)
        rc = mvi_image_put(txn, f->store->traits, &key, MVI_PLAIN, out.data, out.size);
    mvi_buf_free(&out);
    return rc;
}

static int keep_readable(kv_txn *txn, mvi_forgetting *f, const look *l)
{
    chain c = {.n = 0};
    int rc = MV_OK;
    for (size_t i = 0; i < 3; i++)
        if (!(c.pages[i] = malloc(MVI_PAGE_MAX)))
            rc = mv_fail(MV_NOMEM, "out of memory forgetting");
    if (!rc)
        rc = encode_anew(txn, f, l, &c);
    for (size_t i = 0; i < 3; i++)
        free(c.pages[i]);
    mvi_buf_free(&c.bytes);
    free(c.ends);
    return rc;
}

/* ---- pages ---------------------------------------------------------------------------- */

static int forget(kv_txn *txn, mvi_forgetting *f, const look *l)
{
    size_t first = l->n && mvi_stamp_cmp(&l->entries[0].stamp, &f->previous) <= 0;
    int rc = first && l->n > 1 && mvi_is_delta(l->entries[0].codec) ? keep_readable(txn, f, l) : MV_OK;
    for (size_t i = first; i < l->n && !rc; i++) {
        mvi_key key = mvi_key_history(f->ns, l->pgno, &l->entries[i].replaced);
        if (f->write)
            rc = mvi_image_clear(txn, &key);
        f->images++;
        f->bytes += (int64_t)l->entries[i].bytes;
    }
    return rc;
}

/* Reads them all before it writes: a cursor ends with a write. */
static int forget_some(kv_txn *txn, mvi_forgetting *f, const uint32_t *pages, size_t n)
{
    look looks[PAGES_AT_ONCE] = {{.n = 0}};
    int rc = MV_OK;
    for (size_t i = 0; i < n && !rc; i++)
        rc = open_look(txn, f, pages[i], &looks[i]);
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_look(&looks[i]);
    for (size_t i = 0; i < n; i++)
        kv_cursor_close(looks[i].cursor);
    for (size_t i = 0; i < n && !rc; i++)
        rc = forget(txn, f, &looks[i]);
    for (size_t i = 0; i < n; i++)
        free(looks[i].entries);
    return rc;
}

int mvi_forget_pages(kv_txn *txn, mvi_forgetting *f, const uint32_t *pages, size_t n)
{
    int rc = MV_OK;
    for (size_t at = 0; at < n && !rc; at += PAGES_AT_ONCE)
        rc = forget_some(txn, f, pages + at, n - at < PAGES_AT_ONCE ? n - at : PAGES_AT_ONCE);
    return rc;
}
