/* Which paths are routed, to which names, and the stubs that stand there. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#include "../../native/route/map.h"
#include "../../native/route/pattern.h"
#include "../../native/route/stub.h"
#include "../../native/route/writers.h"
#include "check.h"
#include "kit.h"
#include "test_route.h"

static int matches(const char *pattern, const char *path)
{
    mvr_capture captures[MVR_CAPTURES];
    return mvr_match(pattern, path, captures);
}

static void a_pattern_matches_whole_paths(void)
{
    CHECK(matches("/data/notes.db", "/data/notes.db"));
    CHECK(!matches("/data/notes.db", "/data/notes.db2"));
    CHECK(!matches("/data/notes.db", "/data/notes.d"));
    CHECK(matches("/data/*.db", "/data/notes.db"));
    CHECK(matches("/data/*.db", "/data/.db"));
    CHECK(!matches("/data/*.db", "/data/old/notes.db"));
    CHECK(matches("/data/**.db", "/data/old/older/notes.db"));
    CHECK(matches("**/notes.db", "/data/old/notes.db"));
    CHECK(matches("/**", "/anything/at/all"));
    CHECK(!matches("/data/?.db", "/data/ab.db"));
    CHECK(matches("/data/?.db", "/data/a.db"));
    CHECK(!matches("/data?notes.db", "/data/notes.db"));
    CHECK(!matches("", "/"));
    CHECK(matches("*", ""));
}

static void a_set_is_one_character(void)
{
    CHECK(matches("/[a-c]", "/b"));
    CHECK(!matches("/[a-c]", "/d"));
    CHECK(matches("/[!a-c]", "/d"));
    CHECK(!matches("/[!a-c]", "/b"));
    CHECK(!matches("/[!a-c]x", "//x"));
    CHECK(matches("/[]]", "/]"));
    CHECK(matches("/[a-]", "/-"));
    CHECK(!matches("/[a", "/b"));
    CHECK(!matches("/[a-c]", "/"));
    CHECK(matches("/\\*", "/*"));
    CHECK(!matches("/\\*", "/a"));
    CHECK(matches("/\xc3[\xa0-\xbf]", "/\xc3\xa4"));
}

static void stars_give_back_what_the_rest_needs(void)
{
    CHECK(matches("/*a*b*", "/xxabyyb"));
    CHECK(matches("/**/*.db", "/a/b/c.db"));
    CHECK(!matches("/**/*.db", "/a/b/c.dbx"));
    CHECK(matches("/a*a*a*a*a", "/aaaaaaaaaaaaaaaaaaaa"));
    CHECK(!matches("/a*a*a*a*b", "/aaaaaaaaaaaaaaaaaaaa"));
}

static void check_name(const char *pattern, const char *template, const char *path, const char *wanted)
{
    mvr_capture captures[MVR_CAPTURES];
    char name[300];
    CHECK(mvr_match(pattern, path, captures));
    OK(mvr_name(template, path, captures, name, sizeof name));
    if (strcmp(name, wanted) != 0)
        fprintf(stderr, "%s, wanted %s\n", name, wanted);
    CHECK(strcmp(name, wanted) == 0);
}

static void names_are_made_of_paths(void)
{
    check_name("/srv/*/*.db", "{1}-{2}", "/srv/trilium/document.db", "trilium-document");
    check_name("/srv/*/*.db", "{parent}/{stem}", "/srv/trilium/document.db", "trilium/document");
    check_name("/srv/**", "{path}", "/srv/a/b.db", "srv/a/b.db");
    check_name("/srv/**", "{name}", "/srv/a/b.tar.gz", "b.tar.gz");
    check_name("/srv/**", "{stem}", "/srv/a/b.tar.gz", "b.tar");
    check_name("/srv/**", "{stem}", "/srv/a/.hidden", ".hidden");
    check_name("/**", "{parent}", "/b.db", "");
    check_name("/[ab]?", "{2}{1}", "/ax", "xa");
    check_name("/a", "{{x}", "/a", "{x}");
    check_name("/a", "notes", "/a", "notes");
}

static void a_bad_template_is_told(void)
{
    mvr_capture captures[MVR_CAPTURES];
    char name[8];
    CHECK(mvr_match("/a*", "/abcdefghij", captures));
    IS(MV_MISUSE, mvr_name("{nmae}", "/a", captures, name, sizeof name));
    CHECK(strstr(mv_error_text(), "{nmae}"));
    IS(MV_MISUSE, mvr_name("{1", "/a", captures, name, sizeof name));
    IS(MV_MISUSE, mvr_name("{2}", "/a", captures, name, sizeof name));
    IS(MV_NAME, mvr_name("{path}", "/abcdefghij", captures, name, sizeof name));
    OK(mvr_name("1234567", "/a", captures, name, sizeof name));
}

static void check_refused(const char *text, const char *part)
{
    mvr_map *map = NULL;
    IS(MV_MISUSE, mvr_map_read(text, &map));
    CHECK(!map);
    if (!strstr(mv_error_text(), part))
        fprintf(stderr, "%s\n", mv_error_text());
    CHECK(strstr(mv_error_text(), part));
}

static void a_bad_route_is_told(void)
{
    check_refused("/a", "\"/a\" is no route");
    check_refused("/a=", "has no name");
    check_refused("notes.db=notes", "not absolute");
    check_refused("/ok=ok\n/data/*.db=notes", "one database of several files");
    check_refused("/data/*.db={3}", "{3}");
    check_refused("/data/*.db={2}", "{2}");
    check_refused("/data/[ab]?.db={5}", "{5}");
}

static void the_first_route_wins(void)
{
    mvr_map *map;
    char name[MV_NAME_MAX + 1];
    OK(mvr_map_read("\n/data/notes.db=first\n/data/*={name}\n\n/x=y=z\n", &map));
    OK(mvr_map_find(map, "/data/notes.db", name));
    CHECK(strcmp(name, "first") == 0);
    OK(mvr_map_find(map, "/data/other.db", name));
    CHECK(strcmp(name, "other.db") == 0);
    OK(mvr_map_find(map, "/x=y", name));
    CHECK(strcmp(name, "z") == 0);
    IS(MV_NOTFOUND, mvr_map_find(map, "/elsewhere", name));
    mvr_map_free(map);
    mvr_map_free(NULL);
}

/* ---- stubs ---------------------------------------------------------------------- */

static const char *directory(void)
{
    static char path[KIT_PATH];
    if (!*path)
        kit_directory(path);
    return path;
}

static void make_stub(mvr_stub *stub, const char *file, const char *name)
{
    memset(stub, 0, sizeof *stub);
    snprintf(stub->path, sizeof stub->path, "%s/%s", directory(), file);
    snprintf(stub->name, sizeof stub->name, "%s", name);
}

static void a_stub_says_what_it_stands_for(void)
{
    mvr_stub stub, read = {0};
    struct stat st;
    make_stub(&stub, "notes.db", "my notes \xc3\xa4\"'");
    IS(MV_NOTFOUND, mvr_stub_at(stub.path, &read));
    OK(mvr_stub_put(&stub, NULL));
    OK(mvr_stub_at(stub.path, &read));
    CHECK(strcmp(read.name, stub.name) == 0);
    CHECK(strcmp(read.path, stub.path) == 0);
    CHECK(stat(stub.path, &st) == 0);
    CHECK(mvr_stub_fits(&st));
    CHECK(st.st_size % 1024 == 0 && st.st_size > 16384);
}

static void the_longest_name_and_path_fit(void)
{
    mvr_stub stub, read = {0};
    make_stub(&stub, "", "");
    memset(stub.name, 'n', MV_NAME_MAX);
    while (strlen(stub.path) < 800) {
        strcat(stub.path, "/deep");
        mkdir(stub.path, 0700);
    }
    strcat(stub.path, "/notes.db");
    OK(mvr_stub_put(&stub, NULL));
    OK(mvr_stub_at(stub.path, &read));
    CHECK(strcmp(read.name, stub.name) == 0);
    CHECK(strcmp(read.path, stub.path) == 0);
    while (strlen(stub.path) < MVR_PATH_MAX)
        strcat(stub.path, "x");
    IS(MV_NAME, mvr_stub_put(&stub, NULL));
}

static void a_stub_takes_after_the_file_it_replaces(void)
{
    mvr_stub stub;
    struct stat st;
    make_stub(&stub, "touched.db", "touched");
    int fd = open(stub.path, O_CREAT | O_WRONLY, 0640);
    CHECK(fd >= 0 && fchmod(fd, 0606) == 0);
    close(fd);
    OK(mvr_stub_put(&stub, NULL));
    CHECK(stat(stub.path, &st) == 0);
    EQUAL(0606, st.st_mode & 07777);
}

/* Whether another process would meet a lock of this one. */
static int is_locked_for_others(const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        struct flock wanted = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 << 30, .l_len = 1};
        int fd = open(path, O_RDWR);
        _exit(fd < 0 || fcntl(fd, F_GETLK, &wanted) != 0 || wanted.l_type == F_UNLCK);
    }
    int status = 1;
    return waitpid(child, &status, 0) == child && status == 0;
}

static void what_is_no_stub_is_not_taken_for_one(void)
{
    mvr_stub stub, read;
    const uint8_t bytes[MVR_STUB_SIZE] = "SQLite format 3";
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1 << 30, .l_len = 1};
    make_stub(&stub, "no.db", "no");
    int fd = open(stub.path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK(write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    CHECK(fcntl(fd, F_SETLK, &lock) == 0);
    for (int i = 0; i < 3; i++)
        IS(MV_NOTFOUND, mvr_stub_at(stub.path, &read));
    CHECK(is_locked_for_others(stub.path));
    CHECK(ftruncate(fd, 4096) == 0);
    IS(MV_NOTFOUND, mvr_stub_at(stub.path, &read));
    close(fd);
    IS(MV_NOTFOUND, mvr_stub_at(directory(), &read));
}

static void patch(const char *path, const char *from, const char *to)
{
    char bytes[MVR_STUB_SIZE];
    int fd = open(path, O_RDWR);
    CHECK(read(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    char *at = memmem(bytes, sizeof bytes, from, strlen(from));
    CHECK(at);
    memcpy(at, to, strlen(to));
    CHECK(pwrite(fd, bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
    close(fd);
}

static void a_stub_of_a_newer_release_or_a_damaged_one_is_told(void)
{
    mvr_stub stub, read;
    make_stub(&stub, "newer.db", "newer");
    OK(mvr_stub_put(&stub, NULL));
    patch(stub.path, "mvsqlite stub 1", "mvsqlite stub 9");
    IS(MV_FORMAT, mvr_stub_at(stub.path, &read));
    OK(mvr_stub_put(&stub, NULL));
    patch(stub.path, "\npath=", "\nhtap=");
    IS(MV_IO, mvr_stub_at(stub.path, &read));
}

static void a_stub_that_cannot_be_put_changes_nothing(void)
{
    mvr_stub stub;
    make_stub(&stub, "none/notes.db", "notes");
    IS(MV_IO, mvr_stub_put(&stub, NULL));
    make_stub(&stub, "line\nbreak.db", "notes");
    IS(MV_NAME, mvr_stub_put(&stub, NULL));
}

static void *put_often(void *arg)
{
    mvr_stub *stub = arg, read;
    for (int i = 0; i < 20; i++) {
        OK(mvr_stub_put(stub, NULL));
        OK(mvr_stub_at(stub->path, &read));
        CHECK(strcmp(read.name, "same") == 0);
    }
    return NULL;
}

static void threads_may_put_one_at_the_same_time(void)
{
    pthread_t threads[4];
    mvr_stub stub;
    make_stub(&stub, "same.db", "same");
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, put_often, &stub) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* Opens a file in another process, asks whether it has a writer, and ends that process. */
static int has_writer_elsewhere(const char *path, int how)
{
    int ready[2], ended[2];
    char byte = 0;
    CHECK(pipe(ready) == 0 && pipe(ended) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(ended[1]);
        _exit(open(path, how) < 0 || write(ready[1], &byte, 1) != 1 || read(ended[0], &byte, 1) != 0);
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    int found = mvr_has_writer(path);
    close(ended[1]);
    kit_wait(child);
    close(ended[0]), close(ready[0]), close(ready[1]);
    return found;
}

static void whoever_has_a_file_open_for_writing_is_seen(void)
{
    char path[KIT_PATH];
    kit_directory(path);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/file");
    CHECK(!mvr_has_writer(path));
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK(mvr_has_writer(path));
    close(fd);
    CHECK(!mvr_has_writer(path));
    CHECK(has_writer_elsewhere(path, O_RDWR));
    CHECK(has_writer_elsewhere(path, O_WRONLY));
    CHECK(!has_writer_elsewhere(path, O_RDONLY));
    CHECK(!mvr_has_writer(path));
    CHECK(!mvr_has_writer("/dev/null"));
}

static void asking_drops_no_lock_of_this_process(void)
{
    char path[KIT_PATH];
    kit_directory(path);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/file");
    close(open(path, O_WRONLY | O_CREAT, 0600));
    int reader = open(path, O_RDONLY);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    CHECK(fcntl(reader, F_SETLK, &lock) == 0);
    CHECK(!mvr_has_writer(path));
    pid_t child = fork();
    if (child == 0) {
        int other = open(path, O_WRONLY);
        struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        _exit(other < 0 || fcntl(other, F_GETLK, &asked) != 0 || asked.l_type != F_RDLCK);
    }
    kit_wait(child);
    close(reader);
}

int main(int argc, char **argv)
{
    /* read once by the process, for route_files */
    CHECK(setenv("MVSQLITE_MAP", "**/*.db={stem}", 1) == 0 && setenv("MVSQLITE_LOG", "off", 1) == 0);
    kit_begin(argc > 1 ? argv[1] : NULL);
    RUN(a_pattern_matches_whole_paths);
    RUN(a_set_is_one_character);
    RUN(stars_give_back_what_the_rest_needs);
    RUN(names_are_made_of_paths);
    RUN(a_bad_template_is_told);
    RUN(a_bad_route_is_told);
    RUN(the_first_route_wins);
    RUN(a_stub_says_what_it_stands_for);
    RUN(the_longest_name_and_path_fit);
    RUN(a_stub_takes_after_the_file_it_replaces);
    RUN(what_is_no_stub_is_not_taken_for_one);
    RUN(a_stub_of_a_newer_release_or_a_damaged_one_is_told);
    RUN(a_stub_that_cannot_be_put_changes_nothing);
    RUN(threads_may_put_one_at_the_same_time);
    RUN(whoever_has_a_file_open_for_writing_is_seen);
    RUN(asking_drops_no_lock_of_this_process);
    route_files();
    return check_end();
}
