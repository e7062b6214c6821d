#include "aside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ASIDE ".before-mvsqlite"

static int move_unless_there(const char *from, const char *to)
{
    struct stat st;
    if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL) /* a file system that does not know the flag */
        return errno;
    if (lstat(to, &st) == 0)
        return EEXIST;
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) == 0 ? 0 : errno;
}

int mvr_move_aside(const char *from, const char *path, char *aside, size_t room)
{
    int error = EEXIST;
    for (int n = 1; error == EEXIST && n < 1000; n++) {
        snprintf(aside, room, n == 1 ? "%s" ASIDE : "%s" ASIDE "-%d", path, n);
        error = move_unless_there(from, aside);
    }
    return error;
}
