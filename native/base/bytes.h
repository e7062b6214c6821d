/* Byte strings and numbers in byte order: what keys and records are made of. */
#ifndef MV_BYTES_H
#define MV_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A borrowed run of bytes; who owns it is said where it is handed over. */
typedef struct mv_slice {
    const uint8_t *data;
    size_t size;
} mv_slice;

static inline mv_slice mvi_slice(const void *data, size_t size)
{
    return (mv_slice){(const uint8_t *)data, size};
}

static inline int mvi_slice_cmp(mv_slice a, mv_slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

static inline void mvi_put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

static inline uint32_t mvi_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void mvi_put64(uint8_t *p, uint64_t v)
{
    mvi_put32(p, (uint32_t)(v >> 32));
    mvi_put32(p + 4, (uint32_t)v);
}

static inline uint64_t mvi_get64(const uint8_t *p)
{
    return (uint64_t)mvi_get32(p) << 32 | mvi_get32(p + 4);
}

/* A growing buffer. Zero-initialise; mvi_buf_free releases it. A failed
 * allocation sets `failed` and makes every later append a no-op, so that a
 * caller may check once at the end. */
typedef struct mvi_buf {
    uint8_t *data;
    size_t size, room;
    int failed;
} mvi_buf;

static inline uint8_t *mvi_buf_grow(mvi_buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    if (!b->data || b->size + n > b->room) { /* never NULL, even for nothing */
        size_t room = b->room ? b->room : 256;
        while (room < b->size + n)
            room *= 2;
        uint8_t *data = (uint8_t *)realloc(b->data, room);
        if (!data) {
            b->failed = 1;
            return NULL;
        }
        b->data = data;
        b->room = room;
    }
    uint8_t *at = b->data + b->size;
    b->size += n;
    return at;
}

static inline void mvi_buf_add(mvi_buf *b, const void *data, size_t n)
{
    uint8_t *at = mvi_buf_grow(b, n);
    if (at && n)
        memcpy(at, data, n);
}

static inline void mvi_buf_byte(mvi_buf *b, uint8_t v)
{
    mvi_buf_add(b, &v, 1);
}

/* Unsigned LEB128, seven bits a byte, least significant first. */
static inline void mvi_buf_varint(mvi_buf *b, uint64_t v)
{
    while (v >= 0x80) {
        mvi_buf_byte(b, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    mvi_buf_byte(b, (uint8_t)v);
}

static inline void mvi_buf_free(mvi_buf *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

/* A reader that never passes the end: after a short read `failed` is set and
 * every later read answers zero. */
typedef struct mvi_reader {
    const uint8_t *at, *end;
    int failed;
} mvi_reader;

static inline const uint8_t *mvi_read(mvi_reader *r, size_t n)
{
    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = 1;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += n;
    return at;
}

static inline uint64_t mvi_read_varint(mvi_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *p = mvi_read(r, 1);
        if (!p)
            return 0;
        v |= (uint64_t)(*p & 0x7f) << shift;
        if (!(*p & 0x80))
            return v;
    }
    r->failed = 1;
    return 0;
}

#endif
