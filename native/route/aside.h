/* An ordinary file whose contents a database has taken over is kept, out of the way. */
#ifndef MV_ASIDE_H
#define MV_ASIDE_H

#include <stddef.h>

/* Renames `from` to PATH.before-mvsqlite, or PATH.before-mvsqlite-2 and so on: the first that is
 * free, which is written to `aside`. By system calls: where libc's are watched for what
 * applications do to routed files, this is not meant. 0, or an errno. */
int mvr_move_aside(const char *from, const char *path, char *aside, size_t room);

#endif
