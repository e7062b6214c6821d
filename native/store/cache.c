#include "cache.h"

#include <pthread.h>

typedef struct entry {
    struct entry *chain;        /* of the hash bucket */
    struct entry *newer, *older; /* use order */
    uint32_t ns, pgno;
    mvi_origin origin;
    uint8_t page[];
} entry;

typedef struct database {
    struct database *next;
    uint32_t ns;
    mv_stamp current;
} database;

struct mvi_cache {
    pthread_mutex_t lock; /* guards everything below */
    entry **buckets;
    size_t bucket_count, entries;
    size_t bytes, limit;
    entry *newest, *oldest;
    database *databases;
};

static size_t bucket_of(const mvi_cache *cache, uint32_t ns, uint32_t pgno)
{
    uint64_t h = ((uint64_t)ns << 32 | pgno) * 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 20) & (cache->bucket_count - 1);
}

mvi_cache *mvi_cache_new(size_t bytes)
{
    mvi_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    cache->bucket_count = 1024;
    cache->buckets = calloc(cache->bucket_count, sizeof *cache->buckets);
    if (!cache->buckets) {
        free(cache);
        return NULL;
    }
    cache->limit = bytes;
    pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

static void unlink_use(mvi_cache *cache, entry *e)
{
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
}

static void link_newest(mvi_cache *cache, entry *e)
{
    e->newer = NULL;
    e->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = e;
    cache->newest = e;
}

static entry **find(mvi_cache *cache, uint32_t ns, uint32_t pgno)
{
    entry **link = &cache->buckets[bucket_of(cache, ns, pgno)];
    while (*link && !((*link)->ns == ns && (*link)->pgno == pgno))
        link = &(*link)->chain;
    return link;
}

static void drop(mvi_cache *cache, entry **link)
{
    entry *e = *link;
    *link = e->chain;
    unlink_use(cache, e);
    cache->bytes -= sizeof *e + e->origin.size;
    cache->entries--;
    free(e);
}

static void shrink(mvi_cache *cache)
{
    while (cache->bytes > cache->limit && cache->oldest)
        drop(cache, find(cache, cache->oldest->ns, cache->oldest->pgno));
}

static void rehash(mvi_cache *cache)
{
    size_t old_count = cache->bucket_count;
    entry **old = cache->buckets, **fresh = calloc(old_count * 2, sizeof *fresh);
    if (!fresh)
        return; /* longer chains, nothing worse */
    cache->buckets = fresh;
    cache->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++)
        for (entry *e = old[i], *next; e; e = next) {
            next = e->chain;
            entry **bucket = &fresh[bucket_of(cache, e->ns, e->pgno)];
            e->chain = *bucket;
            *bucket = e;
        }
    free(old);
}

void mvi_cache_free(mvi_cache *cache)
{
    if (!cache)
        return;
    cache->limit = 0;
    shrink(cache);
    for (database *d = cache->databases, *next; d; d = next) {
        next = d->next;
        free(d);
    }
    pthread_mutex_destroy(&cache->lock);
    free(cache->buckets);
    free(cache);
}

void mvi_cache_limit(mvi_cache *cache, size_t bytes)
{
    pthread_mutex_lock(&cache->lock);
    cache->limit = bytes;
    shrink(cache);
    pthread_mutex_unlock(&cache->lock);
}

/* The database's entry, made if it is not there yet; NULL: out of memory. */
static database *find_database(mvi_cache *cache, uint32_t ns)
{
    database *d = cache->databases;
    while (d && d->ns != ns)
        d = d->next;
    if (!d && (d = calloc(1, sizeof *d)) != NULL) {
        d->ns = ns;
        d->next = cache->databases;
        cache->databases = d;
    }
    return d;
}

/* The entry that serves the page as of `at`; NULL: none. */
static entry *find_at(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mv_stamp *at)
{
    entry *e = *find(cache, ns, pgno);
    if (!e || mvi_stamp_cmp(&e->origin.stamp, at) > 0)
        return NULL;
    database *d = find_database(cache, ns);
    return d && mvi_stamp_cmp(at, &d->current) <= 0 ? e : NULL;
}

int mvi_cache_has(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mv_stamp *at)
{
    pthread_mutex_lock(&cache->lock);
    int found = find_at(cache, ns, pgno, at) != NULL;
    pthread_mutex_unlock(&cache->lock);
    return found;
}

int mvi_cache_get(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mv_stamp *at, uint8_t *page,
                  mvi_origin *origin)
{
    pthread_mutex_lock(&cache->lock);
    entry *e = find_at(cache, ns, pgno, at);
    if (e) {
        memcpy(page, e->page, e->origin.size);
        *origin = e->origin;
    }
    if (e && cache->newest != e) {
        unlink_use(cache, e);
        link_newest(cache, e);
    }
    pthread_mutex_unlock(&cache->lock);
    return e != NULL;
}

static void insert(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mvi_origin *origin, const uint8_t *page)
{
    entry **link = find(cache, ns, pgno);
    if (*link)
        drop(cache, link);
    entry *e = malloc(sizeof *e + origin->size);
    if (!e)
        return;
    e->ns = ns;
    e->pgno = pgno;
    e->origin = *origin;
    memcpy(e->page, page, origin->size);
    link = &cache->buckets[bucket_of(cache, ns, pgno)];
    e->chain = *link;
    *link = e;
    link_newest(cache, e);
    cache->bytes += sizeof *e + origin->size;
    if (++cache->entries > cache->bucket_count * 2)
        rehash(cache);
    shrink(cache);
}

void mvi_cache_put(mvi_cache *cache, uint32_t ns, uint32_t pgno, const mv_stamp *at, const mvi_origin *origin,
                   const uint8_t *page)
{
    if (origin->size == 0)
        return;
    pthread_mutex_lock(&cache->lock);
    database *d = find_database(cache, ns);
    if (d && mvi_stamp_cmp(at, &d->current) == 0)
        insert(cache, ns, pgno, origin, page);
    pthread_mutex_unlock(&cache->lock);
}

mv_stamp mvi_cache_current(mvi_cache *cache, uint32_t ns)
{
    pthread_mutex_lock(&cache->lock);
    database *d = find_database(cache, ns);
    mv_stamp current = d ? d->current : mvi_zero_stamp;
    pthread_mutex_unlock(&cache->lock);
    return current;
}

static void drop_all(mvi_cache *cache, uint32_t ns)
{
    for (entry *e = cache->oldest, *next; e; e = next) {
        next = e->newer;
        if (e->ns == ns)
            drop(cache, find(cache, ns, e->pgno));
    }
}

void mvi_cache_advance(mvi_cache *cache, uint32_t ns, const mv_stamp *from, const mv_stamp *to,
                       const uint32_t *pages, size_t n)
{
    pthread_mutex_lock(&cache->lock);
    database *d = find_database(cache, ns);
    if (d && mvi_stamp_cmp(&d->current, from) == 0 && mvi_stamp_cmp(to, from) > 0) {
        if (!pages)
            drop_all(cache, ns);
        for (size_t i = 0; pages && i < n; i++) {
            entry **link = find(cache, ns, pages[i]);
            if (*link)
                drop(cache, link);
        }
        d->current = *to;
    }
    pthread_mutex_unlock(&cache->lock);
}
