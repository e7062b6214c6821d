/* An open database: names, opening, reads of pages. */
#include <stdio.h>

#include "internal.h"

/* As RFC 3629 has it: neither overlong forms nor surrogates. */
static int is_utf8(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t c = s[i], low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : n;
        if (i + more >= n || (more && (s[i + 1] < low || s[i + 1] > high)))
            return 0;
        for (size_t k = 2; k <= more; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return 0;
        i += more + 1;
    }
    return 1;
}

int mvi_check_name(const char *name)
{
    static const char *const reserved[] = {"-journal", "-wal", "-shm"};
    size_t n = strlen(name);
    if (n == 0 || n > MV_NAME_MAX)
        return mv_fail(MV_NAME, "a database name has 1 to %d bytes, this one %zu", MV_NAME_MAX, n);
    if (!is_utf8((const uint8_t *)name, n))
        return mv_fail(MV_NAME, "a database name is UTF-8, and these %zu bytes are not", n);
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f)
            return mv_fail(MV_NAME, "a database name may not hold control characters (byte %zu is 0x%02x)", i,
                           (uint8_t)name[i]);
    if (strcmp(name, ":memory:") == 0)
        return mv_fail(MV_NAME, "\":memory:\" is SQLite's own name for a database that is never kept");
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        size_t m = strlen(reserved[i]);
        if (n >= m && strcmp(name + n - m, reserved[i]) == 0)
            return mv_fail(MV_NAME, "\"%s\": a database name may not end in %s, which SQLite uses itself", name,
                           reserved[i]);
    }
    return MV_OK;
}

int mvi_get_latest(kv_txn *txn, uint32_t ns, mvi_latest *latest)
{
    mvi_key key = mvi_key_latest(ns);
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc == MV_NOTFOUND)
        return mv_fail(MV_GONE, "the database is no longer in the store");
    if (!rc)
        rc = mvi_latest_decode(value, latest);
    if (!rc && latest->flags & MVI_DELETED)
        rc = mv_fail(MV_GONE, "the database was deleted; mv_undelete brings it back");
    return rc;
}

/* `line` is the caller's to free; NULL if this fails. */
static int find_ns_in(kv_txn *txn, const char *name, mvi_line **line, mvi_latest *latest)
{
    mvi_key key = mvi_key_name(name);
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc && value.size != 4)
        rc = mv_fail(MV_CORRUPT, "the name \"%s\" leads to %zu bytes that are no database id", name, value.size);
    if (rc)
        return rc;
    uint32_t ns = mvi_get32(value.data);
    mvi_key newest = mvi_key_latest(ns), meta = mvi_key_meta(ns);
    kv_prefetch(txn, (mv_slice[]){mvi_key_slice(&newest), mvi_key_slice(&meta)}, 2);
    rc = mvi_get_latest(txn, ns, latest);
    return rc ? rc : mvi_line_read(txn, ns, line);
}

static int find_ns(mv_store *store, const char *name, mvi_line **line, mvi_latest *latest)
{
    kv_txn *txn;
    int rc, tries = 0;
    do {
        rc = kv_read_begin(store->kv, &txn);
        if (rc)
            return rc;
        rc = find_ns_in(txn, name, line, latest);
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    return rc;
}

int mv_db_open(mv_store *store, const char *name, int flags, mv_db **out)
{
    mvi_line *line = NULL;
    mvi_latest latest;
    *out = NULL;
    int rc = mvi_check_name(name);
    if (!rc)
        rc = find_ns(store, name, &line, &latest);
    if (rc == MV_NOTFOUND && flags & MV_CREATE) {
        rc = mv_create(store, name);
        if (!rc || rc == MV_EXISTS) /* another was first: its database is as good */
            rc = find_ns(store, name, &line, &latest);
    }
    if (rc == MV_NOTFOUND)
        return mv_fail(MV_NOTFOUND, "no database \"%s\" in store %s", name, store->url);
    if (rc)
        return rc;
    mv_db *db = calloc(1, sizeof *db);
    if (!db || !(db->scratch = malloc(MVI_PAGE_MAX)))
        rc = mv_fail(MV_NOMEM, "out of memory opening database \"%s\"", name);
    if (!rc)
        rc = mvi_readers_join(store->readers, &db->slot);
    if (rc) {
        free(db ? db->scratch : NULL);
        free(db);
        mvi_line_free(line);
        return rc;
    }
    db->store = store;
    db->ns = line->ns;
    db->line = line;
    db->snap = latest;
    db->snap_at = mvi_monotonic_ms();
    db->lease_ms = MV_LEASE_MS;
    memcpy(db->name, name, strlen(name) + 1);
    *out = db;
    return MV_OK;
}

void mv_db_close(mv_db *db)
{
    if (!db)
        return;
    mv_db_unlock(db);
    mvi_writes_drop(db);
    mvi_view_drop(db);
    mvi_hold_release(db);
    mvi_readers_leave(db->store->readers, db->slot);
    mvi_ahead_free(db->ahead);
    mvi_pageset_clear(&db->served);
    mvi_line_free(db->line);
    free(db->version_texts);
    free(db->scratch);
    free(db);
}

/* ---- pages ------------------------------------------------------------- */

/* History entries of one page from the wanted one on, oldest first, up to one that
 * can be decoded alone. */
typedef struct chain {
    mvi_image images[256];
    mvi_buf payloads[256];
    size_t n;
} chain;

static int open_chain(kv_txn *txn, uint32_t ns, uint32_t pgno, const mv_stamp *at, kv_cursor **cursor)
{
    mvi_key begin = mvi_key_after(mvi_key_history(ns, pgno, at)), end = mvi_key_after(mvi_key_head(ns, pgno));
    end.bytes[3] = 'v';
    if (mvi_stamp_is_zero(at))
        begin = mvi_key_history(ns, pgno, at);
    return kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, cursor);
}

static int collect_chain(kv_txn *txn, kv_cursor *cursor, uint32_t pgno, const mv_stamp *at, chain *c)
{
    int rc = MV_OK, alone = 0;
    while (!rc && !alone) {
        mv_slice key, value;
        rc = kv_next(cursor, &key, &value);
        if (rc || mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE))
            continue;
        if (c->n == sizeof c->images / sizeof *c->images) {
            rc = mv_fail(MV_CORRUPT, "page %u: its history is a longer chain of deltas than any commit makes", pgno);
            continue;
        }
        mvi_image *image = &c->images[c->n];
        mvi_buf *buf = &c->payloads[c->n++];
        rc = mvi_image_parse(value, "reading history", image);
        if (!rc && mvi_stamp_cmp(&c->images[0].stamp, at) > 0)
            break; /* the page was not there at that time */
        if (!rc && image->codec & MVI_CONTINUED) {
            rc = mvi_image_complete(txn, key, buf, image);
        } else if (!rc) { /* the cursor moves on: keep the bytes */
            mvi_buf_add(buf, image->payload.data, image->payload.size);
            rc = buf->failed ? mv_fail(MV_NOMEM, "out of memory reading history") : MV_OK;
            image->payload = mvi_slice(buf->data, buf->size);
        }
        alone = !rc && !mvi_is_delta(image->codec);
    }
    return rc;
}

static int wrong_size(uint32_t pgno, uint32_t size)
{
    return mv_fail(MV_CORRUPT, "page %u has an image of %u bytes, which is not the database's page size", pgno, size);
}

/* Decodes from the newest image of the chain (the head, if every entry is a delta)
 * to the oldest. */
static int decode_chain(const chain *c, uint32_t pgno, const mvi_image *head, uint32_t room, uint8_t *page,
                        uint8_t *other)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->images[i].size > room)
            return wrong_size(pgno, c->images[i].size);
    if (head && head->size > room)
        head = NULL;
    uint8_t *newer = other, *current = page;
    uint32_t newer_size = 0;
    int rc = MV_OK;
    size_t i = c->n;
    if (mvi_is_delta(c->images[c->n - 1].codec)) {
        if (!head)
            return mv_fail(MV_CORRUPT, "page %u: the image its history builds on is missing", pgno);
        rc = mvi_image_decode(head, pgno, NULL, 0, newer);
        newer_size = head->size;
    }
    while (!rc && i-- > 0) {
        rc = mvi_image_decode(&c->images[i], pgno, newer, newer_size, current);
        newer_size = c->images[i].size;
        uint8_t *swap = newer;
        newer = current;
        current = swap;
    }
    if (!rc && newer != page)
        memcpy(page, newer, newer_size);
    return rc;
}

/* Zeros that keep the place of a page which the branch's database does not reach: they may be of
 * another size than its pages are now. */
static int keeps_a_place(const mvi_image *image, int inherits, uint32_t room)
{
    return inherits && image->codec == MVI_ZERO && image->size != room;
}

static void read_zeros(const mvi_image *image, uint32_t room, uint8_t *page, mvi_origin *origin)
{
    memset(page, 0, room);
    *origin = (mvi_origin){image->stamp, room, image->depth, 0};
}

static int load_history(kv_txn *txn, kv_cursor *cursor, uint32_t pgno, const mv_stamp *at, const mvi_image *head,
                        int inherits, uint32_t room, uint8_t *page, mvi_origin *origin, int *there)
{
    chain *c = calloc(1, sizeof *c);
    uint8_t *other = malloc(MVI_PAGE_MAX);
    int rc = c && other ? collect_chain(txn, cursor, pgno, at, c) : mv_fail(MV_NOMEM, "out of memory reading history");
    if (rc == MV_NOTFOUND)
        rc = MV_OK;
    *there = !rc && c->n > 0 && mvi_stamp_cmp(&c->images[0].stamp, at) <= 0;
    if (*there && keeps_a_place(&c->images[0], inherits, room)) {
        read_zeros(&c->images[0], room, page, origin);
    } else if (*there) {
        rc = decode_chain(c, pgno, head, room, page, other);
        *origin = (mvi_origin){c->images[0].stamp, c->images[0].size, 0, 0};
    }
    for (size_t i = 0; c && i < c->n; i++)
        mvi_buf_free(&c->payloads[i]);
    free(c);
    free(other);
    return rc;
}

int mvi_check_kept(kv_txn *txn, uint32_t ns, const mv_stamp *at)
{
    char text[MV_STAMP_TEXT];
    mvi_key key = mvi_key_commit(ns, at);
    mv_slice value;
    int rc = mvi_stamp_is_zero(at) ? MV_OK : kv_get(txn, mvi_key_slice(&key), &value);
    if (rc != MV_NOTFOUND)
        return rc;
    return mv_fail(MV_NOVERSION, "version %s is not there any more, or never was: a gc forgets those that the "
                                 "database's policy does not keep", mv_stamp_text(at, text));
}

static int decode_head(const mvi_image *image, uint32_t pgno, int inherits, uint32_t room, uint8_t *page,
                       mvi_origin *origin)
{
    if (keeps_a_place(image, inherits, room)) {
        read_zeros(image, room, page, origin);
        return MV_OK;
    }
    int rc = image->size > room ? wrong_size(pgno, image->size) : mvi_image_decode(image, pgno, NULL, 0, page);
    *origin = (mvi_origin){image->stamp, image->size, image->depth, 0};
    return rc;
}

/* From what the database itself has stored; *there: that tells how the page was. Else, if the
 * page `inherits`, its base tells. `history`: the page's history after `at`, if it was asked for
 * already; closed here. */
static int load_own(kv_txn *txn, uint32_t ns, uint32_t pgno, const mv_stamp *at, const mvi_latest *pending,
                    kv_cursor *history, int inherits, uint32_t room, uint8_t *page, mvi_origin *origin, int *there)
{
    mvi_buf scratch = {0};
    mvi_image image;
    int rc = MV_NOTFOUND;
    *origin = (mvi_origin){.size = 0};
    if (pending && pending->flags & MVI_PENDING && mvi_stamp_cmp(at, &pending->stamp) >= 0) {
        mvi_key key = mvi_key_staged(ns, pending->pending, pgno), head = mvi_key_head(ns, pgno);
        kv_prefetch(txn, (mv_slice[]){mvi_key_slice(&key), mvi_key_slice(&head)}, 2);
        rc = mvi_image_get(txn, &key, &scratch, &image);
        if (rc == MV_OK)
            image.stamp = pending->stamp;
    }
    if (rc == MV_NOTFOUND) {
        mvi_key key = mvi_key_head(ns, pgno);
        rc = mvi_image_get(txn, &key, &scratch, &image);
    }
    *there = !rc && mvi_stamp_cmp(&image.stamp, at) <= 0;
    if (*there) {
        rc = decode_head(&image, pgno, inherits, room, page, origin);
    } else if (rc == MV_NOTFOUND && inherits) { /* it was never written here */
        rc = MV_OK;
    } else if (!rc || rc == MV_NOTFOUND) {
        const mvi_image *head = rc ? NULL : &image;
        rc = history ? MV_OK : open_chain(txn, ns, pgno, at, &history);
        if (!rc)
            rc = load_history(txn, history, pgno, at, head, inherits, room, page, origin, there);
        if (!rc && !*there)
            rc = mvi_check_kept(txn, ns, at);
    }
    kv_cursor_close(history);
    mvi_buf_free(&scratch);
    return rc;
}

/* Up the line, until there is an image. */
static int load(kv_txn *txn, const mvi_line *line, uint32_t pgno, const mv_stamp *at, const mvi_latest *pending,
                int past, uint32_t room, uint8_t *page, mvi_origin *origin)
{
    const mvi_line *own = mvi_line_of(line, at);
    mv_stamp as_of = *at;
    int rc = MV_OK, there = 0;
    for (; !rc; as_of = own->base.stamp, own = own->parent) {
        kv_cursor *history = NULL;
        int inherits = mvi_line_inherits(own, pgno);
        if (past)
            rc = open_chain(txn, own->ns, pgno, &as_of, &history);
        if (!rc)
            rc = load_own(txn, own->ns, pgno, &as_of, own == line ? pending : NULL, history, inherits, room, page, origin,
                          &there);
        if (there || !inherits)
            break;
    }
    origin->inherited = own != line;
    return rc;
}

int mvi_load(kv_txn *txn, const mvi_line *line, uint32_t pgno, const mv_stamp *at, const mvi_latest *pending,
             uint32_t room, uint8_t *page, mvi_origin *origin)
{
    return load(txn, line, pgno, at, pending, 0, room, page, origin);
}

int mvi_load_past(kv_txn *txn, const mvi_line *line, uint32_t pgno, const mv_stamp *at, const mvi_latest *pending,
                  uint32_t room, uint8_t *page, mvi_origin *origin)
{
    return load(txn, line, pgno, at, pending, 1, room, page, origin);
}

static int load_snapshot(mv_db *db, kv_txn *txn, uint32_t pgno, uint8_t *page, mvi_origin *origin)
{
    const mvi_latest *snap = &db->snap;
    if (db->pinned && db->store->traits->hold_ms)
        return mvi_load_past(txn, db->line, pgno, &snap->stamp, snap, snap->page_size, page, origin);
    return mvi_load(txn, db->line, pgno, &snap->stamp, snap, snap->page_size, page, origin);
}

/* From the store; the cache holds only images that were read at a snapshot they are valid for. */
static int load_base(mv_db *db, uint32_t pgno, uint8_t *page, mvi_origin *origin)
{
    kv_txn *txn;
    int rc = mvi_hold_on(db), tries = 0;
    if (rc)
        return rc;
    do {
        rc = mvi_view(db, &txn);
        if (rc)
            return rc;
        mvi_ahead_before(db, txn, pgno);
        rc = load_snapshot(db, txn, pgno, page, origin);
        mvi_view_done(db, txn, rc);
    } while (mvi_again(rc, &tries));
    if (!rc && !(db->snap.flags & MVI_PENDING))
        mvi_cache_put(db->store->cache, db->ns, pgno, &db->snap.stamp, origin, page);
    return rc;
}

int mvi_base(mv_db *db, uint32_t pgno, uint8_t *page, mvi_origin *origin)
{
    int rc = MV_OK, cached = mvi_cache_get(db->store->cache, db->ns, pgno, &db->snap.stamp, page, origin);
    if (!cached)
        rc = load_base(db, pgno, page, origin);
    if (!rc && db->store->traits->ahead)
        rc = mvi_ahead_after(db, pgno, page, origin->size, cached);
    return rc;
}

uint32_t mvi_page_size(const mv_db *db)
{
    return db->writes.active ? db->writes.page_size : db->snap.page_size;
}

uint64_t mv_db_size(const mv_db *db)
{
    return db->writes.active ? db->writes.size : (uint64_t)db->snap.pages * db->snap.page_size;
}

static int read_base(mv_db *db, uint32_t pgno, uint32_t size, uint8_t *page)
{
    mvi_origin origin = {.size = 0};
    const mvi_writes *w = &db->writes;
    uint32_t last = db->snap.pages;
    if (w->active && w->lowest < (uint64_t)last * size)
        last = (uint32_t)((w->lowest + size - 1) / size); /* cut off and grown again: zeros */
    int rc = pgno <= last ? mvi_base(db, pgno, page, &origin) : MV_OK;
    if (!rc && origin.size == 0)
        memset(page, 0, size);
    if (!rc && origin.size != 0 && origin.size != size)
        rc = mv_fail(MV_CORRUPT, "page %u has %u bytes in a database with pages of %u", pgno, origin.size, size);
    return rc;
}

int mv_db_read(mv_db *db, uint32_t pgno, void *page)
{
    uint32_t size = mvi_page_size(db);
    if (size == 0 || pgno == 0)
        return mv_fail(MV_MISUSE, "page %u of a database without pages", pgno);
    int rc = mvi_pageset_add(&db->served, pgno);
    if (rc)
        return rc;
    rc = db->writes.active ? mvi_writes_find(db, pgno, page) : 0;
    if (rc)
        return rc == 1 ? MV_OK : -rc;
    return read_base(db, pgno, size, page);
}

int mv_db_read_bytes(mv_db *db, uint64_t offset, void *data, size_t n, size_t *got)
{
    uint64_t size = mv_db_size(db);
    uint32_t page_size = mvi_page_size(db);
    uint8_t *out = data;
    *got = 0;
    while (*got < n && offset < size) {
        uint32_t pgno = (uint32_t)(offset / page_size) + 1, from = (uint32_t)(offset % page_size);
        size_t part = page_size - from;
        int whole = from == 0 && n - *got >= part;
        if (part > n - *got)
            part = n - *got;
        int rc = mv_db_read(db, pgno, whole ? out : db->scratch);
        if (rc)
            return rc;
        if (!whole)
            memcpy(out, db->scratch + from, part);
        if (part > size - offset)
            part = (size_t)(size - offset);
        *got += part;
        out += part;
        offset += part;
    }
    return MV_OK;
}
