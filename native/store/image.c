#include "image.h"

#include "frames.h"
#include "runs.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define RUNS_ROOM 512  /* longer runs hardly ever beat a frame */
#define RUNS_ENOUGH 64 /* shorter ones are taken without trying one */

uint64_t mvi_checksum(const uint8_t *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
}

static uint8_t log2_of(uint32_t size)
{
    uint8_t n = 0;
    while (((uint32_t)1 << n) < size)
        n++;
    return n;
}

static int all_zero(const uint8_t *page, uint32_t size)
{
    return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

static void add_header(mvi_buf *out, const mv_stamp *stamp, uint8_t codec, uint32_t size, uint64_t checksum)
{
    uint8_t bytes[8];
    mvi_put64(bytes, checksum);
    mvi_buf_add(out, stamp->bytes, MV_STAMP_SIZE);
    mvi_buf_byte(out, codec);
    mvi_buf_byte(out, 0);
    mvi_buf_byte(out, log2_of(size));
    mvi_buf_add(out, bytes, 8);
}

int mvi_image_copy(mvi_buf *out, const mvi_image *image)
{
    add_header(out, &mvi_zero_stamp, image->codec, image->size, image->checksum);
    mvi_buf_add(out, image->payload.data, image->payload.size);
    return out->failed ? mv_fail(MV_NOMEM, "out of memory moving a page") : MV_OK;
}

/* What a page is encoded as: a codec, and where its payload is. */
typedef struct encoding {
    uint8_t codec;
    mv_slice payload;
} encoding;

/* The page over the next newer one; an empty payload if that does not work out. */
static encoding over_newer(uint8_t *runs, const uint8_t *page, uint32_t size, const uint8_t *newer)
{
    size_t n = mvi_runs_encode(page, newer, size, runs, RUNS_ROOM);
    if (n && n <= RUNS_ENOUGH)
        return (encoding){MVI_RUNS, mvi_slice(runs, n)};
    mv_slice frame = mvi_frame_make(mvi_slice(page, size), mvi_slice(newer, size));
    return frame.size && (!n || frame.size < n) ? (encoding){MVI_DELTA, frame} : (encoding){MVI_RUNS, mvi_slice(runs, n)};
}

static encoding alone(const uint8_t *page, uint32_t size)
{
    mv_slice frame = mvi_frame_make(mvi_slice(page, size), mvi_slice(NULL, 0));
    return frame.size && frame.size < size ? (encoding){MVI_ZSTD, frame} : (encoding){MVI_RAW, mvi_slice(page, size)};
}

static encoding choose(uint8_t *runs, const uint8_t *page, uint32_t size, const uint8_t *newer)
{
    if (all_zero(page, size))
        return (encoding){MVI_ZERO, mvi_slice(page, 0)};
    size_t with_delta = 0;
    if (newer) {
        encoding delta = over_newer(runs, page, size, newer);
        with_delta = delta.payload.size;
        if (with_delta && with_delta <= size / 4)
            return delta;
    }
    encoding whole = alone(page, size); /* after a poor delta: does the page alone do about as well? */
    return with_delta && with_delta < whole.payload.size / 4 * 3 ? over_newer(runs, page, size, newer) : whole;
}

int mvi_image_encode(mvi_buf *out, const uint8_t *page, uint32_t size, uint32_t pgno, const mv_stamp *stamp,
                     const uint8_t *newer, int *delta)
{
    uint8_t runs[RUNS_ROOM];
    if (!mvi_frame_ready())
        return mv_fail(MV_NOMEM, "out of memory for a compression context");
    encoding made = choose(runs, page, size, newer);
    add_header(out, stamp, made.codec, size, XXH3_64bits_withSeed(page, size, pgno));
    mvi_buf_add(out, made.payload.data, made.payload.size);
    if (delta)
        *delta = mvi_is_delta(made.codec);
    return out->failed ? mv_fail(MV_NOMEM, "out of memory encoding a page") : MV_OK;
}

void mvi_image_set_depth(uint8_t *encoded, uint8_t depth)
{
    encoded[MV_STAMP_SIZE + 1] = depth;
}

int mvi_image_parse(mv_slice value, const char *what, mvi_image *out)
{
    if (value.size < MVI_IMAGE_HEADER)
        return mv_fail(MV_CORRUPT, "%s: an image of %zu bytes is too short", what, value.size);
    const uint8_t *p = value.data;
    memcpy(out->stamp.bytes, p, MV_STAMP_SIZE);
    out->codec = p[MV_STAMP_SIZE];
    out->depth = p[MV_STAMP_SIZE + 1];
    uint8_t log2 = p[MV_STAMP_SIZE + 2];
    out->checksum = mvi_get64(p + MV_STAMP_SIZE + 3);
    out->payload = mvi_slice(p + MVI_IMAGE_HEADER, value.size - MVI_IMAGE_HEADER);
    if ((out->codec & ~MVI_CONTINUED) > MVI_RUNS || log2 < 9 || log2 > 16)
        return mv_fail(MV_CORRUPT, "%s: unknown codec %u or size 2^%u", what, out->codec, log2);
    out->size = (uint32_t)1 << log2;
    return MV_OK;
}

int mvi_image_decode(const mvi_image *image, uint32_t pgno, const uint8_t *newer, uint32_t newer_size,
                     uint8_t *page)
{
    if (!mvi_frame_ready())
        return mv_fail(MV_NOMEM, "out of memory for a compression context");
    int good = 0;
    switch (image->codec) {
    case MVI_RAW:
        good = image->payload.size == image->size;
        if (good)
            memcpy(page, image->payload.data, image->size);
        break;
    case MVI_ZERO:
        memset(page, 0, image->size);
        good = image->payload.size == 0;
        break;
    case MVI_ZSTD:
        good = mvi_frame_open(image->payload, mvi_slice(NULL, 0), page, image->size);
        break;
    case MVI_DELTA:
        good = newer && newer_size == image->size &&
               mvi_frame_open(image->payload, mvi_slice(newer, newer_size), page, image->size);
        break;
    case MVI_RUNS:
        good = newer && newer_size == image->size && mvi_runs_decode(image->payload, newer, newer_size, page);
        break;
    default:
        break;
    }
    if (!good)
        return mv_fail(MV_CORRUPT, "page %u: a stored image cannot be decoded", pgno);
    if (XXH3_64bits_withSeed(page, image->size, pgno) != image->checksum)
        return mv_fail(MV_CORRUPT, "page %u: a stored image does not match its checksum", pgno);
    return MV_OK;
}

static int put_part(kv_txn *txn, const mvi_key *key, mvi_stamping how, mv_slice value)
{
    if (how == MVI_STAMP_KEY)
        return kv_set_stamped_key(txn, mvi_key_slice(key), MVI_STAMP_IN_HISTORY, value);
    return kv_set(txn, mvi_key_slice(key), value);
}

/* How many bytes to keep in the main value so that the rest fills whole blocks; n: all. */
static size_t keep(const kv_traits *traits, size_t n)
{
    if (!traits->value_block || n <= traits->inline_value)
        return n;
    size_t over = (n + traits->value_overhead) % traits->value_block;
    if (over == 0 || n < traits->value_block || over > traits->value_block / 4)
        return n;
    return over < MVI_IMAGE_HEADER ? MVI_IMAGE_HEADER : over;
}

int mvi_image_is_split(const kv_traits *traits, size_t n)
{
    return keep(traits, n) < n;
}

int mvi_image_put(kv_txn *txn, const kv_traits *traits, const mvi_key *key, mvi_stamping how, uint8_t *encoded,
                  size_t n)
{
    size_t kept = keep(traits, n);
    uint8_t *codec = &encoded[MV_STAMP_SIZE];
    *codec = (uint8_t)((*codec & ~MVI_CONTINUED) | (kept < n ? MVI_CONTINUED : 0));
    mv_slice value = mvi_slice(encoded, kept);
    int rc = how == MVI_STAMP_VALUE ? kv_set_stamped_value(txn, mvi_key_slice(key), value, 0)
                                    : put_part(txn, key, how, value);
    mvi_key more = mvi_key_more(*key);
    if (!rc && kept < n)
        rc = put_part(txn, &more, how, mvi_slice(encoded + kept, n - kept));
    else if (!rc && how != MVI_STAMP_KEY && traits->value_block)
        rc = kv_clear(txn, mvi_key_slice(&more)); /* of the value replaced, if it had one */
    return rc;
}

int mvi_image_complete(kv_txn *txn, mv_slice key, mvi_buf *scratch, mvi_image *out)
{
    if (!(out->codec & MVI_CONTINUED))
        return MV_OK;
    mvi_key more = {.size = 0};
    mv_slice rest;
    memcpy(more.bytes, key.data, key.size);
    more.size = key.size;
    more = mvi_key_more(more);
    scratch->size = 0;
    mvi_buf_add(scratch, out->payload.data, out->payload.size);
    int rc = kv_get(txn, mvi_key_slice(&more), &rest);
    if (rc == MV_NOTFOUND)
        return mv_fail(MV_CORRUPT, "the second part of a stored image is missing");
    if (rc)
        return rc;
    mvi_buf_add(scratch, rest.data, rest.size);
    if (scratch->failed)
        return mv_fail(MV_NOMEM, "out of memory reading a page");
    out->payload = mvi_slice(scratch->data, scratch->size);
    out->codec &= (uint8_t)~MVI_CONTINUED;
    return MV_OK;
}

int mvi_image_get(kv_txn *txn, const mvi_key *key, mvi_buf *scratch, mvi_image *out)
{
    mv_slice value;
    int rc = kv_get(txn, mvi_key_slice(key), &value);
    if (!rc)
        rc = mvi_image_parse(value, "reading a page", out);
    return rc ? rc : mvi_image_complete(txn, mvi_key_slice(key), scratch, out);
}

int mvi_image_clear(kv_txn *txn, const mvi_key *key)
{
    mvi_key more = mvi_key_more(*key);
    int rc = kv_clear(txn, mvi_key_slice(key));
    return rc ? rc : kv_clear(txn, mvi_key_slice(&more));
}
