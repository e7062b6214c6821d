/* A delta of two pages of the same size as the runs of bytes in which they differ:
 *
 *   for each run, ascending: bytes that are alike before it varint | its length varint | its bytes
 *
 * The rest is as in the newer page. Most commits change a few bytes of a page where they
 * stand: a flag, a number, a page's cell count and a pointer. */
#ifndef MV_RUNS_H
#define MV_RUNS_H

#include "../base/bytes.h"

/* Writes the runs of `page` over `newer` to `out`; how many bytes, or 0 if they do not fit `room`. */
size_t mvi_runs_encode(const uint8_t *page, const uint8_t *newer, uint32_t size, uint8_t *out, size_t room);

/* Makes `page` of `newer` and the runs. 0: they are no runs over a page of that size. */
int mvi_runs_decode(mv_slice runs, const uint8_t *newer, uint32_t size, uint8_t *page);

#endif
