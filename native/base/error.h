/* Errors: one table of codes, one message per thread.
 *
 * Every function of this library that can fail returns one of these codes (0 is
 * success). The function that first notices the failure also leaves a sentence
 * for people, which names the thing and the way out, in a buffer of the calling
 * thread: mv_error_text(). The text stays valid until the next failing call of
 * the same thread. Nothing in this library aborts the process.
 */
#ifndef MV_ERROR_H
#define MV_ERROR_H

#include <stdarg.h>

#if defined(__GNUC__)
#define MV_API __attribute__((visibility("default")))
#define MV_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define MV_API
#define MV_PRINTF(f, a)
#endif

/* X(name, number, SQLite result code, what it means) */
#define MV_ERRORS(X)                                                                        \
    X(MV_OK, 0, 0, "success")                                                               \
    X(MV_BUSY, 1, 5, "another connection of this host is writing to the database")          \
    X(MV_CONFLICT, 2, 517, "pages this transaction has seen were changed by another commit") \
    X(MV_READONLY, 3, 8, "a past state cannot be written")                                  \
    X(MV_NOTFOUND, 4, 14, "no such database")                                               \
    X(MV_EXISTS, 5, 14, "a database of that name exists")                                   \
    X(MV_NOVERSION, 6, 14, "no such version")                                               \
    X(MV_NAME, 7, 14, "not a usable database name")                                         \
    X(MV_TIME, 8, 14, "not a usable moment")                                                \
    X(MV_CORRUPT, 9, 11, "stored data does not match its checksum or its index")            \
    X(MV_FORMAT, 10, 14, "the store was written by a newer release")                        \
    X(MV_IO, 11, 10, "the engine reported an input or output error")                        \
    X(MV_FULL, 12, 13, "no space is left for the store")                                    \
    X(MV_NOMEM, 13, 7, "out of memory")                                                     \
    X(MV_UNREACHABLE, 14, 10, "the engine did not answer in time")                          \
    X(MV_GONE, 15, 1032, "the database was deleted while it was open")                      \
    X(MV_MISUSE, 16, 21, "the call is not allowed in this state")                           \
    X(MV_PERM, 17, 14, "the store may not be opened by this user")                          \
    X(MV_URL, 18, 14, "not a usable store address")                                         \
    X(MV_UNKNOWN, 19, 10, "the engine does not know whether the commit happened")           \
    X(MV_FORKED, 20, 21, "the handle was opened before fork and belongs to the parent")     \
    X(MV_STALE, 21, 10, "the read transaction cannot go on: begin another")

typedef enum mv_code {
#define MV_ENUM(name, number, sqlite, text) name = number,
    MV_ERRORS(MV_ENUM)
#undef MV_ENUM
} mv_code;

/* Name ("MV_BUSY"), SQLite result code and meaning of `code`; an unknown code
 * answers "MV_?", 1 (SQLITE_ERROR) and "unknown error". Static strings. */
MV_API const char *mv_error_name(int code);
MV_API int mv_error_sqlite(int code);
MV_API const char *mv_error_meaning(int code);

/* The calling thread's last message and its code; "" and 0 if there was none since
 * mv_error_clear. The text is owned by the library. */
MV_API const char *mv_error_text(void);
MV_API int mv_error_code(void);
MV_API void mv_error_clear(void);

/* Leaves the formatted message for mv_error_text() and returns `code`. */
MV_API int mv_fail(int code, const char *format, ...) MV_PRINTF(2, 3);

#endif
