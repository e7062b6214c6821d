/* What the environment says, of the variables whose names begin with MVSQLITE_.
 *
 * A program may clear its environment after it began (php-fpm does, in its workers). The
 * preload library keeps what was there at the start and hands it over here. */
#ifndef MV_SETTINGS_H
#define MV_SETTINGS_H

#include "error.h"

/* The value of a variable; NULL: it is not set, and was not. Not the caller's. */
const char *mvi_setting(const char *name);

/* Entries "NAME=value" for variables that the environment does not hold, ended by NULL. They
 * stay the caller's, who keeps them for the life of the process. Once, before anything is read. */
MV_API void mv_settings_keep(const char *const *entries);

#endif
