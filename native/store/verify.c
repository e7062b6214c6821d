/* Reads every image of every version and compares them with the commit records.
 *
 * For each page the stored images are, oldest first, its history entries (own stamp
 * and the stamp of the commit that replaced it) and the head. What must hold:
 *   - every image decodes and matches its checksum;
 *   - the commit that wrote an image, and the one that replaced it, exist and name the page;
 *   - an image was replaced by the commit that wrote the next one, or that commit cut the
 *     page off;
 *   - every page a commit names, and that the database then had, has an image of it;
 *   - commits are linked, their times do not go back, and the time index has each. */
#include <stdio.h>

#include "internal.h"

typedef struct vcommit {
    mv_stamp stamp;
    uint32_t pages;
    mvi_pageset claimed; /* by the record; a page leaves the set when its image was seen */
    mvi_pageset all;
} vcommit;

typedef struct verifier {
    mv_db *db;
    mv_check *check;
    mvi_latest latest;
    vcommit *commits;
    size_t n, room;
    mv_stamp previous;
    uint64_t previous_ms, images_of;
    uint8_t *newer, *page;
} verifier;

static void MV_PRINTF(2, 3) problem(verifier *v, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    v->check->problems++;
    if (v->check->problem)
        v->check->problem(v->check->ctx, text);
}

static const char *hex(const mv_stamp *stamp, char *out)
{
    for (int i = 0; i < MV_STAMP_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", stamp->bytes[i]);
    return out;
}
#define HEX(stamp) hex(stamp, (char[2 * MV_STAMP_SIZE + 1]){0})

/* ---- commit records -------------------------------------------------------- */

static int claim_page(void *ctx, uint32_t pgno)
{
    vcommit *c = ctx;
    int rc = mvi_pageset_add(&c->claimed, pgno);
    return rc ? rc : mvi_pageset_add(&c->all, pgno);
}

static int check_record(verifier *v, kv_txn *txn, const mv_stamp *stamp, const mvi_record *record)
{
    mv_slice value;
    if (v->n == v->room) {
        size_t room = v->room ? v->room * 2 : 64;
        vcommit *commits = realloc(v->commits, room * sizeof *commits);
        if (!commits)
            return mv_fail(MV_NOMEM, "out of memory verifying");
        v->commits = commits;
        v->room = room;
    }
    vcommit *c = &v->commits[v->n++];
    *c = (vcommit){.stamp = *stamp, .pages = record->pages};
    int rc = mvi_record_pages(txn, v->db->ns, stamp, record, claim_page, c);
    if (rc == MV_CORRUPT) {
        problem(v, "version %s: %s", HEX(stamp), mv_error_text());
        rc = MV_OK;
    }
    if (c->all.count != record->changed)
        problem(v, "version %s names %zu pages and says it changed %llu", HEX(stamp), c->all.count,
                (unsigned long long)record->changed);
    if (mvi_stamp_cmp(&record->previous, &v->previous) != 0)
        problem(v, "version %s follows %s, but the version before it is %s", HEX(stamp), HEX(&record->previous),
                HEX(&v->previous));
    if (record->ms < v->previous_ms)
        problem(v, "version %s is older than the version before it", HEX(stamp));
    mvi_key time = mvi_key_time(v->db->ns, record->ms, stamp);
    int found = rc ? rc : kv_get(txn, mvi_key_slice(&time), &value);
    if (found == MV_NOTFOUND)
        problem(v, "version %s is missing in the time index", HEX(stamp));
    v->previous = *stamp;
    v->previous_ms = record->ms;
    return found == MV_NOTFOUND ? MV_OK : found;
}

/* All of them; one that cannot be read is told, and the rest looked at. */
static int check_records(verifier *v, kv_txn *txn)
{
    mvi_key begin = mvi_key_commit(v->db->ns, &mvi_zero_stamp), end = mvi_key_commit(v->db->ns + 1, &mvi_zero_stamp);
    kv_cursor *cursor;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, &cursor);
    while (!rc) {
        mv_slice key, value;
        mvi_record record;
        rc = kv_next(cursor, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE)
            continue;
        mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        if (mvi_record_decode(value, &record) == MV_OK)
            rc = check_record(v, txn, &stamp, &record);
        else
            problem(v, "version %s: %s", HEX(&stamp), mv_error_text());
    }
    kv_cursor_close(cursor);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static vcommit *find_commit(const verifier *v, const mv_stamp *stamp)
{
    size_t low = 0, high = v->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int c = mvi_stamp_cmp(&v->commits[middle].stamp, stamp);
        if (c == 0)
            return &v->commits[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- images ----------------------------------------------------------------- */

/* The commit that `stamp` names must have changed this page. */
static vcommit *expect(verifier *v, uint32_t pgno, const mv_stamp *stamp, const char *did)
{
    vcommit *c = find_commit(v, stamp);
    if (!c)
        problem(v, "page %u: version %s %s an image and has no record", pgno, HEX(stamp), did);
    else if (!mvi_pageset_has(&c->all, pgno))
        problem(v, "page %u: version %s %s an image and its record does not name the page", pgno, HEX(stamp), did);
    return c;
}

static void seen(verifier *v, uint32_t pgno, const mv_stamp *stamp)
{
    vcommit *c = expect(v, pgno, stamp, "wrote");
    if (c)
        mvi_pageset_remove(&c->claimed, pgno);
    v->check->images++;
    if (v->check->progress && v->check->images % 256 == 0)
        v->check->progress(v->check->ctx, v->check->images, v->images_of);
}

/* Decodes one image over the next newer one in v->newer (of `newer_size` bytes, 0:
 * unknown); afterwards v->newer holds it, and the answer is its size (0: damaged). */
static uint32_t decode(verifier *v, uint32_t pgno, const mvi_image *image, uint32_t newer_size)
{
    int rc = mvi_image_decode(image, pgno, newer_size ? v->newer : NULL, newer_size, v->page);
    if (rc) {
        problem(v, "page %u, version %s: %s", pgno, HEX(&image->stamp), mv_error_text());
        return 0;
    }
    uint8_t *swap = v->newer;
    v->newer = v->page;
    v->page = swap;
    return image->size;
}

/* The newest image of a page: staged, head, or none (cut off). */
static int check_newest(verifier *v, kv_txn *txn, uint32_t pgno, mv_stamp *stamp, uint32_t *size)
{
    mvi_buf scratch = {0};
    mvi_image image;
    mvi_key key = mvi_key_head(v->db->ns, pgno);
    int rc = mvi_image_get(txn, &key, &scratch, &image);
    *size = 0;
    *stamp = mvi_zero_stamp;
    if (!rc) {
        *stamp = image.stamp;
        seen(v, pgno, &image.stamp);
        *size = decode(v, pgno, &image, 0);
        if (pgno > v->latest.pages && !(v->latest.flags & MVI_PENDING))
            problem(v, "page %u is stored and the database has %u pages", pgno, v->latest.pages);
    }
    if (rc == MV_CORRUPT) {
        problem(v, "page %u: %s", pgno, mv_error_text());
        rc = MV_NOTFOUND;
    }
    mvi_buf_free(&scratch);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static void check_link(verifier *v, uint32_t pgno, const mv_stamp *replaced, const mv_stamp *newer)
{
    vcommit *c = expect(v, pgno, replaced, "replaced");
    int pending = v->latest.flags & MVI_PENDING && mvi_stamp_cmp(replaced, &v->latest.stamp) == 0;
    if (mvi_stamp_cmp(replaced, newer) == 0 || pending || (c && pgno > c->pages))
        return;
    problem(v, "page %u: the image that version %s wrote over an older one is missing", pgno, HEX(replaced));
}

/* One page: from the newest image back to the oldest. */
static int check_page(verifier *v, kv_txn *txn, uint32_t pgno)
{
    mv_stamp newer;
    uint32_t size;
    int rc = check_newest(v, txn, pgno, &newer, &size);
    mvi_key begin = mvi_key_history(v->db->ns, pgno, &mvi_zero_stamp);
    mvi_key end = mvi_key_after(mvi_key_history(v->db->ns, pgno, &mvi_last_stamp));
    kv_cursor *cursor = NULL;
    mvi_buf scratch = {0};
    if (!rc)
        rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, KV_REVERSE, &cursor);
    while (!rc) {
        mv_slice key, value;
        mvi_image image;
        rc = kv_next(cursor, &key, &value);
        if (rc || mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE))
            continue;
        mv_stamp replaced = mvi_key_get_stamp(key, MVI_STAMP_IN_HISTORY);
        check_link(v, pgno, &replaced, &newer);
        rc = mvi_image_parse(value, "an image", &image);
        if (!rc)
            rc = mvi_image_complete(txn, key, &scratch, &image);
        if (rc == MV_CORRUPT) {
            problem(v, "page %u, replaced by version %s: %s", pgno, HEX(&replaced), mv_error_text());
            rc = MV_OK;
            size = 0;
            continue;
        }
        if (rc)
            continue;
        seen(v, pgno, &image.stamp);
        size = decode(v, pgno, &image, size);
        newer = image.stamp;
    }
    kv_cursor_close(cursor);
    mvi_buf_free(&scratch);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int check_staged(verifier *v, kv_txn *txn)
{
    if (!(v->latest.flags & MVI_PENDING))
        return MV_OK;
    vcommit *c = find_commit(v, &v->latest.stamp);
    mvi_buf scratch = {0};
    int rc = MV_OK;
    for (uint32_t p = c ? mvi_pageset_next(&c->all, 0) : 0; p && !rc; p = mvi_pageset_next(&c->all, p)) {
        mvi_key key = mvi_key_staged(v->db->ns, v->latest.pending, p);
        mvi_image image;
        rc = mvi_image_get(txn, &key, &scratch, &image);
        if (rc == MV_NOTFOUND) {
            rc = MV_OK;
            continue;
        }
        if (!rc) {
            seen(v, p, &v->latest.stamp);
            decode(v, p, &image, 0);
        }
    }
    mvi_buf_free(&scratch);
    return rc;
}

/* The numbers of all pages with an image. */
static int find_pages(verifier *v, kv_txn *txn, char kind, size_t full_size, mvi_pageset *pages)
{
    mvi_key begin = mvi_key_meta(v->db->ns), end;
    begin.bytes[3] = (uint8_t)kind;
    end = mvi_key_after(begin);
    kv_cursor *cursor;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, 0, &cursor);
    while (!rc) {
        mv_slice key, value;
        rc = kv_next(cursor, &key, &value);
        if (!rc && !mvi_key_is_more(key, full_size)) {
            rc = mvi_pageset_add(pages, mvi_key_get_pgno(key));
            v->images_of++;
        }
    }
    kv_cursor_close(cursor);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int verify_in(verifier *v, kv_txn *txn)
{
    mvi_pageset pages = {0};
    int rc = mvi_get_latest(txn, v->db->ns, &v->latest);
    if (!rc)
        rc = check_records(v, txn);
    if (!rc && mvi_stamp_cmp(&v->previous, &v->latest.stamp) != 0)
        problem(v, "the newest version is said to be %s, and the last record is of %s", HEX(&v->latest.stamp),
                HEX(&v->previous));
    if (!rc && v->n && (v->latest.pages != v->commits[v->n - 1].pages || v->latest.ms != v->previous_ms))
        problem(v, "the newest version is said to have %u pages, and its record says %u", v->latest.pages,
                v->commits[v->n - 1].pages);
    if (!rc)
        rc = find_pages(v, txn, 'h', MVI_HEAD_KEY_SIZE, &pages);
    if (!rc)
        rc = find_pages(v, txn, 'v', MVI_HISTORY_KEY_SIZE, &pages);
    for (uint32_t p = mvi_pageset_next(&pages, 0); p && !rc; p = mvi_pageset_next(&pages, p))
        rc = check_page(v, txn, p);
    if (!rc)
        rc = check_staged(v, txn);
    mvi_pageset_clear(&pages);
    for (size_t i = 0; i < v->n && !rc; i++)
        for (uint32_t p = mvi_pageset_next(&v->commits[i].claimed, 0); p && p <= v->commits[i].pages;
             p = mvi_pageset_next(&v->commits[i].claimed, p))
            problem(v, "page %u: version %s changed it and its image is missing", p, HEX(&v->commits[i].stamp));
    return rc;
}

int mv_db_verify(mv_db *db, mv_check *check)
{
    verifier v = {.db = db, .check = check, .newer = malloc(MVI_PAGE_MAX), .page = malloc(MVI_PAGE_MAX)};
    kv_txn *txn;
    check->images = check->problems = 0;
    int rc = v.newer && v.page ? MV_OK : mv_fail(MV_NOMEM, "out of memory verifying");
    if (!rc)
        rc = kv_read_begin(db->store->kv, &txn);
    if (!rc) {
        rc = verify_in(&v, txn);
        kv_read_end(txn);
        if (rc == MV_CORRUPT) { /* so damaged that the rest cannot be compared with it */
            problem(&v, "%s", mv_error_text());
            rc = MV_OK;
        }
    }
    if (!rc && check->progress)
        check->progress(check->ctx, check->images, v.images_of);
    for (size_t i = 0; i < v.n; i++) {
        mvi_pageset_clear(&v.commits[i].claimed);
        mvi_pageset_clear(&v.commits[i].all);
    }
    free(v.commits);
    free(v.newer);
    free(v.page);
    return rc;
}
