/* What mvstore.h promises, by subject; the embedded engine below. Arguments choose
 * subjects ("threads"); none: all. */
#include "test_store.h"

#include "kit.h"

static const struct {
    const char *name;
    void (*run)(void);
} subjects[] = {
    {"codec", store_codec}, {"names", store_names},   {"versions", store_versions},
    {"large", store_large}, {"damage", store_damage}, {"threads", store_threads},
    {"walk", store_walk},   {"copy", store_copy},
};

int main(int argc, char **argv)
{
    kit_begin(getenv("ONLY"));
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        int wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted |= strcmp(argv[a], subjects[i].name) == 0;
        if (wanted)
            subjects[i].run();
    }
    return check_end();
}
