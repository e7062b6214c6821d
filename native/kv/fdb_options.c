#include "fdb_options.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/error.h"

#define WAIT_MS 10000
#define WAIT_MS_MAX 3600000
#define READAHEAD 256
#define READAHEAD_MAX 1024
#define VALUE_ROOM 4096

/* Names here, names and codes of the client (fdb.options, scope NetworkOption). */
static const kvi_fdb_network_option network_options[KVI_FDB_NETWORK_OPTIONS] = {
    {"trace", 30, NULL},  {"tls_certificate", 43, NULL}, {"tls_key", 46, NULL}, {"tls_verify_peers", 47, NULL},
    {"tls_ca", 53, NULL}, {"tls_password", 54, NULL},    {"clients", 63, NULL},
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Copies n characters of an address, %XX as the byte it means, and a terminator; the
 * size, or SIZE_MAX if it is malformed or does not fit. */
static size_t unescape(const char *from, size_t n, char *out, size_t room)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        char c = from[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_digit(from[i + 1]) : -1, low = n - i > 2 ? hex_digit(from[i + 2]) : -1;
            if (high < 0 || low < 0)
                return SIZE_MAX;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (size + 1 >= room)
            return SIZE_MAX;
        out[size++] = c;
    }
    out[size] = 0;
    return size;
}

static int read_number(const char *name, const char *value, unsigned least, unsigned most, unsigned *number)
{
    char *end;
    unsigned long read = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || read < least || read > most)
        return mv_fail(MV_URL, "cluster address: %s=%.40s is no number from %u to %u", name, value, least, most);
    *number = (unsigned)read;
    return MV_OK;
}

static int read_prefix(const char *value, size_t size, kvi_fdb_options *o)
{
    if (size > sizeof o->prefix)
        return mv_fail(MV_URL, "cluster address: the prefix has %zu bytes, at most %zu are possible", size,
                       sizeof o->prefix);
    if (size && (uint8_t)value[0] == 0xff)
        return mv_fail(MV_URL, "cluster address: keys that begin with the byte FF are the cluster's own");
    memcpy(o->prefix, value, size);
    o->prefix_size = size;
    return MV_OK;
}

static int take_option(kvi_fdb_options *o, const char *name, const char *value, size_t size)
{
    if (strcmp(name, "prefix") == 0)
        return read_prefix(value, size, o);
    if (strcmp(name, "wait_ms") == 0)
        return read_number(name, value, 1, WAIT_MS_MAX, &o->wait_ms);
    if (strcmp(name, "retry_limit") == 0)
        return read_number(name, value, 1, 1000000, &o->retry_limit);
    if (strcmp(name, "readahead") == 0)
        return read_number(name, value, 0, READAHEAD_MAX, &o->readahead);
    for (size_t i = 0; i < KVI_FDB_NETWORK_OPTIONS; i++)
        if (strcmp(name, o->network[i].name) == 0) {
            free(o->network[i].value);
            o->network[i].value = strdup(value);
            return o->network[i].value ? MV_OK : mv_fail(MV_NOMEM, "out of memory reading an address");
        }
    return mv_fail(MV_URL,
                   "cluster address: there is no option \"%.40s\"; the options are prefix, wait_ms, retry_limit, "
                   "readahead, tls_certificate, tls_key, tls_ca, tls_verify_peers, tls_password, trace, clients",
                   name);
}

static int read_option(const char *text, size_t n, kvi_fdb_options *o)
{
    const char *equals = memchr(text, '=', n);
    char name[40], value[VALUE_ROOM];
    if (!equals)
        return mv_fail(MV_URL, "cluster address: \"%.*s\" is no option=value", (int)(n < 40 ? n : 40), text);
    size_t size = unescape(text, (size_t)(equals - text), name, sizeof name);
    if (size == SIZE_MAX)
        return mv_fail(MV_URL, "cluster address: there is no option \"%.*s\"", (int)(n < 40 ? n : 40), text);
    size = unescape(equals + 1, n - (size_t)(equals - text) - 1, value, sizeof value);
    if (size == SIZE_MAX)
        return mv_fail(MV_URL, "cluster address: the value of %s is too long or has a %% without two digits", name);
    return take_option(o, name, value, size);
}

int kvi_fdb_options_read(const char *rest, kvi_fdb_options *o)
{
    const char *query = strchr(rest, '?');
    size_t n = query ? (size_t)(query - rest) : strlen(rest);
    memset(o, 0, sizeof *o);
    memcpy(o->network, network_options, sizeof network_options);
    o->wait_ms = WAIT_MS;
    o->readahead = READAHEAD;
    if (unescape(rest, n, o->cluster, sizeof o->cluster) == SIZE_MAX)
        return mv_fail(MV_URL, "cluster address \"fdb:%.80s\": the path is too long or has a %% without two digits",
                       rest);
    int rc = MV_OK;
    while (!rc && query && *query) {
        size_t size = strcspn(++query, "&");
        if (size)
            rc = read_option(query, size, o);
        query += size;
    }
    return rc;
}

void kvi_fdb_options_free(kvi_fdb_options *o)
{
    for (size_t i = 0; i < KVI_FDB_NETWORK_OPTIONS; i++) {
        free(o->network[i].value);
        o->network[i].value = NULL;
    }
}
