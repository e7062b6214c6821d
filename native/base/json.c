#include "json.h"

#include <stdio.h>

static void add(mvi_buf *b, const char *text)
{
    mvi_buf_add(b, text, strlen(text));
}

/* Between two members; not after an opening bracket or a key. */
static void separate(mvi_buf *b)
{
    if (!b->failed && b->size && !strchr("{[:", b->data[b->size - 1]))
        mvi_buf_byte(b, ',');
}

void mvi_json_begin(mvi_buf *b, char bracket)
{
    separate(b);
    mvi_buf_byte(b, (uint8_t)bracket);
}

void mvi_json_end(mvi_buf *b, char bracket)
{
    mvi_buf_byte(b, (uint8_t)bracket);
}

void mvi_json_text(mvi_buf *b, const char *text, size_t n)
{
    char escaped[8];
    size_t plain = 0; /* from here on nothing had to be escaped */
    separate(b);
    mvi_buf_byte(b, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        snprintf(escaped, sizeof escaped, c < ' ' ? "\\u%04x" : "\\%c", (unsigned)c);
        mvi_buf_add(b, text + plain, i - plain);
        add(b, escaped);
        plain = i + 1;
    }
    if (n > plain)
        mvi_buf_add(b, text + plain, n - plain);
    mvi_buf_byte(b, '"');
}

void mvi_json_hex(mvi_buf *b, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = bytes;
    separate(b);
    mvi_buf_byte(b, '"');
    uint8_t *to = mvi_buf_grow(b, 2 * n);
    for (size_t i = 0; to && i < n; i++) {
        *to++ = (uint8_t)digits[from[i] >> 4];
        *to++ = (uint8_t)digits[from[i] & 15];
    }
    mvi_buf_byte(b, '"');
}

void mvi_json_number(mvi_buf *b, uint64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    separate(b);
    add(b, digits);
}

void mvi_json_bool(mvi_buf *b, int yes)
{
    separate(b);
    add(b, yes ? "true" : "false");
}

void mvi_json_key(mvi_buf *b, const char *key)
{
    mvi_json_text(b, key, strlen(key));
    mvi_buf_byte(b, ':');
}

void mvi_json_add_text(mvi_buf *b, const char *key, const char *text)
{
    mvi_json_key(b, key);
    mvi_json_text(b, text, strlen(text));
}

void mvi_json_add_number(mvi_buf *b, const char *key, uint64_t number)
{
    mvi_json_key(b, key);
    mvi_json_number(b, number);
}

int mvi_json_add_failure(mvi_buf *b, const char *step)
{
    mvi_json_key(b, "failed");
    mvi_json_begin(b, '{');
    mvi_json_add_text(b, "step", step);
    mvi_json_add_text(b, "code", mv_error_name(mv_error_code()));
    mvi_json_add_text(b, "message", mv_error_text());
    mvi_json_end(b, '}');
    return b->failed ? mv_fail(MV_NOMEM, "out of memory describing a store") : MV_OK;
}
