/* The statements of a commit, packed: a frame over a prefix of what SQL is made of. An application
 * writes the same few statements over and over, a third to a half of what a version takes; packed
 * they take half of that. The prefix is part of the stored format: another one needs another tag. */
#ifndef MV_TEXTS_H
#define MV_TEXTS_H

#include "../base/bytes.h"

/* Appends the packed text, if that is shorter; nothing otherwise. */
void mvi_text_pack(mv_slice text, mvi_buf *out);

/* Appends the text that was packed. MV_CORRUPT, MV_NOMEM. */
int mvi_text_unpack(mv_slice packed, mvi_buf *out);

#endif
