#include "kv_fault.h"

#include <pthread.h>
#include <signal.h>

#include "../base/json.h"
#include "kv_engine.h"

typedef struct fault_engine {
    kv_engine base;
    kv_engine *inner;
} fault_engine;

typedef struct fault_txn {
    kv_txn base;
    kv_txn *inner;
    int maybe_committed;
} fault_txn;

typedef struct fault_cursor {
    kv_cursor base;
    kv_cursor *inner;
} fault_cursor;

static pthread_mutex_t plan_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint64_t calls[MV_FAULT_KINDS], fired, nth, seen;
    int armed, kind, forever, code;
} plan;

static const kv_ops fault_ops;

void mv_fault_arm(int kind, uint64_t nth, int forever, int code)
{
    pthread_mutex_lock(&plan_lock);
    plan.armed = 1;
    plan.kind = kind;
    plan.nth = nth;
    plan.seen = 0;
    plan.forever = forever;
    plan.code = code;
    pthread_mutex_unlock(&plan_lock);
}

void mv_fault_reset(void)
{
    pthread_mutex_lock(&plan_lock);
    memset(&plan, 0, sizeof plan);
    pthread_mutex_unlock(&plan_lock);
}

uint64_t mv_fault_calls(int kind)
{
    pthread_mutex_lock(&plan_lock);
    uint64_t n = kind >= 0 && kind < MV_FAULT_KINDS ? plan.calls[kind] : 0;
    pthread_mutex_unlock(&plan_lock);
    return n;
}

uint64_t mv_fault_fired(void)
{
    pthread_mutex_lock(&plan_lock);
    uint64_t n = plan.fired;
    pthread_mutex_unlock(&plan_lock);
    return n;
}

/* Counts a call and says whether it must fail: 0 or the planned code. */
static int step(int kind)
{
    int code = 0, any = kind != MV_FAULT_UNKNOWN_DONE && kind != MV_FAULT_UNKNOWN_LOST;
    pthread_mutex_lock(&plan_lock);
    plan.calls[kind]++;
    if (any)
        plan.calls[MV_FAULT_ANY]++;
    if (plan.armed && (plan.kind == kind || (plan.kind == MV_FAULT_ANY && any))) {
        plan.seen++;
        if (plan.seen == plan.nth || (plan.forever && plan.seen > plan.nth)) {
            code = plan.code;
            plan.fired++;
        }
    }
    pthread_mutex_unlock(&plan_lock);
    if (code == MV_FAULT_KILL)
        raise(SIGKILL);
    if (code == MV_FAULT_STOP) {
        raise(SIGSTOP);
        return MV_OK;
    }
    return code ? mv_fail(code, "planned fault: %s", mv_error_meaning(code)) : MV_OK;
}

static kv_txn *inner(kv_txn *t)
{
    return ((fault_txn *)t)->inner;
}

static void fault_close(kv_engine *e)
{
    kv_close(((fault_engine *)e)->inner);
    free(e);
}

static int fault_read_recent(kv_engine *e, unsigned max_age_ms, unsigned *age_ms, kv_txn **out)
{
    int rc = step(MV_FAULT_READ_BEGIN);
    if (rc)
        return rc;
    fault_txn *t = calloc(1, sizeof *t);
    if (!t)
        return mv_fail(MV_NOMEM, "out of memory beginning a read");
    t->base.ops = &fault_ops;
    rc = kv_read_recent(((fault_engine *)e)->inner, max_age_ms, age_ms, &t->inner);
    if (rc)
        free(t);
    else
        *out = &t->base;
    return rc;
}

static int fault_read_begin(kv_engine *e, kv_txn **out)
{
    unsigned age_ms;
    return fault_read_recent(e, 0, &age_ms, out);
}

static void fault_read_release(kv_txn *t)
{
    kv_read_release(inner(t));
}

static void fault_read_end(kv_txn *t)
{
    kv_read_end(inner(t));
    free(t);
}

typedef struct wrapped {
    kv_fn fn;
    void *ctx;
    int maybe_committed;
    int lost; /* this run was dropped as "unknown" */
} wrapped;

static int run_wrapped(kv_txn *real, void *ctx)
{
    wrapped *w = ctx;
    fault_txn t = {.base.ops = &fault_ops, .inner = real, .maybe_committed = w->maybe_committed};
    int rc = w->fn(&t.base, w->ctx);
    if (rc)
        return rc;
    rc = step(MV_FAULT_COMMIT);
    if (!rc && step(MV_FAULT_UNKNOWN_LOST)) {
        w->lost = 1;
        return KV_NOTHING;
    }
    return rc;
}

static int fault_transact(kv_engine *e, kv_txn *reader, kv_fn fn, void *ctx, kv_stamp *stamp)
{
    static const kv_stamp zero;
    wrapped w = {.fn = fn, .ctx = ctx};
    kv_txn *real = reader ? inner(reader) : NULL;
    free(reader);
    for (;;) {
        w.lost = 0;
        int rc = kv_transact_from(((fault_engine *)e)->inner, real, run_wrapped, &w, stamp);
        real = NULL;
        int committed = !rc && memcmp(stamp, &zero, sizeof zero) != 0;
        if (!w.lost && !(committed && step(MV_FAULT_UNKNOWN_DONE)))
            return rc;
        w.maybe_committed = 1;
    }
}

static int fault_maybe_committed(kv_txn *t)
{
    return ((fault_txn *)t)->maybe_committed || kv_maybe_committed(inner(t));
}

static int fault_on_reader(kv_txn *t)
{
    return kv_on_reader(inner(t));
}

static int fault_get(kv_txn *t, mv_slice key, mv_slice *value)
{
    int rc = step(MV_FAULT_GET);
    return rc ? rc : kv_get(inner(t), key, value);
}

static void fault_prefetch(kv_txn *t, const mv_slice *keys, size_t n)
{
    kv_prefetch(inner(t), keys, n);
}

static int fault_range(kv_txn *t, mv_slice begin, mv_slice end, size_t limit, int flags, kv_cursor **out)
{
    int rc = step(MV_FAULT_RANGE);
    if (rc)
        return rc;
    fault_cursor *c = calloc(1, sizeof *c);
    if (!c)
        return mv_fail(MV_NOMEM, "out of memory reading a range");
    c->base.ops = &fault_ops;
    rc = kv_range(inner(t), begin, end, limit, flags, &c->inner);
    if (rc)
        free(c);
    else
        *out = &c->base;
    return rc;
}

static int fault_next(kv_cursor *c, mv_slice *key, mv_slice *value)
{
    int rc = step(MV_FAULT_RANGE);
    return rc ? rc : kv_next(((fault_cursor *)c)->inner, key, value);
}

static void fault_cursor_close(kv_cursor *c)
{
    kv_cursor_close(((fault_cursor *)c)->inner);
    free(c);
}

static int fault_set(kv_txn *t, mv_slice key, mv_slice value)
{
    int rc = step(MV_FAULT_WRITE);
    return rc ? rc : kv_set(inner(t), key, value);
}

static int fault_set_stamped_key(kv_txn *t, mv_slice key, size_t offset, mv_slice value)
{
    int rc = step(MV_FAULT_WRITE);
    return rc ? rc : kv_set_stamped_key(inner(t), key, offset, value);
}

static int fault_set_stamped_value(kv_txn *t, mv_slice key, mv_slice value, size_t offset)
{
    int rc = step(MV_FAULT_WRITE);
    return rc ? rc : kv_set_stamped_value(inner(t), key, value, offset);
}

static int fault_clear(kv_txn *t, mv_slice key)
{
    int rc = step(MV_FAULT_WRITE);
    return rc ? rc : kv_clear(inner(t), key);
}

static int fault_clear_range(kv_txn *t, mv_slice begin, mv_slice end)
{
    int rc = step(MV_FAULT_WRITE);
    return rc ? rc : kv_clear_range(inner(t), begin, end);
}

static int fault_add_read_conflict(kv_txn *t, mv_slice begin, mv_slice end)
{
    return kv_add_read_conflict(inner(t), begin, end);
}

static int fault_raise_stamps(kv_engine *e, const kv_stamp *above)
{
    int rc = step(MV_FAULT_COMMIT);
    return rc ? rc : kv_raise_stamps(((fault_engine *)e)->inner, above);
}

static int fault_watch(kv_engine *e, mv_slice key, mv_slice known, unsigned timeout_ms)
{
    return kv_watch(((fault_engine *)e)->inner, key, known, timeout_ms);
}

static int fault_describe(kv_engine *e, mvi_buf *json)
{
    return kv_describe(((fault_engine *)e)->inner, json);
}

static int fault_counter(kv_engine *e, size_t index, const char **name, uint64_t *value)
{
    return kv_counter(((fault_engine *)e)->inner, index, name, value);
}

static const kv_ops fault_ops = {
    .close = fault_close,
    .read_begin = fault_read_begin,
    .read_recent = fault_read_recent,
    .read_end = fault_read_end,
    .read_release = fault_read_release,
    .transact = fault_transact,
    .on_reader = fault_on_reader,
    .maybe_committed = fault_maybe_committed,
    .get = fault_get,
    .prefetch = fault_prefetch,
    .range = fault_range,
    .next = fault_next,
    .cursor_close = fault_cursor_close,
    .set = fault_set,
    .set_stamped_key = fault_set_stamped_key,
    .set_stamped_value = fault_set_stamped_value,
    .clear = fault_clear,
    .clear_range = fault_clear_range,
    .add_read_conflict = fault_add_read_conflict,
    .raise_stamps = fault_raise_stamps,
    .watch = fault_watch,
    .counter = fault_counter,
    .describe = fault_describe,
};

/* Takes `inner` over. */
static int wrap(kv_engine *inner_engine, kv_engine **out)
{
    fault_engine *e = calloc(1, sizeof *e);
    if (!e) {
        kv_close(inner_engine);
        return mv_fail(MV_NOMEM, "out of memory opening the fault engine");
    }
    e->inner = inner_engine;
    e->base.ops = &fault_ops;
    e->base.traits = *kv_get_traits(inner_engine);
    *out = &e->base;
    return MV_OK;
}

int kv_fault_open(const char *rest, kv_engine **out)
{
    kv_engine *inner_engine;
    int rc = step(MV_FAULT_OPEN);
    if (!rc)
        rc = kv_open(rest, &inner_engine);
    return rc ? rc : wrap(inner_engine, out);
}

int kv_fault_examine(const char *rest, mvi_buf *json, kv_engine **out)
{
    kv_engine *inner_engine = NULL;
    if (step(MV_FAULT_OPEN))
        return mvi_json_add_failure(json, "database");
    int rc = kv_examine(rest, json, &inner_engine);
    return inner_engine ? wrap(inner_engine, out) : rc;
}
