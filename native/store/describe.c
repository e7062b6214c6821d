/* What can be told about a store without opening it: its format and databases, in JSON. */
#include "../base/json.h"
#include "internal.h"

#define DATABASES 1000 /* told of at most */
#define STAGINGS 16    /* of one database */

/* The newest two commit records. */
typedef struct newest {
    mv_stamp stamp;
    uint64_t ms[2];
    size_t n;
} newest;

static int note_record(void *ctx, kv_txn *txn, const mv_stamp *stamp, const mvi_record *record)
{
    newest *found = ctx;
    (void)txn;
    if (found->n == 0)
        found->stamp = *stamp;
    found->ms[found->n++] = record->ms;
    return MV_OK;
}

static int add_records(kv_txn *txn, uint32_t ns, mvi_buf *json)
{
    newest found = {.n = 0};
    int rc = mvi_records(txn, ns, &mvi_zero_stamp, &mvi_last_stamp, 2, KV_REVERSE, note_record, &found);
    if (!rc && found.n > 0) {
        mvi_json_key(json, "record");
        mvi_json_hex(json, found.stamp.bytes, MV_STAMP_SIZE);
        mvi_json_add_number(json, "record_ms", found.ms[0]);
    }
    if (!rc && found.n > 1)
        mvi_json_add_number(json, "previous_ms", found.ms[1]);
    return rc;
}

/* Large commits that are being written, or whose writer is gone. */
static int add_staged(kv_txn *txn, uint32_t ns, const mvi_latest *latest, mvi_buf *json)
{
    static const uint8_t first[MV_TXID_SIZE];
    mvi_key begin = mvi_key_pending(ns, first), end = begin;
    mv_slice key, value;
    kv_cursor *cursor;
    mvi_pending pending;
    begin.size = end.size = 8;
    end = mvi_key_after(end);
    mvi_json_key(json, "staged");
    mvi_json_begin(json, '[');
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), STAGINGS, 0, &cursor);
    while (!rc && (rc = kv_next(cursor, &key, &value)) == MV_OK) {
        rc = mvi_pending_decode(value, &pending);
        int visible = latest->flags & MVI_PENDING && memcmp(key.data + 8, latest->pending, MV_TXID_SIZE) == 0;
        if (!rc && !visible) {
            mvi_json_begin(json, '{');
            mvi_json_add_number(json, "ms", pending.ms);
            mvi_json_key(json, "locked"); /* its writer held a host's lock */
            mvi_json_bool(json, pending.domain != 0);
            mvi_json_end(json, '}');
        }
    }
    kv_cursor_close(cursor);
    mvi_json_end(json, ']');
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int add_newest(kv_txn *txn, uint32_t ns, mvi_buf *json)
{
    mvi_latest latest;
    mvi_key key = mvi_key_latest(ns);
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        rc = mvi_latest_decode(value, &latest);
    if (rc)
        return rc == MV_NOTFOUND ? mv_fail(MV_CORRUPT, "database %u has no record of its newest commit", ns) : rc;
    mvi_json_add_number(json, "pages", latest.pages);
    mvi_json_add_number(json, "page_size", latest.page_size);
    mvi_json_key(json, "newest");
    mvi_json_hex(json, latest.stamp.bytes, MV_STAMP_SIZE);
    mvi_json_add_number(json, "newest_ms", latest.ms);
    mvi_json_key(json, "moving");
    mvi_json_bool(json, latest.flags & MVI_PENDING);
    uint64_t until;
    rc = mvi_lease_until(txn, ns, &until);
    if (!rc && until)
        mvi_json_add_number(json, "lease_until_ms", until);
    if (!rc)
        rc = add_records(txn, ns, json);
    return rc ? rc : add_staged(txn, ns, &latest, json);
}

/* What is wrong with one database does not end the list; a snapshot that is too old does. */
static int add_database(kv_txn *txn, uint32_t ns, const mvi_meta *meta, mvi_buf *json)
{
    mvi_json_begin(json, '{');
    mvi_json_add_number(json, "id", ns);
    mvi_json_add_text(json, "name", meta->name);
    mvi_json_add_number(json, "created_ms", meta->created_ms);
    mvi_json_add_number(json, "deleted_ms", meta->deleted_ms);
    int rc = add_newest(txn, ns, json);
    if (rc)
        mvi_json_add_text(json, "error", mv_error_text());
    mvi_json_end(json, '}');
    return rc == MV_STALE ? rc : MV_OK;
}

static int add_databases(kv_txn *txn, mvi_buf *json)
{
    mvi_key begin = mvi_key_meta(0), end = mvi_key_meta(UINT32_MAX);
    mv_slice key, value;
    kv_cursor *cursor;
    mvi_meta meta;
    mvi_json_key(json, "databases");
    mvi_json_begin(json, '[');
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), DATABASES, 0, &cursor);
    while (!rc && (rc = kv_next(cursor, &key, &value)) == MV_OK) {
        uint32_t ns = mvi_key_get_ns(key);
        rc = mvi_meta_decode(value, &meta);
        if (!rc)
            rc = add_database(txn, ns, &meta, json);
    }
    kv_cursor_close(cursor);
    mvi_json_end(json, ']');
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

static int add_content(kv_txn *txn, mvi_buf *json)
{
    mvi_key key = mvi_key_format();
    mv_slice value;
    uint32_t format = 0;
    int rc = kv_get(txn, mvi_key_slice(&key), &value);
    if (!rc)
        format = value.size == 4 ? mvi_get32(value.data) : UINT32_MAX;
    if (rc && rc != MV_NOTFOUND)
        return rc;
    mvi_json_key(json, "store");
    mvi_json_begin(json, '{');
    mvi_json_add_number(json, "format", format); /* 0: nothing was ever stored */
    mvi_json_add_number(json, "readable_format", MV_STORED_FORMAT);
    mvi_json_add_number(json, "now_ms", mvi_now_ms());
    rc = format && format <= MV_STORED_FORMAT ? add_databases(txn, json) : MV_OK;
    mvi_json_end(json, '}');
    return rc;
}

static int describe_content(kv_engine *kv, mvi_buf *json)
{
    kv_txn *txn;
    size_t before = json->size;
    int rc, tries = 0;
    do {
        rc = kv_read_begin(kv, &txn);
        if (rc)
            break;
        json->size = before;
        rc = add_content(txn, json);
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    return rc ? mvi_json_add_failure(json, "format") : MV_OK;
}

/* Ends the object and hands it out. */
static int finish(mvi_buf *b, char **json)
{
    mvi_json_end(b, '}');
    mvi_buf_byte(b, 0);
    if (b->failed) {
        mvi_buf_free(b);
        return mv_fail(MV_NOMEM, "out of memory describing a store");
    }
    *json = (char *)b->data;
    return MV_OK;
}

int mv_store_describe(mv_store *store, char **json)
{
    mvi_buf b = {0};
    *json = NULL;
    mvi_json_begin(&b, '{');
    mvi_json_add_text(&b, "url", store->url);
    int rc = kv_describe(store->kv, &b);
    if (!rc)
        rc = describe_content(store->kv, &b);
    if (rc) {
        mvi_buf_free(&b);
        return rc;
    }
    return finish(&b, json);
}

int mv_describe_url(const char *url, char **json)
{
    mvi_buf b = {0};
    kv_engine *kv = NULL;
    *json = NULL;
    mvi_json_begin(&b, '{');
    mvi_json_add_text(&b, "url", url);
    int rc = kv_examine(url, &b, &kv);
    if (!rc && kv)
        rc = describe_content(kv, &b);
    kv_close(kv);
    if (rc) {
        mvi_buf_free(&b);
        return rc;
    }
    return finish(&b, json);
}
