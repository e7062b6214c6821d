/* Versions: one, a walk over them, what they changed. */
#include <stdio.h>

#include "internal.h"

#define BATCH 64

typedef struct entry {
    mv_stamp stamp;
    size_t at, size; /* of the record in `bytes` */
} entry;

struct mv_log {
    mv_store *store;
    mvi_span *spans;  /* whose versions, newest first; owned */
    size_t left, n_spans;
    uint32_t ns;      /* the one that is read now, and what is left of it */
    mv_stamp after, until;
    int reverse, finished;
    entry entries[BATCH];
    size_t n, next;
    mvi_buf bytes;
    char *texts;
};

/* Copies the texts with their terminators, and points the version at them. */
static int decode_version(const mv_stamp *stamp, mv_slice value, char **texts, mv_version *version)
{
    mvi_record r;
    mvi_buf statements = {0};
    int rc = mvi_record_decode(value, &r);
    if (!rc)
        rc = mvi_record_statements(&r, &statements);
    const mv_slice parts[] = {r.host, r.program, r.message, mvi_slice(statements.data, statements.size)};
    size_t need = 0;
    for (int i = 0; i < 4 && !rc; i++)
        need += parts[i].size + 1;
    char *at = rc ? NULL : realloc(*texts, need);
    if (!at) {
        mvi_buf_free(&statements);
        return rc ? rc : mv_fail(MV_NOMEM, "out of memory reading a version");
    }
    *texts = at;
    const char *strings[4];
    for (int i = 0; i < 4; i++) {
        strings[i] = at;
        if (parts[i].size)
            memcpy(at, parts[i].data, parts[i].size);
        at[parts[i].size] = 0;
        at += parts[i].size + 1;
    }
    mvi_buf_free(&statements);
    *version = (mv_version){
        .stamp = *stamp,
        .previous = r.previous,
        .ms = r.ms,
        .pages = r.pages,
        .page_size = r.page_size,
        .changed = (uint32_t)r.changed,
        .kind = r.kind,
        .target = r.target,
        .host = strings[0],
        .program = strings[1],
        .message = strings[2],
        .statements = strings[3],
        .pid = r.pid,
        .merged = r.merged,
    };
    memcpy(version->txid, r.txid, MV_TXID_SIZE);
    return MV_OK;
}

int mv_db_version(mv_db *db, const mv_stamp *stamp, mv_version *version)
{
    kv_txn *txn;
    mv_slice value;
    mvi_key key = mvi_key_commit(mvi_line_of(db->line, stamp)->ns, stamp);
    int rc, tries = 0;
    do {
        rc = kv_read_begin(db->store->kv, &txn);
        if (rc)
            return rc;
        rc = kv_get(txn, mvi_key_slice(&key), &value);
        if (!rc)
            rc = decode_version(stamp, value, &db->version_texts, version);
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    if (rc == MV_NOTFOUND) {
        char text[MV_STAMP_TEXT];
        mv_stamp_text(stamp, text);
        rc = mv_fail(MV_NOVERSION, "database \"%s\" has no version %s", db->name, text);
    }
    return rc;
}

int mv_log_open(mv_db *db, const mv_stamp *after, const mv_stamp *until, int reverse, mv_log **out)
{
    mv_log *log = calloc(1, sizeof *log);
    if (!log)
        return mv_fail(MV_NOMEM, "out of memory reading versions");
    log->store = db->store;
    log->reverse = reverse;
    mvi_span span = mvi_spans(db->line, after ? after : &mvi_zero_stamp, until ? until : &mvi_last_stamp);
    int rc = MV_OK;
    while (!rc && mvi_span_next(&span)) {
        mvi_span *spans = realloc(log->spans, (log->n_spans + 1) * sizeof *spans);
        if (!spans)
            rc = mv_fail(MV_NOMEM, "out of memory reading versions");
        log->spans = spans ? spans : log->spans;
        if (spans)
            spans[log->n_spans++] = span;
    }
    log->left = log->n_spans;
    log->finished = 1;
    if (rc)
        mv_log_close(log);
    *out = rc ? NULL : log;
    return rc;
}

/* The next database of the line. 0: there is none. */
static int next_span(mv_log *log)
{
    if (!log->left)
        return 0;
    size_t i = log->reverse ? log->n_spans - log->left : log->left - 1;
    log->left--;
    log->ns = log->spans[i].line->ns;
    log->after = log->spans[i].after;
    log->until = log->spans[i].until;
    log->finished = 0;
    return 1;
}

static int take(void *ctx, kv_txn *txn, const mv_stamp *stamp, const mvi_record *record)
{
    mv_log *log = ctx;
    mv_slice value;
    (void)record;
    mvi_key key = mvi_key_commit(log->ns, stamp);
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (rc)
        return rc;
    log->entries[log->n++] = (entry){*stamp, log->bytes.size, value.size};
    mvi_buf_add(&log->bytes, value.data, value.size);
    return log->bytes.failed ? mv_fail(MV_NOMEM, "out of memory reading versions") : MV_OK;
}

/* The stamp just before: bounds are (after, until], so walking back needs it. */
static mv_stamp before(mv_stamp stamp)
{
    for (int i = MV_STAMP_SIZE - 1; i >= 0 && stamp.bytes[i]-- == 0; i--)
        ;
    return stamp;
}

static int refill(mv_log *log)
{
    kv_txn *txn;
    int rc, tries = 0;
    do {
        log->n = log->next = log->bytes.size = 0;
        rc = kv_read_begin(log->store->kv, &txn);
        if (rc)
            return rc;
        rc = mvi_records(txn, log->ns, &log->after, &log->until, BATCH, log->reverse ? KV_REVERSE : 0, take, log);
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    log->finished = log->n < BATCH;
    if (log->n && log->reverse)
        log->until = before(log->entries[log->n - 1].stamp);
    else if (log->n)
        log->after = log->entries[log->n - 1].stamp;
    return rc;
}

int mv_log_next(mv_log *log, mv_version *version)
{
    while (log->next == log->n) {
        if (log->finished && !next_span(log))
            return MV_NOTFOUND;
        int rc = refill(log);
        if (rc)
            return rc;
    }
    const entry *e = &log->entries[log->next++];
    return decode_version(&e->stamp, mvi_slice(log->bytes.data + e->at, e->size), &log->texts, version);
}

void mv_log_close(mv_log *log)
{
    if (!log)
        return;
    mvi_buf_free(&log->bytes);
    free(log->texts);
    free(log->spans);
    free(log);
}

static int collect_page(void *ctx, uint32_t pgno)
{
    return mvi_pageset_add(ctx, pgno);
}

static int collect_span(mvi_piece *piece, const mvi_span *span, mvi_pageset *set)
{
    mvi_key begin, end;
    uint32_t ns = span->line->ns;
    mvi_record_range(ns, &span->after, &span->until, &begin, &end);
    mvi_walk walk = mvi_walk_over(piece, &begin, &end, KV_BULK);
    int rc = MV_OK;
    while (!rc) {
        mv_slice key, value;
        mvi_record record;
        rc = mvi_walk_next(&walk, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE)
            continue; /* the end, or a chunk of a page set */
        mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        rc = mvi_record_decode(value, &record);
        if (!rc)
            rc = mvi_record_pages(piece->txn, ns, &stamp, &record, collect_page, set);
        rc = mvi_walk_again(&walk, rc);
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

int mvi_collect(mv_store *store, const mvi_line *line, const mv_stamp *after, const mv_stamp *until, mvi_pageset *set)
{
    mvi_piece piece = {.store = store};
    mvi_span span = mvi_spans(line, after, until);
    int rc = MV_OK;
    while (!rc && mvi_span_next(&span))
        rc = collect_span(&piece, &span, set);
    mvi_piece_end(&piece);
    return rc;
}

int mv_db_changed(mv_db *db, const mv_stamp *after, const mv_stamp *until, uint32_t **pages, size_t *n)
{
    mvi_pageset set = {0};
    *pages = NULL;
    *n = 0;
    int rc = mvi_collect(db->store, db->line, after, until, &set);
    if (!rc)
        rc = mvi_pageset_list(&set, pages, n);
    mvi_pageset_clear(&set);
    return rc;
}
