#include "record.h"

#include "image.h"
#include "texts.h"

#define CHECKSUM 4

static uint8_t log2_of(uint32_t size)
{
    return size ? (uint8_t)__builtin_ctz(size) : 0;
}

static uint32_t size_of(uint8_t log2)
{
    return log2 >= 9 && log2 <= 16 ? (uint32_t)1 << log2 : 0;
}

size_t mvi_latest_encode(const mvi_latest *latest, uint8_t *out)
{
    memcpy(out, latest->stamp.bytes, MV_STAMP_SIZE);
    mvi_put32(out + 10, latest->pages);
    out[14] = log2_of(latest->page_size);
    mvi_put64(out + 15, latest->ms);
    out[23] = latest->flags;
    if (!(latest->flags & MVI_PENDING))
        return 24;
    memcpy(out + 24, latest->pending, MV_TXID_SIZE);
    return 40;
}

int mvi_latest_decode(mv_slice value, mvi_latest *latest)
{
    const uint8_t *p = value.data;
    memset(latest, 0, sizeof *latest);
    if (value.size < 24 || (p[23] & MVI_PENDING && value.size < 40))
        return mv_fail(MV_CORRUPT, "the record of the newest commit has %zu bytes", value.size);
    memcpy(latest->stamp.bytes, p, MV_STAMP_SIZE);
    latest->pages = mvi_get32(p + 10);
    latest->page_size = size_of(p[14]);
    latest->ms = mvi_get64(p + 15);
    latest->flags = p[23];
    if (latest->flags & MVI_PENDING)
        memcpy(latest->pending, p + 24, MV_TXID_SIZE);
    return MV_OK;
}

static size_t encode_base(const mvi_meta *meta, uint8_t *out)
{
    out[0] = MVI_BASE;
    out[1] = MVI_BASE_SIZE;
    mvi_put32(out + 2, meta->parent);
    memcpy(out + 6, meta->base.stamp.bytes, MV_STAMP_SIZE);
    mvi_put32(out + 16, meta->base.pages);
    out[20] = log2_of(meta->base.page_size);
    mvi_put64(out + 21, meta->base.ms);
    return 2 + MVI_BASE_SIZE;
}

static void decode_base(const uint8_t *p, mvi_meta *meta)
{
    meta->parent = mvi_get32(p);
    memcpy(meta->base.stamp.bytes, p + 4, MV_STAMP_SIZE);
    meta->base.pages = mvi_get32(p + 14);
    meta->base.page_size = size_of(p[18]);
    meta->base.ms = mvi_get64(p + 19);
}

static size_t encode_policy(const mv_policy *policy, uint8_t *out)
{
    out[0] = MVI_POLICY;
    out[1] = MVI_POLICY_SIZE;
    mvi_put64(out + 2, policy->all_ms);
    mvi_put32(out + 10, policy->hourly);
    mvi_put32(out + 14, policy->daily);
    mvi_put32(out + 18, policy->weekly);
    mvi_put64(out + 22, policy->least_ms);
    mvi_put64(out + 30, policy->deleted_ms);
    out[38] = policy->statements;
    return 2 + MVI_POLICY_SIZE;
}

static void decode_policy(const uint8_t *p, mvi_meta *meta)
{
    meta->has_policy = 1;
    meta->policy = (mv_policy){
        .all_ms = mvi_get64(p),
        .hourly = mvi_get32(p + 8),
        .daily = mvi_get32(p + 12),
        .weekly = mvi_get32(p + 16),
        .least_ms = mvi_get64(p + 20),
        .deleted_ms = mvi_get64(p + 28),
        .statements = p[36],
    };
}

size_t mvi_meta_encode(const mvi_meta *meta, uint8_t *out)
{
    size_t n = 16 + strlen(meta->name);
    mvi_put64(out, meta->created_ms);
    mvi_put64(out + 8, meta->deleted_ms);
    memcpy(out + 16, meta->name, n - 16);
    if (meta->parent || meta->has_policy)
        out[n++] = 0;
    if (meta->parent)
        n += encode_base(meta, out + n);
    if (meta->has_policy)
        n += encode_policy(&meta->policy, out + n);
    return n;
}

static int decode_parts(const uint8_t *p, const uint8_t *end, mvi_meta *meta)
{
    while (p < end) {
        if (end - p < 2 || end - p < 2 + p[1])
            return MV_CORRUPT;
        if (p[0] == MVI_BASE && p[1] == MVI_BASE_SIZE)
            decode_base(p + 2, meta);
        else if (p[0] == MVI_POLICY && p[1] == MVI_POLICY_SIZE)
            decode_policy(p + 2, meta);
        p += 2 + p[1];
    }
    return MV_OK;
}

int mvi_meta_decode(mv_slice value, mvi_meta *meta)
{
    memset(meta, 0, sizeof *meta);
    if (value.size < 17 || value.size > MVI_META_ROOM)
        return mv_fail(MV_CORRUPT, "the metadata of a database have %zu bytes", value.size);
    const uint8_t *name = value.data + 16, *end = value.data + value.size;
    const uint8_t *stop = memchr(name, 0, value.size - 16);
    size_t n = (size_t)((stop ? stop : end) - name);
    if (n > MV_NAME_MAX || (stop && decode_parts(stop + 1, end, meta) != MV_OK))
        return mv_fail(MV_CORRUPT, "the metadata of a database cannot be read");
    meta->created_ms = mvi_get64(value.data);
    meta->deleted_ms = mvi_get64(value.data + 8);
    memcpy(meta->name, name, n);
    return MV_OK;
}

size_t mvi_pending_encode(const mvi_pending *pending, uint8_t *out)
{
    mvi_put64(out, pending->ms);
    mvi_put32(out + 8, pending->pages);
    out[12] = log2_of(pending->page_size);
    mvi_put64(out + 13, pending->domain);
    return MVI_PENDING_ROOM;
}

int mvi_pending_decode(mv_slice value, mvi_pending *pending)
{
    if (value.size != MVI_PENDING_ROOM)
        return mv_fail(MV_CORRUPT, "the record of a large commit has %zu bytes", value.size);
    pending->ms = mvi_get64(value.data);
    pending->pages = mvi_get32(value.data + 8);
    pending->page_size = size_of(value.data[12]);
    pending->domain = mvi_get64(value.data + 13);
    return MV_OK;
}

static void add_text(mvi_buf *out, uint8_t tag, mv_slice text)
{
    if (text.size == 0)
        return;
    mvi_buf_byte(out, tag);
    mvi_buf_varint(out, text.size);
    mvi_buf_add(out, text.data, text.size);
}

size_t mvi_record_chunks(const mvi_record *record, size_t set_size)
{
    size_t texts = record->host.size + record->program.size + record->message.size + record->statements.size +
                   record->packed.size;
    if (set_size <= MVI_SET_CHUNK && set_size + texts <= MVI_RECORD_ADVISED)
        return 0;
    return (set_size + MVI_SET_CHUNK - 1) / MVI_SET_CHUNK;
}

void mvi_record_encode(const mvi_record *record, mv_slice set_bytes, mvi_buf *out)
{
    uint8_t fixed[14], checksum[CHECKSUM];
    size_t begin = out->size;
    mvi_put64(fixed, record->ms);
    mvi_put32(fixed + 8, record->pages);
    fixed[12] = log2_of(record->page_size);
    fixed[13] = record->kind;
    mvi_buf_add(out, record->txid, MV_TXID_SIZE);
    mvi_buf_add(out, record->previous.bytes, MV_STAMP_SIZE);
    mvi_buf_add(out, fixed, sizeof fixed);
    if (record->kind != MV_KIND_COMMIT)
        mvi_buf_add(out, record->target.bytes, MV_STAMP_SIZE);
    mvi_buf_varint(out, record->changed);
    size_t chunks = mvi_record_chunks(record, set_bytes.size);
    mvi_buf_varint(out, chunks);
    mvi_buf_varint(out, chunks ? 0 : set_bytes.size);
    if (!chunks)
        mvi_buf_add(out, set_bytes.data, set_bytes.size);
    mvi_buf pid = {0}, merged = {0};
    mvi_buf_varint(&pid, record->pid);
    if (record->merged)
        mvi_buf_varint(&merged, record->merged);
    add_text(out, MVI_HOST, record->host);
    add_text(out, MVI_PROGRAM, record->program);
    add_text(out, MVI_PID, mvi_slice(pid.data, pid.size));
    add_text(out, MVI_MESSAGE, record->message);
    add_text(out, MVI_STATEMENTS, record->statements);
    add_text(out, MVI_STATEMENTS_PACKED, record->packed);
    add_text(out, MVI_MERGED, mvi_slice(merged.data, merged.size));
    out->failed |= pid.failed | merged.failed;
    mvi_buf_free(&pid);
    mvi_buf_free(&merged);
    if (out->failed)
        return;
    mvi_put32(checksum, (uint32_t)mvi_checksum(out->data + begin, out->size - begin, 0));
    mvi_buf_add(out, checksum, CHECKSUM);
}

/* Chunks of a set that the record does not hold itself. */
static int put_chunks(kv_txn *txn, uint32_t ns, const mv_stamp *stamp, mv_slice set, size_t chunks, uint64_t *bytes)
{
    int rc = MV_OK;
    for (size_t i = 0; i < chunks && !rc; i++) {
        size_t at = i * MVI_SET_CHUNK, n = set.size - at < MVI_SET_CHUNK ? set.size - at : MVI_SET_CHUNK;
        mvi_key key = mvi_key_chunk(ns, stamp, (uint16_t)i);
        *bytes += key.size + n;
        if (txn)
            rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(set.data + at, n));
    }
    return rc;
}

int mvi_record_put(kv_txn *txn, uint32_t ns, const mv_stamp *stamp, const mvi_record *record, mv_slice set,
                   uint64_t *bytes)
{
    mvi_buf value = {0};
    mvi_key key = mvi_key_commit(ns, stamp), end = mvi_key_after(key);
    mvi_record_encode(record, set, &value);
    int rc = value.failed ? mv_fail(MV_NOMEM, "out of memory for a commit record") : MV_OK;
    *bytes += key.size + value.size;
    if (!rc && txn)
        rc = kv_clear_range(txn, mvi_key_slice(&key), mvi_key_slice(&end));
    if (!rc && txn)
        rc = kv_set(txn, mvi_key_slice(&key), mvi_slice(value.data, value.size));
    if (!rc)
        rc = put_chunks(txn, ns, stamp, set, mvi_record_chunks(record, set.size), bytes);
    mvi_buf_free(&value);
    return rc;
}

void mvi_record_restamp(uint8_t *value, size_t size, const mv_stamp *previous, const mv_stamp *target)
{
    size_t fixed = MV_TXID_SIZE + MV_STAMP_SIZE + 14, body = size - CHECKSUM;
    memcpy(value + MV_TXID_SIZE, previous->bytes, MV_STAMP_SIZE);
    if (value[fixed - 1] != MV_KIND_COMMIT)
        memcpy(value + fixed, target->bytes, MV_STAMP_SIZE);
    mvi_put32(value + body, (uint32_t)mvi_checksum(value, body, 0));
}

static void take_text(mvi_record *record, uint8_t tag, mv_slice text)
{
    mvi_reader r = {text.data, text.data + text.size, 0};
    switch (tag) {
    case MVI_HOST: record->host = text; break;
    case MVI_PROGRAM: record->program = text; break;
    case MVI_PID: record->pid = mvi_read_varint(&r); break;
    case MVI_MESSAGE: record->message = text; break;
    case MVI_STATEMENTS: record->statements = text; break;
    case MVI_STATEMENTS_PACKED: record->packed = text; break;
    case MVI_MERGED: record->merged = mvi_read_varint(&r); break;
    default: break; /* of a later release: no harm in not knowing it */
    }
}

int mvi_record_decode(mv_slice value, mvi_record *record)
{
    memset(record, 0, sizeof *record);
    size_t body = value.size < CHECKSUM ? 0 : value.size - CHECKSUM;
    if (!body || mvi_get32(value.data + body) != (uint32_t)mvi_checksum(value.data, body, 0))
        return mv_fail(MV_CORRUPT, "a commit record of %zu bytes does not match its checksum", value.size);
    mvi_reader r = {value.data, value.data + body, 0};
    const uint8_t *p = mvi_read(&r, MV_TXID_SIZE + MV_STAMP_SIZE + 14);
    if (!p)
        return mv_fail(MV_CORRUPT, "a commit record has %zu bytes", value.size);
    record->txid = p;
    memcpy(record->previous.bytes, p + 16, MV_STAMP_SIZE);
    record->ms = mvi_get64(p + 26);
    record->pages = mvi_get32(p + 34);
    record->page_size = size_of(p[38]);
    record->kind = p[39];
    if (record->kind != MV_KIND_COMMIT && (p = mvi_read(&r, MV_STAMP_SIZE)) != NULL)
        memcpy(record->target.bytes, p, MV_STAMP_SIZE);
    record->changed = mvi_read_varint(&r);
    record->chunks = mvi_read_varint(&r);
    size_t n = mvi_read_varint(&r);
    record->set = mvi_slice(mvi_read(&r, n), n);
    while (!r.failed && r.at < r.end) {
        uint8_t tag = *mvi_read(&r, 1);
        n = mvi_read_varint(&r);
        p = mvi_read(&r, n);
        if (p)
            take_text(record, tag, mvi_slice(p, n));
    }
    return r.failed ? mv_fail(MV_CORRUPT, "a commit record is cut short") : MV_OK;
}

int mvi_record_statements(const mvi_record *record, mvi_buf *out)
{
    if (record->packed.size)
        return mvi_text_unpack(record->packed, out);
    mvi_buf_add(out, record->statements.data, record->statements.size);
    return out->failed ? mv_fail(MV_NOMEM, "out of memory reading statements") : MV_OK;
}

int mvi_record_pages(kv_txn *txn, uint32_t ns, const mv_stamp *stamp, const mvi_record *record,
                     int (*each)(void *ctx, uint32_t pgno), void *ctx)
{
    if (record->chunks == 0)
        return mvi_pageset_decode(record->set, each, ctx);
    mvi_buf whole = {0};
    int rc = MV_OK;
    for (uint64_t i = 0; i < record->chunks && !rc; i++) {
        mvi_key key = mvi_key_chunk(ns, stamp, (uint16_t)i);
        mv_slice part;
        rc = kv_get(txn, mvi_key_slice(&key), &part);
        if (rc == MV_NOTFOUND)
            rc = mv_fail(MV_CORRUPT, "a part of a commit's set of pages is missing");
        else if (!rc)
            mvi_buf_add(&whole, part.data, part.size);
    }
    if (!rc && whole.failed)
        rc = mv_fail(MV_NOMEM, "out of memory reading a set of pages");
    if (!rc)
        rc = mvi_pageset_decode(mvi_slice(whole.data, whole.size), each, ctx);
    mvi_buf_free(&whole);
    return rc;
}

void mvi_record_range(uint32_t ns, const mv_stamp *after, const mv_stamp *until, mvi_key *begin, mvi_key *end)
{
    *begin = mvi_key_after(mvi_key_commit(ns, after));
    *end = mvi_key_after(mvi_key_commit(ns, until));
    if (mvi_stamp_is_zero(after))
        *begin = mvi_key_commit(ns, after);
    if (mvi_stamp_cmp(until, &mvi_last_stamp) == 0)
        *end = mvi_key_commit(ns + 1, &mvi_zero_stamp);
}

int mvi_records_open(kv_txn *txn, uint32_t ns, const mv_stamp *after, const mv_stamp *until, int flags,
                     kv_cursor **cursor)
{
    mvi_key begin, end;
    *cursor = NULL;
    if (mvi_stamp_cmp(after, until) >= 0)
        return MV_OK;
    mvi_record_range(ns, after, until, &begin, &end);
    return kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 0, flags, cursor);
}

int mvi_records_each(kv_txn *txn, kv_cursor *cursor, size_t limit, mvi_each_record each, void *ctx)
{
    int rc = cursor ? MV_OK : MV_NOTFOUND;
    size_t seen = 0;
    while (!rc && (limit == 0 || seen < limit)) {
        mv_slice key, value;
        rc = kv_next(cursor, &key, &value);
        if (rc || key.size > MVI_COMMIT_KEY_SIZE)
            continue; /* the end, or a chunk of a page set */
        mvi_record record;
        mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_COMMIT);
        rc = mvi_record_decode(value, &record);
        if (!rc)
            rc = each(ctx, txn, &stamp, &record);
        seen++;
    }
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

int mvi_records(kv_txn *txn, uint32_t ns, const mv_stamp *after, const mv_stamp *until, size_t limit, int flags,
                mvi_each_record each, void *ctx)
{
    kv_cursor *cursor;
    int rc = mvi_records_open(txn, ns, after, until, flags, &cursor);
    if (!rc)
        rc = mvi_records_each(txn, cursor, limit, each, ctx);
    kv_cursor_close(cursor);
    return rc;
}
