#include "frames.h"

#include <pthread.h>
#include <zstd.h>

#define LEVEL 1
#define MAGIC 4
static const uint8_t magic[MAGIC] = {0x28, 0xb5, 0x2f, 0xfd};

/* Compression contexts are large, so every thread keeps its own. */
typedef struct contexts {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
    uint8_t frame[MAGIC + MVI_FRAME_SOURCE_MAX + 1024];
} contexts;

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
static int contexts_ready;

static void contexts_free(void *memory)
{
    contexts *x = memory;
    ZSTD_freeCCtx(x->c);
    ZSTD_freeDCtx(x->d);
    free(x);
}

static void contexts_init(void)
{
    contexts_ready = pthread_key_create(&contexts_key, contexts_free) == 0;
}

static contexts *contexts_get(void)
{
    pthread_once(&contexts_once, contexts_init);
    contexts *x = contexts_ready ? pthread_getspecific(contexts_key) : NULL;
    if (x || !contexts_ready)
        return x;
    x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->c = ZSTD_createCCtx();
    x->d = ZSTD_createDCtx();
    if (!x->c || !x->d || pthread_setspecific(contexts_key, x) != 0) {
        contexts_free(x);
        return NULL;
    }
    ZSTD_CCtx_setParameter(x->c, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(x->c, ZSTD_c_contentSizeFlag, 0);
    return x;
}

int mvi_frame_ready(void)
{
    return contexts_get() != NULL;
}

mv_slice mvi_frame_make(mv_slice bytes, mv_slice prefix)
{
    contexts *x = contexts_get();
    if (!x || (prefix.size && ZSTD_isError(ZSTD_CCtx_refPrefix(x->c, prefix.data, prefix.size))))
        return mvi_slice(NULL, 0);
    size_t n = ZSTD_compress2(x->c, x->frame, sizeof x->frame, bytes.data, bytes.size);
    return ZSTD_isError(n) || n <= MAGIC ? mvi_slice(NULL, 0) : mvi_slice(x->frame + MAGIC, n - MAGIC);
}

int mvi_frame_open(mv_slice frame, mv_slice prefix, uint8_t *out, size_t n)
{
    contexts *x = contexts_get();
    if (!x || frame.size > sizeof x->frame - MAGIC)
        return 0;
    memcpy(x->frame, magic, MAGIC);
    memcpy(x->frame + MAGIC, frame.data, frame.size);
    if (prefix.size && ZSTD_isError(ZSTD_DCtx_refPrefix(x->d, prefix.data, prefix.size)))
        return 0;
    return ZSTD_decompressDCtx(x->d, out, n, x->frame, MAGIC + frame.size) == n;
}
