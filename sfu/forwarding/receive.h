/* receive.h: what is known of one incoming SSRC: its extended sequence and the figures of a receiver report.
 *
 * Thread: the forwarding thread; counters that Python reads are relaxed atomics. Ownership: plain values inside a track.
 * Source: RFC 3550 A.1 (extended sequence), A.3 (loss), A.8 (jitter), 6.4.1 (report block).
 */
#ifndef ANTIPHON_RECEIVE_H
#define ANTIPHON_RECEIVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef _Atomic uint64_t counter;

/* One writer, any reader, no lock and no locked instruction. */
static inline void counter_add(counter *c, uint64_t amount) {
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + amount, memory_order_relaxed);
}
static inline void counter_set(counter *c, uint64_t value) { atomic_store_explicit(c, value, memory_order_relaxed); }
static inline uint64_t counter_get(const counter *c) {
    return atomic_load_explicit((counter *)(uintptr_t)c, memory_order_relaxed);
}

/* Indices start one cycle up, so that packets reordered before the very first one stay positive. */
#define FIRST_CYCLE 65536u

/* So far behind the highest a packet may be, as in libsrtp's replay protection: what is further away lies ahead. */
#define RECEPTION_WINDOW 1024u

struct reception {
    uint64_t highest; /* extended sequence number, cycles << 16 | sequence */
    uint64_t base;    /* the first packet's */
    uint64_t received;
    uint64_t expected_before; /* at the last report */
    uint64_t received_before;
    int64_t transit;        /* arrival - timestamp, RTP clock ticks */
    uint64_t jitter16;      /* RFC 3550 A.8: jitter estimate times 16 */
    uint32_t last_sr;       /* middle 32 bits of the NTP time in the peer's last sender report; 0: none yet */
    uint64_t last_sr_ns;    /* its arrival, CLOCK_MONOTONIC */
    uint64_t seen[RECEPTION_WINDOW / 64]; /* bit `index` modulo the window, for the indices up to `highest` */
    bool started;
};

/* Extended sequence number of a packet, whether or not it was lost, repeated or reordered. libsrtp has let it through, so it is within
 * the window behind the highest or, however far, ahead: RFC 3550 A.1 would take a jump of more than half a cycle for an old packet. */
static inline uint64_t reception_index(const struct reception *r, uint16_t sequence) {
    if (!r->started)
        return FIRST_CYCLE + sequence;
    uint16_t ahead = (uint16_t)(sequence - (uint16_t)r->highest);
    return ahead > UINT16_MAX + 1u - RECEPTION_WINDOW ? r->highest + ahead - (UINT16_MAX + 1u) : r->highest + ahead;
}

/* libsrtp also counts packets that never got as far as here (another payload type, damaged padding), so its cycles are not ours, and
 * its replay protection does not prove that an index is new. Copies of two packets under one index would share a nonce. */
static inline bool reception_is_new(const struct reception *r, uint64_t index) {
    if (!r->started || index > r->highest)
        return true;
    return r->highest - index < RECEPTION_WINDOW && !(r->seen[index % RECEPTION_WINDOW / 64] >> index % 64 & 1);
}

static inline void reception_mark(struct reception *r, uint64_t index) {
    if (index > r->highest + RECEPTION_WINDOW)
        memset(r->seen, 0, sizeof r->seen);
    else
        for (uint64_t i = r->highest + 1; i <= index; i++)
            r->seen[i % RECEPTION_WINDOW / 64] &= ~(1ull << i % 64);
    r->seen[index % RECEPTION_WINDOW / 64] |= 1ull << index % 64;
}

/* `arrival`: in RTP clock ticks of `clock_rate` a second, any epoch. */
static inline void reception_update(struct reception *r, uint64_t index, uint32_t timestamp, uint64_t arrival, uint32_t clock_rate) {
    int64_t transit = (int64_t)(int32_t)((uint32_t)arrival - timestamp);
    if (!r->started) {
        r->started = true;
        r->base = r->highest = index;
        reception_mark(r, index);
    } else {
        int64_t delta = (int64_t)(int32_t)((uint32_t)transit - (uint32_t)r->transit);
        uint64_t distance = (uint64_t)(delta < 0 ? -delta : delta);
        /* A jump of more than 5 s is a new timestamp base or a pause, not jitter of the network. */
        if (distance < 5 * (uint64_t)clock_rate)
            r->jitter16 += distance - ((r->jitter16 + 8) >> 4);
        reception_mark(r, index);
        if (index > r->highest)
            r->highest = index;
        if (index < r->base)
            r->base = index;
    }
    r->transit = transit;
    r->received++;
}

/* Cumulative, negative where there were duplicates (RFC 3550 A.3). */
static inline int64_t reception_lost(const struct reception *r) {
    return r->started ? (int64_t)(r->highest - r->base + 1) - (int64_t)r->received : 0;
}

#endif
