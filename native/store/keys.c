#include "keys.h"

const mv_stamp mvi_zero_stamp;
const mv_stamp mvi_last_stamp = {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255}};

static void add(mvi_key *k, const void *data, size_t n)
{
    if (k->size + n > sizeof k->bytes)
        n = sizeof k->bytes - k->size;
    memcpy(k->bytes + k->size, data, n);
    k->size += n;
}

static void add32(mvi_key *k, uint32_t v)
{
    uint8_t b[4];
    mvi_put32(b, v);
    add(k, b, 4);
}

static mvi_key start(char kind)
{
    mvi_key k = {.size = 0};
    add(&k, "mv/", 3);
    add(&k, &kind, 1);
    return k;
}

static mvi_key start_ns(char kind, uint32_t ns)
{
    mvi_key k = start(kind);
    add32(&k, ns);
    return k;
}

mvi_key mvi_key_format(void)
{
    return start('f');
}

mvi_key mvi_key_next_id(void)
{
    return start('i');
}

mvi_key mvi_key_name(const char *name)
{
    mvi_key k = start('n');
    add(&k, name, strlen(name));
    return k;
}

mvi_key mvi_key_meta(uint32_t ns)
{
    return start_ns('m', ns);
}

mvi_key mvi_key_latest(uint32_t ns)
{
    return start_ns('l', ns);
}

mvi_key mvi_key_lease(uint32_t ns)
{
    return start_ns('w', ns);
}

mvi_key mvi_key_copying(uint32_t ns)
{
    return start_ns('x', ns);
}

mvi_key mvi_key_head(uint32_t ns, uint32_t pgno)
{
    mvi_key k = start_ns('h', ns);
    add32(&k, pgno);
    return k;
}

mvi_key mvi_key_history(uint32_t ns, uint32_t pgno, const mv_stamp *stamp)
{
    mvi_key k = start_ns('v', ns);
    add32(&k, pgno);
    add(&k, stamp->bytes, MV_STAMP_SIZE);
    return k;
}

mvi_key mvi_key_commit(uint32_t ns, const mv_stamp *stamp)
{
    mvi_key k = start_ns('c', ns);
    add(&k, stamp->bytes, MV_STAMP_SIZE);
    return k;
}

mvi_key mvi_key_chunk(uint32_t ns, const mv_stamp *stamp, uint16_t chunk)
{
    mvi_key k = mvi_key_commit(ns, stamp);
    uint8_t b[2] = {(uint8_t)(chunk >> 8), (uint8_t)chunk};
    add(&k, b, 2);
    return k;
}

mvi_key mvi_key_time(uint32_t ns, uint64_t ms, const mv_stamp *stamp)
{
    mvi_key k = start_ns('t', ns);
    uint8_t b[8];
    mvi_put64(b, ms);
    add(&k, b, 8);
    add(&k, stamp->bytes, MV_STAMP_SIZE);
    return k;
}

mvi_key mvi_key_tag(uint32_t ns, const char *tag)
{
    mvi_key k = start_ns('g', ns);
    add(&k, tag, strlen(tag));
    return k;
}

mvi_key mvi_key_branch(uint32_t ns, uint32_t child)
{
    mvi_key k = start_ns('b', ns);
    add32(&k, child);
    return k;
}

mvi_key mvi_key_hold(uint32_t ns, const uint8_t *holder)
{
    mvi_key k = start_ns('r', ns);
    add(&k, holder, MV_TXID_SIZE);
    return k;
}

mvi_key mvi_key_forgetting(uint32_t ns)
{
    return start_ns('y', ns);
}

mvi_key mvi_key_kind(char kind, uint32_t ns)
{
    return start_ns(kind, ns);
}

mvi_key mvi_key_staged(uint32_t ns, const uint8_t *txid, uint32_t pgno)
{
    mvi_key k = start_ns('s', ns);
    add(&k, txid, MV_TXID_SIZE);
    add32(&k, pgno);
    return k;
}

mvi_key mvi_key_pending(uint32_t ns, const uint8_t *txid)
{
    mvi_key k = start_ns('p', ns);
    add(&k, txid, MV_TXID_SIZE);
    return k;
}

mvi_key mvi_key_more(mvi_key key)
{
    uint8_t more = MVI_MORE;
    add(&key, &more, 1);
    return key;
}

mvi_key mvi_key_after(mvi_key key)
{
    while (key.size > 0 && key.bytes[key.size - 1] == 0xff)
        key.size--;
    if (key.size > 0)
        key.bytes[key.size - 1]++;
    return key;
}

uint32_t mvi_key_get_ns(mv_slice key)
{
    return mvi_get32(key.data + 4);
}

uint32_t mvi_key_get_pgno(mv_slice key)
{
    return mvi_get32(key.data + 8);
}

uint32_t mvi_key_get_staged_pgno(mv_slice key)
{
    return mvi_get32(key.data + 24);
}

int mvi_key_is_more(mv_slice key, size_t full_size)
{
    return key.size > full_size;
}

mv_stamp mvi_key_get_stamp(mv_slice key, size_t offset)
{
    mv_stamp s;
    memcpy(s.bytes, key.data + offset, MV_STAMP_SIZE);
    return s;
}
