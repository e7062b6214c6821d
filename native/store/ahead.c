/* Reading ahead, where a read costs a round trip.
 *
 * Two patterns are followed. A scan of a b-tree reads the children of an interior page one
 * after the other, forwards or backwards: the last interior pages read are remembered with
 * their children. A copy, a VACUUM or a chain of overflow pages reads ascending page numbers.
 * The second step of a pattern asks for two pages more, and each further one doubles that, so
 * a look-up asks for nothing in vain. Pages asked for come with the read transaction's
 * answers; what is asked and what of it was needed, the engine counts. */
#include "btree.h"
#include "internal.h"

#define PARENTS 8
#define CHILDREN_MAX 2048
#define NOWHERE UINT32_MAX

typedef struct parent {
    uint32_t pgno, n;
    uint32_t at;     /* the child read last; NOWHERE, or n backwards: none yet */
    uint32_t asked;  /* children up to here, in the direction of reading, were asked for */
    uint32_t window; /* how far ahead to ask */
    int step;        /* 1: forwards, -1: backwards */
    uint64_t used;
    uint32_t children[CHILDREN_MAX];
} parent;

struct mvi_ahead {
    parent parents[PARENTS];
    uint64_t clock;
    parent *current;     /* of the last read; NULL: none */
    uint32_t last, run, run_window, run_asked; /* ascending page numbers */
};

void mvi_ahead_free(mvi_ahead *a)
{
    free(a);
}

/* ---- asking ----------------------------------------------------------------- */

typedef struct wanted {
    mvi_key keys[64];
    size_t n;
} wanted;

static void flush(kv_txn *txn, wanted *w)
{
    mv_slice slices[64];
    for (size_t i = 0; i < w->n; i++)
        slices[i] = mvi_key_slice(&w->keys[i]);
    if (w->n)
        kv_prefetch(txn, slices, w->n);
    w->n = 0;
}

static void want(mv_db *db, kv_txn *txn, wanted *w, uint32_t pgno)
{
    if (pgno == 0 || pgno > db->snap.pages || mvi_cache_has(db->store->cache, db->ns, pgno, &db->snap.stamp))
        return;
    w->keys[w->n++] = mvi_key_head(db->ns, pgno);
    if (mvi_line_inherits(db->line, pgno)) /* most pages of a branch are its parent's */
        w->keys[w->n++] = mvi_key_head(db->line->parent->ns, pgno);
    if (w->n + 2 > sizeof w->keys / sizeof *w->keys)
        flush(txn, w);
}

/* The children from where asking stopped to `window` beyond the one read last. */
static void ask_children(mv_db *db, kv_txn *txn, parent *p, wanted *w)
{
    uint32_t left = p->step > 0 ? p->n - 1 - p->at : p->at; /* in the direction of reading */
    uint32_t ahead = p->window < left ? p->window : left;
    uint32_t done = p->asked == NOWHERE ? 0 : p->step > 0 ? p->asked - p->at : p->at - p->asked;
    if (p->asked == NOWHERE || done > p->n)
        done = 0; /* reading has passed what was asked for */
    for (uint32_t i = done + 1; i <= ahead; i++) {
        p->asked = p->step > 0 ? p->at + i : p->at - i;
        want(db, txn, w, p->children[p->asked]);
    }
}

static void ask_run(mv_db *db, kv_txn *txn, mvi_ahead *a, wanted *w)
{
    uint32_t from = a->run_asked > a->last ? a->run_asked : a->last;
    for (uint32_t p = from + 1; p <= a->last + a->run_window && p <= db->snap.pages; p++) {
        a->run_asked = p;
        want(db, txn, w, p);
    }
}

/* ---- following ---------------------------------------------------------------- */

static uint32_t wider(const mv_db *db, uint32_t window)
{
    uint32_t most = db->store->traits->ahead;
    window = window ? window * 2 : 2;
    return window < most ? window : most;
}

/* Before the first child forwards is NOWHERE, for NOWHERE + 1 is 0. */
static void step_to(const mv_db *db, parent *p, uint32_t index)
{
    int backwards = p->at != NOWHERE && index + 1 == p->at, forwards = index == p->at + 1;
    int step = backwards ? -1 : 1, follows = backwards || forwards;
    if (!follows || step != p->step) {
        p->asked = NOWHERE;
        p->window = 0;
    }
    if (follows)
        p->window = wider(db, p->window);
    p->step = step;
    p->at = index;
}

static int is_next(const parent *p, uint32_t pgno)
{
    uint32_t next = p->at + (uint32_t)p->step;
    return next < p->n && p->children[next] == pgno;
}

static uint32_t find_child(const parent *p, uint32_t pgno)
{
    if (is_next(p, pgno))
        return p->at + (uint32_t)p->step;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->children[i] == pgno)
            return i;
    return NOWHERE;
}

/* The parent a page was read through. Looking for a page among all children is dear against
 * a read from memory, so a cached page is looked for only where it is expected. */
static parent *find_parent(mvi_ahead *a, uint32_t pgno, int cached, uint32_t *index)
{
    if (a->current && (!cached || is_next(a->current, pgno)) &&
        (*index = find_child(a->current, pgno)) != NOWHERE)
        return a->current;
    for (int i = 0; !cached && i < PARENTS; i++)
        if (a->parents[i].n && (*index = find_child(&a->parents[i], pgno)) != NOWHERE)
            return &a->parents[i];
    return NULL;
}

static void follow_run(const mv_db *db, mvi_ahead *a, uint32_t pgno)
{
    int next = pgno == a->last + 1;
    a->run = next ? a->run + 1 : 0;
    a->run_window = a->run < 2 ? 0 : wider(db, a->run_window);
    if (!next)
        a->run_asked = 0;
    a->last = pgno;
}

static void note(mv_db *db, kv_txn *txn, uint32_t pgno, int cached)
{
    mvi_ahead *a = db->ahead;
    wanted w = {.n = 0};
    uint32_t index;
    parent *p = find_parent(a, pgno, cached, &index);
    follow_run(db, a, pgno);
    if (p) {
        step_to(db, p, index);
        p->used = ++a->clock;
        a->current = p;
    }
    if (!cached)
        want(db, txn, &w, pgno); /* first, so that it travels with the rest */
    if (p && p->window)
        ask_children(db, txn, p, &w);
    else if (!p && a->run_window)
        ask_run(db, txn, a, &w);
    flush(txn, &w);
}

void mvi_ahead_before(mv_db *db, kv_txn *txn, uint32_t pgno)
{
    if (!db->store->traits->ahead || (!db->ahead && !(db->ahead = calloc(1, sizeof *db->ahead))))
        return; /* without memory nothing is read ahead */
    note(db, txn, pgno, 0);
}

/* ---- interior pages ------------------------------------------------------------- */

static parent *place_for(mvi_ahead *a, uint32_t pgno)
{
    parent *oldest = &a->parents[0];
    for (int i = 0; i < PARENTS; i++) {
        if (a->parents[i].pgno == pgno)
            return &a->parents[i];
        if (a->parents[i].used < oldest->used)
            oldest = &a->parents[i];
    }
    return oldest;
}

/* A scan that has just come to the end of one interior page goes on through the next one's
 * children as it was going: it need not prove itself again. Between the two there is at most
 * one step of the page above both. */
static void take_over(const mvi_ahead *a, parent *p)
{
    for (int i = 0; i < PARENTS; i++) {
        const parent *ended = &a->parents[i];
        if (ended == p || !ended->window || a->clock - ended->used > 2)
            continue;
        if (ended->at != (ended->step > 0 ? ended->n - 1 : 0))
            continue;
        p->window = ended->window;
        p->step = ended->step;
        p->at = p->step > 0 ? NOWHERE : p->n;
    }
}

/* Asks for the first children at once, when a scan is going on. */
static void open_parent(mv_db *db, kv_txn *txn, parent *p)
{
    wanted w = {.n = 0};
    for (uint32_t i = 0; i < p->n && i < p->window; i++) {
        p->asked = p->step > 0 ? i : p->n - 1 - i;
        want(db, txn, &w, p->children[p->asked]);
    }
    flush(txn, &w);
}

static int remember(mv_db *db, uint32_t pgno, const uint8_t *page, uint32_t size)
{
    mvi_ahead *a = db->ahead;
    parent *p = place_for(a, pgno);
    kv_txn *txn;
    if (p->pgno == pgno && p->n && a->current == p)
        return MV_OK; /* read again in the middle of its scan */
    p->n = mvi_btree_children(page, size, pgno, p->children, CHILDREN_MAX);
    p->pgno = p->n ? pgno : 0;
    p->at = p->asked = NOWHERE;
    p->window = 0;
    p->step = 1;
    p->used = ++a->clock;
    if (!p->n)
        return MV_OK;
    take_over(a, p);
    if (!p->window)
        return MV_OK;
    int rc = mvi_view(db, &txn);
    if (rc)
        return rc;
    open_parent(db, txn, p);
    mvi_view_done(db, txn, MV_OK);
    return MV_OK;
}

int mvi_ahead_after(mv_db *db, uint32_t pgno, const uint8_t *page, uint32_t size, int cached)
{
    kv_txn *txn;
    if (!db->ahead)
        return MV_OK;
    if (cached && db->ahead->current && is_next(db->ahead->current, pgno) && mvi_view_is_fresh(db)) {
        int rc = mvi_view(db, &txn);
        if (rc)
            return rc;
        note(db, txn, pgno, 1);
        mvi_view_done(db, txn, MV_OK);
    }
    uint32_t probe;
    return mvi_btree_children(page, size, pgno, &probe, 1) ? remember(db, pgno, page, size) : MV_OK;
}

void mvi_ahead_pages(mv_db *db, const uint32_t *pages, size_t n)
{
    kv_txn *txn;
    wanted w = {.n = 0};
    if (!db->store->traits->hold_ms || n < 2 || mvi_view(db, &txn))
        return; /* a hint: who reads them meets the error */
    for (size_t i = 0; i < n; i++)
        want(db, txn, &w, pages[i]);
    flush(txn, &w);
    mvi_view_done(db, txn, MV_OK);
}
