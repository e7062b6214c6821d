/* The page codec: one stored image of one page.
 *
 *   stamp 10 | codec 1 | depth 1 | log2(size) 1 | checksum 8 | payload
 *
 * stamp     the commit that wrote this image
 * codec     below; with MVI_CONTINUED the payload goes on under the key's MVI_MORE
 * depth     how many delta entries in a row stand directly behind this image in the
 *           page's history; a limit on it bounds how far a read must go
 * checksum  XXH3-64 of the plain page, seeded with the page number, so that an image
 *           in the wrong place is noticed too (format: xxhash.com, 0.8)
 * payload   the page, a frame (frames.h), or a delta
 *
 * A delta is read over the next newer image of the page: runs of bytes that differ (runs.h), or a
 * frame with that image as its prefix. Why so, measured on benchmarks/workloads.py (pages of 4096
 * bytes; notes app, feed reader, counter):
 *
 *   - Runs of up to 64 bytes are taken untried; of a longer delta the shorter form. Of a notes app's
 *     deltas 44 % are such runs, of a feed reader's 55 %, of a counter's all. An image takes 59, 294,
 *     12 bytes then (frames alone: 64, 302, 25), made in 3.8, 6.3, 0.5 us (4.9, 9.1, 5.3).
 *   - Frames are of level 1. Level 3 takes 1 to 3 % off at a fifth more time; the fast levels add
 *     4 to 40 %. A delta of our own that finds moved bytes is longer than the frame; the shortest
 *     of all three takes 2 to 7 % off at twice the time.
 *   - Every 128th image in a row is complete. At 32 these were two fifths of a notes app's history:
 *     at 128 it is 30 % shorter (feed reader 7 %, counter 12 %), at 250 another 7 %. To read a page
 *     of a past version takes 27 us on average for 10 of the newest, and one in a hundred 0.12 ms
 *     (at 32: 0.07, at 250: 0.24).
 *   - No dictionary: few images are complete, and one trained on a database's own pages made
 *     them 2 to 13 % longer. */
#ifndef MV_IMAGE_H
#define MV_IMAGE_H

#include "keys.h"

#define MVI_IMAGE_HEADER 21
#define MVI_PAGE_MAX 65536

/* How many deltas in a row, at most. */
#define MVI_FULL_EVERY 128

enum { MVI_RAW = 0, MVI_ZSTD = 1, MVI_DELTA = 2, MVI_ZERO = 3, MVI_RUNS = 4, MVI_CONTINUED = 0x80 };

/* Whether an image of that codec is read over the next newer one of its page. */
static inline int mvi_is_delta(uint8_t codec)
{
    codec &= (uint8_t)~MVI_CONTINUED;
    return codec == MVI_DELTA || codec == MVI_RUNS;
}

typedef struct mvi_image {
    mv_stamp stamp;
    uint8_t codec, depth;
    uint32_t size; /* of the plain page */
    uint64_t checksum;
    mv_slice payload;
} mvi_image;

/* Appends the encoded image of `page` to `out`. With `newer` (of the same size) a
 * delta is tried and kept if it takes at most a quarter of the page, or less than
 * three quarters of the full image; *delta (may be NULL) says so. MV_NOMEM. */
int mvi_image_encode(mvi_buf *out, const uint8_t *page, uint32_t size, uint32_t pgno, const mv_stamp *stamp,
                     const uint8_t *newer, int *delta);

/* XXH3-64 of bytes, with a seed. */
uint64_t mvi_checksum(const uint8_t *bytes, size_t n, uint64_t seed);

/* Appends a stored image as it is, but for its place in the history: stamp and depth are
 * zero again. Spares decoding and encoding the page. MV_NOMEM. */
int mvi_image_copy(mvi_buf *out, const mvi_image *image);
/* Sets the depth of an encoded image. */
void mvi_image_set_depth(uint8_t *encoded, uint8_t depth);

/* Reads a stored value; `out` borrows from it. MV_CORRUPT names `what`. */
int mvi_image_parse(mv_slice value, const char *what, mvi_image *out);

/* Decodes into `page` (image->size bytes) and checks the checksum. `newer` is needed
 * for a delta. MV_CORRUPT, MV_NOMEM. */
int mvi_image_decode(const mvi_image *image, uint32_t pgno, const uint8_t *newer, uint32_t newer_size,
                     uint8_t *page);

/* How the stamp gets into a stored image or its key. */
typedef enum mvi_stamping { MVI_PLAIN, MVI_STAMP_VALUE, MVI_STAMP_KEY } mvi_stamping;

/* Stores an encoded image under `key`, split so that it fills the engine's blocks
 * instead of spilling a few bytes into another one. */
int mvi_image_put(kv_txn *txn, const kv_traits *traits, const mvi_key *key, mvi_stamping how, uint8_t *encoded,
                  size_t n);
int mvi_image_is_split(const kv_traits *traits, size_t n); /* whether it takes two keys */

/* Reads an image; `scratch` holds the payload when it was split. MV_NOTFOUND. */
int mvi_image_get(kv_txn *txn, const mvi_key *key, mvi_buf *scratch, mvi_image *out);

/* Completes an image whose main value was read by a range: fetches the rest if
 * there is one. */
int mvi_image_complete(kv_txn *txn, mv_slice key, mvi_buf *scratch, mvi_image *out);

/* Clears an image with its continuation. */
int mvi_image_clear(kv_txn *txn, const mvi_key *key);

#endif
