/* The cluster engine's handle, shared by its operations (kv_fdb.c) and its opening. */
#ifndef MV_FDB_ENGINE_H
#define MV_FDB_ENGINE_H

#include <sys/types.h>

#include "fdb_library.h"
#include "kv_engine.h"

typedef struct fdb_engine {
    kv_engine base;
    const kvi_fdb *fdb;
    FDBDatabase *db;
    pid_t owner;
    char prefix[256], lock_directory[512];
    size_t prefix_size;
    unsigned wait_ms;
} fdb_engine;

extern const kv_ops kvi_fdb_ops;

/* Reads "[/cluster/file][?prefix=TEXT][&wait_ms=N]" into prefix, wait_ms and `cluster`. MV_URL. */
int kvi_fdb_parse(const char *rest, fdb_engine *engine, char *cluster, size_t room);

/* fdb_describe.c: the operation behind kv_describe. */
int kvi_fdb_describe(kv_engine *engine, mvi_buf *json);

/* Turns the client's error into an mv_code with a message. */
int kvi_fdb_error(fdb_engine *engine, fdb_error_t error, const char *doing);

#endif
