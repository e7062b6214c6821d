/* Messages for the person who runs a program, never on its standard output.
 *
 * The environment says what is written and where, read once per process:
 *   MVSQLITE_LOG         off, error (default), warn, info or debug
 *   MVSQLITE_LOG_FILE    a file, appended to; default: standard error
 *   MVSQLITE_LOG_FORMAT  text (default) or json: one object a line with time (ISO 8601,
 *                        UTC), level, pid and message
 * Each message is one write of one line, so that processes may share a file. */
#ifndef MV_LOGGING_H
#define MV_LOGGING_H

#include "error.h"

typedef enum mvi_log_level { MVI_LOG_OFF, MVI_LOG_ERROR, MVI_LOG_WARN, MVI_LOG_INFO, MVI_LOG_DEBUG } mvi_log_level;

/* Whether messages of that level are written: a look at one variable. */
int mvi_log_on(mvi_log_level level);
void mvi_log_write(mvi_log_level level, const char *format, ...) MV_PRINTF(2, 3);

#define mvi_log(level, ...) (mvi_log_on(level) ? mvi_log_write(level, __VA_ARGS__) : (void)0)

#endif
