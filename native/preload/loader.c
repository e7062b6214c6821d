/* dlopen and dlsym: the two ways round what LD_PRELOAD does.
 *
 * A library that is opened with RTLD_DEEPBIND (PHP's extensions are) is bound to its own
 * dependencies before us: the flag is dropped for libraries that open SQLite databases. A
 * program that asks the dynamic linker for a function of libsqlite3 (Python's ctypes, FFI of any
 * language) gets ours. Both call libc's function as their last act, with nothing of theirs on
 * the stack, for that looks at who has called it: RTLD_NEXT and the caller's own search path stay
 * the caller's. */
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload.h"

#if defined(__has_attribute)
#if __has_attribute(musttail)
#define LAST_ACT __attribute__((musttail)) return
#endif
#endif
#ifndef LAST_ACT
#define LAST_ACT return /* -O2 makes it a jump; tests/preload holds it to that */
#endif

#define HEAD 4096 /* an object's headers lie in so many bytes, as linkers write them */
#define CHUNK 8192

/* Of an ELF file: its segments, and where in it the names lie that it imports or exports. */
typedef struct object {
    char head[HEAD];
    const ElfW(Phdr) *segments;
    size_t n;
    uint64_t names, size;
} object;

static int read_head(int fd, object *o)
{
    ElfW(Ehdr) elf;
    ssize_t got = pread(fd, o->head, sizeof o->head, 0);
    if (got < (ssize_t)sizeof elf)
        return 0;
    memcpy(&elf, o->head, sizeof elf);
    if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_phentsize != sizeof *o->segments ||
        elf.e_phoff % sizeof(void *) != 0 || elf.e_phoff > (uint64_t)got ||
        elf.e_phnum > ((uint64_t)got - elf.e_phoff) / sizeof *o->segments)
        return 0;
    o->segments = (const ElfW(Phdr) *)(const void *)(o->head + elf.e_phoff);
    o->n = elf.e_phnum;
    return 1;
}

/* Where in the file an address of the loaded object is. */
static uint64_t offset_of(const object *o, uint64_t address)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->segments[i].p_type == PT_LOAD && address >= o->segments[i].p_vaddr &&
            address - o->segments[i].p_vaddr < o->segments[i].p_filesz)
            return address - o->segments[i].p_vaddr + o->segments[i].p_offset;
    return 0;
}

static int find_names(int fd, object *o, const ElfW(Phdr) *dynamic)
{
    ElfW(Dyn) entries[64];
    uint64_t at = dynamic->p_offset, end = at + dynamic->p_filesz;
    for (int last = 0; !last && at < end; at += sizeof entries) {
        ssize_t got = pread(fd, entries, sizeof entries, (off_t)at);
        if (got <= 0)
            return 0;
        for (size_t i = 0; i < (size_t)got / sizeof *entries && !last; i++) {
            if (entries[i].d_tag == DT_STRTAB)
                o->names = offset_of(o, entries[i].d_un.d_ptr);
            if (entries[i].d_tag == DT_STRSZ)
                o->size = entries[i].d_un.d_val;
            last = entries[i].d_tag == DT_NULL;
        }
    }
    return o->names && o->size;
}

static int has_name(int fd, const object *o, const char *name)
{
    char text[CHUNK];
    size_t overlap = strlen(name) - 1;
    for (uint64_t at = 0; at < o->size; at += sizeof text - overlap) {
        uint64_t left = o->size - at;
        ssize_t got = pread(fd, text, left < sizeof text ? (size_t)left : sizeof text, (off_t)(o->names + at));
        if (got <= 0)
            return 0;
        if (memmem(text, (size_t)got, name, overlap + 1))
            return 1;
    }
    return 0;
}

static int opens_databases(const char *path)
{
    _Alignas(16) object o = {.n = 0};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), found = 0;
    if (fd < 0)
        return 0;
    if (read_head(fd, &o))
        for (size_t i = 0; i < o.n; i++)
            if (o.segments[i].p_type == PT_DYNAMIC)
                found = find_names(fd, &o, &o.segments[i]) && has_name(fd, &o, "sqlite3_open");
    close(fd);
    return found;
}

typedef void *(*dlopen_function)(const char *, int);
typedef void *(*dlsym_function)(void *, const char *);

static dlopen_function next_dlopen(void)
{
    static _Atomic(dlopen_function) kept;
    dlopen_function next = atomic_load_explicit(&kept, memory_order_relaxed);
    if (!next) {
        next = (dlopen_function)mvp_next("dlopen");
        atomic_store_explicit(&kept, next, memory_order_relaxed);
    }
    return next;
}

static __attribute__((noinline)) int mode_for(const char *path, int mode)
{
    return opens_databases(path) ? mode & ~RTLD_DEEPBIND : mode;
}

/* What the program shall get for a function of a copy of SQLite; NULL: what it asked for. */
static __attribute__((noinline)) void *stand_in_for(void *handle, const char *name)
{
    void *found = mvp_dlsym(handle, name);
    mvp_copy *copy = found ? mvp_copy_of_function(found) : NULL;
    return copy ? mvp_stand_in(name, copy) : NULL;
}

static inline int is_to_be_met(const char *name)
{
    return strncmp(name, "sqlite3_", 8) == 0 && (strncmp(name + 8, "open", 4) == 0 || strcmp(name + 8, "step") == 0 ||
                                                 strcmp(name + 8, "shutdown") == 0);
}

/* Named so that the declarations of the headers do not matter. */
MVP_EXPORTED void *mvp_hook_dlopen(const char *path, int mode) __asm__("dlopen");
MVP_EXPORTED void *mvp_hook_dlsym(void *handle, const char *name) __asm__("dlsym");

void *mvp_hook_dlopen(const char *path, int mode)
{
    if (mvp_enabled && mode & RTLD_DEEPBIND && path && strchr(path, '/'))
        mode = mode_for(path, mode);
    dlopen_function next = next_dlopen();
    LAST_ACT next(path, mode);
}

void *mvp_hook_dlsym(void *handle, const char *name)
{
    if (mvp_enabled && handle != RTLD_NEXT && handle != RTLD_DEFAULT && name && is_to_be_met(name)) {
        void *ours = stand_in_for(handle, name);
        if (ours)
            return ours;
    }
    dlsym_function next = (dlsym_function)mvp_real_dlsym();
    LAST_ACT next(handle, name);
}
