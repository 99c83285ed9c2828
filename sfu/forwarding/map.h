/* map.h: a fixed-capacity hash map from 64-bit keys to 32-bit values; open addressing, linear probing.
 *
 * Thread: one. Ownership: the creator's; no allocation after map_init. Failure: MAP_NONE for "not there", false for "full".
 * Keys are mixed with a random seed, so that nobody who chooses addresses or SSRCs can make long probe sequences.
 */
#ifndef ANTIPHON_MAP_H
#define ANTIPHON_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define MAP_NONE UINT32_MAX

struct map_entry {
    uint64_t key;
    uint32_t value; /* MAP_NONE: free */
};

struct map {
    struct map_entry *entries;
    uint64_t mask;
    uint64_t seed;
    uint32_t count;
};

/* `count`: how many keys it must hold; the table is twice as large at least. */
static inline bool map_init(struct map *map, uint32_t count, uint64_t seed) {
    uint64_t capacity = 16;
    while (capacity < 2 * (uint64_t)count)
        capacity *= 2;
    map->entries = malloc(capacity * sizeof *map->entries);
    map->mask = capacity - 1;
    map->seed = seed;
    map->count = 0;
    for (uint64_t i = 0; map->entries && i < capacity; i++)
        map->entries[i] = (struct map_entry){0, MAP_NONE};
    return map->entries != NULL;
}

static inline void map_free(struct map *map) {
    free(map->entries);
    map->entries = NULL;
}

/* The finaliser of splitmix64 over key and seed: every input bit reaches every output bit. */
static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t map_home(const struct map *map, uint64_t key) { return mix(key ^ map->seed) & map->mask; }

static inline uint64_t map_find(const struct map *map, uint64_t key) {
    uint64_t i = map_home(map, key);
    while (map->entries[i].value != MAP_NONE && map->entries[i].key != key)
        i = (i + 1) & map->mask;
    return i;
}

static inline uint32_t map_get(const struct map *map, uint64_t key) { return map->entries[map_find(map, key)].value; }

static inline bool map_put(struct map *map, uint64_t key, uint32_t value) {
    uint64_t i = map_find(map, key);
    if (map->entries[i].value == MAP_NONE) {
        if (map->count >= map->mask / 4 * 3)
            return false;
        map->count++;
    }
    map->entries[i] = (struct map_entry){key, value};
    return true;
}

/* Closes the gap behind the removed entry, so that no tombstones pile up. */
static inline void map_remove(struct map *map, uint64_t key) {
    uint64_t hole = map_find(map, key);
    if (map->entries[hole].value == MAP_NONE)
        return;
    map->count--;
    for (uint64_t i = (hole + 1) & map->mask; map->entries[i].value != MAP_NONE; i = (i + 1) & map->mask) {
        uint64_t home = map_home(map, map->entries[i].key);
        /* Move it into the hole unless its home lies behind the hole (cyclically). */
        if (((i - home) & map->mask) >= ((i - hole) & map->mask)) {
            map->entries[hole] = map->entries[i];
            hole = i;
        }
    }
    map->entries[hole].value = MAP_NONE;
}

#endif
