/* A program like any other that is linked to libsqlite3.
 *
 *   client open|v2|ro|uri|16 PATH SQL...   runs statements and prints their rows
 *   client threads PATH N M                N threads, each with a connection, insert M rows each
 *   client fork PATH                       a connection before and after fork, and a program that is executed
 *   client race PATH                       a legacy statement that loses a race once (see race below)
 *   client shutdown PATH PATH              sqlite3_shutdown between two connections, and the first attached to the second
 *   client many N                          opens and closes N temporary files, and no database */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int print_row(void *ctx, int n, char **values, char **names)
{
    (void)ctx, (void)names;
    for (int i = 0; i < n; i++)
        printf("%s%s", i ? "|" : "", values[i] ? values[i] : "NULL");
    printf("\n");
    return 0;
}

static int run(sqlite3 *db, const char *sql)
{
    char *message = NULL;
    int rc = sqlite3_exec(db, sql, print_row, NULL, &message);
    if (rc)
        printf("error %d %s\n", rc, message ? message : "");
    sqlite3_free(message);
    return rc;
}

static int open_by(const char *how, const char *path, sqlite3 **db)
{
    unsigned short wide[1000];
    if (strcmp(how, "open") == 0)
        return sqlite3_open(path, db);
    if (strcmp(how, "ro") == 0)
        return sqlite3_open_v2(path, db, SQLITE_OPEN_READONLY, NULL);
    if (strcmp(how, "uri") == 0)
        return sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL);
    if (strcmp(how, "v2") == 0)
        return sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    size_t i = 0;
    for (; path[i]; i++)
        wide[i] = (unsigned char)path[i];
    wide[i] = 0;
    return sqlite3_open16(wide, db);
}

static int statements(const char *how, char **arguments)
{
    sqlite3 *db = NULL;
    int rc = open_by(how, *arguments, &db);
    if (rc)
        printf("cannot open: %d %s\n", rc, db ? sqlite3_errmsg(db) : "");
    for (char **sql = arguments + 1; *sql && !rc; sql++)
        rc = run(db, *sql);
    sqlite3_close(db);
    return rc != 0;
}

static const char *path_of_threads;
static int rows_of_threads;

static void *insert_rows(void *ctx)
{
    sqlite3 *db;
    long failed = sqlite3_open(path_of_threads, &db);
    (void)ctx;
    sqlite3_busy_timeout(db, 20000);
    for (int i = 0; i < rows_of_threads && !failed; i++)
        failed = run(db, "INSERT INTO t VALUES ('thread')");
    sqlite3_close(db);
    return (void *)failed;
}

static int threads(const char *path, int n, int rows)
{
    pthread_t all[64];
    long failed = 0;
    path_of_threads = path;
    rows_of_threads = rows;
    for (int i = 0; i < n; i++)
        pthread_create(&all[i], NULL, insert_rows, NULL);
    for (int i = 0; i < n; i++) {
        void *one;
        pthread_join(all[i], &one);
        failed |= (long)one;
    }
    return failed != 0;
}

static int once(const char *path, const char *value)
{
    sqlite3 *db;
    char *sql = sqlite3_mprintf("INSERT INTO t VALUES (%Q)", value);
    int rc = sqlite3_open(path, &db);
    sqlite3_busy_timeout(db, 20000);
    if (!rc)
        rc = run(db, sql);
    sqlite3_close(db);
    sqlite3_free(sql);
    return rc;
}

static int forks(const char *self, const char *path)
{
    int status = 0, rc = once(path, "before");
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            if (i == 0)
                execl(self, self, "open", path, "PRAGMA busy_timeout=20000", "INSERT INTO t VALUES ('executed')", (char *)NULL);
            _exit(once(path, "child"));
        }
    rc |= once(path, "parent");
    while (wait(&status) > 0)
        rc |= status;
    return rc != 0;
}

/* Another connection commits to the same page while the statement runs, the first time. */
static sqlite3 *other;
static int calls;

static void disturb(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n, (void)values;
    if (calls++ == 0)
        sqlite3_exec(other, "INSERT INTO t VALUES ('other')", NULL, NULL, NULL);
    sqlite3_result_text(context, "mine", -1, SQLITE_STATIC);
}

static int race(const char *uri)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    int rc = open_by("uri", uri, &db) || open_by("uri", uri, &other);
    sqlite3_create_function(db, "disturb", 0, SQLITE_UTF8, NULL, disturb, NULL, NULL);
    for (int timeout = 5000; timeout >= 0; timeout -= 5000) {
        calls = 0;
        sqlite3_busy_timeout(db, timeout);
        sqlite3_prepare(db, "INSERT INTO t VALUES (disturb())", -1, &statement, NULL);
        rc = sqlite3_step(statement);
        printf("timeout %d: %d after %d, reset %d\n", timeout, rc, calls, sqlite3_reset(statement));
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    sqlite3_close(other);
    return 0;
}

static const char *attached;

/* What a program may want of every connection: another database beside it. */
static int attach_one(sqlite3 *db, char **message, const struct sqlite3_api_routines *api)
{
    (void)api;
    char *sql = sqlite3_mprintf("ATTACH %Q AS one; SELECT count(*) FROM one.t", attached);
    int rc = sqlite3_exec(db, sql, NULL, NULL, message);
    sqlite3_free(sql);
    return rc;
}

static int shutdowns(const char *one, const char *two)
{
    attached = one;
    char *first[] = {(char *)one, "CREATE TABLE t(a)", NULL}, *second[] = {(char *)two, "CREATE TABLE t(a)", NULL};
    int rc = statements("open", first);
    sqlite3_shutdown();
    rc = rc || sqlite3_auto_extension((void (*)(void))attach_one);
    return rc || statements("open", second);
}

static int many(int n)
{
    for (int i = 0; i < n; i++) {
        FILE *file = fopen("scratch", "w+");
        if (!file || fclose(file) || unlink("scratch"))
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "threads") == 0)
        return threads(argv[2], atoi(argv[3]), atoi(argv[4]));
    if (argc == 3 && strcmp(argv[1], "fork") == 0)
        return forks(argv[0], argv[2]);
    if (argc == 3 && strcmp(argv[1], "race") == 0)
        return race(argv[2]);
    if (argc == 4 && strcmp(argv[1], "shutdown") == 0)
        return shutdowns(argv[2], argv[3]);
    if (argc == 3 && strcmp(argv[1], "many") == 0)
        return many(atoi(argv[2]));
    return argc > 2 ? statements(argv[1], argv + 2) : 2;
}
