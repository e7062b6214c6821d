/* Reads every image of every version and compares them with the commit records.
 *
 * For each page the stored images are, oldest first, its history entries (own stamp
 * and the stamp of the commit that replaced it) and the head. What must hold:
 *   - every image decodes and matches its checksum;
 *   - the commit that wrote an image, and the one that replaced it, exist and name the page;
 *   - an image was replaced by the commit that wrote the next one, or that commit cut the
 *     page off;
 *   - every page a commit names, and that the database then had, has an image of it;
 *   - commits are linked, their times do not go back, and the time index has each;
 *   - tags and branches name versions that are there.
 *
 * Where versions were forgotten the first one after them stands for them, and their pages stand in its
 * record. Which of them cut a page off, or wrote one that was gone again, nobody knows any more.
 *
 * It takes long, so others commit meanwhile. The versions looked at are those up to the
 * newest one at the beginning; their records and history do not change any more. A page's
 * newest image may be of a later commit: it is decoded, and the commit must have a record,
 * but nothing is expected of that one.
 *
 * Commits move images from one place to another: staged, newest, replaced. So a page's
 * newest image is read in the transaction in which the walk over the history met the newest
 * entry of the page, or found that there is none. */
#include <stdio.h>

#include "internal.h"

typedef struct vcommit {
    mv_stamp stamp;
    uint32_t pages;
    int merged; /* it stands for forgotten versions too */
    mvi_pageset claimed; /* by the record; a page leaves the set when its image was seen */
    mvi_pageset all;
} vcommit;

typedef struct verifier {
    mv_db *db;
    mv_check *check;
    mvi_piece piece;
    mvi_latest latest; /* at the beginning */
    vcommit *commits;
    size_t n, room;
    mv_stamp previous;
    uint64_t previous_ms, images_of;
    uint8_t *newer, *page;
    uint64_t asked;      /* the transaction in which newest images were asked for ahead of need */
    uint32_t asked_down; /* to this page */
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

#define HEX(stamp) mv_stamp_text(stamp, (char[MV_STAMP_TEXT]){0})

/* ---- commit records -------------------------------------------------------- */

static int claim_page(void *ctx, uint32_t pgno)
{
    vcommit *c = ctx;
    int rc = mvi_pageset_add(&c->claimed, pgno);
    return rc ? rc : mvi_pageset_add(&c->all, pgno);
}

static void forget_commit(vcommit *c)
{
    mvi_pageset_clear(&c->claimed);
    mvi_pageset_clear(&c->all);
}

static vcommit *add_commit(verifier *v, const mv_stamp *stamp, uint32_t pages)
{
    if (v->n == v->room) {
        size_t room = v->room ? v->room * 2 : 64;
        vcommit *commits = realloc(v->commits, room * sizeof *commits);
        if (!commits)
            return NULL;
        v->commits = commits;
        v->room = room;
    }
    vcommit *c = &v->commits[v->n++];
    *c = (vcommit){.stamp = *stamp, .pages = pages};
    return c;
}

/* Reads first, for it may run again, and tells then. */
static int check_record(verifier *v, const mv_stamp *stamp, const mvi_record *record)
{
    mv_slice value;
    kv_txn *txn = v->piece.txn;
    vcommit *c = add_commit(v, stamp, record->pages);
    if (!c)
        return mv_fail(MV_NOMEM, "out of memory verifying");
    c->merged = record->merged > 0;
    mvi_key time = mvi_key_time(v->db->ns, record->ms, stamp);
    int timed = kv_get(txn, mvi_key_slice(&time), &value);
    int rc = timed == MV_NOTFOUND ? MV_OK : timed;
    if (!rc)
        rc = mvi_record_pages(txn, v->db->ns, stamp, record, claim_page, c);
    if (rc && rc != MV_CORRUPT) {
        forget_commit(c);
        v->n--;
        return rc;
    }
    if (rc)
        problem(v, "version %s: %s", HEX(stamp), mv_error_text());
    if (c->all.count != record->changed)
        problem(v, "version %s names %zu pages and says it changed %llu", HEX(stamp), c->all.count,
                (unsigned long long)record->changed);
    if (mvi_stamp_cmp(&record->previous, &v->previous) != 0)
        problem(v, "version %s follows %s, but the version before it is %s", HEX(stamp), HEX(&record->previous),
                HEX(&v->previous));
    if (record->ms < v->previous_ms)
        problem(v, "version %s is older than the version before it", HEX(stamp));
    if (timed == MV_NOTFOUND)
        problem(v, "version %s is missing in the time index", HEX(stamp));
    v->previous = *stamp;
    v->previous_ms = record->ms;
    return MV_OK;
}

/* All of them; one that cannot be read is told, and the rest looked at. */
static int check_records(verifier *v)
{
    mvi_key begin, end;
    mvi_record_range(v->db->ns, &mvi_zero_stamp, &v->latest.stamp, &begin, &end);
    mvi_walk walk = mvi_walk_over(&v->piece, &begin, &end, KV_BULK);
    int rc = MV_OK;
    while (!rc) {
        mv_slice key, value;
        mvi_record record;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE)
            continue;
        mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        if (mvi_record_decode(value, &record) == MV_OK)
            rc = mvi_walk_again(&walk, check_record(v, &stamp, &record));
        else
            problem(v, "version %s: %s", HEX(&stamp), mv_error_text());
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static void check_newest_record(verifier *v)
{
    if (mvi_stamp_cmp(&v->previous, &v->latest.stamp) != 0)
        problem(v, "the newest version is said to be %s, and the last record is of %s", HEX(&v->latest.stamp),
                HEX(&v->previous));
    if (v->n && (v->latest.pages != v->commits[v->n - 1].pages || v->latest.ms != v->previous_ms))
        problem(v, "the newest version is said to have %u pages, and its record says %u", v->latest.pages,
                v->commits[v->n - 1].pages);
}

/* The version of that stamp, or the one that stands for it. */
static vcommit *find_commit(const verifier *v, const mv_stamp *stamp)
{
    size_t low = 0, high = v->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mvi_stamp_cmp(&v->commits[middle].stamp, stamp) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    vcommit *c = low < v->n ? &v->commits[low] : NULL;
    return c && (c->merged || mvi_stamp_cmp(&c->stamp, stamp) == 0) ? c : NULL;
}

/* ---- images ----------------------------------------------------------------- */

static int is_later(const verifier *v, const mv_stamp *stamp)
{
    return mvi_stamp_cmp(stamp, &v->latest.stamp) > 0;
}

/* Reads whether a commit of which no record was read has one: *later says that it was made
 * since the beginning. */
static int look_up(verifier *v, const mv_stamp *stamp, int *later)
{
    mvi_key key = mvi_key_commit(v->db->ns, stamp);
    mv_slice value;
    *later = 0;
    if (!is_later(v, stamp))
        return MV_OK;
    int rc = kv_get(v->piece.txn, mvi_key_slice(&key), &value);
    *later = rc == MV_OK;
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

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

static void seen(verifier *v, uint32_t pgno, const mv_stamp *stamp, int later)
{
    vcommit *c = later ? NULL : expect(v, pgno, stamp, "wrote");
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

/* The look at one page: from its newest image back to the oldest. */
typedef struct vpage {
    uint32_t pgno;
    mv_stamp newer; /* wrote the next newer image */
    uint32_t size;  /* of that image, in v->newer; 0: damaged, or none */
    size_t met;     /* keys of its history, so far */
} vpage;

/* Images that are newest in their places. A damaged one answers MV_NOTFOUND. */
static int get_image(verifier *v, const mvi_key *key, uint32_t pgno, mvi_buf *scratch, mvi_image *image)
{
    int rc = mvi_image_get(v->piece.txn, key, scratch, image);
    if (rc != MV_CORRUPT)
        return rc;
    problem(v, "page %u: %s", pgno, mv_error_text());
    return MV_NOTFOUND;
}

/* The page's image that the large commit has not moved yet, if there is one. */
static int check_staged(verifier *v, uint32_t pgno, const vcommit *pending)
{
    mvi_buf scratch = {0};
    mvi_image image;
    mvi_key key = mvi_key_staged(v->db->ns, v->latest.pending, pgno);
    if (!pending || !mvi_pageset_has(&pending->all, pgno))
        return MV_OK;
    int rc = get_image(v, &key, pgno, &scratch, &image);
    if (!rc) {
        seen(v, pgno, &v->latest.stamp, 0);
        decode(v, pgno, &image, 0);
    }
    mvi_buf_free(&scratch);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int check_head(verifier *v, vpage *p)
{
    mvi_buf scratch = {0};
    mvi_image image;
    mvi_key key = mvi_key_head(v->db->ns, p->pgno);
    int later = 0, rc = get_image(v, &key, p->pgno, &scratch, &image);
    if (!rc)
        rc = look_up(v, &image.stamp, &later);
    if (!rc) {
        p->newer = image.stamp;
        seen(v, p->pgno, &image.stamp, later);
        p->size = decode(v, p->pgno, &image, 0);
        int stands_for_none = image.codec == MVI_ZERO && mvi_line_inherits(v->db->line, p->pgno);
        if (p->pgno > v->latest.pages && !(v->latest.flags & MVI_PENDING) && !later && !stands_for_none)
            problem(v, "page %u is stored and the database has %u pages", p->pgno, v->latest.pages);
    }
    mvi_buf_free(&scratch);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* The page's newest images. What fails may run again, and must not count twice. */
static int begin_page(verifier *v, uint32_t pgno, const vcommit *pending, vpage *p)
{
    uint64_t images = v->check->images;
    *p = (vpage){.pgno = pgno};
    int rc = check_staged(v, pgno, pending);
    if (!rc)
        rc = check_head(v, p);
    if (rc)
        v->check->images = images;
    v->piece.keys++;
    return rc;
}

static void check_link(verifier *v, const vpage *p, const mv_stamp *replaced, int later)
{
    vcommit *c = later ? NULL : expect(v, p->pgno, replaced, "replaced");
    if (later || mvi_stamp_cmp(replaced, &p->newer) == 0 || (c && (p->pgno > c->pages || c->merged)))
        return;
    problem(v, "page %u: the image that version %s wrote over an older one is missing", p->pgno, HEX(replaced));
}

/* One history entry. Reads first, for it may run again. */
static int check_entry(verifier *v, vpage *p, mv_slice key, mv_slice value, mvi_buf *scratch)
{
    mvi_image image;
    mv_stamp replaced = mvi_key_get_stamp(key, MVI_STAMP_IN_HISTORY);
    int later = 0, replaced_later = 0, rc = look_up(v, &replaced, &replaced_later);
    int got = rc ? rc : mvi_image_parse(value, "an image", &image);
    if (!got)
        got = mvi_image_complete(v->piece.txn, key, scratch, &image);
    if (!got)
        got = look_up(v, &image.stamp, &later);
    if (got && got != MV_CORRUPT)
        return got;
    check_link(v, p, &replaced, replaced_later);
    if (got) {
        problem(v, "page %u, replaced by version %s: %s", p->pgno, HEX(&replaced), mv_error_text());
        p->size = 0;
        return MV_OK;
    }
    seen(v, p->pgno, &image.stamp, later);
    p->size = decode(v, p->pgno, &image, p->size);
    p->newer = image.stamp;
    return MV_OK;
}

/* The numbers of all pages with an image. */
static int find_pages(verifier *v, char kind, size_t full_size, mvi_pageset *pages)
{
    mvi_walk walk = mvi_walk_kind(&v->piece, v->db->ns, kind);
    int rc = MV_OK;
    while (!rc) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        if (!rc && !mvi_key_is_more(key, full_size)) {
            rc = mvi_pageset_add(pages, mvi_key_get_pgno(key));
            v->images_of++;
        }
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* The walk over the history, backwards, beside the pages that are known. */
typedef struct vwalk {
    const uint32_t *pages; /* ascending; those after the first `left` are begun */
    size_t left;
    uint32_t low; /* the last page begun; 0: none */
    int open;     /* it has history, and this is where the walk is */
    vpage page;
    const vcommit *pending;
    mvi_buf scratch;
} vwalk;

/* Where reads have latency: the newest images of the next pages are asked for together. */
static void ask_ahead(verifier *v, const vwalk *w)
{
    size_t most = v->db->store->traits->ahead;
    if (!most || !w->left || (v->asked == v->piece.number && w->pages[w->left - 1] >= v->asked_down))
        return;
    for (size_t i = 0; i < most && i < w->left; i++) {
        v->asked_down = w->pages[w->left - 1 - i];
        mvi_key key = mvi_key_head(v->db->ns, v->asked_down);
        mv_slice slice = mvi_key_slice(&key);
        kv_prefetch(v->piece.txn, &slice, 1);
    }
    v->asked = v->piece.number;
}

/* The pages above `pgno` that are left have no history in this transaction. MV_STALE: it has
 * served long enough, and another one must look again. */
static int check_between(verifier *v, vwalk *w, uint32_t pgno)
{
    size_t left = w->left;
    int rc = MV_OK;
    while (!rc && w->left && w->pages[w->left - 1] > pgno) {
        vpage p;
        if (w->left < left && mvi_piece_is_spent(&v->piece))
            return MV_STALE;
        ask_ahead(v, w);
        rc = begin_page(v, w->pages[w->left - 1], w->pending, &p);
        if (rc)
            break;
        w->low = p.pgno;
        w->open = 0;
        w->left--;
    }
    return rc;
}

/* A key of the history (the second part of an image comes before the first), and what comes
 * before it. May run again. */
static int check_past(verifier *v, vwalk *w, mv_slice key, mv_slice value)
{
    uint32_t pgno = mvi_key_get_pgno(key);
    uint64_t images = v->check->images;
    int rc = check_between(v, w, pgno);
    if (rc || (w->low && (pgno > w->low || (pgno == w->low && !w->open))))
        return rc; /* of a page that is done: replaced meanwhile */
    vwalk before = *w;
    if (!w->open || pgno != w->low) {
        images = v->check->images;
        ask_ahead(v, w);
        rc = begin_page(v, pgno, w->pending, &w->page);
        w->low = pgno;
        w->open = 1;
        w->left -= w->left && w->pages[w->left - 1] == pgno;
    }
    if (!rc && !mvi_key_is_more(key, MVI_HISTORY_KEY_SIZE))
        rc = check_entry(v, &w->page, key, value, &w->scratch);
    w->page.met += !rc;
    if (rc && !w->page.met) { /* another transaction may meet a newer entry first */
        before.scratch = w->scratch;
        *w = before;
        v->check->images = images;
    }
    return rc;
}

static int walk_pages(verifier *v, vwalk *w)
{
    mvi_walk walk = mvi_walk_kind(&v->piece, v->db->ns, 'v');
    int rc = MV_OK, ended = 0;
    walk.flags |= KV_REVERSE;
    while (!rc && !v->check->stop && !(ended && !w->left)) {
        mv_slice key, value;
        rc = mvi_walk_next(&walk, &key, &value);
        ended = rc == MV_NOTFOUND;
        if (rc && !ended)
            break;
        size_t left = w->left;
        rc = ended ? check_between(v, w, 0) : check_past(v, w, key, value);
        if (rc == MV_STALE && w->left < left)
            walk.tries = 0; /* it gets on */
        rc = mvi_walk_again(&walk, rc);
    }
    mvi_walk_close(&walk);
    return rc;
}

static int check_pages(verifier *v)
{
    mvi_pageset set = {0};
    vwalk w = {.pending = v->latest.flags & MVI_PENDING ? find_commit(v, &v->latest.stamp) : NULL};
    const mvi_pageset *staged = w.pending ? &w.pending->all : NULL;
    int rc = find_pages(v, 'h', MVI_HEAD_KEY_SIZE, &set);
    if (!rc)
        rc = find_pages(v, 'v', MVI_HISTORY_KEY_SIZE, &set);
    for (uint32_t p = staged ? mvi_pageset_next(staged, 0) : 0; p && !rc; p = mvi_pageset_next(staged, p))
        rc = mvi_pageset_add(&set, p);
    uint32_t *pages = malloc((set.count + 1) * sizeof *pages);
    if (!rc && !pages)
        rc = mv_fail(MV_NOMEM, "out of memory verifying");
    for (uint32_t p = mvi_pageset_next(&set, 0); p && !rc; p = mvi_pageset_next(&set, p))
        pages[w.left++] = p;
    w.pages = pages;
    mvi_pageset_clear(&set);
    if (!rc)
        rc = walk_pages(v, &w);
    mvi_buf_free(&w.scratch);
    free(pages);
    return rc;
}

static int read_newest(kv_txn *txn, void *ctx)
{
    verifier *v = ctx;
    return mvi_get_latest(txn, v->db->ns, &v->latest);
}

/* Tags or branches. */
static int check_names(verifier *v, char kind, const char *what)
{
    mvi_walk walk = mvi_walk_kind(&v->piece, v->db->ns, kind);
    int rc = MV_OK;
    while (!rc) {
        mv_slice key, value;
        mv_stamp stamp;
        int later = 0;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || value.size != MV_STAMP_SIZE)
            continue;
        memcpy(stamp.bytes, value.data, MV_STAMP_SIZE);
        if (mvi_stamp_is_zero(&stamp)) /* a branch of the empty database */
            continue;
        rc = mvi_walk_again(&walk, look_up(v, &stamp, &later));
        const vcommit *c = find_commit(v, &stamp);
        if (!rc && !later && walk.last.size && (!c || mvi_stamp_cmp(&c->stamp, &stamp) != 0))
            problem(v, "a %s is of version %s, which has no record", what, HEX(&stamp));
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int verify(verifier *v)
{
    int rc = mvi_read_in(v->db->store, read_newest, v);
    if (!rc)
        rc = check_records(v);
    if (!rc)
        check_newest_record(v);
    if (!rc)
        rc = check_names(v, 'g', "tag");
    if (!rc)
        rc = check_names(v, 'b', "branch");
    if (!rc)
        rc = check_pages(v);
    mvi_piece_end(&v->piece);
    for (size_t i = 0; i < v->n && !rc && !v->check->stop; i++)
        for (uint32_t p = v->commits[i].merged ? 0 : mvi_pageset_next(&v->commits[i].claimed, 0); p && p <= v->commits[i].pages;
             p = mvi_pageset_next(&v->commits[i].claimed, p))
            problem(v, "page %u: version %s changed it and its image is missing", p, HEX(&v->commits[i].stamp));
    return rc;
}

int mv_db_verify(mv_db *db, mv_check *check)
{
    verifier v = {.db = db,
                  .check = check,
                  .piece = {.store = db->store},
                  .previous = db->line->base.stamp,
                  .previous_ms = db->line->base.ms,
                  .newer = malloc(MVI_PAGE_MAX),
                  .page = malloc(MVI_PAGE_MAX)};
    uint32_t slot;
    check->images = check->problems = 0;
    check->stop = 0;
    int rc = v.newer && v.page ? MV_OK : mv_fail(MV_NOMEM, "out of memory verifying");
    int held = !rc && (rc = mvi_hold_all(db->store, db->ns, &slot)) == MV_OK;
    if (held)
        rc = verify(&v);
    if (held)
        mvi_hold_all_end(db->store, db->ns, slot);
    if (rc == MV_CORRUPT) { /* so damaged that the rest cannot be compared with it */
        problem(&v, "%s", mv_error_text());
        rc = MV_OK;
    }
    if (!rc && check->progress)
        check->progress(check->ctx, check->images, v.images_of);
    for (size_t i = 0; i < v.n; i++)
        forget_commit(&v.commits[i]);
    free(v.commits);
    free(v.newer);
    free(v.page);
    return rc;
}
