/* Deleting and renaming stubs: whatever fails, and wherever the process dies, no database is lost
 * and the work can be done over. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../native/kv/kv_fault.h"
#include "../../native/route/files.h"
#include "../../native/route/stub.h"
#include "../../native/store/page1.h"
#include "kit.h"
#include "test_route.h"

enum { PAGE = 4096, PAGES = 5 };

static char directory[KIT_PATH];
static char url[KIT_PATH];

/* A directory and a store of its own; paths a.db, b.db are routed by their stems. */
static void fresh(void)
{
    mv_fault_reset();
    kit_directory(directory);
    kit_store("fault:", url);
    CHECK(setenv("MVSQLITE_STORE", url, 1) == 0);
}

static const char *at(const char *name)
{
    static char paths[4][2 * KIT_PATH];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void fill_page(uint8_t *page, size_t size, uint32_t pgno, char content)
{
    memset(page, content, size);
    if (pgno > 1)
        return;
    memset(page, 0, 100);
    memcpy(page, "SQLite format 3", 16);
    page[16] = (uint8_t)(size >> 8);
    page[17] = (uint8_t)size;
    page[18] = page[19] = 1;
    mvi_put32(page + 28, PAGES);
    mvi_put32(page + MVI_SCHEMA_COOKIE, 7);
}

static void make_database(const char *name, const char *path, size_t size, char content)
{
    uint8_t page[2 * PAGE];
    mv_store *store;
    mv_db *db;
    OK(mv_store_open(url, &store));
    OK(mv_db_open(store, name, MV_CREATE, &db));
    OK(mv_db_lock(db));
    for (uint32_t p = 1; p <= PAGES; p++) {
        fill_page(page, size, p, content);
        OK(mv_db_write_bytes(db, (p - 1) * size, page, size));
    }
    OK(mv_db_commit(&db, 1, NULL));
    mv_db_close(db);
    mv_store_close(store);
    if (path)
        OK(mv_stub_put(path, name));
}

static void make_file(const char *path, size_t size, char content)
{
    uint8_t page[2 * PAGE];
    FILE *file = fopen(path, "w");
    for (uint32_t p = 1; p <= PAGES; p++) {
        fill_page(page, size, p, content);
        CHECK(fwrite(page, size, 1, file) == 1);
    }
    CHECK(fclose(file) == 0);
}

static int is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* What the last page of a database holds; 0: there is no such database. */
static char content_of(const char *name)
{
    mv_store *store;
    mv_db *db = NULL;
    mv_snapshot snapshot;
    uint8_t page[65536] = {0};
    int stale;
    OK(mv_store_open(url, &store));
    int rc = mv_db_open(store, name, 0, &db);
    if (!rc) {
        mv_check check = {.problem = NULL};
        OK(mv_db_begin(db, &stale));
        mv_db_snapshot(db, &snapshot);
        EQUAL(PAGES, snapshot.pages);
        OK(mv_db_read(db, PAGES, page));
        for (uint32_t i = 1; i < snapshot.page_size; i++)
            CHECK(page[i] == page[0]);
        OK(mv_db_verify(db, &check));
        EQUAL(0, check.problems);
    }
    mv_db_close(db);
    mv_store_close(store);
    return (char)page[0];
}

/* As the router finds it: by the stub's name, or the route's. */
static char content_at(const char *name, const char *routed)
{
    mvr_stub stub;
    if (mvr_stub_at(at(name), &stub) != MV_OK)
        return 0;
    char content = content_of(stub.name);
    return content ? content : content_of(routed);
}

static int undeleted(const char *name, const char *as)
{
    mv_store *store;
    OK(mv_store_open(url, &store));
    int rc = mv_undelete(store, name, as);
    mv_store_close(store);
    return rc;
}

/* ---- what they do ---------------------------------------------------------------- */

static void unlinking_deletes(void)
{
    fresh();
    make_database("a", at("a.db"), PAGE, 'a');
    EQUAL(0, mvr_file_unlink(at("a.db")));
    CHECK(!is_there(at("a.db")));
    CHECK(content_of("a") == 0);
    OK(undeleted("a", "a"));
    CHECK(content_of("a") == 'a');
    EQUAL(ENOENT, mvr_file_unlink(at("a.db")));
}

static void renaming_renames(void)
{
    fresh();
    make_database("a", at("a.db"), PAGE, 'a');
    EQUAL(0, mvr_file_rename(at("a.db"), at("b.db"), 0));
    CHECK(!is_there(at("a.db")) && content_of("a") == 0 && content_of("b") == 'a');
    EQUAL(0, mvr_file_rename(at("b.db"), at("elsewhere"), 0));
    CHECK(content_of(at("elsewhere") + 1) == 'a');
    EQUAL(0, mvr_file_rename(at("elsewhere"), at("c.db"), RENAME_NOREPLACE));
    CHECK(content_of("c") == 'a');
    EQUAL(EINVAL, mvr_file_rename(at("c.db"), at("d.db"), RENAME_EXCHANGE));
    EQUAL(ENOENT, mvr_file_rename(at("no.db"), at("c.db"), 0));
    EQUAL(ENOENT, mvr_file_rename(at("c.db"), at("no/c.db"), 0));
    CHECK(content_of("c") == 'a');
}

static void renaming_over_is_a_commit(void)
{
    static const size_t sizes[] = {PAGE, 512, 2 * PAGE};
    for (size_t i = 0; i < 3; i++) {
        fresh();
        make_database("a", at("a.db"), sizes[i], 'n');
        make_database("b", at("b.db"), PAGE, 'o');
        EQUAL(0, mvr_file_rename(at("a.db"), at("b.db"), 0));
        CHECK(!is_there(at("a.db")) && content_of("a") == 0 && content_of("b") == 'n');
        OK(undeleted("a", "a"));
        CHECK(content_of("a") == 'n');
    }
}

static void the_schemas_number_grows(void)
{
    uint8_t page[PAGE];
    mv_store *store;
    mv_db *db;
    int stale;
    fresh();
    make_database("a", at("a.db"), PAGE, 'n');
    make_database("b", at("b.db"), PAGE, 'o');
    EQUAL(0, mvr_file_rename(at("a.db"), at("b.db"), 0));
    OK(mv_store_open(url, &store));
    OK(mv_db_open(store, "b", 0, &db));
    OK(mv_db_begin(db, &stale));
    OK(mv_db_read(db, 1, page));
    EQUAL(8, mvi_get32(page + MVI_SCHEMA_COOKIE));
    mv_db_close(db);
    mv_store_close(store);
}

static void a_file_is_taken_over_where_that_was_asked(void)
{
    fresh();
    make_database("a", at("a.db"), PAGE, 'o');
    make_file(at("file"), 1024, 'n');
    CHECK(unsetenv("MVSQLITE_IMPORT") == 0);
    EQUAL(EBUSY, mvr_file_rename(at("file"), at("a.db"), 0));
    CHECK(is_there(at("file")) && content_of("a") == 'o');
    CHECK(setenv("MVSQLITE_IMPORT", "1", 1) == 0);
    make_file(at("file-wal"), 512, 'w');
    EQUAL(EBUSY, mvr_file_rename(at("file"), at("a.db"), 0));
    CHECK(unlink(at("file-wal")) == 0);
    CHECK(truncate(at("file"), 3000) == 0);
    EQUAL(EIO, mvr_file_rename(at("file"), at("a.db"), 0));
    CHECK(content_of("a") == 'o');
    make_file(at("file"), 1024, 'n');
    EQUAL(0, mvr_file_rename(at("file"), at("a.db"), 0));
    CHECK(!is_there(at("file")) && is_there(at("a.db.before-mvsqlite")) && content_of("a") == 'n');
}

/* ---- what goes wrong ---------------------------------------------------------------- */

static const struct {
    const char *name;
    int free; /* the target is */
} renames[] = {{"over", 0}, {"to a free path", 1}};

static void begin_rename(int free)
{
    fresh();
    make_database("a", at("a.db"), PAGE, 'n');
    if (!free)
        make_database("b", at("b.db"), PAGE, 'o');
}

/* Not yet, or done; and it can be done over. */
static void check_rename(int free)
{
    char there = content_at("b.db", "b");
    int source = is_there(at("a.db"));
    if (source)
        CHECK(content_at("a.db", "a") == 'n');
    else
        CHECK(there == 'n');
    CHECK(there == 'n' || there == (free ? 0 : 'o'));
    if (source)
        EQUAL(0, mvr_file_rename(at("a.db"), at("b.db"), 0));
    CHECK(!is_there(at("a.db")) && content_at("b.db", "b") == 'n');
}

static void any_call_may_fail_in_a_rename(void)
{
    for (int i = 0; i < 2; i++) {
        int error = EIO;
        for (uint64_t nth = 1; error; nth++) {
            begin_rename(renames[i].free);
            mv_fault_arm(MV_FAULT_ANY, nth, 0, MV_IO);
            error = mvr_file_rename(at("a.db"), at("b.db"), 0);
            int fired = mv_fault_fired() > 0;
            mv_fault_reset();
            CHECK(nth < 1000);
            if (!fired)
                EQUAL(0, error);
            check_rename(renames[i].free);
            error = fired;
        }
    }
}

static void any_call_may_fail_in_a_deletion(void)
{
    int again = 1;
    for (uint64_t nth = 1; again; nth++) {
        fresh();
        make_database("a", at("a.db"), PAGE, 'a');
        mv_fault_arm(MV_FAULT_ANY, nth, 0, MV_IO);
        int error = mvr_file_unlink(at("a.db"));
        again = mv_fault_fired() > 0;
        mv_fault_reset();
        if (error)
            CHECK(is_there(at("a.db")) && content_at("a.db", "a") == 'a');
        else
            OK(undeleted("a", "a"));
        CHECK(nth < 1000 && content_of("a") == 'a');
    }
}

/* In a child, which then dies; 1: it was killed. */
static int dies_at(uint64_t nth, int (*work)(void))
{
    int status = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        mv_fault_arm(MV_FAULT_ANY, nth, 0, MV_FAULT_KILL);
        _exit(work());
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
    return !WIFEXITED(status);
}

static int rename_a_to_b(void)
{
    return mvr_file_rename(at("a.db"), at("b.db"), 0);
}

static int delete_a(void)
{
    return mvr_file_unlink(at("a.db"));
}

static void a_process_may_die_in_a_rename(void)
{
    for (int i = 0; i < 2; i++) {
        int killed = 1;
        for (uint64_t nth = 1; killed; nth++) {
            begin_rename(renames[i].free);
            killed = dies_at(nth, rename_a_to_b);
            CHECK(nth < 1000);
            check_rename(renames[i].free);
        }
    }
}

static void a_process_may_die_in_a_deletion(void)
{
    int killed = 1;
    for (uint64_t nth = 1; killed; nth++) {
        fresh();
        make_database("a", at("a.db"), PAGE, 'a');
        killed = dies_at(nth, delete_a);
        CHECK(nth < 1000);
        if (content_of("a") == 0)
            OK(undeleted("a", "a"));
        CHECK(content_of("a") == 'a');
    }
}

void route_files(void)
{
    RUN(unlinking_deletes);
    RUN(renaming_renames);
    RUN(renaming_over_is_a_commit);
    RUN(the_schemas_number_grows);
    RUN(a_file_is_taken_over_where_that_was_asked);
    RUN(any_call_may_fail_in_a_rename);
    RUN(any_call_may_fail_in_a_deletion);
    RUN(a_process_may_die_in_a_rename);
    RUN(a_process_may_die_in_a_deletion);
}
