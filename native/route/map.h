/* The routes of this process: patterns and the names of databases, from the environment. */
#ifndef MV_MAP_H
#define MV_MAP_H

#include "../store/mvstore.h"

typedef struct mvr_map mvr_map;

/* Reads entries PATTERN=NAME, one a line (the last = of a line divides it; empty lines mean
 * nothing). The map is released with mvr_map_free. MV_MISUSE: an entry cannot be read, is not
 * about absolute paths, or would give several paths one name; MV_NOMEM. */
int mvr_map_read(const char *text, mvr_map **map);
void mvr_map_free(mvr_map *map);

/* The name of the database at an absolute path without symbolic links, into `name`. MV_OK;
 * MV_NOTFOUND (without a sentence): the path is not routed; MV_NAME: it would get no usable name. */
int mvr_map_find(const mvr_map *map, const char *path, char name[MV_NAME_MAX + 1]);

/* The process's own map, from MVSQLITE_MAP: read once, never released. *map is NULL where that
 * is unset. Its error is told again at each call. */
int mvr_map_of_process(const mvr_map **map);

/* For who makes up the routes of other processes. Whether a map can be read (MV_MISUSE), and the
 * name that it gives a path, as mvr_map_find. */
MV_API int mv_route_check(const char *map);
MV_API int mv_route_name(const char *map, const char *path, char *name, size_t room);

#endif
