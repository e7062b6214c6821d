#include "lineage.h"

#include "internal.h"

int mvi_line_read(kv_txn *txn, uint32_t ns, mvi_line **out)
{
    mvi_line *first = NULL, **link = &first;
    int rc = MV_OK;
    while (!rc && ns) {
        mvi_meta meta;
        rc = mvi_meta_get(txn, ns, &meta);
        mvi_line *line = rc ? NULL : calloc(1, sizeof *line);
        if (!rc && !line)
            rc = mv_fail(MV_NOMEM, "out of memory opening a database");
        if (rc)
            break;
        *line = (mvi_line){.ns = ns, .base = meta.base};
        line->for_ever = mvi_policy_of(&meta).all_ms == MV_FOR_EVER && !meta.deleted_ms;
        *link = line;
        link = &line->parent;
        if (meta.parent >= ns) /* a branch is made after its parent */
            rc = mv_fail(MV_CORRUPT, "database %u is said to be a branch of %u", ns, meta.parent);
        ns = meta.parent;
    }
    if (rc)
        mvi_line_free(first);
    *out = rc ? NULL : first;
    return rc;
}

void mvi_line_free(mvi_line *line)
{
    while (line) {
        mvi_line *parent = line->parent;
        free(line);
        line = parent;
    }
}

mvi_span mvi_spans(const mvi_line *line, const mv_stamp *after, const mv_stamp *until)
{
    return (mvi_span){.line = line, .low = *after, .high = *until};
}

static const mv_stamp *earlier(const mv_stamp *a, const mv_stamp *b)
{
    return mvi_stamp_cmp(a, b) < 0 ? a : b;
}

int mvi_span_next(mvi_span *s)
{
    mv_stamp high = s->begun ? *earlier(&s->high, &s->line->base.stamp) : s->high;
    s->line = s->begun ? s->line->parent : s->line;
    s->begun = 1;
    for (; s->line; s->line = s->line->parent) {
        s->until = high;
        s->after = s->low;
        if (s->line->parent && mvi_stamp_cmp(&s->line->base.stamp, &s->low) > 0)
            s->after = s->line->base.stamp;
        if (mvi_stamp_cmp(&s->after, &s->until) < 0)
            return 1;
        if (s->line->parent)
            high = *earlier(&high, &s->line->base.stamp);
    }
    return 0;
}
