/* What can be told about the embedded engine's environment: kv_describe. */
#include <stdio.h>
#include <sys/stat.h>

#include "../base/json.h"
#include "lmdb_env.h"

#define GATE_WAIT_MS 1000 /* a commit that takes longer is worth a word */

/* Pages that old versions of LMDB's tree left, to be used again. */
static int count_free(MDB_txn *txn, size_t *pages)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    size_t n;
    int rc = mdb_cursor_open(txn, 0, &cursor); /* 0: LMDB's own list; each value begins with its length */
    if (rc)
        return rc;
    *pages = 0;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0 && value.mv_size >= sizeof n) {
        memcpy(&n, value.mv_data, sizeof n);
        *pages += n;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static void add_free(lmdb_engine *engine, mvi_buf *json)
{
    MDB_txn *txn = NULL;
    size_t pages;
    pthread_rwlock_rdlock(&engine->map);
    if (mdb_txn_begin(engine->env, NULL, MDB_RDONLY, &txn) == 0) {
        if (count_free(txn, &pages) == 0)
            mvi_json_add_number(json, "free_pages", pages);
        mdb_txn_abort(txn);
    }
    pthread_rwlock_unlock(&engine->map);
}

/* One line of LMDB's list: process, thread, and the transaction it reads, or "-". */
static int add_reader(const char *line, void *ctx)
{
    mvi_buf *json = ctx;
    unsigned pid;
    size_t thread, transaction;
    int n = sscanf(line, "%u %zx %zu", &pid, &thread, &transaction);
    if (n < 2)
        return 0; /* the heading */
    mvi_json_begin(json, '{');
    mvi_json_add_number(json, "pid", pid);
    if (n == 3)
        mvi_json_add_number(json, "transaction", transaction);
    mvi_json_end(json, '}');
    return 0;
}

static void add_readers(lmdb_engine *engine, mvi_buf *json)
{
    int dead = 0;
    mvi_json_key(json, "readers");
    mvi_json_begin(json, '[');
    mdb_reader_list(engine->env, add_reader, json);
    mvi_json_end(json, ']');
    mdb_reader_check(engine->env, &dead);
    mvi_json_add_number(json, "dead_readers", (uint64_t)(dead + engine->dead_readers));
}

static void add_gate(lmdb_engine *engine, mvi_buf *json)
{
    long died, holder;
    mvi_json_key(json, "lock_files");
    mvi_json_bool(json, engine->gate != NULL);
    if (!engine->gate)
        return;
    holder = kvi_gate_holder(engine->gate, GATE_WAIT_MS < engine->wait_ms ? GATE_WAIT_MS : engine->wait_ms, &died);
    if (holder)
        mvi_json_add_number(json, "gate_held_by", (uint64_t)holder);
    if (died)
        mvi_json_add_number(json, "gate_died", (uint64_t)died);
}

int kvi_lmdb_describe(kv_engine *base, mvi_buf *json)
{
    lmdb_engine *engine = (lmdb_engine *)base;
    MDB_envinfo info;
    MDB_stat stat_;
    struct stat st;
    int fd;
    mvi_json_add_text(json, "engine", "lmdb");
    mvi_json_key(json, "lmdb");
    mvi_json_begin(json, '{');
    mvi_json_add_text(json, "directory", engine->directory);
    if (mdb_env_info(engine->env, &info) == 0) {
        mvi_json_add_number(json, "map_bytes", info.me_mapsize);
        mvi_json_add_number(json, "pages", info.me_last_pgno + 1);
        mvi_json_add_number(json, "transaction", info.me_last_txnid);
        mvi_json_add_number(json, "reader_slots", info.me_maxreaders);
    }
    if (mdb_env_stat(engine->env, &stat_) == 0)
        mvi_json_add_number(json, "page_bytes", stat_.ms_psize);
    if (mdb_env_get_fd(engine->env, &fd) == 0 && fstat(fd, &st) == 0)
        mvi_json_add_number(json, "file_bytes", (uint64_t)st.st_size);
    add_free(engine, json);
    add_readers(engine, json);
    add_gate(engine, json);
    mvi_json_end(json, '}');
    return json->failed ? mv_fail(MV_NOMEM, "out of memory describing store %s", engine->directory) : MV_OK;
}
