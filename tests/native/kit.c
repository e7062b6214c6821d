#include "kit.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>

check_state check_now;
static char scratch[KIT_PATH / 2];
static unsigned directories, stores;
static const char *engine; /* NULL: the embedded one */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_scratch(void)
{
    if (getpid() == check_now.runner)
        nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void kit_begin(const char *only)
{
    const char *base = getenv("TMPDIR");
    check_now.only = only;
    check_now.runner = getpid();
    snprintf(scratch, sizeof scratch, "%s/mv-native-XXXXXX", base && *base ? base : "/tmp");
    CHECK(mkdtemp(scratch) != NULL);
    CHECK(atexit(remove_scratch) == 0);
}

void kit_directory(char path[KIT_PATH])
{
    snprintf(path, KIT_PATH, "%s/%u", scratch, directories++);
    CHECK(mkdir(path, 0755) == 0);
}

void kit_url(const char *scheme, char url[KIT_PATH])
{
    char path[KIT_PATH];
    size_t n = strlen(scheme);
    path[0] = 0;
    if (n && scheme[n - 1] == ':')
        kit_directory(path);
    CHECK((size_t)snprintf(url, KIT_PATH, "%s%s", scheme, path) < KIT_PATH);
}

void kit_engine(const char *url)
{
    engine = url;
}

unsigned kit_few(unsigned all, unsigned few)
{
    return engine ? few : all;
}

void kit_store(const char *wrap, char url[KIT_PATH])
{
    if (engine) {
        CHECK(snprintf(url, KIT_PATH, "%s%s%u/", wrap, engine, stores++) < KIT_PATH);
        return;
    }
    char path[KIT_PATH];
    kit_directory(path);
    CHECK(snprintf(url, KIT_PATH, "%slmdb:%s", wrap, path) < KIT_PATH);
}

uint32_t chance_next(chance *c)
{
    c->state ^= c->state >> 12;
    c->state ^= c->state << 25;
    c->state ^= c->state >> 27;
    return (uint32_t)(c->state * 0x2545f4914f6cdd1du >> 32);
}

uint32_t chance_below(chance *c, uint32_t bound)
{
    return chance_next(c) % bound;
}

void kit_fill(chance *c, int kind, uint8_t *out, size_t n)
{
    static const char words[] = "the quick brown fox jumps over the lazy dog and ";
    uint32_t first = chance_below(c, sizeof words - 1);
    memset(out, 0, n);
    for (size_t i = 0; i < n; i++) {
        if (kind == FILL_NOISE)
            out[i] = (uint8_t)chance_next(c);
        else if (kind == FILL_TEXT)
            out[i] = (uint8_t)words[(first + i) % (sizeof words - 1)];
        else if (kind == FILL_SPARSE && i % 97 == first)
            out[i] = (uint8_t)(chance_next(c) | 1);
    }
}

void kit_wait(pid_t child)
{
    int status = -1;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
