/* impair.c: a bad network on request: what arrives is thrown away, or comes later. */
#include <stdlib.h>
#include <time.h>

#include "engine.h"

struct held {
    uint64_t due_ns; /* CLOCK_MONOTONIC */
    uint64_t arrival_ns;
    uint32_t endpoint, generation, length;
};

/* xorshift64*: the same run loses the same packets, as far as they come in the same order. */
static double chance(struct impairment *impairment) {
    uint64_t x = impairment->seed;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    impairment->seed = x;
    return (double)((x * 0x2545F4914F6CDD1Dull) >> 11) / (double)(1ull << 53);
}

bool traffic_impair(struct traffic *traffic, double loss_ratio, uint64_t delay_ns) {
    traffic_lock(traffic);
    struct impairment *impairment = &traffic->impairment;
    if (delay_ns && !impairment->ring.bytes)
        impairment->ring.bytes = malloc(HELD_RING_BYTES);
    bool ok = !delay_ns || impairment->ring.bytes;
    if (ok) {
        impairment->ring.size = HELD_RING_BYTES;
        impairment->seed = 0x9E3779B97F4A7C15ull;
        impairment->loss_ratio = loss_ratio;
        impairment->delay_ns = delay_ns;
    }
    traffic_unlock(traffic);
    return ok;
}

bool impair(struct traffic *traffic, const struct endpoint *endpoint, const uint8_t *data, size_t length, uint64_t arrival_ns) {
    struct impairment *impairment = &traffic->impairment;
    if (impairment->loss_ratio > 0 && chance(impairment) < impairment->loss_ratio)
        return true;
    if (!impairment->delay_ns)
        return false;
    struct held held = {
        .due_ns = traffic_clock(CLOCK_MONOTONIC) + impairment->delay_ns,
        .arrival_ns = arrival_ns + impairment->delay_ns,
        .endpoint = (uint32_t)(endpoint - traffic->endpoints),
        .generation = endpoint->generation,
        .length = (uint32_t)length,
    };
    if (sizeof held + length > impairment->ring.size - impairment->ring.used) {
        traffic->counters.events_dropped++;
        return true;
    }
    ring_put(&impairment->ring, &held, sizeof held);
    ring_put(&impairment->ring, data, length);
    return true;
}

uint64_t impair_due(const struct traffic *traffic) {
    struct held held;
    if (!traffic->impairment.ring.used)
        return UINT64_MAX;
    ring_peek(&traffic->impairment.ring, &held, sizeof held);
    return held.due_ns;
}

void impair_release(struct traffic *traffic, uint64_t now_ns) {
    uint8_t data[DATAGRAM_ROOM];
    struct held held;
    while (impair_due(traffic) <= now_ns) {
        ring_peek(&traffic->impairment.ring, &held, sizeof held);
        ring_skip(&traffic->impairment.ring, sizeof held);
        ring_peek(&traffic->impairment.ring, data, held.length);
        ring_skip(&traffic->impairment.ring, held.length);
        struct endpoint *endpoint = &traffic->endpoints[held.endpoint];
        if (endpoint->fd >= 0 && endpoint->generation == held.generation)
            receive_datagram(traffic, endpoint, data, held.length, held.arrival_ns);
    }
}
