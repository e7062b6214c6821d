#include "logging.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "settings.h"

static const char *const names[] = {"off", "error", "warn", "info", "debug"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mvi_log_level wanted;
static int as_json;
static char file_name[1024]; /* "": standard error */

static void read_environment(void)
{
    const char *level = mvi_setting("MVSQLITE_LOG"), *file = mvi_setting("MVSQLITE_LOG_FILE");
    const char *format = mvi_setting("MVSQLITE_LOG_FORMAT");
    wanted = MVI_LOG_ERROR;
    for (size_t i = 0; level && i < sizeof names / sizeof *names; i++)
        if (strcasecmp(level, names[i]) == 0)
            wanted = (mvi_log_level)i;
    as_json = format && strcasecmp(format, "json") == 0;
    snprintf(file_name, sizeof file_name, "%s", file ? file : "");
}

int mvi_log_on(mvi_log_level level)
{
    pthread_once(&once, read_environment);
    return level <= wanted && level != MVI_LOG_OFF;
}

static void time_text(char *out, size_t room)
{
    struct timespec now;
    struct tm tm;
    char seconds[32] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &tm))
        strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, room, "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));
}

static void add_text(mvi_buf *line, const char *text)
{
    mvi_buf_add(line, text, strlen(text));
}

static void format_line(mvi_buf *line, mvi_log_level level, const char *message)
{
    char when[48];
    time_text(when, sizeof when);
    if (as_json) {
        mvi_json_begin(line, '{');
        mvi_json_add_text(line, "time", when);
        mvi_json_add_text(line, "level", names[level]);
        mvi_json_add_number(line, "pid", (uint64_t)getpid());
        mvi_json_add_text(line, "message", message);
        mvi_json_end(line, '}');
    } else {
        add_text(line, "mvsqlite: ");
        add_text(line, names[level]);
        add_text(line, ": ");
        add_text(line, message);
    }
    mvi_buf_byte(line, '\n');
}

/* A program may have closed its standard error and opened something else in its place, a
 * database even: that is open for reading too, which a log never is. */
static int is_for_messages(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return flags != -1 && fstat(fd, &st) == 0 && (!S_ISREG(st.st_mode) || (flags & O_ACCMODE) == O_WRONLY);
}

static void write_line(int fd, const char *line, size_t n)
{
    ssize_t wrote;
    do
        wrote = write(fd, line, n);
    while (wrote < 0 && errno == EINTR);
}

static void write_out(const char *line, size_t n)
{
    int fd = *file_name ? open(file_name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        write_line(fd, line, n);
        close(fd);
    } else if (is_for_messages(STDERR_FILENO)) {
        write_line(STDERR_FILENO, line, n);
    }
}

void mvi_log_write(mvi_log_level level, const char *format, ...)
{
    int kept = errno;
    char message[1200];
    mvi_buf line = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    format_line(&line, level, message);
    if (!line.failed)
        write_out((const char *)line.data, line.size);
    mvi_buf_free(&line);
    errno = kept;
}
