#include "pageset.h"

#include "../base/error.h"

#define CHUNK_BITS 32768u
#define CHUNK_WORDS (CHUNK_BITS / 64)

static uint64_t *find(const mvi_pageset *set, uint32_t pgno)
{
    size_t i = pgno / CHUNK_BITS;
    return i < set->room && set->chunks[i] ? &set->chunks[i][pgno % CHUNK_BITS / 64] : NULL;
}

int mvi_pageset_add(mvi_pageset *set, uint32_t pgno)
{
    size_t i = pgno / CHUNK_BITS;
    if (i >= set->room) {
        size_t room = i + 1 > set->room * 2 ? i + 1 : set->room * 2;
        uint64_t **chunks = realloc(set->chunks, room * sizeof *chunks);
        if (!chunks)
            return mv_fail(MV_NOMEM, "out of memory for a set of pages");
        memset(chunks + set->room, 0, (room - set->room) * sizeof *chunks);
        set->chunks = chunks;
        set->room = room;
    }
    if (!set->chunks[i] && !(set->chunks[i] = calloc(CHUNK_WORDS, sizeof(uint64_t))))
        return mv_fail(MV_NOMEM, "out of memory for a set of pages");
    uint64_t *word = &set->chunks[i][pgno % CHUNK_BITS / 64], bit = (uint64_t)1 << (pgno % 64);
    set->count += !(*word & bit);
    *word |= bit;
    return MV_OK;
}

void mvi_pageset_remove(mvi_pageset *set, uint32_t pgno)
{
    uint64_t *word = find(set, pgno), bit = (uint64_t)1 << (pgno % 64);
    if (word && (*word & bit)) {
        *word &= ~bit;
        set->count--;
    }
}

int mvi_pageset_has(const mvi_pageset *set, uint32_t pgno)
{
    const uint64_t *word = find(set, pgno);
    return word && (*word >> (pgno % 64) & 1);
}

uint32_t mvi_pageset_next(const mvi_pageset *set, uint32_t after)
{
    uint64_t p = (uint64_t)after + 1, end = (uint64_t)set->room * CHUNK_BITS;
    while (p < end) {
        const uint64_t *chunk = set->chunks[p / CHUNK_BITS];
        if (!chunk) {
            p = (p / CHUNK_BITS + 1) * CHUNK_BITS;
            continue;
        }
        uint64_t word = chunk[p % CHUNK_BITS / 64] >> (p % 64);
        if (word)
            return (uint32_t)(p + (uint64_t)__builtin_ctzll(word));
        p = (p / 64 + 1) * 64;
    }
    return 0;
}

void mvi_pageset_clear(mvi_pageset *set)
{
    for (size_t i = 0; i < set->room; i++)
        free(set->chunks[i]);
    free(set->chunks);
    memset(set, 0, sizeof *set);
}

/* The last page of the run that begins at `first`. */
static uint32_t run_end(const mvi_pageset *set, uint32_t first)
{
    while (first < UINT32_MAX && mvi_pageset_has(set, first + 1))
        first++;
    return first;
}

int mvi_pageset_list(const mvi_pageset *set, uint32_t **pages, size_t *n)
{
    *n = 0;
    *pages = malloc((set->count + 1) * sizeof **pages);
    if (!*pages)
        return mv_fail(MV_NOMEM, "out of memory listing pages");
    for (uint32_t p = mvi_pageset_next(set, 0); p; p = mvi_pageset_next(set, p))
        (*pages)[(*n)++] = p;
    return MV_OK;
}

void mvi_pageset_encode(const mvi_pageset *set, mvi_buf *out)
{
    uint64_t runs = 0;
    for (uint32_t p = mvi_pageset_next(set, 0); p; p = mvi_pageset_next(set, run_end(set, p)))
        runs++;
    mvi_buf_varint(out, runs);
    uint32_t before = 0;
    for (uint32_t p = mvi_pageset_next(set, 0), last; p; p = mvi_pageset_next(set, last)) {
        last = run_end(set, p);
        mvi_buf_varint(out, p - before);
        mvi_buf_varint(out, last - p);
        before = last;
    }
}

int mvi_pageset_decode(mv_slice bytes, int (*each)(void *ctx, uint32_t pgno), void *ctx)
{
    mvi_reader r = {bytes.data, bytes.data + bytes.size, 0};
    uint64_t runs = mvi_read_varint(&r), at = 0;
    for (; runs > 0 && !r.failed; runs--) {
        uint64_t first = at + mvi_read_varint(&r), last = first + mvi_read_varint(&r);
        if (r.failed || first <= at || last > UINT32_MAX || last < first)
            break;
        for (uint64_t p = first; p <= last; p++) {
            int rc = each(ctx, (uint32_t)p);
            if (rc)
                return rc;
        }
        at = last;
    }
    return runs > 0 || r.failed ? mv_fail(MV_CORRUPT, "a commit record holds no readable set of pages") : MV_OK;
}
