/* pairs.c: which meter counts what a listener hears of a talker. */
#include "engine.h"

static uint32_t place(const struct traffic *traffic, uint32_t listener, uint32_t talker) {
    uint64_t key = ((uint64_t)listener << 32 | talker) * 0x9E3779B97F4A7C15ull;
    return (uint32_t)(key >> 32) & (traffic->pair_room - 1);
}

struct meter *pair_find(const struct traffic *traffic, uint32_t listener, uint32_t talker) {
    for (uint32_t i = place(traffic, listener, talker); traffic->pairs[i]; i = (i + 1) & (traffic->pair_room - 1)) {
        struct meter *meter = &traffic->meters[traffic->pairs[i] - 1];
        if (meter->listener == listener && meter->talker == talker)
            return meter;
    }
    return NULL;
}

/* There is twice as much room as there are meters, and no pair is ever removed. A pair that has a meter gets the new one. */
void pair_add(struct traffic *traffic, uint32_t listener, uint32_t talker, uint32_t meter) {
    uint32_t i = place(traffic, listener, talker);
    for (; traffic->pairs[i]; i = (i + 1) & (traffic->pair_room - 1)) {
        const struct meter *other = &traffic->meters[traffic->pairs[i] - 1];
        if (other->listener == listener && other->talker == talker)
            break;
    }
    traffic->pairs[i] = meter + 1;
}
