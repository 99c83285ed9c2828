/* ring.h: bytes in the order in which they came, in a fixed room.
 *
 * Thread: whoever owns it. Ownership: `bytes` is the owner's. Failure: none; the caller looks at `used` and `size` first.
 */
#ifndef LOADTEST_RING_H
#define LOADTEST_RING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ring {
    uint8_t *bytes;
    size_t size, head, used;
};

static inline void ring_put(struct ring *ring, const void *data, size_t length) {
    size_t at = (ring->head + ring->used) % ring->size, first = ring->size - at < length ? ring->size - at : length;
    memcpy(ring->bytes + at, data, first);
    memcpy(ring->bytes, (const uint8_t *)data + first, length - first);
    ring->used += length;
}

static inline void ring_peek(const struct ring *ring, void *data, size_t length) {
    size_t first = ring->size - ring->head < length ? ring->size - ring->head : length;
    memcpy(data, ring->bytes + ring->head, first);
    memcpy((uint8_t *)data + first, ring->bytes, length - first);
}

static inline void ring_skip(struct ring *ring, size_t length) {
    ring->head = (ring->head + length) % ring->size;
    ring->used -= length;
}

#endif
