/* What Python calls, as cffi reads it. A test compares it with the headers. */
const char *mv_error_name(int code);
int mv_error_sqlite(int code);
const char *mv_error_meaning(int code);
const char *mv_error_text(void);
int mv_error_code(void);
void mv_error_clear(void);

typedef struct mv_store mv_store;
typedef struct mv_db mv_db;
typedef struct mv_log mv_log;
typedef struct mv_stamp { uint8_t bytes[10]; } mv_stamp;

int mv_store_open(const char *url, mv_store **store);
void mv_store_close(mv_store *store);
int mv_default_url(char *url, size_t room);
int mv_store_set(mv_store *store, int setting, uint64_t value);
int mv_store_counter(mv_store *store, size_t index, const char **name, uint64_t *value);

int mv_store_describe(mv_store *store, char **json);
int mv_describe_url(const char *url, char **json);

int mv_create(mv_store *store, const char *name);
int mv_delete(mv_store *store, const char *name);
int mv_undelete(mv_store *store, const char *name, const char *as);
int mv_rename(mv_store *store, const char *name, const char *to);
typedef struct mv_info {
    const char *name;
    uint32_t id;
    uint64_t created_ms, deleted_ms;
    mv_stamp newest;
    uint64_t newest_ms;
    uint32_t pages, page_size;
    uint32_t parent;
    mv_stamp base;
    uint64_t base_ms;
} mv_info;
int mv_list(mv_store *store, int (*each)(void *ctx, const mv_info *info), void *ctx);

int mv_branch(mv_store *store, const char *name, const mv_stamp *at, const char *as);

int mv_discard(mv_store *store, uint32_t id);

typedef struct mv_copy {
    const char *as;
    int restart;
    int (*progress)(void *ctx, int verifying, uint64_t done, uint64_t of);
    void *ctx;
    int resumed, already;
    mv_stamp source, newest;
    uint64_t versions, pages, history, bytes;
    uint64_t renamed;
    uint64_t later;
} mv_copy;
int mv_copy_database(mv_store *from, uint32_t id, mv_store *to, mv_copy *copy);

int mv_db_open(mv_store *store, const char *name, int flags, mv_db **db);
void mv_db_close(mv_db *db);
int mv_db_begin(mv_db *db, int *stale);
typedef struct mv_snapshot {
    mv_stamp stamp;
    uint64_t ms;
    uint32_t pages, page_size;
    uint64_t newer;
    int pinned;
} mv_snapshot;
void mv_db_snapshot(const mv_db *db, mv_snapshot *snapshot);
int mv_db_pin(mv_db *db, const mv_stamp *stamp);
int mv_db_unpin(mv_db *db);
int mv_db_at(mv_db *db, const char *moment, mv_stamp *stamp);
int mv_parse_moment(const char *moment, uint64_t now_ms, uint64_t *ms);
int mv_db_read(mv_db *db, uint32_t pgno, void *page);

int mv_db_lock(mv_db *db);
void mv_db_unlock(mv_db *db);
int mv_db_write_bytes(mv_db *db, uint64_t offset, const void *data, size_t n);
int mv_db_read_bytes(mv_db *db, uint64_t offset, void *data, size_t n, size_t *got);
int mv_db_truncate(mv_db *db, uint64_t bytes);
uint64_t mv_db_size(const mv_db *db);
int mv_db_message(mv_db *db, const char *message);
int mv_db_statements(mv_db *db, const char *sql);
int mv_db_commit(mv_db **dbs, size_t n, mv_stamp *stamp);
void mv_db_rollback(mv_db *db);
int mv_db_revert(mv_db *db, const mv_stamp *stamp, mv_stamp *made);
int mv_db_promote(mv_db *db, const char *branch, const char *keep, mv_stamp *made);

typedef struct mv_policy {
    uint64_t all_ms;
    uint32_t hourly, daily, weekly;
    uint64_t least_ms;
    uint64_t deleted_ms;
    uint8_t statements;
} mv_policy;
int mv_db_policy(mv_db *db, mv_policy *policy);
int mv_db_set_policy(mv_db *db, const mv_policy *policy);

int mv_db_tag(mv_db *db, const char *tag, const mv_stamp *stamp);
int mv_db_untag(mv_db *db, const char *tag);
int mv_db_tags(mv_db *db, int (*each)(void *ctx, const char *tag, const mv_stamp *stamp), void *ctx);
typedef struct mv_gc {
    int dry_run;
    uint64_t now_ms;
    int (*progress)(void *ctx, uint64_t done, uint64_t of);
    void *ctx;
    uint64_t removed, kept;
    uint64_t images;
    int64_t bytes;
    uint64_t for_tags, for_branches, for_snapshots;
} mv_gc;
int mv_db_gc(mv_db *db, mv_gc *gc);
int mv_gc_deleted(mv_store *store, uint32_t id, mv_gc *gc, int *dropped);

typedef struct mv_version {
    mv_stamp stamp, previous;
    uint64_t ms;
    uint32_t pages, page_size;
    uint32_t changed;
    int kind;
    mv_stamp target;
    uint8_t txid[16];
    const char *host, *program, *message, *statements;
    uint64_t pid;
    uint64_t merged;
} mv_version;
int mv_log_open(mv_db *db, const mv_stamp *after, const mv_stamp *until, int reverse, mv_log **log);
int mv_log_next(mv_log *log, mv_version *version);
void mv_log_close(mv_log *log);
int mv_db_version(mv_db *db, const mv_stamp *stamp, mv_version *version);
int mv_db_changed(mv_db *db, const mv_stamp *after, const mv_stamp *until, uint32_t **pages, size_t *n);
int mv_db_differing(mv_db *a, mv_db *b, uint32_t **pages, size_t *n);
void mv_free(void *memory);
typedef struct mv_usage {
    uint64_t versions, heads, head_bytes, history, history_bytes, records, record_bytes, staged_bytes;
} mv_usage;
int mv_db_usage(mv_db *db, mv_usage *usage);
int mv_usage_of(mv_store *store, uint32_t id, mv_usage *usage);
typedef struct mv_day {
    uint32_t date;
    uint64_t versions, history, history_bytes, record_bytes;
} mv_day;
int mv_db_days(mv_db *db, mv_day **days, size_t *n);
typedef struct mv_check {
    void (*problem)(void *ctx, const char *what);
    void (*progress)(void *ctx, uint64_t done, uint64_t of);
    void *ctx;
    int stop;
    uint64_t images, problems;
} mv_check;
int mv_db_verify(mv_db *db, mv_check *check);
int mv_db_settle(mv_db *db);

typedef struct mv_rows mv_rows;
int mv_rows_open(mv_db *before, mv_db *after, mv_rows **rows);
void mv_rows_close(mv_rows *rows);
typedef struct mv_rowids {
    int64_t low, high;
} mv_rowids;
typedef struct mv_suspects {
    int answer;
    mv_rowids *ranges;
    size_t n;
} mv_suspects;
int mv_rows_suspects(mv_rows *rows, uint32_t root_before, uint32_t root_after, mv_suspects *suspects);
typedef struct mv_place {
    uint32_t pgno;
    int use;
    uint32_t root;
} mv_place;
int mv_rows_places(mv_rows *rows, int which, const uint32_t *roots, size_t n_roots, mv_place **places, size_t *n);
typedef struct mv_rows_cost {
    uint64_t changed, read, whole;
} mv_rows_cost;
void mv_rows_figures(const mv_rows *rows, mv_rows_cost *cost);

int mv_vfs_alias(const char *name);

int mv_route_check(const char *map);
int mv_route_name(const char *map, const char *path, char *name, size_t room);
int mv_stub_put(const char *path, const char *name);
int mv_stub_is_at(const char *path);

void mv_fault_arm(int kind, uint64_t nth, int forever, int code);
void mv_fault_reset(void);
uint64_t mv_fault_calls(int kind);
uint64_t mv_fault_fired(void);

extern "Python" int each_database(void *ctx, const mv_info *info);
extern "Python" int each_tag(void *ctx, const char *tag, const mv_stamp *stamp);
extern "Python" int gc_progress(void *ctx, uint64_t done, uint64_t of);
extern "Python" int copy_progress(void *ctx, int verifying, uint64_t done, uint64_t of);
extern "Python" void verify_problem(void *ctx, const char *what);
extern "Python" void verify_progress(void *ctx, uint64_t done, uint64_t of);
