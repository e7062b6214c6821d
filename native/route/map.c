#include "map.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/settings.h"
#include "pattern.h"

typedef struct entry {
    const char *pattern, *name; /* in the map's text */
} entry;

struct mvr_map {
    char *text; /* owned */
    size_t n;
    entry *entries; /* owned */
};

static int check_entry(const entry *e)
{
    if (*e->pattern != '/' && *e->pattern != '*')
        return mv_fail(MV_MISUSE, "pattern \"%.200s\" of a route is not absolute: begin it with / or **/", e->pattern);
    if (!*e->name)
        return mv_fail(MV_MISUSE, "pattern \"%.200s\" of a route has no name: write PATTERN=NAME", e->pattern);
    int wildcards = mvr_wildcards(e->pattern);
    if (wildcards && !mvr_has_placeholder(e->name))
        return mv_fail(MV_MISUSE,
                       "route %.200s=%.100s would make one database of several files: put {stem}, {path} or {1} "
                       "into the name",
                       e->pattern, e->name);
    char name[4096];
    mvr_capture something[MVR_CAPTURES] = {{0}};
    for (int i = 0; i < MVR_CAPTURES && i < wildcards; i++)
        something[i] = (mvr_capture){"", 0};
    int rc = mvr_name(e->name, "/", something, name, sizeof name);
    return rc == MV_MISUSE ? rc : MV_OK;
}

static int read_line(char *line, mvr_map *map)
{
    char *divide = strrchr(line, '=');
    if (!*line)
        return MV_OK;
    if (!divide)
        return mv_fail(MV_MISUSE, "\"%.200s\" is no route: write PATTERN=NAME", line);
    *divide = 0;
    entry *e = &map->entries[map->n++];
    *e = (entry){line, divide + 1};
    return check_entry(e);
}

static size_t count_lines(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

int mvr_map_read(const char *text, mvr_map **out)
{
    mvr_map *map = calloc(1, sizeof *map);
    if (map) {
        map->text = strdup(text);
        map->entries = calloc(count_lines(text), sizeof *map->entries);
    }
    if (!map || !map->text || !map->entries) {
        mvr_map_free(map);
        return mv_fail(MV_NOMEM, "out of memory reading the routes");
    }
    int rc = MV_OK;
    for (char *line = map->text, *next; line && !rc; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        rc = read_line(line, map);
    }
    if (rc)
        mvr_map_free(map);
    else
        *out = map;
    return rc;
}

void mvr_map_free(mvr_map *map)
{
    if (!map)
        return;
    free(map->text);
    free(map->entries);
    free(map);
}

int mvr_map_find(const mvr_map *map, const char *path, char name[MV_NAME_MAX + 1])
{
    mvr_capture captures[MVR_CAPTURES];
    for (size_t i = 0; i < map->n; i++)
        if (mvr_match(map->entries[i].pattern, path, captures))
            return mvr_name(map->entries[i].name, path, captures, name, MV_NAME_MAX + 1);
    return MV_NOTFOUND;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mvr_map *of_process;
static int failed;
static char failure[600];

static void read_environment(void)
{
    const char *text = mvi_setting("MVSQLITE_MAP");
    if (text && *text)
        failed = mvr_map_read(text, &of_process);
    if (failed)
        snprintf(failure, sizeof failure, "%s", mv_error_text());
}

int mvr_map_of_process(const mvr_map **map)
{
    pthread_once(&once, read_environment);
    *map = of_process;
    return failed ? mv_fail(failed, "MVSQLITE_MAP: %s", failure) : MV_OK;
}

int mv_route_check(const char *text)
{
    mvr_map *map;
    int rc = mvr_map_read(text, &map);
    if (!rc)
        mvr_map_free(map);
    return rc;
}

int mv_route_name(const char *text, const char *path, char *name, size_t room)
{
    char found[MV_NAME_MAX + 1];
    mvr_map *map;
    int rc = mvr_map_read(text, &map);
    if (rc)
        return rc;
    rc = mvr_map_find(map, path, found);
    if (rc == MV_NOTFOUND)
        rc = mv_fail(rc, "%.300s is not routed", path);
    else if (!rc && strlen(found) >= room)
        rc = mv_fail(MV_NAME, "the name of %.300s is too long", path);
    if (!rc)
        memcpy(name, found, strlen(found) + 1);
    mvr_map_free(map);
    return rc;
}
