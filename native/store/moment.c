/* Moments as people write them, and the version of a moment. */
#include <ctype.h>
#include <stdio.h>
#include <time.h>

#include "internal.h"

static const char *skip_space(const char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    return s;
}

static int at_end(const char *s)
{
    return *skip_space(s) == 0;
}

/* A decimal number with an optional fraction, in thousandths; NULL: none here. */
static const char *read_thousandths(const char *s, uint64_t *out)
{
    uint64_t whole = 0, part = 0, scale = 100;
    if (!isdigit((unsigned char)*s))
        return NULL;
    for (int digits = 0; isdigit((unsigned char)*s); s++, digits++) {
        if (digits > 14)
            return NULL;
        whole = whole * 10 + (uint64_t)(*s - '0');
    }
    if (*s == '.')
        for (s++; isdigit((unsigned char)*s); s++, scale /= 10)
            part += (uint64_t)(*s - '0') * scale;
    *out = whole * 1000 + part;
    return s;
}

static uint64_t unit_seconds(const char *s, const char **end)
{
    static const struct {
        const char *name;
        uint64_t seconds;
    } units[] = {{"seconds", 1}, {"second", 1}, {"secs", 1}, {"sec", 1}, {"s", 1}, {"minutes", 60}, {"minute", 60},
                 {"mins", 60}, {"min", 60}, {"m", 60}, {"hours", 3600}, {"hour", 3600}, {"hrs", 3600}, {"hr", 3600},
                 {"h", 3600}, {"days", 86400}, {"day", 86400}, {"d", 86400}, {"weeks", 604800}, {"week", 604800},
                 {"w", 604800}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t n = strlen(units[i].name);
        if (strncmp(s, units[i].name, n) == 0 && !isalpha((unsigned char)s[n])) {
            *end = s + n;
            return units[i].seconds;
        }
    }
    return 0;
}

/* "-5m", "5 minutes ago": 1 if it is an age. */
static int read_age(const char *s, uint64_t now_ms, uint64_t *ms)
{
    uint64_t thousandths;
    int minus = *s == '-';
    const char *p = read_thousandths(s + minus, &thousandths);
    if (!p)
        return 0;
    p = skip_space(p);
    uint64_t unit = unit_seconds(p, &p);
    if (!unit || thousandths > UINT64_MAX / unit)
        return 0;
    p = skip_space(p);
    int ago = strncmp(p, "ago", 3) == 0;
    if (minus == ago || !at_end(p + (ago ? 3 : 0)))
        return 0;
    uint64_t age = thousandths * unit;
    *ms = age < now_ms ? now_ms - age : 0;
    return 1;
}

static int read_unix(const char *s, uint64_t *ms)
{
    const char *p = read_thousandths(s, ms);
    return p && at_end(p) && p - s >= 6; /* a year alone is not a time */
}

/* Up to `most` digits, at least `least`; NULL: not so many here. (sscanf would take
 * signs and spaces.) */
static const char *read_digits(const char *s, int least, int most, int *out)
{
    int n = 0;
    for (*out = 0; n < most && isdigit((unsigned char)*s); n++)
        *out = *out * 10 + (*s++ - '0');
    return n >= least ? s : NULL;
}

/* One of the letters of `marks`, passed over; NULL: none here. */
static const char *read_mark(const char *s, const char *marks)
{
    return s && *s && strchr(marks, *s) ? s + 1 : NULL;
}

/* "Z", "+01:00", "+0100" or nothing (local). -1: something else. */
static int read_zone(const char *s, long *seconds, int *local)
{
    int hours, minutes;
    s = skip_space(s);
    *local = *s == 0;
    *seconds = 0;
    if (*s == 0 || ((*s == 'Z' || *s == 'z') && at_end(s + 1)))
        return 0;
    int sign = *s == '-' ? -1 : 1;
    if (!(s = read_mark(s, "+-")) || !(s = read_digits(s, 2, 2, &hours)))
        return -1;
    s += *s == ':';
    s = read_digits(s, 2, 2, &minutes);
    if (!s || !at_end(s) || hours > 23 || minutes > 59)
        return -1;
    *seconds = (hours * 3600L + minutes * 60L) * sign;
    return 0;
}

/* "2026-11-24", "2026-1-5"; NULL: no date, or none of the calendar. */
static const char *read_date(const char *s, struct tm *tm)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!(s = read_mark(read_digits(s, 4, 4, &year), "-")) || !(s = read_mark(read_digits(s, 1, 2, &month), "-")) ||
        !(s = read_digits(s, 1, 2, &day)))
        return NULL;
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month < 1 || month > 12 || day < 1 || day > days[month - 1] + (month == 2 && leap))
        return NULL;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    tm->tm_mday = day;
    return s;
}

/* "10:15", "10:15:30.5"; NULL: no time. */
static const char *read_clock(const char *s, struct tm *tm, uint64_t *thousandths)
{
    if (!(s = read_mark(read_digits(s, 1, 2, &tm->tm_hour), ":")) || !(s = read_digits(s, 1, 2, &tm->tm_min)))
        return NULL;
    if (*s == ':')
        s = read_thousandths(s + 1, thousandths);
    tm->tm_sec = (int)(*thousandths / 1000 % 100);
    return *thousandths < 61000 && tm->tm_hour < 24 && tm->tm_min < 60 ? s : NULL;
}

static int read_iso(const char *s, uint64_t *ms)
{
    struct tm tm = {.tm_isdst = -1};
    int local;
    uint64_t thousandths = 0;
    long zone;
    s = read_date(s, &tm);
    if (s && (*s == 'T' || *s == ' ') && isdigit((unsigned char)s[1]))
        s = read_clock(s + 1, &tm, &thousandths);
    if (!s || read_zone(s, &zone, &local) != 0)
        return 0;
    time_t t = local ? mktime(&tm) : timegm(&tm) - zone;
    if (t < 0)
        return 0;
    *ms = (uint64_t)t * 1000 + thousandths % 1000;
    return 1;
}

int mv_parse_moment(const char *moment, uint64_t now_ms, uint64_t *ms)
{
    const char *s = skip_space(moment);
    if (strncmp(s, "now", 3) == 0 && at_end(s + 3)) {
        *ms = now_ms;
        return MV_OK;
    }
    if (read_age(s, now_ms, ms) || read_iso(s, ms) || read_unix(s, ms))
        return MV_OK;
    return mv_fail(MV_TIME,
                   "\"%.80s\" is no moment: write 2026-11-24 10:15, 2026-11-24T10:15:30Z, unix seconds, an age "
                   "(-5m, 2 hours ago) or now",
                   moment);
}

static void format_time(uint64_t ms, char *out, size_t room)
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    size_t n = gmtime_r(&t, &tm) ? strftime(out, room, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    snprintf(out + n, room - n, ".%03uZ", (unsigned)(ms % 1000));
}

/* The first (KV_REVERSE: last) entry of the time index up to `ms` and, of that moment, `last`. */
static int find_time(kv_txn *txn, uint32_t ns, uint64_t ms, const mv_stamp *last, int flags, uint64_t *found_ms,
                     mv_stamp *stamp)
{
    mvi_key begin = mvi_key_time(ns, 0, &mvi_zero_stamp), end = mvi_key_after(mvi_key_time(ns, ms, last));
    kv_cursor *cursor;
    mv_slice key, value;
    int rc = kv_range(txn, mvi_key_slice(&begin), mvi_key_slice(&end), 1, flags, &cursor);
    if (rc)
        return rc;
    rc = kv_next(cursor, &key, &value);
    if (!rc && key.size == MVI_TIME_KEY_SIZE) {
        *found_ms = mvi_get64(key.data + 8);
        *stamp = mvi_key_get_stamp(key, MVI_STAMP_IN_TIME);
    }
    kv_cursor_close(cursor);
    return rc;
}

static int no_version(kv_txn *txn, const mv_db *db, const char *moment)
{
    uint64_t first_ms;
    mv_stamp stamp;
    char text[48];
    const mvi_line *oldest = db->line;
    while (oldest->parent)
        oldest = oldest->parent;
    int rc = find_time(txn, oldest->ns, UINT64_MAX / 2, &mvi_last_stamp, 0, &first_ms, &stamp);
    if (rc == MV_NOTFOUND)
        return mv_fail(MV_NOVERSION, "database \"%s\" has no versions yet", db->name);
    if (rc)
        return rc;
    format_time(first_ms, text, sizeof text);
    return mv_fail(MV_NOVERSION, "\"%.80s\" is before the first version of database \"%s\", which is of %s", moment,
                   db->name, text);
}

/* The last version of the line up to `ms`. */
static int find_in_line(kv_txn *txn, const mv_db *db, uint64_t ms, mv_stamp *stamp)
{
    mv_stamp last = mvi_last_stamp;
    uint64_t found_ms;
    int rc = MV_NOTFOUND;
    for (const mvi_line *line = db->line; line && rc == MV_NOTFOUND; line = line->parent) {
        rc = find_time(txn, line->ns, ms, &last, KV_REVERSE, &found_ms, stamp);
        if (ms >= line->base.ms) { /* of the parent's, none later than the base */
            ms = line->base.ms;
            last = line->base.stamp;
        }
    }
    return rc;
}

int mv_db_at(mv_db *db, const char *moment, mv_stamp *stamp)
{
    uint64_t now_ms = mvi_now_ms(), ms;
    kv_txn *txn;
    int tries = 0, rc = mv_parse_moment(moment, now_ms, &ms);
    if (rc)
        return rc;
    if (ms > now_ms)
        return mv_fail(MV_TIME, "\"%.80s\" is in the future", moment);
    do {
        rc = kv_read_begin(db->store->kv, &txn);
        if (rc)
            return rc;
        rc = find_in_line(txn, db, ms, stamp);
        if (rc == MV_NOTFOUND)
            rc = no_version(txn, db, moment);
        kv_read_end(txn);
    } while (mvi_again(rc, &tries));
    return rc;
}
