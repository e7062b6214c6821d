/* What mvstore.h promises, by subject. Arguments choose subjects ("threads"; none: all), and
 * one with a colon is the engine's address (kit_engine; none: the embedded one). */
#include "test_store.h"

#include "kit.h"

static const struct {
    const char *name;
    void (*run)(void);
} subjects[] = {
    {"codec", store_codec}, {"names", store_names},   {"versions", store_versions},
    {"large", store_large}, {"damage", store_damage}, {"threads", store_threads},
    {"walk", store_walk},   {"copy", store_copy},
    {"branch", store_branch}, {"gc", store_gc}, {"usage", store_usage},
};

int main(int argc, char **argv)
{
    int chosen = 0;
    kit_begin(getenv("ONLY"));
    for (int a = 1; a < argc; a++)
        if (strchr(argv[a], ':'))
            kit_engine(argv[a]);
        else
            chosen++;
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        int wanted = chosen == 0;
        for (int a = 1; a < argc; a++)
            wanted |= strcmp(argv[a], subjects[i].name) == 0;
        if (wanted)
            subjects[i].run();
    }
    return check_end();
}
