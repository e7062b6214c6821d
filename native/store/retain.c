/* What the policy keeps. */
#include "gc.h"

#define HOUR_MS ((uint64_t)3600 * 1000)
#define DAY_MS (24 * HOUR_MS)

/* The hour, day or week of a time. The first of January 1970, day 0, was a Thursday. */
static uint64_t hour_of(uint64_t ms)
{
    return ms / HOUR_MS;
}
static uint64_t day_of(uint64_t ms)
{
    return ms / DAY_MS;
}
static uint64_t week_of(uint64_t ms)
{
    return (ms / DAY_MS + 3) / 7;
}

/* The last version of each of the last `n` spans in which there is one. */
static void keep_last(mvi_plan *plan, uint32_t n, uint64_t (*span_of)(uint64_t ms))
{
    uint64_t span = UINT64_MAX;
    for (size_t i = plan->n; i-- > 0 && n > 0;) {
        if (span_of(plan->versions[i].ms) == span)
            continue;
        span = span_of(plan->versions[i].ms);
        plan->versions[i].keep = 1;
        n--;
    }
}

/* By age, which begins when the next version is made: until then this one was what all read. */
static void keep_young(mvi_plan *plan, const mv_policy *policy, uint64_t now_ms)
{
    uint64_t least = policy->least_ms > MV_LEAST_AGE_MS ? policy->least_ms : MV_LEAST_AGE_MS;
    uint64_t age = policy->all_ms > least ? policy->all_ms : least;
    for (size_t i = 0; i < plan->n; i++) {
        uint64_t ended = i + 1 < plan->n ? plan->versions[i + 1].ms : UINT64_MAX;
        if (age == MV_FOR_EVER || ended >= now_ms || now_ms - ended < age)
            plan->versions[i].keep = 1;
    }
}

static int add(mvi_plan *plan, mv_slice key)
{
    if (plan->n == plan->room) {
        size_t room = plan->room ? plan->room * 2 : 1024;
        mvi_planned *versions = realloc(plan->versions, room * sizeof *versions);
        if (!versions)
            return mv_fail(MV_NOMEM, "out of memory listing versions");
        plan->versions = versions;
        plan->room = room;
    }
    plan->versions[plan->n++] = (mvi_planned){mvi_key_get_stamp(key, MVI_STAMP_IN_TIME), mvi_get64(key.data + 8), 0};
    return MV_OK;
}

/* From the time index, whose keys say all that is asked. */
static int read_versions(mv_store *store, uint32_t ns, mvi_plan *plan)
{
    mvi_piece piece = {.store = store};
    mvi_walk walk = mvi_walk_kind(&piece, ns, 't');
    mv_slice key, value;
    int rc;
    while ((rc = mvi_walk_next(&walk, &key, &value)) == MV_OK) {
        rc = add(plan, key);
        if (rc)
            break;
    }
    mvi_walk_close(&walk);
    mvi_piece_end(&piece);
    return rc == MV_NOTFOUND ? MV_OK : rc;
}

int mvi_plan_make(mv_store *store, uint32_t ns, const mv_policy *policy, uint64_t now_ms, mvi_plan *plan)
{
    plan->n = 0;
    int rc = read_versions(store, ns, plan);
    if (rc)
        return rc;
    keep_young(plan, policy, now_ms);
    keep_last(plan, policy->hourly, hour_of);
    keep_last(plan, policy->daily, day_of);
    keep_last(plan, policy->weekly, week_of);
    if (plan->n)
        plan->versions[plan->n - 1].keep = 1; /* the newest one */
    return MV_OK;
}

size_t mvi_plan_next(const mvi_plan *plan, size_t i)
{
    while (i < plan->n && plan->versions[i].keep)
        i++;
    return i;
}

void mvi_plan_free(mvi_plan *plan)
{
    free(plan->versions);
    memset(plan, 0, sizeof *plan);
}
