/* Which paths are routed, and the names they get.
 *
 * A pattern is a glob over an absolute path: `*` and `?` do not cross a slash, `**` does,
 * `[a-z]` and `[!a-z]` are one character of a set, a backslash takes the next character as
 * it is. A name template holds {path} (the whole path without its first slash), {name} (its
 * last component), {stem} (that without its last suffix), {parent} (the last component of
 * its directory), {1} to {9} (what the pattern's n-th wildcard matched); {{ is a brace. */
#ifndef MV_PATTERN_H
#define MV_PATTERN_H

#include <stddef.h>

#define MVR_CAPTURES 9

/* A part of the path that was matched against. */
typedef struct mvr_capture {
    const char *at;
    size_t n;
} mvr_capture;

/* 1: the pattern matches the whole path; what its wildcards matched is in `captures`. */
int mvr_match(const char *pattern, const char *path, mvr_capture captures[MVR_CAPTURES]);

/* Writes the name into `name`. MV_MISUSE: the template cannot be read; MV_NAME: no room. */
int mvr_name(const char *template, const char *path, const mvr_capture captures[MVR_CAPTURES], char *name, size_t room);

/* How many wildcards a pattern has, and whether a template tells paths apart. */
int mvr_wildcards(const char *pattern);
int mvr_has_placeholder(const char *template);

#endif
