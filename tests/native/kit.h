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

/* The engine that tests of the store use from now on: an address that ends with the value of
 * its prefix ("fdb:/x/fdb.cluster?prefix=test/"). Not copied. */
void kit_engine(const char *url);
/* The address of a store that was not there before: a prefix of its own of that engine, else a
 * new directory of the embedded one. `wrap` goes in front of it: "" or "fault:". */
void kit_store(const char *wrap, char url[KIT_PATH]);

/* How much of what is repeated: all of it on the embedded engine, few where each read takes a round trip. */
unsigned kit_few(unsigned all, unsigned few);

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
