#include "pattern.h"

#include <string.h>

#include "../base/error.h"

/* One character against the set after '['; *end is where the pattern goes on. */
static int in_set(const char *set, char c, const char **end)
{
    int negated = *set == '!' || *set == '^', found = 0;
    set += negated;
    const char *first = set;
    while (*set && (*set != ']' || set == first)) {
        char low = *set, high = low;
        if (set[1] == '-' && set[2] && set[2] != ']') {
            high = set[2];
            set += 2;
        }
        found |= (unsigned char)low <= (unsigned char)c && (unsigned char)c <= (unsigned char)high;
        set++;
    }
    *end = *set ? set + 1 : set;
    return c && c != '/' && found != negated;
}

static int match(const char *pattern, const char *path, mvr_capture *captures, int n);

/* `*` or `**`: the longest that lets the rest match. */
static int match_star(const char *pattern, const char *path, mvr_capture *captures, int n)
{
    int deep = pattern[1] == '*';
    const char *rest = pattern + 1 + deep;
    size_t longest = deep ? strlen(path) : strcspn(path, "/");
    for (size_t length = longest + 1; length-- > 0;) {
        if (!match(rest, path + length, captures, n + 1))
            continue;
        if (n < MVR_CAPTURES)
            captures[n] = (mvr_capture){path, length};
        return 1;
    }
    return 0;
}

static int match(const char *pattern, const char *path, mvr_capture *captures, int n)
{
    for (; *pattern; path++) {
        int one = *pattern == '?' ? *path && *path != '/' : 0;
        const char *next = pattern + 1;
        if (*pattern == '*')
            return match_star(pattern, path, captures, n);
        if (*pattern == '[')
            one = in_set(pattern + 1, *path, &next);
        if (*pattern == '?' || *pattern == '[') {
            if (!one)
                return 0;
            if (n < MVR_CAPTURES)
                captures[n] = (mvr_capture){path, 1};
            n++;
        } else {
            if (*pattern == '\\' && pattern[1])
                next = ++pattern + 1;
            if (*pattern != *path)
                return 0;
        }
        pattern = next;
    }
    return *path == 0;
}

int mvr_match(const char *pattern, const char *path, mvr_capture captures[MVR_CAPTURES])
{
    memset(captures, 0, MVR_CAPTURES * sizeof *captures);
    return match(pattern, path, captures, 0);
}

int mvr_wildcards(const char *pattern)
{
    int n = 0;
    for (; *pattern; pattern++) {
        const char *end;
        if (*pattern == '\\' && pattern[1]) {
            pattern++;
        } else if (*pattern == '[') {
            in_set(pattern + 1, 0, &end);
            pattern = end - 1;
            n++;
        } else if (*pattern == '*' || *pattern == '?') {
            pattern += *pattern == '*' && pattern[1] == '*';
            n++;
        }
    }
    return n;
}

/* ---- names -------------------------------------------------------------------- */

static mvr_capture last_component(const char *path, size_t n)
{
    size_t begin = n;
    while (begin && path[begin - 1] != '/')
        begin--;
    return (mvr_capture){path + begin, n - begin};
}

static mvr_capture without_suffix(mvr_capture name)
{
    for (size_t i = name.n; i-- > 1;)
        if (name.at[i] == '.')
            return (mvr_capture){name.at, i};
    return name;
}

/* What stands for {key}; `at` NULL: there is no such placeholder. */
static mvr_capture value_of(mvr_capture key, const char *path, const mvr_capture *captures)
{
    static const char *const keys[] = {"path", "name", "stem", "parent"};
    mvr_capture name = last_component(path, strlen(path));
    size_t directory = (size_t)(name.at - path);
    const mvr_capture values[] = {
        {path + (*path == '/'), strlen(path) - (*path == '/')},
        name,
        without_suffix(name),
        last_component(path, directory ? directory - 1 : 0),
    };
    for (int i = 0; i < 4; i++)
        if (strlen(keys[i]) == key.n && memcmp(keys[i], key.at, key.n) == 0)
            return values[i];
    if (key.n == 1 && *key.at >= '1' && *key.at <= '9')
        return captures[*key.at - '1'];
    return (mvr_capture){0};
}

/* The next piece of a template: text as it is, or a placeholder's value. */
static int next_piece(const char **template, const char *path, const mvr_capture *captures, mvr_capture *piece)
{
    const char *at = *template;
    if (*at != '{' || at[1] == '{') {
        size_t brace = *at == '{';
        *piece = (mvr_capture){at + brace, brace ? 1 : strcspn(at, "{")};
        *template = piece->at + piece->n;
        return MV_OK;
    }
    const char *end = strchr(at, '}');
    if (end)
        *piece = value_of((mvr_capture){at + 1, (size_t)(end - at - 1)}, path, captures);
    if (!end || !piece->at)
        return mv_fail(MV_MISUSE,
                       "\"%.60s\" is no placeholder of a name: there are {path}, {name}, {stem}, {parent} and "
                       "{1} to {9} for what the pattern's wildcards match ({{ is a brace)",
                       at);
    *template = end + 1;
    return MV_OK;
}

int mvr_name(const char *template, const char *path, const mvr_capture captures[MVR_CAPTURES], char *name, size_t room)
{
    size_t used = 0;
    const char *rest = template;
    while (*rest) {
        mvr_capture piece = {0};
        int rc = next_piece(&rest, path, captures, &piece);
        if (rc)
            return rc;
        if (piece.n >= room - used)
            return mv_fail(MV_NAME, "the name that \"%.100s\" makes of %.300s has more than %zu bytes", template, path,
                           room - 1);
        memcpy(name + used, piece.at, piece.n);
        used += piece.n;
    }
    name[used] = 0;
    return MV_OK;
}

int mvr_has_placeholder(const char *template)
{
    for (; *template; template++) {
        if (*template == '{' && template[1] != '{')
            return 1;
        template += *template == '{';
    }
    return 0;
}
