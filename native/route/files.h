/* What deleting and renaming a stub does to its database.
 *
 * Paths are absolute, their directories without symbolic links. Answers are 0, or what errno
 * shall be, as from unlink(2) and rename(2); what a person must know is logged. Files are
 * touched by system calls only, for libc's functions may be the ones that call this. A crash
 * between the steps loses nothing, and leaves the state before, the one after, or a stub
 * whose database bears another name, which the router refuses to open. */
#ifndef MV_FILES_H
#define MV_FILES_H

#include "../store/mvstore.h"

/* Deletes the database with the stub: mv_undelete brings it back. A copy of a stub, or one of its
 * hard links, goes as a file does. */
MV_API int mvr_file_unlink(const char *path);

/* One of the two is a stub. `flags` are those of renameat2(2); only RENAME_NOREPLACE is known.
 *   a stub to a free path, or over an ordinary file, which goes   renames the database
 *   a stub over a stub                   the database's newest state becomes a commit of the other
 *                                        one; itself it is deleted and can be brought back
 *   a SQLite file over a stub            with MVSQLITE_IMPORT=1 its contents become a commit of the
 *                                        database, and the file is kept aside; else EBUSY */
MV_API int mvr_file_rename(const char *from, const char *to, unsigned flags);

/* replace.c: a commit of `name` that makes it what `source` is, or what the SQLite file at a path
 * holds. It is a commit like any other for whoever has the database open. mv_code. */
int mvr_replace_by_database(mv_store *store, const char *name, const char *source);
int mvr_replace_by_file(mv_store *store, const char *name, const char *path);

#endif
