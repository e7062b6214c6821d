#include "runs.h"

#define GAP 4        /* alike bytes inside a run: a run of its own would cost two bytes and what they save */
#define VARINT_MAX 3 /* of a number up to a page's size */

/* The first byte from `at` on in which the pages differ; `size` if there is none. */
static uint32_t alike_until(const uint8_t *a, const uint8_t *b, uint32_t at, uint32_t size)
{
    while (at + 8 <= size && memcmp(a + at, b + at, 8) == 0)
        at += 8;
    while (at < size && a[at] == b[at])
        at++;
    return at;
}

/* The end of the run that begins at `at`. */
static uint32_t run_until(const uint8_t *a, const uint8_t *b, uint32_t at, uint32_t size)
{
    uint32_t end = at + 1;
    for (uint32_t i = end; i < size && i - end < GAP; i++)
        if (a[i] != b[i])
            end = i + 1;
    return end;
}

static size_t put_varint(uint8_t *out, uint32_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

size_t mvi_runs_encode(const uint8_t *page, const uint8_t *newer, uint32_t size, uint8_t *out, size_t room)
{
    size_t n = 0;
    uint32_t done = 0;
    for (;;) {
        uint32_t begin = alike_until(page, newer, done, size);
        if (begin == size)
            return n;
        uint32_t end = run_until(page, newer, begin, size), length = end - begin;
        if (n + VARINT_MAX + VARINT_MAX + length > room)
            return 0;
        n += put_varint(out + n, begin - done);
        n += put_varint(out + n, length);
        memcpy(out + n, page + begin, length);
        n += length;
        done = end;
    }
}

int mvi_runs_decode(mv_slice runs, const uint8_t *newer, uint32_t size, uint8_t *page)
{
    mvi_reader r = {runs.data, runs.data + runs.size, 0};
    uint64_t at = 0;
    memcpy(page, newer, size);
    while (r.at < r.end) {
        uint64_t alike = mvi_read_varint(&r), length = mvi_read_varint(&r);
        if (r.failed || alike > size - at || length > size - at - alike)
            return 0;
        const uint8_t *bytes = mvi_read(&r, length);
        if (!bytes)
            return 0;
        memcpy(page + at + alike, bytes, length);
        at += alike + length;
    }
    return 1;
}
