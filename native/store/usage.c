/* What databases take in the store, in all and by day. */
#include <time.h>

#include "internal.h"

/* The days in which there are commits, in order: one entry a day, however many commits.
 * Times of a database never go backwards, so the first stamp of each day tells the day of any. */
typedef struct days {
    mv_day *list;
    mv_stamp *first;
    size_t n, room;
} days;

static int add_day(days *d, uint32_t date, const mv_stamp *first)
{
    if (d->n == d->room) {
        size_t room = d->room ? d->room * 2 : 64;
        mv_day *list = realloc(d->list, room * sizeof *list);
        d->list = list ? list : d->list;
        mv_stamp *stamps = list ? realloc(d->first, room * sizeof *stamps) : NULL;
        d->first = stamps ? stamps : d->first;
        if (!list || !stamps)
            return mv_fail(MV_NOMEM, "out of memory counting days");
        d->room = room;
    }
    d->list[d->n] = (mv_day){.date = date};
    d->first[d->n++] = *first;
    return MV_OK;
}

/* Year, month and day of the place where this runs. */
static uint32_t date_of(uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (!localtime_r(&seconds, &tm))
        return 0;
    return (uint32_t)((tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday);
}

/* The day of a commit: the last one that begins at or before it. A commit that came after the
 * days were read counts with the last one; NULL if there is none. */
static mv_day *find_day(const days *d, const mv_stamp *stamp)
{
    size_t low = 0, high = d->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mvi_stamp_cmp(&d->first[middle], stamp) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return d->n ? &d->list[low ? low - 1 : 0] : NULL;
}

/* The days, and what the time index takes, from that index. */
static int read_days(mvi_piece *piece, uint32_t ns, days *d)
{
    mvi_walk walk = mvi_walk_kind(piece, ns, 't');
    mv_slice key, value;
    int rc;
    while ((rc = mvi_walk_next(&walk, &key, &value)) == MV_OK) {
        if (key.size != MVI_TIME_KEY_SIZE) {
            rc = mv_fail(MV_CORRUPT, "a key of the time index has %zu bytes", key.size);
            break;
        }
        mv_stamp stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_TIME);
        uint32_t date = date_of(mvi_get64(key.data + MVI_STAMP_IN_TIME - 8));
        if (!d->n || date > d->list[d->n - 1].date) /* a clock put back at midnight begins no day again */
            rc = add_day(d, date, &stamp);
        if (rc)
            break;
        d->list[d->n - 1].record_bytes += key.size + value.size;
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

/* Counts keys of one kind, those of full size, and bytes of keys and values. With `d`, also by
 * the day of the commit whose stamp stands at `offset`. */
static int count(mvi_piece *piece, uint32_t ns, char kind, size_t full_size, uint64_t *keys, uint64_t *bytes,
                 const days *d, size_t offset)
{
    mvi_walk walk = mvi_walk_kind(piece, ns, kind);
    mv_slice key, value;
    int rc;
    while ((rc = mvi_walk_next(&walk, &key, &value)) == MV_OK) {
        uint64_t full = key.size == full_size, size = key.size + value.size;
        *keys += full;
        *bytes += size;
        if (!d || key.size < offset + MV_STAMP_SIZE)
            continue;
        mv_stamp stamp = mvi_key_get_stamp(key, offset);
        mv_day *day = find_day(d, &stamp);
        if (!day)
            continue;
        *(kind == 'v' ? &day->history : &day->versions) += full;
        *(kind == 'v' ? &day->history_bytes : &day->record_bytes) += size;
    }
    mvi_walk_close(&walk);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

int mv_usage_of(mv_store *store, uint32_t id, mv_usage *usage)
{
    mvi_piece piece = {.store = store};
    uint64_t times = 0, staged = 0;
    memset(usage, 0, sizeof *usage);
    int rc = count(&piece, id, 'h', MVI_HEAD_KEY_SIZE, &usage->heads, &usage->head_bytes, NULL, 0);
    if (!rc)
        rc = count(&piece, id, 'v', MVI_HISTORY_KEY_SIZE, &usage->history, &usage->history_bytes, NULL, 0);
    if (!rc)
        rc = count(&piece, id, 'c', MVI_COMMIT_KEY_SIZE, &usage->records, &usage->record_bytes, NULL, 0);
    if (!rc)
        rc = count(&piece, id, 't', MVI_TIME_KEY_SIZE, &times, &usage->record_bytes, NULL, 0);
    if (!rc)
        rc = count(&piece, id, 's', MVI_STAGED_KEY_SIZE, &staged, &usage->staged_bytes, NULL, 0);
    usage->versions = usage->records;
    mvi_piece_end(&piece);
    return rc;
}

int mv_db_usage(mv_db *db, mv_usage *usage)
{
    return mv_usage_of(db->store, db->ns, usage);
}

int mv_db_days(mv_db *db, mv_day **list, size_t *n)
{
    mvi_piece piece = {.store = db->store};
    uint64_t keys = 0, bytes = 0;
    days d = {.n = 0};
    *list = NULL;
    *n = 0;
    int rc = read_days(&piece, db->ns, &d);
    if (!rc)
        rc = count(&piece, db->ns, 'c', MVI_COMMIT_KEY_SIZE, &keys, &bytes, &d, MVI_STAMP_IN_COMMIT);
    if (!rc)
        rc = count(&piece, db->ns, 'v', MVI_HISTORY_KEY_SIZE, &keys, &bytes, &d, MVI_STAMP_IN_HISTORY);
    mvi_piece_end(&piece);
    free(d.first);
    if (rc) {
        free(d.list);
        return rc;
    }
    *list = d.list;
    *n = d.n;
    return MV_OK;
}
