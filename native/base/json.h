/* Writes JSON into a buffer: what `mvsqlite doctor` reads. Commas come by themselves.
 * Bytes of strings that are no ASCII stand as they are; bytes that may be no text are
 * written in hexadecimal. */
#ifndef MV_JSON_H
#define MV_JSON_H

#include "bytes.h"
#include "error.h"

void mvi_json_begin(mvi_buf *b, char bracket); /* '{' or '[' */
void mvi_json_end(mvi_buf *b, char bracket);   /* '}' or ']' */
void mvi_json_key(mvi_buf *b, const char *key);
void mvi_json_text(mvi_buf *b, const char *text, size_t n);
void mvi_json_hex(mvi_buf *b, const void *bytes, size_t n);
void mvi_json_number(mvi_buf *b, uint64_t number);
void mvi_json_bool(mvi_buf *b, int yes);

/* A key and its value. */
void mvi_json_add_text(mvi_buf *b, const char *key, const char *text);
void mvi_json_add_number(mvi_buf *b, const char *key, uint64_t number);
/* "failed": {"step", "code", "message"}, of the thread's last error. MV_NOMEM. */
int mvi_json_add_failure(mvi_buf *b, const char *step);

#endif
