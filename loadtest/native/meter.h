/* meter.h: what one listener has received of one talker.
 *
 * Thread: the traffic thread, or whoever holds its lock. Ownership: the caller's memory, no pointers inside. Failure: none.
 *
 * A meter outlives connections: when a listener or a talker has to connect again, the stamps' sequence goes on, and what was spoken
 * meanwhile is missing.
 */
#ifndef LOADTEST_METER_H
#define LOADTEST_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "stamp.h"

/* How far behind the newest a packet may come and still be told from a duplicate: 20 s of speech. */
#define METER_WINDOW 1024
/* Fewer missing packets in a row than this are loss, but no silence that anybody would notice: 60 ms. */
#define SILENCE_PACKETS 3

struct meter {
    bool used, started, ended;
    uint32_t talker, group, listener;
    uint32_t first, highest; /* sequence numbers; valid once started */
    uint32_t limit;          /* the last that is expected; valid once ended */
    uint64_t seen[METER_WINDOW / 64];
    uint64_t unique;     /* counted packets with first <= sequence <= limit, each once */
    uint64_t duplicates; /* arrived again */
    uint64_t reordered;  /* came after one that was sent later */
    uint64_t muted;      /* arrived though the talker had long been muted */
    uint64_t first_ns, last_ns; /* CLOCK_REALTIME of the first and the newest arrival */
    uint64_t silence_ns, longest_silence_ns;
    uint64_t marked_ns, resumed_ns; /* see meter_mark */
    double jitter_ns;               /* RFC 3550 6.4.1, with the stamps' send times */
    int64_t transit_ns;             /* of the newest packet */
    uint64_t latency_sum_us, latency_max_us;
    uint32_t latency[BUCKETS(COARSE)];
};

/* What a packet changed, for the sums of its group. */
struct meter_change {
    bool unique, duplicate;
    int32_t missing; /* more are missing than before, or (negative) fewer */
    uint64_t latency_us;
};

void meter_init(struct meter *meter, uint32_t listener, uint32_t talker, uint32_t group);

/* A packet of this talker arrived at `arrival_ns` (CLOCK_REALTIME). */
struct meter_change meter_take(struct meter *meter, const struct stamp *stamp, uint64_t arrival_ns);

/* Whatever the talker says after `sequence` is not expected any more. Packets up to it may still come in. */
void meter_end(struct meter *meter, uint32_t sequence);

/* From now on wait for a packet: resumed_ns is its arrival; 0 until then. */
void meter_mark(struct meter *meter, uint64_t now_ns);

/* Counted packets that should have arrived, given the newest that the talker has sent. 0 before the first. */
uint64_t meter_expected(const struct meter *meter, uint32_t spoken);

/* silence_ns with that which lasts until `now_ns`, if the talker has gone on. */
uint64_t meter_silence(const struct meter *meter, uint32_t spoken, uint64_t now_ns);

#endif
