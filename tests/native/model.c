#include "model.h"

static state copy_of(const model *m, const state *s)
{
    size_t n = (size_t)s->pages * m->page_size;
    state copy = {s->stamp, s->pages, malloc(n + 1)};
    CHECK(copy.bytes != NULL);
    if (n)
        memcpy(copy.bytes, s->bytes, n);
    return copy;
}

void model_begin(model *m, uint64_t seed, uint32_t page_size, uint32_t pages_max)
{
    memset(m, 0, sizeof *m);
    m->chance.state = seed;
    m->page_size = page_size;
    m->pages_max = pages_max;
    m->now.bytes = malloc(1);
}

void model_end(model *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->versions[i].bytes);
    free(m->versions);
    free(m->now.bytes);
    memset(m, 0, sizeof *m);
}

static void resize(model *m, uint32_t pages)
{
    size_t before = (size_t)m->now.pages * m->page_size, after = (size_t)pages * m->page_size;
    m->now.bytes = realloc(m->now.bytes, after + 1);
    CHECK(m->now.bytes != NULL);
    if (after > before)
        memset(m->now.bytes + before, 0, after - before);
    m->now.pages = pages;
}

void model_write_bytes(model *m, mv_db *db, uint64_t offset, const void *data, size_t n)
{
    uint32_t pages = (uint32_t)((offset + n + m->page_size - 1) / m->page_size);
    if (pages > m->now.pages)
        resize(m, pages);
    memcpy(m->now.bytes + offset, data, n);
    OK(mv_db_write_bytes(db, offset, data, n));
}

void model_write_page(model *m, mv_db *db, uint32_t pgno, int kind)
{
    static uint8_t page[MVI_PAGE_MAX];
    kit_fill(&m->chance, kind, page, m->page_size);
    model_write_bytes(m, db, (uint64_t)(pgno - 1) * m->page_size, page, m->page_size);
}

void model_truncate(model *m, mv_db *db, uint32_t pages)
{
    resize(m, pages);
    OK(mv_db_truncate(db, (uint64_t)pages * m->page_size));
}

/* A few bytes somewhere: what makes a good delta. */
static void touch(model *m, mv_db *db)
{
    uint8_t bytes[40];
    uint64_t size = (uint64_t)m->now.pages * m->page_size;
    size_t n = 1 + chance_below(&m->chance, sizeof bytes);
    kit_fill(&m->chance, FILL_NOISE, bytes, n);
    model_write_bytes(m, db, chance_below(&m->chance, (uint32_t)(size - n)), bytes, n);
}

void model_scribble(model *m, mv_db *db)
{
    chance *c = &m->chance;
    uint32_t writes = 1 + chance_below(c, 6);
    if (m->now.pages == 0)
        model_write_page(m, db, 1, FILL_TEXT);
    while (writes-- > 0) {
        uint32_t what = chance_below(c, 20);
        if (what < 8)
            touch(m, db);
        else if (what < 17)
            model_write_page(m, db, 1 + chance_below(c, m->pages_max), (int)chance_below(c, FILL_KINDS));
        else if (what < 19)
            model_truncate(m, db, 1 + chance_below(c, m->now.pages));
        else
            model_truncate(m, db, 1 + chance_below(c, m->pages_max)); /* longer: a hole of zeros */
        if (chance_below(c, 4) == 0)
            model_check_now(m, db);
    }
}

void model_keep(model *m, const mv_stamp *stamp)
{
    if (m->n == m->room) {
        m->room = m->room ? m->room * 2 : 32;
        m->versions = realloc(m->versions, m->room * sizeof *m->versions);
        CHECK(m->versions != NULL);
    }
    m->now.stamp = *stamp;
    m->versions[m->n++] = copy_of(m, &m->now);
}

void model_forget(model *m)
{
    state empty = {.pages = 0}, kept = copy_of(m, m->n ? &m->versions[m->n - 1] : &empty);
    free(m->now.bytes);
    m->now = kept;
}

void model_commit(model *m, mv_db *db)
{
    mv_stamp stamp;
    OK(mv_db_commit(&db, 1, &stamp));
    if (mvi_stamp_is_zero(&stamp)) { /* nothing was changed: so it must read */
        model_check_now(m, db);
        state newest = {.pages = 0};
        if (m->n)
            newest = m->versions[m->n - 1];
        CHECK(newest.pages == m->now.pages);
        CHECK(!newest.pages || memcmp(newest.bytes, m->now.bytes, (size_t)newest.pages * m->page_size) == 0);
        return;
    }
    mv_stamp newest = model_newest(m);
    CHECK(mvi_stamp_cmp(&newest, &stamp) < 0);
    model_keep(m, &stamp);
}

void model_revert(model *m, size_t version, const mv_stamp *made)
{
    state back = copy_of(m, &m->versions[version]);
    free(m->now.bytes);
    m->now = back;
    if (!mvi_stamp_is_zero(made))
        model_keep(m, made);
}

int model_same(const model *m, mv_db *db, const state *wanted)
{
    static _Thread_local uint8_t page[MVI_PAGE_MAX];
    if (mv_db_size(db) != (uint64_t)wanted->pages * m->page_size)
        return 0;
    for (uint32_t p = 1; p <= wanted->pages; p++) {
        OK(mv_db_read(db, p, page));
        if (memcmp(page, wanted->bytes + (size_t)(p - 1) * m->page_size, m->page_size) != 0)
            return 0;
    }
    return 1;
}

void model_check_now(const model *m, mv_db *db)
{
    CHECK(model_same(m, db, &m->now));
}

void model_check_all(const model *m, mv_store *store, const char *name)
{
    mv_db *db;
    mv_snapshot snapshot;
    OK(mv_db_open(store, name, 0, &db));
    for (size_t i = 0; i < m->n; i++) {
        OK(mv_db_pin(db, &m->versions[i].stamp));
        CHECK(model_same(m, db, &m->versions[i]));
        mv_db_snapshot(db, &snapshot);
        CHECK(snapshot.pinned && mvi_stamp_cmp(&snapshot.stamp, &m->versions[i].stamp) == 0);
    }
    OK(mv_db_pin(db, &mvi_zero_stamp)); /* before the first commit */
    EQUAL(0, mv_db_size(db));
    OK(mv_db_unpin(db));
    if (m->n)
        CHECK(model_same(m, db, &m->versions[m->n - 1]));
    mv_db_close(db);
}

uint64_t model_problems(mv_db *db)
{
    mv_check check = {.problem = NULL};
    OK(mv_db_verify(db, &check));
    return check.problems;
}
