#include "settings.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(const char *const *) kept;

const char *mvi_setting(const char *name)
{
    const char *value = getenv(name);
    size_t n = strlen(name);
    for (const char *const *entry = atomic_load(&kept); entry && *entry && !value; entry++)
        if (strncmp(*entry, name, n) == 0 && (*entry)[n] == '=')
            value = *entry + n + 1;
    return value;
}

void mv_settings_keep(const char *const *entries)
{
    atomic_store(&kept, entries);
}
