/* Zstandard frames (RFC 8878) without their four magic bytes, the level being 1: higher ones
 * take a tenth off at five times the time. A prefix is what both sides know already. */
#ifndef MV_FRAMES_H
#define MV_FRAMES_H

#include "../base/bytes.h"

#define MVI_FRAME_SOURCE_MAX 65536

/* Compresses bytes (at most MVI_FRAME_SOURCE_MAX; prefix.size 0: none). The frame stays readable
 * until the thread's next call of this. Empty: it did not work out. */
mv_slice mvi_frame_make(mv_slice bytes, mv_slice prefix);

/* 1: the frame held exactly n bytes, which are in `out`. */
int mvi_frame_open(mv_slice frame, mv_slice prefix, uint8_t *out, size_t n);

/* Whether the thread has what the two need, which it keeps; if not, memory is short. */
int mvi_frame_ready(void);

#endif
