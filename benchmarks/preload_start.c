/* What benchmarks/preload_start.py starts: a launcher, and programs that do little.
 *
 *   launch N ENVIRONMENT... -- PROGRAM ARGUMENT...   starts it N times; prints milliseconds each
 *   nothing                  files N                 makes, renames and deletes N files
 *   open PATH                steps N                 opens and asks a database; steps through N rows
 */
#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int launch(int n, char **words)
{
    char **environment = words, **program = words;
    while (*program && strcmp(*program, "--") != 0)
        program++;
    if (!*program || n < 1)
        return 2;
    *program++ = NULL;
    double began = now_ms();
    for (int i = 0; i < n; i++) {
        pid_t child;
        int status;
        if (posix_spawn(&child, *program, NULL, NULL, program, environment) || waitpid(child, &status, 0) != child ||
            status)
            return 1;
    }
    printf("%f\n", (now_ms() - began) / n);
    return 0;
}

static int files(int n)
{
    double began = now_ms();
    for (int i = 0; i < n; i++) {
        FILE *file = fopen("bench-a", "w+");
        if (!file || fclose(file) || rename("bench-a", "bench-b") || remove("bench-b"))
            return 1;
    }
    printf("%f\n", (now_ms() - began) * 1e3 / n);
    return 0;
}

static int ask(const char *path, const char *sql, int rows)
{
    sqlite3 *db;
    sqlite3_stmt *statement = NULL;
    int n = 0, rc = sqlite3_open(path, &db);
    if (!rc)
        rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    double began = now_ms();
    while (!rc && sqlite3_step(statement) == SQLITE_ROW)
        n++;
    if (rows > 1)
        printf("%f\n", (now_ms() - began) * 1e6 / rows);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return rc || n != rows;
}

int main(int argc, char **argv)
{
    char sql[200];
    if (argc > 4 && strcmp(argv[1], "launch") == 0)
        return launch(atoi(argv[2]), argv + 3);
    if (argc == 2 && strcmp(argv[1], "nothing") == 0)
        return 0;
    if (argc == 3 && strcmp(argv[1], "files") == 0)
        return files(atoi(argv[2]));
    if (argc == 3 && strcmp(argv[1], "open") == 0)
        return ask(argv[2], "SELECT count(*) FROM sqlite_schema", 1);
    if (argc == 3 && strcmp(argv[1], "steps") == 0) {
        snprintf(sql, sizeof sql, "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT %d) SELECT i FROM n",
                 atoi(argv[2]));
        return ask(":memory:", sql, atoi(argv[2]));
    }
    return 2;
}
