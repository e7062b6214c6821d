/* A test program in one header: checks, and a runner that counts.
 *
 *     static void addition_works(void) { CHECK(1 + 1 == 2); }
 *     int main(void)
 *     {
 *         kit_begin(NULL);
 *         RUN(addition_works);
 *         return check_end();
 *     }
 *
 * The first check that fails names its test, place and condition, and ends the
 * program with status 1: what follows it would say nothing reliable. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../native/base/error.h"

typedef struct check_state {
    const char *test;  /* the one that runs */
    const char *about; /* a parameter of it, such as the engine's address; may be NULL */
    const char *only;  /* run tests whose name contains this; NULL: all */
    unsigned ran;
    pid_t runner;
} check_state;

extern check_state check_now; /* kit.c */

/* Ends the program. A forked child must leave without the runner's clean-up. */
static inline void check_stop(void)
{
    fflush(NULL);
    if (getpid() != check_now.runner)
        _exit(1);
    exit(1);
}

static inline void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "FAILED %s%s%s\n  %s:%d: %s\n  last error: %s\n", check_now.test ? check_now.test : "(no test)",
            check_now.about ? " with " : "", check_now.about ? check_now.about : "", file, line, what,
            mv_error_text());
    check_stop();
}

static inline void check_code(const char *file, int line, const char *what, int got, int wanted)
{
    char text[400];
    if (got == wanted)
        return;
    snprintf(text, sizeof text, "%.300s is %s (%d), not %s", what, mv_error_name(got), got, mv_error_name(wanted));
    check_failed(file, line, text);
}

static inline void check_number(const char *file, int line, const char *what, unsigned long long got,
                                unsigned long long wanted)
{
    char text[400];
    if (got == wanted)
        return;
    snprintf(text, sizeof text, "%.300s is %llu, not %llu", what, got, wanted);
    check_failed(file, line, text);
}

#define CHECK(condition)                                  \
    do {                                                  \
        if (!(condition))                                 \
            check_failed(__FILE__, __LINE__, #condition); \
    } while (0)
/* The call answers MV_OK, or just this code, or this number. */
#define OK(call) check_code(__FILE__, __LINE__, #call, (call), MV_OK)
#define IS(code, call) check_code(__FILE__, __LINE__, #call, (call), (code))
#define EQUAL(wanted, value) \
    check_number(__FILE__, __LINE__, #value, (unsigned long long)(value), (unsigned long long)(wanted))

static inline int check_wanted(const char *name)
{
    if (check_now.only && !strstr(name, check_now.only))
        return 0;
    check_now.test = name;
    check_now.ran++;
    return 1;
}

#define RUN(test)                 \
    do {                          \
        if (check_wanted(#test))  \
            test();               \
    } while (0)
/* The same with an argument, which is a string and is named when the test fails. */
#define RUN_WITH(test, argument)      \
    do {                              \
        check_now.about = (argument); \
        if (check_wanted(#test))      \
            test(argument);           \
        check_now.about = NULL;       \
    } while (0)

static inline int check_end(void)
{
    printf("%u tests passed\n", check_now.ran);
    return check_now.ran ? 0 : 1; /* a filter that matches nothing is a mistake */
}

#endif
