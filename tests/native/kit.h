/* What every test program needs: scratch directories, chance, children. */
#ifndef KIT_H
#define KIT_H

#include <sys/types.h>

#include "../../native/base/bytes.h"
#include "check.h"

/* Once, first. `only` filters tests by name (NULL: all). Everything made below
 * the program's scratch directory is removed when it ends. */
void kit_begin(const char *only);

#define KIT_PATH 1024
/* A directory that did not exist before. */
void kit_directory(char path[KIT_PATH]);
/* "lmdb:" and "fault:lmdb:" with a new directory; other addresses as they are. */
void kit_url(const char *scheme, char url[KIT_PATH]);

/* xorshift64*: the same sequence for the same seed on every machine. */
typedef struct chance {
    uint64_t state;
} chance;
uint32_t chance_next(chance *c);
uint32_t chance_below(chance *c, uint32_t bound);

/* Content a page may have: all zero, incompressible, text that compresses well, or
 * mostly zero. */
enum { FILL_ZERO, FILL_NOISE, FILL_TEXT, FILL_SPARSE, FILL_KINDS };
void kit_fill(chance *c, int kind, uint8_t *out, size_t n);

/* Waits for a child; it must have left with status 0. */
void kit_wait(pid_t child);

static inline mv_slice str(const char *s)
{
    return mvi_slice(s, strlen(s));
}

#endif
