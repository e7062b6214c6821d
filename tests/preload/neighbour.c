/* Two libraries in one: each asks the dynamic linker for what comes after it.
 *
 * With -DOUTER it has `who` ("outer") and next_who(), which asks RTLD_NEXT; with -DINNER only
 * `who` ("inner"). Without either, a program that prints what it finds, in several ways. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

const char *who(void);
const char *next_who(void);

#if defined(OUTER)
const char *who(void)
{
    return "outer";
}
const char *next_who(void)
{
    const char *(*next)(void) = (const char *(*)(void))dlsym(RTLD_NEXT, "who");
    return next ? next() : "nobody";
}
#elif defined(INNER)
const char *who(void)
{
    return "inner";
}
#else
int main(void)
{
    void *found = dlopen("libfound.so", RTLD_NOW); /* by the program's own RUNPATH */
    printf("%s %s %s %d\n", who(), next_who(), found ? "found" : dlerror(),
           dlsym(RTLD_DEFAULT, "who") == (void *)who);
    return 0;
}
#endif
