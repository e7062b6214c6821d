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
#include <sys/mman.h>
#include <sys/stat.h>
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

typedef struct image {
    const char *at;
    size_t size;
} image;

static const void *part(const image *file, uint64_t offset, uint64_t size)
{
    return offset <= file->size && size <= file->size - offset ? file->at + offset : NULL;
}

/* Where in the file an address of the loaded object is. */
static uint64_t offset_of(const ElfW(Phdr) *headers, size_t n, uint64_t address)
{
    for (size_t i = 0; i < n; i++)
        if (headers[i].p_type == PT_LOAD && address >= headers[i].p_vaddr &&
            address - headers[i].p_vaddr < headers[i].p_filesz)
            return address - headers[i].p_vaddr + headers[i].p_offset;
    return UINT64_MAX;
}

/* Whether the names an object imports or exports hold this one. */
static int has_name(const image *file, const char *name)
{
    const ElfW(Ehdr) *elf = part(file, 0, sizeof *elf);
    if (!elf || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 || elf->e_phentsize != sizeof(ElfW(Phdr)))
        return 0;
    const ElfW(Phdr) *headers = part(file, elf->e_phoff, (uint64_t)elf->e_phnum * sizeof *headers);
    uint64_t names = UINT64_MAX, size = 0;
    for (size_t i = 0; headers && i < elf->e_phnum; i++) {
        const ElfW(Dyn) *entries = headers[i].p_type == PT_DYNAMIC ? part(file, headers[i].p_offset, headers[i].p_filesz)
                                                                   : NULL;
        for (size_t j = 0; entries && j < headers[i].p_filesz / sizeof *entries; j++) {
            if (entries[j].d_tag == DT_STRTAB)
                names = offset_of(headers, elf->e_phnum, entries[j].d_un.d_ptr);
            if (entries[j].d_tag == DT_STRSZ)
                size = entries[j].d_un.d_val;
        }
    }
    const void *text = part(file, names, size);
    return text && memmem(text, size, name, strlen(name)) != NULL;
}

static int opens_databases(const char *path)
{
    struct stat st;
    int found = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (at != MAP_FAILED) {
            found = has_name(&(image){at, (size_t)st.st_size}, "sqlite3_open");
            munmap(at, (size_t)st.st_size);
        }
    }
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
