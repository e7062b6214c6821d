/* libc's own functions, behind those of the same names here. */
#include <dlfcn.h>
#include <link.h>

#include "preload.h"

typedef void *(*dlsym_function)(void *, const char *);

/* By its version, for dlsym itself cannot be asked: since when libc has it, by architecture. */
static dlsym_function find_dlsym(void)
{
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.27", "GLIBC_2.0"};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        void *found = dlvsym(RTLD_NEXT, "dlsym", versions[i]);
        if (found)
            return (dlsym_function)found;
    }
    return NULL;
}

void *mvp_real_dlsym(void)
{
    static _Atomic(dlsym_function) kept;
    dlsym_function found = atomic_load_explicit(&kept, memory_order_relaxed);
    if (!found) {
        found = find_dlsym();
        atomic_store_explicit(&kept, found, memory_order_relaxed);
    }
    return (void *)found;
}

void *mvp_dlsym(void *handle, const char *name)
{
    dlsym_function real = (dlsym_function)mvp_real_dlsym();
    return real ? real(handle, name) : NULL;
}

void *mvp_next(const char *name)
{
    return mvp_dlsym(RTLD_NEXT, name);
}

typedef struct search {
    const char *address;
    mvp_range found;
} search;

static int look_into(struct dl_phdr_info *object, size_t size, void *ctx)
{
    search *s = ctx;
    mvp_range whole = {NULL, NULL};
    int found = 0;
    (void)size;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        const char *begin = (const char *)object->dlpi_addr + segment->p_vaddr;
        if (segment->p_type != PT_LOAD)
            continue;
        if (!whole.begin || begin < whole.begin)
            whole.begin = begin;
        if (!whole.end || begin + segment->p_memsz > whole.end)
            whole.end = begin + segment->p_memsz;
        found |= s->address >= begin && s->address < begin + segment->p_memsz;
    }
    if (found)
        s->found = whole;
    return found;
}

mvp_range mvp_range_of(const void *address)
{
    search s = {.address = address};
    dl_iterate_phdr(look_into, &s);
    return s.found;
}
