/* ring.h: a bounded queue of variable-length records between exactly one producer and one consumer thread.
 *
 * Ownership: the creator owns the memory. A record is built in place (reserve, then commit) and read in place (peek, then
 * release); between the two calls it belongs to that side alone. No locks, no allocation after ring_init.
 * Failure: reserve and peek return NULL for "full" and "empty".
 *
 * Layout: records are 8-byte aligned, each behind an 8-byte prefix holding its length. A record never wraps; where it does
 * not fit before the end of the buffer, a prefix of SKIP sends the reader to the start.
 */
#ifndef ANTIPHON_RING_H
#define ANTIPHON_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define RING_PREFIX 8u
#define RING_SKIP UINT64_MAX

struct ring {
    uint8_t *bytes;
    uint64_t capacity;                  /* a power of two */
    _Alignas(64) _Atomic uint64_t head; /* bytes ever written; the producer's */
    uint64_t reserved;                  /* head after the next commit */
    uint64_t seen_tail;                 /* producer's copy of tail */
    _Alignas(64) _Atomic uint64_t tail; /* bytes ever read; the consumer's */
    uint64_t peeked;                    /* tail after the next release */
    uint64_t seen_head;                 /* consumer's copy of head */
};

static inline bool ring_init(struct ring *ring, uint64_t capacity) {
    *ring = (struct ring){.capacity = capacity};
    ring->bytes = aligned_alloc(64, capacity);
    return ring->bytes != NULL;
}

static inline void ring_free(struct ring *ring) {
    free(ring->bytes);
    ring->bytes = NULL;
}

static inline void *ring_reserve(struct ring *ring, size_t length) {
    uint64_t need = RING_PREFIX + ((length + 7) & ~(uint64_t)7);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t offset = head & (ring->capacity - 1);
    uint64_t skip = ring->capacity - offset < need ? ring->capacity - offset : 0;
    if (head + skip + need - ring->seen_tail > ring->capacity) {
        ring->seen_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head + skip + need - ring->seen_tail > ring->capacity)
            return NULL;
    }
    if (skip) {
        *(uint64_t *)(void *)(ring->bytes + offset) = RING_SKIP;
        offset = 0;
    }
    *(uint64_t *)(void *)(ring->bytes + offset) = length;
    ring->reserved = head + skip + need;
    return ring->bytes + offset + RING_PREFIX;
}

static inline void ring_commit(struct ring *ring) {
    atomic_store(&ring->head, ring->reserved); /* seq_cst: pairs with the sleeping flags, see commands.c */
}

/* Bytes in the ring as the producer sees it; an upper bound. */
static inline uint64_t ring_used(struct ring *ring) {
    return atomic_load_explicit(&ring->head, memory_order_relaxed) - atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

static inline bool ring_is_empty(struct ring *ring) {
    /* seq_cst: pairs with the sleeping flags, see commands.c. */
    return atomic_load(&ring->head) == atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

static inline void *ring_peek(struct ring *ring, size_t *length) {
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail == ring->seen_head) {
        ring->seen_head = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail == ring->seen_head)
            return NULL;
    }
    uint64_t offset = tail & (ring->capacity - 1);
    uint64_t size = *(uint64_t *)(void *)(ring->bytes + offset);
    if (size == RING_SKIP) {
        tail += ring->capacity - offset;
        offset = 0;
        size = *(uint64_t *)(void *)ring->bytes;
    }
    *length = (size_t)size;
    ring->peeked = tail + RING_PREFIX + ((size + 7) & ~(uint64_t)7);
    return ring->bytes + offset + RING_PREFIX;
}

static inline void ring_release(struct ring *ring) {
    atomic_store_explicit(&ring->tail, ring->peeked, memory_order_release);
}

#endif
