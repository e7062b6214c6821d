/* What stands in the file system at a routed path.
 *
 * A stub is a file for everything that looks at files (stat, access, readdir, realpath,
 * chmod) and says where the database is. To SQLite it is a database of one page whose schema
 * cannot be read: without us every use of it fails with
 *
 *     malformed database schema (this is not the data: the database "NAME" ...)
 *
 * so a program started without us neither finds nothing nor begins anew. The format's
 * read version is 1 and its write version 3, which lets SQLite read the sentence and write
 * nothing (https://www.sqlite.org/fileformat2.html, 1.3.4). Between the page's header and its
 * one cell stand lines for us: a line "mvsqlite stub 1", "name=", "path=".
 *
 * Its size is one that few databases have. Programs that look at a file's size before they open
 * it (Fossil: 16 KiB or more, a multiple of 1024) go on to open it; and a file of another size need
 * not be opened to see that it is no stub. One of that size that is none is not closed again:
 * closing a file that this process also has open through SQLite would drop SQLite's locks on it. */
#ifndef MV_STUB_H
#define MV_STUB_H

#include <limits.h>
#include <sys/stat.h>

#include "../store/mvstore.h"

#define MVR_STUB_SIZE (17 * 1024)
#define MVR_PATH_MAX 1024 /* bytes of a routed path */

typedef struct mvr_stub {
    char name[MV_NAME_MAX + 1];
    char path[MVR_PATH_MAX + 1]; /* where it was put: elsewhere it is a copy, or was moved */
} mvr_stub;

/* Whether a file of this kind and size can be a stub. */
int mvr_stub_fits(const struct stat *st);
/* Reads the stub at a path. MV_NOTFOUND (without a sentence): there is none; MV_IO; MV_FORMAT:
 * a newer release wrote it. */
int mvr_stub_at(const char *path, mvr_stub *stub);
/* Puts a stub at its path, durably, in the place of whatever is there. It gets the owner and mode of
 * `like`, or without one of the file that stands there. MV_NAME: the path is too long; MV_IO: it
 * cannot be written there. */
int mvr_stub_put(const mvr_stub *stub, const struct stat *like);
/* The same with a path and a name. */
MV_API int mv_stub_put(const char *path, const char *name);
/* 0: no stub stands there; 1: one does, of any release. */
MV_API int mv_stub_is_at(const char *path);

#endif
