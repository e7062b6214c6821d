/* Bytes in and out: pages, sets of pages, keys, records. */
#include "model.h"
#include "test_store.h"
#include "../../native/store/runs.h"
#include "../../native/store/texts.h"

static const mv_stamp some_stamp = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}};

/* Decodes what `bytes` hold; MV_CORRUPT or a page. */
static int decode(mv_slice bytes, uint32_t pgno, const uint8_t *newer, uint32_t newer_size, uint8_t *page)
{
    mvi_image image;
    int rc = mvi_image_parse(bytes, "a test", &image);
    return rc ? rc : mvi_image_decode(&image, pgno, newer, newer_size, page);
}

static void pages_come_back(void)
{
    static uint8_t page[MVI_PAGE_MAX], back[MVI_PAGE_MAX];
    chance c = {11};
    for (uint32_t size = 512; size <= MVI_PAGE_MAX; size *= 2)
        for (int kind = 0; kind < FILL_KINDS; kind++) {
            mvi_buf out = {0};
            mvi_image image;
            kit_fill(&c, kind, page, size);
            OK(mvi_image_encode(&out, page, size, 7, &some_stamp, NULL, NULL));
            OK(mvi_image_parse(mvi_slice(out.data, out.size), "a test", &image));
            EQUAL(size, image.size);
            EQUAL(0, mvi_stamp_cmp(&image.stamp, &some_stamp));
            CHECK(out.size <= MVI_IMAGE_HEADER + size);
            CHECK(kind != FILL_ZERO || out.size == MVI_IMAGE_HEADER);
            CHECK(kind != FILL_TEXT || out.size < size / 2);
            OK(mvi_image_decode(&image, 7, NULL, 0, back));
            CHECK(memcmp(page, back, size) == 0);
            IS(MV_CORRUPT, mvi_image_decode(&image, 8, NULL, 0, back)); /* in another page's place */
            mvi_buf_free(&out);
        }
}

static void deltas_come_back_over_their_newer_page(void)
{
    static uint8_t page[MVI_PAGE_MAX], newer[MVI_PAGE_MAX], back[MVI_PAGE_MAX];
    chance c = {12};
    for (uint32_t size = 512; size <= MVI_PAGE_MAX; size *= 2) {
        mvi_buf out = {0};
        int delta = 0;
        kit_fill(&c, FILL_NOISE, page, size);
        memcpy(newer, page, size);
        for (int i = 0; i < 20; i++)
            newer[chance_below(&c, size)] ^= (uint8_t)(1 + chance_below(&c, 255));
        OK(mvi_image_encode(&out, page, size, 7, &some_stamp, newer, &delta));
        CHECK(delta && out.size < size / 2);
        mv_slice bytes = mvi_slice(out.data, out.size);
        OK(decode(bytes, 7, newer, size, back));
        CHECK(memcmp(page, back, size) == 0);
        IS(MV_CORRUPT, decode(bytes, 7, NULL, 0, back));
        IS(MV_CORRUPT, decode(bytes, 7, newer, size / 2, back));
        memset(newer, 0, size);
        IS(MV_CORRUPT, decode(bytes, 7, newer, size, back));
        mvi_buf_free(&out);
    }
}

static uint8_t codec_of(const mvi_buf *encoded)
{
    return encoded->data[MV_STAMP_SIZE];
}

/* A few bytes changed where they stand are kept as runs, much as a frame, and both come back. */
static void small_changes_are_runs(void)
{
    static uint8_t page[MVI_PAGE_MAX], newer[MVI_PAGE_MAX], back[MVI_PAGE_MAX];
    chance c = {21};
    unsigned runs = 0, frames = 0;
    for (int i = 0; i < 3000; i++) {
        uint32_t size = 512u << (i % 8), changes = 1 + chance_below(&c, i % 3 ? 6 : 200);
        mvi_buf out = {0};
        int delta = 0;
        kit_fill(&c, i % 2 ? FILL_NOISE : FILL_TEXT, page, size);
        memcpy(newer, page, size);
        for (uint32_t k = 0; k < changes; k++) {
            uint32_t at = chance_below(&c, size), n = 1 + chance_below(&c, 4);
            for (uint32_t j = at; j < at + n && j < size; j++)
                newer[j] ^= (uint8_t)(1 + chance_below(&c, 255));
        }
        if (i % 5 == 0) /* the ends of the page too */
            newer[0] ^= 1, newer[size - 1] ^= 1;
        if (memcmp(page, newer, size) == 0)
            newer[0] ^= 1;
        OK(mvi_image_encode(&out, page, size, 7, &some_stamp, newer, &delta));
        CHECK(!delta || codec_of(&out) == MVI_RUNS || codec_of(&out) == MVI_DELTA);
        CHECK(changes > 6 || size < 1024 || (codec_of(&out) == MVI_RUNS && out.size <= MVI_IMAGE_HEADER + 64));
        runs += codec_of(&out) == MVI_RUNS;
        frames += codec_of(&out) == MVI_DELTA;
        OK(decode(mvi_slice(out.data, out.size), 7, newer, size, back));
        CHECK(memcmp(page, back, size) == 0);
        mvi_buf_free(&out);
    }
    CHECK(runs > 1000 && frames > 300);
}

static void runs_keep_to_their_room(void)
{
    static uint8_t page[65536], newer[65536], out[70000], back[65536];
    chance c = {22};
    kit_fill(&c, FILL_NOISE, page, sizeof page);
    for (int i = 0; i < 400; i++) {
        memcpy(newer, page, sizeof page);
        for (uint32_t k = chance_below(&c, 30); k > 0; k--)
            newer[chance_below(&c, sizeof page)] ^= 0x55;
        size_t n = mvi_runs_encode(page, newer, sizeof page, out, sizeof out);
        EQUAL(1, mvi_runs_decode(mvi_slice(out, n), newer, sizeof page, back));
        CHECK(memcmp(page, back, sizeof page) == 0);
        CHECK(mvi_runs_encode(page, newer, sizeof page, out, n + 6) == n); /* two numbers of three bytes at most */
        if (n > 12)
            EQUAL(0, mvi_runs_encode(page, newer, sizeof page, out, n - 6));
    }
    memset(newer, 0, sizeof newer);
    memset(page, 1, sizeof page); /* one run, as long as the page */
    CHECK(mvi_runs_encode(page, newer, sizeof page, out, sizeof out) == 1 + 3 + sizeof page);
    EQUAL(0, mvi_runs_encode(page, newer, sizeof page, out, sizeof page));
}

/* What is no runs over such a page is refused, and nothing beyond the page is written. */
static void noise_is_no_run(void)
{
    chance c = {23};
    uint8_t newer[512] = {0}, noise[40];
    for (int i = 0; i < 50000; i++) {
        uint8_t *page = malloc(sizeof newer); /* by itself, so that the sanitizers see its end */
        size_t n = chance_below(&c, sizeof noise);
        kit_fill(&c, FILL_NOISE, noise, n);
        mvi_runs_decode(mvi_slice(noise, n), newer, sizeof newer, page);
        free(page);
    }
    const uint8_t beyond[] = {0x80, 4, 1, 9}, at_the_end[] = {0xff, 3, 1, 9}, cut[] = {0, 5, 1};
    uint8_t page[512];
    EQUAL(0, mvi_runs_decode(mvi_slice(beyond, sizeof beyond), newer, sizeof newer, page));
    EQUAL(1, mvi_runs_decode(mvi_slice(at_the_end, sizeof at_the_end), newer, sizeof newer, page));
    EQUAL(9, page[511]);
    EQUAL(0, mvi_runs_decode(mvi_slice(cut, sizeof cut), newer, sizeof newer, page));
}

static void a_poor_delta_is_not_taken(void)
{
    static uint8_t page[4096], newer[4096], back[4096];
    chance c = {13};
    mvi_buf out = {0};
    int delta = 1;
    kit_fill(&c, FILL_NOISE, page, sizeof page);
    kit_fill(&c, FILL_NOISE, newer, sizeof newer);
    OK(mvi_image_encode(&out, page, sizeof page, 7, &some_stamp, newer, &delta));
    EQUAL(0, delta);
    OK(decode(mvi_slice(out.data, out.size), 7, NULL, 0, back));
    CHECK(memcmp(page, back, sizeof page) == 0);
    mvi_buf_free(&out);
}

/* Damage may be harmless (a stamp, a bit nobody reads), but never gives another page. */
static void check_damaged(mv_slice bytes, const uint8_t *newer, const uint8_t *page, uint32_t size)
{
    static uint8_t back[MVI_PAGE_MAX];
    unsigned noticed = 0;
    uint8_t *copy = malloc(bytes.size);
    for (size_t i = 0; i < bytes.size; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            memcpy(copy, bytes.data, bytes.size);
            copy[i] ^= (uint8_t)(1 << bit);
            int rc = decode(mvi_slice(copy, bytes.size), 7, newer, size, back);
            CHECK(rc == MV_CORRUPT || (rc == MV_OK && memcmp(page, back, size) == 0));
            noticed += rc == MV_CORRUPT;
            if (i > MV_STAMP_SIZE + 2 && i < MVI_IMAGE_HEADER)
                IS(MV_CORRUPT, rc); /* the checksum itself */
        }
    CHECK(noticed > 8 * 3);
    for (size_t n = 0; n < bytes.size; n++) {
        memcpy(copy, bytes.data, n);
        IS(MV_CORRUPT, decode(mvi_slice(copy, n), 7, newer, size, back));
    }
    free(copy);
}

static void damage_to_an_image_is_noticed(void)
{
    static uint8_t page[1024], newer[1024];
    chance c = {14};
    for (int kind = 0; kind < FILL_KINDS; kind++)
        for (int with_delta = 0; with_delta < 2; with_delta++) {
            mvi_buf out = {0};
            kit_fill(&c, kind, page, sizeof page);
            memcpy(newer, page, sizeof page);
            newer[100] ^= 1;
            OK(mvi_image_encode(&out, page, sizeof page, 7, &some_stamp, with_delta ? newer : NULL, NULL));
            check_damaged(mvi_slice(out.data, out.size), with_delta ? newer : NULL, page, sizeof page);
            mvi_buf_free(&out);
        }
}

static void noise_is_no_image(void)
{
    static uint8_t noise[5000], back[MVI_PAGE_MAX];
    chance c = {15};
    for (int i = 0; i < 5000; i++) {
        size_t n = chance_below(&c, i % 10 ? 300 : sizeof noise);
        kit_fill(&c, FILL_NOISE, noise, n);
        noise[MV_STAMP_SIZE] %= 5;                       /* a codec there is */
        noise[MV_STAMP_SIZE + 2] = (uint8_t)(9 + i % 8); /* a size there is */
        IS(MV_CORRUPT, decode(mvi_slice(noise, n), 7, NULL, 0, back));
    }
}

/* ---- sets of pages ---------------------------------------------------------- */

enum { SET_MAX = 150000 };

typedef struct listing {
    uint32_t last;
    size_t n, stop_after;
    mvi_pageset seen;
} listing;

static int list_page(void *ctx, uint32_t pgno)
{
    listing *l = ctx;
    CHECK(pgno > l->last); /* ascending, and no page 0 */
    l->last = pgno;
    if (++l->n == l->stop_after)
        return 1234;
    return mvi_pageset_add(&l->seen, pgno);
}

static void make_set(chance *c, mvi_pageset *set, uint8_t *member)
{
    uint32_t runs = chance_below(c, 60);
    memset(member, 0, SET_MAX + 1);
    for (uint32_t i = 0; i < runs; i++) {
        uint32_t first = 1 + chance_below(c, i % 3 ? SET_MAX : 300), length = chance_below(c, i % 7 ? 20 : 5000);
        for (uint32_t p = first; p <= SET_MAX && p <= first + length; p++) {
            member[p] = i % 5 != 4;
            if (member[p])
                OK(mvi_pageset_add(set, p));
            else
                mvi_pageset_remove(set, p);
        }
    }
}

static void check_set(const mvi_pageset *set, const uint8_t *member)
{
    uint32_t at = 0;
    size_t n = 0;
    for (uint32_t p = 1; p <= SET_MAX; p++) {
        CHECK(!!mvi_pageset_has(set, p) == member[p]);
        if (!member[p])
            continue;
        at = mvi_pageset_next(set, at);
        EQUAL(p, at);
        n++;
    }
    EQUAL(0, mvi_pageset_next(set, at));
    EQUAL(n, set->count);
}

static void sets_of_pages_come_back(void)
{
    static uint8_t member[SET_MAX + 1];
    chance c = {16};
    for (int i = 0; i < 30; i++) {
        mvi_pageset set = {0};
        mvi_buf out = {0};
        listing l = {.last = 0};
        make_set(&c, &set, member);
        check_set(&set, member);
        mvi_pageset_encode(&set, &out);
        OK(mvi_pageset_decode(mvi_slice(out.data, out.size), list_page, &l));
        check_set(&l.seen, member);
        if (set.count) {
            listing some = {.stop_after = 1 + chance_below(&c, (uint32_t)set.count)};
            EQUAL(1234, mvi_pageset_decode(mvi_slice(out.data, out.size), list_page, &some));
            EQUAL(some.stop_after, some.n);
            mvi_pageset_clear(&some.seen);
            listing cut = {.n = 0};
            IS(MV_CORRUPT, mvi_pageset_decode(mvi_slice(out.data, out.size - 1), list_page, &cut));
            mvi_pageset_clear(&cut.seen);
        }
        mvi_buf_free(&out);
        mvi_pageset_clear(&set);
        mvi_pageset_clear(&l.seen);
    }
}

static void the_last_pages_are_in_a_set_too(void)
{
    mvi_pageset set = {0};
    mvi_buf out = {0};
    listing l = {.last = 0};
    const uint32_t pages[] = {1, 2, 32767, 32768, 32769, UINT32_MAX - 1, UINT32_MAX};
    for (size_t i = 0; i < 7; i++) {
        OK(mvi_pageset_add(&set, pages[i]));
        OK(mvi_pageset_add(&set, pages[i]));
    }
    EQUAL(7, set.count);
    mvi_pageset_encode(&set, &out);
    OK(mvi_pageset_decode(mvi_slice(out.data, out.size), list_page, &l));
    EQUAL(7, l.n);
    EQUAL(UINT32_MAX, l.last);
    mvi_buf_free(&out);
    mvi_pageset_clear(&set);
    mvi_pageset_clear(&l.seen);
}

static void noise_is_no_set(void)
{
    chance c = {17};
    uint8_t noise[60];
    for (int i = 0; i < 20000; i++) {
        size_t n = chance_below(&c, sizeof noise);
        listing l = {.stop_after = 3000};
        kit_fill(&c, FILL_NOISE, noise, n);
        if (n && i % 2)
            noise[0] = (uint8_t)(1 + i % 5); /* a small number of runs */
        int rc = mvi_pageset_decode(mvi_slice(noise, n), list_page, &l);
        CHECK(rc == MV_OK || rc == MV_CORRUPT || rc == 1234);
        mvi_pageset_clear(&l.seen);
    }
    /* Two runs; the second begins so far on that it comes round to the first. */
    mvi_buf round = {0};
    listing l = {.stop_after = 100};
    mvi_buf_varint(&round, 2);
    mvi_buf_varint(&round, 5), mvi_buf_varint(&round, 0);
    mvi_buf_varint(&round, UINT64_MAX - 2), mvi_buf_varint(&round, 0);
    IS(MV_CORRUPT, mvi_pageset_decode(mvi_slice(round.data, round.size), list_page, &l));
    mvi_buf_free(&round);
    mvi_pageset_clear(&l.seen);
}

/* ---- keys ------------------------------------------------------------------- */

static int before(mvi_key a, mvi_key b)
{
    return mvi_slice_cmp(mvi_key_slice(&a), mvi_key_slice(&b)) < 0;
}

static void keys_sort_as_their_numbers(void)
{
    const uint32_t numbers[] = {0, 1, 255, 256, 65535, 65536, 0x01ffffff, 0x7fffffff, 0x80000000, 0xfffffffe};
    const uint8_t txid[MV_TXID_SIZE] = "0123456789abcdef";
    const mv_stamp low = {{0, 0, 0, 0, 0, 0, 0, 1, 0, 255}}, high = {{0, 0, 0, 0, 0, 0, 0, 1, 1, 0}};
    for (size_t i = 1; i < sizeof numbers / sizeof *numbers; i++) {
        uint32_t a = numbers[i - 1], b = numbers[i];
        CHECK(before(mvi_key_head(1, a), mvi_key_head(1, b)));
        CHECK(before(mvi_key_head(a, UINT32_MAX), mvi_key_head(b, 0)));
        CHECK(before(mvi_key_history(1, a, &mvi_last_stamp), mvi_key_history(1, b, &mvi_zero_stamp)));
        CHECK(before(mvi_key_staged(1, txid, a), mvi_key_staged(1, txid, b)));
        CHECK(before(mvi_key_time(1, a, &mvi_last_stamp), mvi_key_time(1, b, &mvi_zero_stamp)));
        CHECK(before(mvi_key_chunk(1, &low, (uint16_t)a), mvi_key_commit(1, &high)));
    }
    CHECK(before(mvi_key_commit(1, &low), mvi_key_commit(1, &high)));
    CHECK(before(mvi_key_commit(1, &low), mvi_key_chunk(1, &low, 0)));
}

static void the_key_after_follows_all_that_begin_alike(void)
{
    const mv_stamp ends_full = {{0, 0, 0, 0, 0, 0, 0, 0, 255, 255}}, next = {{0, 0, 0, 0, 0, 0, 0, 1, 0, 0}};
    mvi_key key = mvi_key_history(1, 2, &ends_full), after = mvi_key_after(key), more = mvi_key_more(key);
    CHECK(before(key, more));
    CHECK(before(more, after));
    CHECK(!before(mvi_key_history(1, 2, &next), after));
    CHECK(mvi_key_is_more(mvi_key_slice(&more), MVI_HISTORY_KEY_SIZE));
    CHECK(!mvi_key_is_more(mvi_key_slice(&key), MVI_HISTORY_KEY_SIZE));
    after = mvi_key_after(mvi_key_history(1, 2, &mvi_last_stamp));
    CHECK(!before(mvi_key_history(1, 3, &mvi_zero_stamp), after));
    after = mvi_key_after(mvi_key_head(UINT32_MAX, UINT32_MAX));
    CHECK(before(mvi_key_head(UINT32_MAX, UINT32_MAX), after));
}

static void keys_are_read_back(void)
{
    mvi_key head = mvi_key_head(0x01020304, 0xa0b0c0d0), history = mvi_key_history(5, 6, &some_stamp);
    mvi_key commit = mvi_key_commit(7, &some_stamp), time = mvi_key_time(8, 9, &some_stamp);
    mvi_key staged = mvi_key_staged(10, (const uint8_t *)"0123456789abcdef", 11);
    EQUAL(MVI_HEAD_KEY_SIZE, head.size);
    EQUAL(MVI_HISTORY_KEY_SIZE, history.size);
    EQUAL(MVI_COMMIT_KEY_SIZE, commit.size);
    EQUAL(MVI_TIME_KEY_SIZE, time.size);
    EQUAL(MVI_STAGED_KEY_SIZE, staged.size);
    EQUAL(0x01020304, mvi_key_get_ns(mvi_key_slice(&head)));
    EQUAL(0xa0b0c0d0, mvi_key_get_pgno(mvi_key_slice(&head)));
    EQUAL(6, mvi_key_get_pgno(mvi_key_slice(&history)));
    EQUAL(11, mvi_key_get_staged_pgno(mvi_key_slice(&staged)));
    mv_stamp stamps[] = {mvi_key_get_stamp(mvi_key_slice(&history), MVI_STAMP_IN_HISTORY),
                         mvi_key_get_stamp(mvi_key_slice(&commit), MVI_STAMP_IN_COMMIT),
                         mvi_key_get_stamp(mvi_key_slice(&time), MVI_STAMP_IN_TIME)};
    for (int i = 0; i < 3; i++)
        EQUAL(0, mvi_stamp_cmp(&stamps[i], &some_stamp));
}

/* ---- records ---------------------------------------------------------------- */

static void latest_and_meta_come_back(void)
{
    uint8_t bytes[MVI_META_ROOM];
    mvi_latest latest = {.stamp = some_stamp, .pages = 9, .page_size = 65536, .ms = 1u << 31}, latest_back;
    for (latest.flags = 0; latest.flags < 4; latest.flags++) {
        memset(latest.pending, latest.flags & MVI_PENDING ? 5 : 0, MV_TXID_SIZE);
        size_t n = mvi_latest_encode(&latest, bytes);
        OK(mvi_latest_decode(mvi_slice(bytes, n), &latest_back));
        CHECK(memcmp(&latest, &latest_back, sizeof latest) == 0);
        IS(MV_CORRUPT, mvi_latest_decode(mvi_slice(bytes, n - 1), &latest_back));
    }
    mvi_meta meta = {.created_ms = 1, .deleted_ms = 2}, meta_back;
    memset(meta.name, 'n', MV_NAME_MAX);
    size_t n = mvi_meta_encode(&meta, bytes);
    OK(mvi_meta_decode(mvi_slice(bytes, n), &meta_back));
    CHECK(meta_back.created_ms == 1 && meta_back.deleted_ms == 2 && strcmp(meta_back.name, meta.name) == 0);
    IS(MV_CORRUPT, mvi_meta_decode(mvi_slice(bytes, 16), &meta_back));
}

static void commit_records_come_back(void)
{
    mvi_buf out = {0};
    mvi_record back, record = {
        .txid = (const uint8_t *)"0123456789abcdef",
        .previous = some_stamp,
        .target = {{9}},
        .ms = 123456789012,
        .changed = 300,
        .pid = 70000,
        .pages = 40,
        .page_size = 512,
        .kind = MV_KIND_REVERT,
        .host = str("host"),
        .program = str("program"),
        .message = str("a message"),
    };
    mvi_record_encode(&record, str("the set"), &out);
    OK(mvi_record_decode(mvi_slice(out.data, out.size), &back));
    CHECK(memcmp(back.txid, record.txid, MV_TXID_SIZE) == 0);
    CHECK(back.ms == record.ms && back.changed == 300 && back.pid == 70000 && back.pages == 40);
    CHECK(back.page_size == 512 && back.kind == MV_KIND_REVERT && back.target.bytes[0] == 9 && back.chunks == 0);
    CHECK(mvi_slice_cmp(back.set, str("the set")) == 0 && mvi_slice_cmp(back.message, str("a message")) == 0);
    CHECK(back.statements.size == 0);
    for (size_t n = 0; n < out.size; n++) { /* cut anywhere: an error, or texts missing, and no bad read */
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, out.data, n);
        int rc = mvi_record_decode(mvi_slice(copy, n), &back);
        CHECK(rc == MV_CORRUPT || (rc == MV_OK && n > 50));
        free(copy);
    }
    mvi_buf_free(&out);
}

static void statements_are_packed_and_come_back(void)
{
    static char long_text[70000];
    const char *update = "UPDATE note SET title = ?, text = ? WHERE id = ?";
    mvi_buf packed = {0}, text = {0}, out = {0};
    mvi_record record = {.txid = (const uint8_t *)"0123456789abcdef", .page_size = 4096}, back;
    mvi_text_pack(str(update), &packed);
    CHECK(packed.size && packed.size < strlen(update) * 3 / 4);
    record.packed = mvi_slice(packed.data, packed.size);
    mvi_record_encode(&record, str("the set"), &out);
    OK(mvi_record_decode(mvi_slice(out.data, out.size), &back));
    EQUAL(0, back.statements.size);
    OK(mvi_record_statements(&back, &text));
    CHECK(mvi_slice_cmp(mvi_slice(text.data, text.size), str(update)) == 0);
    for (size_t i = 0; i < packed.size; i++) /* damaged or cut: an error or another text, and no bad read */
        for (int bit = 0; bit < 8; bit++) {
            mvi_buf other = {0};
            uint8_t *copy = malloc(packed.size);
            memcpy(copy, packed.data, packed.size);
            copy[i] ^= (uint8_t)(1 << bit);
            int rc = mvi_text_unpack(mvi_slice(copy, bit ? packed.size : i), &other);
            CHECK(rc == MV_CORRUPT || (rc == MV_OK && other.size == strlen(update)));
            CHECK(rc == MV_OK || other.size == 0);
            mvi_buf_free(&other);
            free(copy);
        }
    packed.size = 0;
    mvi_text_pack(str("q"), &packed); /* would be longer */
    memset(long_text, 'x', sizeof long_text - 1);
    mvi_text_pack(str(long_text), &packed); /* longer than a frame may be */
    mvi_text_pack(str(""), &packed);
    EQUAL(0, packed.size);
    mvi_buf_free(&packed);
    mvi_buf_free(&text);
    mvi_buf_free(&out);
}

void store_codec(void)
{
    RUN(pages_come_back);
    RUN(deltas_come_back_over_their_newer_page);
    RUN(small_changes_are_runs);
    RUN(runs_keep_to_their_room);
    RUN(noise_is_no_run);
    RUN(a_poor_delta_is_not_taken);
    RUN(damage_to_an_image_is_noticed);
    RUN(noise_is_no_image);
    RUN(sets_of_pages_come_back);
    RUN(the_last_pages_are_in_a_set_too);
    RUN(noise_is_no_set);
    RUN(keys_sort_as_their_numbers);
    RUN(the_key_after_follows_all_that_begin_alike);
    RUN(keys_are_read_back);
    RUN(latest_and_meta_come_back);
    RUN(commit_records_come_back);
    RUN(statements_are_packed_and_come_back);
}
