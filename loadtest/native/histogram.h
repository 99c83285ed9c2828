/* histogram.h: counts of durations in buckets whose width grows with the value, so that a percentile is right within a known ratio.
 *
 * Thread: whoever owns the counts. Values are microseconds. Failure: none; what is beyond the last bucket counts in it.
 *
 * With `fine` bits the first 2^fine buckets are 1 us wide, and every power of two above has 2^fine buckets: 6 bits make a relative width of
 * 1/64 at most (the middle of a bucket is wrong by 0.8 %), 3 bits one of 1/8.
 */
#ifndef LOADTEST_HISTOGRAM_H
#define LOADTEST_HISTOGRAM_H

#include <stdint.h>

/* Up to 2^27 us = 134 s. */
#define HISTOGRAM_OCTAVES 27
#define FINE 6
#define COARSE 3
#define BUCKETS(fine) ((HISTOGRAM_OCTAVES - (fine) + 1) << (fine))

static inline unsigned histogram_bucket(uint64_t us, unsigned fine) {
    if (us < 1u << fine)
        return (unsigned)us;
    unsigned octave = 63u - (unsigned)__builtin_clzll(us); /* >= fine */
    if (octave >= HISTOGRAM_OCTAVES)
        return BUCKETS(fine) - 1;
    unsigned within = (unsigned)(us >> (octave - fine)) - (1u << fine);
    return ((octave - fine + 1) << fine) + within;
}

/* Smallest value of a bucket; that of the bucket after it is where it ends. */
static inline uint64_t histogram_start(unsigned bucket, unsigned fine) {
    unsigned octave = bucket >> fine, within = bucket & ((1u << fine) - 1);
    return octave == 0 ? within : (uint64_t)((1u << fine) + within) << (octave - 1);
}

#endif
