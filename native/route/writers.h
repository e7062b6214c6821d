/* Whether anybody has a file open for writing. */
#ifndef MV_WRITERS_H
#define MV_WRITERS_H

/* 1: some process on this machine has the file at `path` open for writing, even if it is idle and
 * holds no lock. 0: none has, or it cannot be told (a file of another user, a file system without
 * leases, a file that this process reads). Takes the kernel's word: fcntl(2), F_SETLEASE. */
int mvr_has_writer(const char *path);

#endif
