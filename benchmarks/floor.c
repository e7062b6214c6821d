/* The physical floor: what FoundationDB's client takes for the same traffic with nothing around it.
 *
 *   floor CLUSTER fill NAME COUNT SIZE              COUNT keys with values of SIZE bytes
 *   floor CLUSTER read NAME COUNT SECONDS           one read version and one of those keys, again and again
 *   floor CLUSTER commit NAME SECONDS READS SIZE... one read version, READS keys in parallel, one commit of
 *                                                   values of these sizes: the keys read are written anew,
 *                                                   the others are new each time
 *   floor CLUSTER scan PREFIX THREADS               all keys with a prefix, THREADS ranges at once
 *
 * read and commit print "ready", wait for a line on standard input, and print when they began and ended,
 * how long the first transaction took (the connection included), and the time of every other one, in
 * seconds of the monotonic clock. scan prints bytes of keys and values, keys, and seconds.
 *
 * A benchmark's helper: an error it does not expect ends it with a sentence.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- what is used of libfdb_c, as its manual declares it -------------------------------------- */

#define API_VERSION 730
#define WANT_ALL (-2)
#define CHUNK_BYTES 1000000 /* ranges of about this size are read side by side */

typedef struct FDBFuture FDBFuture;
typedef struct FDBDatabase FDBDatabase;
typedef struct FDBTransaction FDBTransaction;
#pragma pack(push, 4)
typedef struct {
    const uint8_t *key;
    int key_length;
} key_view;
typedef struct {
    const uint8_t *key;
    int key_length;
    const uint8_t *value;
    int value_length;
} pair_view;
#pragma pack(pop)

int fdb_select_api_version_impl(int runtime, int header);
const char *fdb_get_error(int error);
int fdb_setup_network(void);
int fdb_run_network(void);
int fdb_stop_network(void);
int fdb_create_database(const char *cluster_file, FDBDatabase **out);
void fdb_database_destroy(FDBDatabase *db);
int fdb_database_create_transaction(FDBDatabase *db, FDBTransaction **out);
void fdb_transaction_destroy(FDBTransaction *tr);
FDBFuture *fdb_transaction_get(FDBTransaction *tr, const uint8_t *key, int size, int snapshot);
FDBFuture *fdb_transaction_get_range(FDBTransaction *tr, const uint8_t *begin, int begin_size, int begin_or_equal,
                                     int begin_offset, const uint8_t *end, int end_size, int end_or_equal,
                                     int end_offset, int limit, int target_bytes, int mode, int iteration,
                                     int snapshot, int reverse);
FDBFuture *fdb_transaction_get_range_split_points(FDBTransaction *tr, const uint8_t *begin, int begin_size,
                                                  const uint8_t *end, int end_size, int64_t chunk_size);
void fdb_transaction_set(FDBTransaction *tr, const uint8_t *key, int size, const uint8_t *value, int value_size);
FDBFuture *fdb_transaction_commit(FDBTransaction *tr);
FDBFuture *fdb_transaction_on_error(FDBTransaction *tr, int error);
int fdb_future_block_until_ready(FDBFuture *f);
int fdb_future_get_error(FDBFuture *f);
int fdb_future_get_value(FDBFuture *f, int *present, const uint8_t **value, int *size);
int fdb_future_get_keyvalue_array(FDBFuture *f, const pair_view **pairs, int *n, int *more);
int fdb_future_get_key_array(FDBFuture *f, const key_view **keys, int *n);
void fdb_future_destroy(FDBFuture *f);

/* ---- the client --------------------------------------------------------------------------------- */

static FDBDatabase *db;
static pthread_t network;

static void check(int error, const char *doing)
{
    if (error) {
        fprintf(stderr, "floor: %s: %s\n", doing, fdb_get_error(error));
        exit(1);
    }
}

static void start_thread(pthread_t *thread, void *(*run)(void *), void *with)
{
    int error = pthread_create(thread, NULL, run, with);
    if (error) {
        fprintf(stderr, "floor: starting a thread: %s\n", strerror(error));
        exit(1);
    }
}

static void *run_network(void *unused)
{
    (void)unused;
    check(fdb_run_network(), "the network thread");
    return NULL;
}

static void connect_to(const char *cluster)
{
    check(fdb_select_api_version_impl(API_VERSION, API_VERSION), "choosing the API version");
    check(fdb_setup_network(), "setting up the network");
    start_thread(&network, run_network, NULL);
    check(fdb_create_database(cluster, &db), cluster);
}

static void disconnect(void)
{
    fdb_database_destroy(db);
    check(fdb_stop_network(), "stopping the network");
    pthread_join(network, NULL);
}

static FDBTransaction *begin(void)
{
    FDBTransaction *tr;
    check(fdb_database_create_transaction(db, &tr), "creating a transaction");
    return tr;
}

/* Waits; the future stays the caller's. */
static int wait_for(FDBFuture *f)
{
    int error = fdb_future_block_until_ready(f);
    return error ? error : fdb_future_get_error(f);
}

static int finish(FDBFuture *f)
{
    int error = wait_for(f);
    fdb_future_destroy(f);
    return error;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one transaction ------------------------------------------------------------------------------ */

#define WRITES_MAX 64
#define VALUE_MAX 100000

typedef struct {
    const char *name;
    unsigned reads;            /* keys read in parallel */
    unsigned from;             /* keys to choose the one read from; 0: the first `reads` keys */
    unsigned writes;           /* the first `reads` of them under the keys read */
    int sizes[WRITES_MAX];
    unsigned done;
} plan;

static uint8_t filling[VALUE_MAX];

static int key_of(char *room, size_t size, const char *name, unsigned number)
{
    return snprintf(room, size, "floor/%.100s/%010u", name, number);
}

static unsigned chance(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 32);
}

static int read_in_parallel(FDBTransaction *tr, const plan *p)
{
    FDBFuture *futures[WRITES_MAX];
    char key[128];
    int error = 0;
    for (unsigned i = 0; i < p->reads; i++) {
        int n = key_of(key, sizeof key, p->name, p->from ? chance() % p->from : i);
        futures[i] = fdb_transaction_get(tr, (const uint8_t *)key, n, 0);
    }
    for (unsigned i = 0; i < p->reads; i++) {
        int present, size, failed = wait_for(futures[i]);
        const uint8_t *value;
        failed = failed ? failed : fdb_future_get_value(futures[i], &present, &value, &size);
        error = error ? error : failed;
        fdb_future_destroy(futures[i]);
    }
    return error;
}

static int attempt(FDBTransaction *tr, const plan *p)
{
    char key[128];
    int error = read_in_parallel(tr, p);
    if (error || !p->writes)
        return error;
    for (unsigned i = 0; i < p->writes; i++) {
        unsigned number = i < p->reads ? i : p->done * p->writes + i;
        int n = key_of(key, sizeof key, p->name, number);
        fdb_transaction_set(tr, (const uint8_t *)key, n, filling, p->sizes[i]);
    }
    return finish(fdb_transaction_commit(tr));
}

static void transact(plan *p)
{
    FDBTransaction *tr = begin();
    int error;
    while ((error = attempt(tr, p)) != 0)
        check(finish(fdb_transaction_on_error(tr, error)), "a transaction");
    fdb_transaction_destroy(tr);
    p->done++;
}

/* ---- modes ------------------------------------------------------------------------------------------ */

static void measure(plan *p, double seconds, double began)
{
    size_t room = 1024, n = 0;
    double *took = malloc(room * sizeof *took);
    transact(p);
    double first = now() - began;
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        exit(1);
    double start = now(), before = start, after = start;
    while (took && (after - start < seconds || n == 0)) {
        transact(p);
        after = now();
        took[n++] = after - before;
        before = after;
        if (n == room)
            took = realloc(took, (room *= 2) * sizeof *took);
    }
    printf("%.9f %.9f %.9f\n", start, after, first);
    for (size_t i = 0; took && i < n; i++)
        printf("%.9f\n", took[i]);
    free(took);
}

static void fill(const char *name, unsigned count, int size)
{
    char key[128];
    unsigned batch = (unsigned)(500000 / size + 1);
    for (unsigned done = 0; done < count; done += batch) {
        FDBTransaction *tr = begin();
        int error;
        do {
            for (unsigned i = done; i < done + batch && i < count; i++) {
                int n = key_of(key, sizeof key, name, i);
                fdb_transaction_set(tr, (const uint8_t *)key, n, filling, size);
            }
            error = finish(fdb_transaction_commit(tr));
            if (error)
                check(finish(fdb_transaction_on_error(tr, error)), "filling");
        } while (error);
        fdb_transaction_destroy(tr);
    }
}

typedef struct {
    const key_view *bounds;
    int chunks;
    int next;                /* guarded by lock, as are the sums */
    uint64_t bytes, keys;
    pthread_mutex_t lock;
} scan;

/* Reads [begin, end) once, from wherever an error left off. */
static void read_range(key_view from, key_view to, uint64_t *bytes, uint64_t *keys)
{
    uint8_t last[10000];
    int or_equal = 0, offset = 1, more = 1; /* first greater or equal */
    FDBTransaction *tr = begin();
    for (int iteration = 1; more; iteration++) {
        FDBFuture *f = fdb_transaction_get_range(tr, from.key, from.key_length, or_equal, offset, to.key, to.key_length,
                                                 0, 1, 0, 0, WANT_ALL, iteration, 1, 0);
        const pair_view *pairs;
        int n = 0, error = wait_for(f);
        error = error ? error : fdb_future_get_keyvalue_array(f, &pairs, &n, &more);
        for (int i = 0; !error && i < n; i++) {
            *bytes += (uint64_t)pairs[i].key_length + (uint64_t)pairs[i].value_length;
            ++*keys;
        }
        if (!error && n) {
            memcpy(last, pairs[n - 1].key, (size_t)pairs[n - 1].key_length);
            from = (key_view){last, pairs[n - 1].key_length};
            or_equal = 1;
        }
        fdb_future_destroy(f);
        if (error)
            check(finish(fdb_transaction_on_error(tr, error)), "a scan");
    }
    fdb_transaction_destroy(tr);
}

static void *read_chunks(void *shared)
{
    scan *s = shared;
    uint64_t bytes = 0, keys = 0;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        int mine = s->next++;
        pthread_mutex_unlock(&s->lock);
        if (mine >= s->chunks)
            break;
        read_range(s->bounds[mine], s->bounds[mine + 1], &bytes, &keys);
    }
    pthread_mutex_lock(&s->lock);
    s->bytes += bytes;
    s->keys += keys;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

#define THREADS_MAX 256

/* The end of the keys with a prefix is the prefix with its last byte raised; of all keys, 0xff. */
static void read_all(const char *prefix, unsigned n_threads)
{
    uint8_t end[256] = {0xff};
    int size = (int)strlen(prefix), n_bounds;
    pthread_t threads[THREADS_MAX];
    if (size > 0 && size < 256) {
        memcpy(end, prefix, (size_t)size);
        end[size - 1]++;
    }
    double start = now();
    FDBTransaction *tr = begin();
    scan s = {.lock = PTHREAD_MUTEX_INITIALIZER};
    FDBFuture *f = fdb_transaction_get_range_split_points(tr, (const uint8_t *)prefix, size, end, size ? size : 1,
                                                          CHUNK_BYTES);
    check(wait_for(f), "asking for split points");
    check(fdb_future_get_key_array(f, &s.bounds, &n_bounds), "reading split points");
    s.chunks = n_bounds - 1;
    n_threads = n_threads < 1 ? 1 : n_threads > THREADS_MAX ? THREADS_MAX : n_threads;
    for (unsigned i = 0; i < n_threads; i++)
        start_thread(&threads[i], read_chunks, &s);
    for (unsigned i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    printf("%llu %llu %.9f\n", (unsigned long long)s.bytes, (unsigned long long)s.keys, now() - start);
    fdb_future_destroy(f);
    fdb_transaction_destroy(tr);
}

static void commits(int argc, char **argv, double began)
{
    plan p = {.name = argv[3], .reads = (unsigned)atoi(argv[5])};
    for (int i = 6; i < argc && p.writes < WRITES_MAX; i++) {
        int size = atoi(argv[i]);
        p.sizes[p.writes++] = size < 0 ? 0 : size > VALUE_MAX ? VALUE_MAX : size;
    }
    if (p.reads > p.writes)
        p.reads = p.writes;
    measure(&p, atof(argv[4]), began);
}

int main(int argc, char **argv)
{
    double began = now();
    const char *mode = argc > 2 ? argv[2] : "";
    memset(filling, 'x', sizeof filling);
    if (argc > 1)
        connect_to(argv[1]);
    if (strcmp(mode, "fill") == 0 && argc == 6 && atoi(argv[5]) > 0 && atoi(argv[5]) <= VALUE_MAX) {
        fill(argv[3], (unsigned)atoi(argv[4]), atoi(argv[5]));
    } else if (strcmp(mode, "read") == 0 && argc == 6) {
        plan p = {.name = argv[3], .reads = 1, .from = (unsigned)atoi(argv[4])};
        measure(&p, atof(argv[5]), began);
    } else if (strcmp(mode, "commit") == 0 && argc > 6) {
        commits(argc, argv, began);
    } else if (strcmp(mode, "scan") == 0 && argc == 5) {
        read_all(argv[3], (unsigned)atoi(argv[4]));
    } else {
        fprintf(stderr, "floor: its head comment tells how to call it\n");
        return 2;
    }
    disconnect();
    return 0;
}
