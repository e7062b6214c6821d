#include "writers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How this process has the file open: an access mode, or -1. Closing a descriptor of a file drops
 * all locks that the process has on it, so there must be none before one is opened here. */
static int own_access(const struct stat *file)
{
    int found = -1;
    DIR *descriptors = opendir("/proc/self/fd");
    if (!descriptors)
        return O_RDONLY;
    for (struct dirent *entry; found <= O_RDONLY && (entry = readdir(descriptors));) {
        struct stat st;
        char *end;
        int fd = (int)strtol(entry->d_name, &end, 10);
        if (end == entry->d_name || fstat(fd, &st) != 0 || st.st_dev != file->st_dev || st.st_ino != file->st_ino)
            continue;
        int flags = fcntl(fd, F_GETFL);
        if (flags != -1 && (flags & O_ACCMODE) > found)
            found = flags & O_ACCMODE;
    }
    closedir(descriptors);
    return found;
}

/* A lease for reading is refused while somebody has the file open for writing. Whoever opens it in
 * that instant waits until the lease is gone, and we are told by a signal that does nothing. */
static int lease_refused(int fd)
{
    if (fcntl(fd, F_SETSIG, SIGURG) != 0)
        return 0;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
        return errno == EAGAIN;
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return 0;
}

int mvr_has_writer(const char *path)
{
    struct stat file, opened;
    if (stat(path, &file) != 0 || !S_ISREG(file.st_mode))
        return 0;
    int own = own_access(&file);
    if (own >= 0)
        return own != O_RDONLY;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return 0;
    int found = fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode) && lease_refused(fd);
    close(fd);
    return found;
}
