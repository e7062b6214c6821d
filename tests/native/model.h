/* A database as it should be, kept in memory beside the real one: random writes go
 * to both, every version is remembered, and any of them can be compared. */
#ifndef MODEL_H
#define MODEL_H

#include "../../native/store/internal.h"
#include "kit.h"

typedef struct state {
    mv_stamp stamp;
    uint32_t pages;
    uint8_t *bytes; /* pages * page_size; owned */
} state;

typedef struct model {
    chance chance;
    uint32_t page_size, pages_max;
    state now;       /* with what is written and not committed */
    state *versions; /* every commit, oldest first */
    size_t n, room;
} model;

void model_begin(model *m, uint64_t seed, uint32_t page_size, uint32_t pages_max);
void model_end(model *m);

/* One write of pages, one of bytes, or one change of size: to both. The handle is
 * locked. */
void model_write_page(model *m, mv_db *db, uint32_t pgno, int kind);
void model_write_bytes(model *m, mv_db *db, uint64_t offset, const void *data, size_t n);
void model_truncate(model *m, mv_db *db, uint32_t pages);
/* Some of these by chance. */
void model_scribble(model *m, mv_db *db);

/* What is written becomes a version, or is forgotten. */
void model_keep(model *m, const mv_stamp *stamp);
void model_forget(model *m);
/* Both in the handle and here; the handle stays locked. */
void model_commit(model *m, mv_db *db);
void model_revert(model *m, size_t version, const mv_stamp *made);

/* 1: the handle's snapshot, or its transaction, reads as `wanted`. */
int model_same(const model *m, mv_db *db, const state *wanted);
/* The same as checks: of the handle as it is, and of every version through a second
 * handle that is pinned to each. */
void model_check_now(const model *m, mv_db *db);
void model_check_all(const model *m, mv_store *store, const char *name);

/* mv_db_verify: how many problems it finds. */
uint64_t model_problems(mv_db *db);

static inline mv_stamp model_newest(const model *m)
{
    return m->n ? m->versions[m->n - 1].stamp : mvi_zero_stamp;
}

#endif
