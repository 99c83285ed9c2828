#include "meter.h"

#include <string.h>

void meter_init(struct meter *meter, uint32_t listener, uint32_t talker, uint32_t group) {
    memset(meter, 0, sizeof *meter);
    meter->used = true;
    meter->listener = listener;
    meter->talker = talker;
    meter->group = group;
}

static bool test_and_set(struct meter *meter, uint32_t sequence) {
    uint64_t *word = &meter->seen[sequence % METER_WINDOW / 64], bit = 1ull << (sequence % 64);
    bool was = (*word & bit) != 0;
    *word |= bit;
    return was;
}

/* Forget what the window leaves behind when it moves on to `sequence`. */
static void advance(struct meter *meter, uint32_t sequence) {
    if (sequence - meter->highest >= METER_WINDOW)
        memset(meter->seen, 0, sizeof meter->seen);
    else
        for (uint32_t s = meter->highest + 1; s != sequence + 1; s++)
            meter->seen[s % METER_WINDOW / 64] &= ~(1ull << (s % 64));
    meter->highest = sequence;
}

static void note_silence(struct meter *meter, uint32_t missing, uint64_t until_ns) {
    if (missing < SILENCE_PACKETS || until_ns <= meter->last_ns)
        return;
    uint64_t silence = until_ns - meter->last_ns;
    meter->silence_ns += silence;
    if (silence > meter->longest_silence_ns)
        meter->longest_silence_ns = silence;
}

static uint64_t note_latency(struct meter *meter, const struct stamp *stamp, uint64_t arrival_ns) {
    /* Clocks of two hosts may differ by more than the way takes: that is shown as 0, not as an eternity. */
    int64_t transit = (int64_t)(arrival_ns - stamp->sent_ns);
    uint64_t us = transit > 0 ? (uint64_t)transit / 1000 : 0;
    if (meter->first_ns) {
        int64_t difference = transit - meter->transit_ns;
        meter->jitter_ns += ((double)(difference < 0 ? -difference : difference) - meter->jitter_ns) / 16;
    }
    meter->transit_ns = transit;
    meter->latency_sum_us += us;
    if (us > meter->latency_max_us)
        meter->latency_max_us = us;
    meter->latency[histogram_bucket(us, COARSE)]++;
    return us;
}

/* The place of a counted packet among the others. */
static void place(struct meter *meter, uint32_t sequence, uint64_t arrival_ns, struct meter_change *change) {
    if (!meter->started) {
        meter->started = true;
        meter->first = meter->highest = sequence;
        test_and_set(meter, sequence);
        change->unique = true;
        return;
    }
    int32_t ahead = (int32_t)(sequence - meter->highest);
    if (ahead > 0) {
        note_silence(meter, (uint32_t)ahead - 1, arrival_ns);
        change->missing = ahead - 1;
        advance(meter, sequence);
    } else if (-ahead >= METER_WINDOW || (int32_t)(sequence - meter->first) < 0) {
        return; /* of before it began to listen, or too old to tell: neither expected nor counted */
    } else if (meter->seen[sequence % METER_WINDOW / 64] & 1ull << (sequence % 64)) {
        change->duplicate = true;
        return;
    } else {
        meter->reordered++;
        change->missing = -1;
    }
    test_and_set(meter, sequence);
    change->unique = true;
}

struct meter_change meter_take(struct meter *meter, const struct stamp *stamp, uint64_t arrival_ns) {
    struct meter_change change = {0};
    if (stamp->flags == STAMP_MUTED) {
        meter->muted++;
        return change;
    }
    if (meter->ended && (int32_t)(stamp->sequence - meter->limit) > 0)
        return change;
    if (meter->marked_ns && !meter->resumed_ns && arrival_ns >= meter->marked_ns)
        meter->resumed_ns = arrival_ns;
    if (stamp->flags == STAMP_COUNTED)
        place(meter, stamp->sequence, arrival_ns, &change);
    if (change.duplicate) {
        meter->duplicates++;
        return change;
    }
    meter->unique += change.unique;
    if (change.unique)
        change.latency_us = note_latency(meter, stamp, arrival_ns);
    if (!meter->first_ns)
        meter->first_ns = arrival_ns;
    if (arrival_ns > meter->last_ns)
        meter->last_ns = arrival_ns;
    return change;
}

void meter_end(struct meter *meter, uint32_t sequence) {
    if (meter->ended)
        return;
    meter->ended = true;
    /* A packet may have been sent and received since the caller looked: it is not to be expected less than it was received. */
    meter->limit = meter->started && (int32_t)(meter->highest - sequence) > 0 ? meter->highest : sequence;
}

void meter_mark(struct meter *meter, uint64_t now_ns) {
    meter->marked_ns = now_ns;
    meter->resumed_ns = 0;
}

static uint32_t last_expected(const struct meter *meter, uint32_t spoken) {
    uint32_t last = meter->ended ? meter->limit : spoken;
    return (int32_t)(last - meter->highest) > 0 ? last : meter->highest;
}

uint64_t meter_expected(const struct meter *meter, uint32_t spoken) {
    return meter->started ? (uint64_t)(last_expected(meter, spoken) - meter->first) + 1 : 0;
}

uint64_t meter_silence(const struct meter *meter, uint32_t spoken, uint64_t now_ns) {
    if (!meter->started || last_expected(meter, spoken) - meter->highest < SILENCE_PACKETS || now_ns <= meter->last_ns)
        return meter->silence_ns;
    return meter->silence_ns + (now_ns - meter->last_ns);
}
