#include "pagemap.h"

#include <stdlib.h>
#include <string.h>

static size_t slot_of(const mvi_pagemap *map, uint32_t pgno)
{
    size_t i = (size_t)((uint64_t)pgno * 0x9e3779b97f4a7c15u >> 32) & (map->room - 1);
    while (map->slots[i].pgno != 0 && map->slots[i].pgno != pgno)
        i = (i + 1) & (map->room - 1);
    return i;
}

uint8_t *mvi_pagemap_find(const mvi_pagemap *map, uint32_t pgno)
{
    return map->count ? map->slots[slot_of(map, pgno)].page : NULL;
}

static int resize(mvi_pagemap *map, size_t room)
{
    mvi_pagemap bigger = {calloc(room, sizeof *map->slots), room, map->count};
    if (!bigger.slots)
        return -1;
    for (size_t i = 0; i < map->room; i++)
        if (map->slots[i].pgno)
            bigger.slots[slot_of(&bigger, map->slots[i].pgno)] = map->slots[i];
    free(map->slots);
    *map = bigger;
    return 0;
}

uint8_t *mvi_pagemap_make(mvi_pagemap *map, uint32_t pgno, uint32_t size)
{
    if ((map->count + 1) * 2 > map->room && resize(map, map->room ? map->room * 2 : 64) != 0)
        return NULL;
    struct mvi_pageslot *slot = &map->slots[slot_of(map, pgno)];
    if (slot->pgno)
        return slot->page;
    slot->page = malloc(size);
    if (!slot->page)
        return NULL;
    slot->pgno = pgno;
    map->count++;
    return slot->page;
}

void mvi_pagemap_truncate(mvi_pagemap *map, uint32_t last)
{
    size_t over = 0;
    for (size_t i = 0; i < map->room; i++)
        if (map->slots[i].pgno > last) {
            free(map->slots[i].page);
            map->slots[i].page = NULL;
            over++;
        }
    if (!over)
        return;
    struct mvi_pageslot *old = map->slots;
    size_t room = map->room;
    mvi_pagemap rest = {calloc(room, sizeof *old), room, map->count - over};
    if (!rest.slots) { /* no memory to close the gaps: keep the table, mark them by a number nobody asks for */
        for (size_t i = 0; i < room; i++)
            if (old[i].pgno > last)
                old[i].pgno = UINT32_MAX;
        map->count -= over;
        return;
    }
    for (size_t i = 0; i < room; i++)
        if (old[i].pgno && old[i].pgno <= last)
            rest.slots[slot_of(&rest, old[i].pgno)] = old[i];
    free(old);
    *map = rest;
}

void mvi_pagemap_clear(mvi_pagemap *map)
{
    for (size_t i = 0; i < map->room; i++)
        free(map->slots[i].page);
    free(map->slots);
    memset(map, 0, sizeof *map);
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

uint32_t *mvi_pagemap_sorted(const mvi_pagemap *map)
{
    uint32_t *numbers = map->count ? malloc(map->count * sizeof *numbers) : NULL;
    size_t n = 0;
    for (size_t i = 0; numbers && i < map->room && n < map->count; i++)
        if (map->slots[i].pgno && map->slots[i].page)
            numbers[n++] = map->slots[i].pgno;
    if (numbers)
        qsort(numbers, n, sizeof *numbers, ascending);
    return numbers;
}
