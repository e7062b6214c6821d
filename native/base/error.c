#include "error.h"

#include <stdio.h>

static _Thread_local char last_message[600];
static _Thread_local int last_code;

typedef struct row {
    int code;
    int sqlite;
    const char *name;
    const char *meaning;
} row;

static const row table[] = {
#define MV_ROW(name, number, sqlite, text) {number, sqlite, #name, text},
    MV_ERRORS(MV_ROW)
#undef MV_ROW
};

static const row *find(int code)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].code == code)
            return &table[i];
    return NULL;
}

const char *mv_error_name(int code)
{
    const row *r = find(code);
    return r ? r->name : "MV_?";
}

int mv_error_sqlite(int code)
{
    const row *r = find(code);
    return r ? r->sqlite : 1;
}

const char *mv_error_meaning(int code)
{
    const row *r = find(code);
    return r ? r->meaning : "unknown error";
}

const char *mv_error_text(void)
{
    return last_message;
}

int mv_error_code(void)
{
    return last_code;
}

void mv_error_clear(void)
{
    last_message[0] = 0;
    last_code = MV_OK;
}

int mv_fail(int code, const char *format, ...)
{
    va_list args;
    last_code = code;
    va_start(args, format);
    vsnprintf(last_message, sizeof last_message, format, args);
    va_end(args);
    return code;
}
