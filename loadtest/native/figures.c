/* figures.c: meters, and what has been counted so far. */
#include "engine.h"

static uint32_t spoken(const struct traffic *traffic, const struct meter *meter) {
    return traffic->speakers[meter->talker].talker.sequence;
}

static struct meter *open_meter(struct traffic *traffic, uint32_t index) {
    return index < traffic->meter_count ? &traffic->meters[index] : NULL;
}

int64_t meter_open(struct traffic *traffic, uint32_t listener, uint32_t talker, uint32_t group) {
    traffic_lock(traffic);
    int64_t index = -1;
    if (traffic->meter_count < traffic->meter_room && talker < traffic->speaker_count && group < traffic->group_room) {
        index = traffic->meter_count++;
        meter_init(&traffic->meters[index], listener, talker, group);
        pair_add(traffic, listener, talker, (uint32_t)index);
    }
    traffic_unlock(traffic);
    return index;
}

bool meter_finish(struct traffic *traffic, uint32_t index) {
    traffic_lock(traffic);
    struct meter *meter = open_meter(traffic, index);
    if (meter)
        meter_end(meter, spoken(traffic, meter));
    traffic_unlock(traffic);
    return meter != NULL;
}

bool meter_set_mark(struct traffic *traffic, uint32_t index) {
    traffic_lock(traffic);
    struct meter *meter = open_meter(traffic, index);
    if (meter)
        meter_mark(meter, traffic_clock(CLOCK_REALTIME));
    traffic_unlock(traffic);
    return meter != NULL;
}

bool meter_read(struct traffic *traffic, uint32_t index, struct meter *copy, uint64_t *expected, uint64_t *silence_ns) {
    traffic_lock(traffic);
    struct meter *meter = open_meter(traffic, index);
    if (meter) {
        *copy = *meter;
        *expected = meter_expected(meter, spoken(traffic, meter));
        *silence_ns = meter_silence(meter, spoken(traffic, meter), traffic_clock(CLOCK_REALTIME));
    }
    traffic_unlock(traffic);
    return meter != NULL;
}

uint32_t meters_silent(struct traffic *traffic, uint32_t packets) {
    uint32_t count = 0;
    traffic_lock(traffic);
    for (uint32_t i = 0; i < traffic->meter_count; i++) {
        const struct meter *meter = &traffic->meters[i];
        count += meter->started && !meter->ended && spoken(traffic, meter) - meter->highest >= packets;
    }
    traffic_unlock(traffic);
    return count;
}

bool group_read(struct traffic *traffic, uint32_t index, struct group *copy) {
    if (index >= traffic->group_room)
        return false;
    traffic_lock(traffic);
    *copy = traffic->groups[index];
    memset(traffic->groups[index].interval, 0, sizeof copy->interval);
    traffic_unlock(traffic);
    return true;
}

void traffic_read(struct traffic *traffic, struct traffic_counters *copy) {
    clockid_t clock;
    traffic_lock(traffic);
    *copy = traffic->counters;
    memset(traffic->counters.late, 0, sizeof copy->late);
    if (pthread_getcpuclockid(traffic->thread, &clock) == 0)
        copy->cpu_ns = traffic_clock(clock);
    traffic_unlock(traffic);
}
