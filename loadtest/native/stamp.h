/* stamp.h: a send time and a sequence number inside an Opus packet, where decoders do not look.
 *
 * Thread: any; every function is pure. Failure: 0 or false; then nothing is to be used of the output.
 *
 * A stamped packet is the plain one of code 0 turned into code 3 with one frame and STAMP_BYTES of padding (RFC 6716 3.2.5):
 *
 *     TOC | 3    0x41 (padding, 1 frame)    24 (padding length)    frame ...    stamp
 *
 * Decoders must accept padding of any content (R6), so that real listeners in the same room hear the sound as it was. The server forwards the
 * payload as it is, so the stamp says where and when a packet began, whatever happened to its RTP header.
 *
 * Stamp, big endian: "ANT" (3), flags (1), run (4), talker (4), sequence (4), nanoseconds of CLOCK_REALTIME (8).
 */
#ifndef LOADTEST_STAMP_H
#define LOADTEST_STAMP_H

#include "wire.h"

#define STAMP_BYTES 24
/* What a stamped packet has more than the plain one: frame count, padding length, stamp. */
#define STAMP_OVERHEAD (STAMP_BYTES + 2)

/* How listeners are to count a packet. Sequence numbers are spent on counted packets only, so that they have no gaps of their own. */
enum stamp_flag {
    STAMP_COUNTED = 0,
    STAMP_UNSURE = 1, /* sent about when the talker was muted or unmuted: may arrive or not */
    STAMP_MUTED = 2,  /* must not arrive */
};

struct stamp {
    uint8_t flags;
    uint32_t run; /* tells one load tester's packets from another's in the same room */
    uint32_t talker;
    uint32_t sequence;
    uint64_t sent_ns;
};

static inline void write_u64(uint8_t *p, uint64_t v) {
    write_u32(p, (uint32_t)(v >> 32));
    write_u32(p + 4, (uint32_t)v);
}

static inline uint64_t read_u64(const uint8_t *p) { return (uint64_t)read_u32(p) << 32 | read_u32(p + 4); }

/* `frame`: an Opus packet of code 0, `length` >= 1 bytes (1: no sound at all, DTX). Returns the length of what was written to `out`, or 0
 * where it is another code or would not fit into `room`. */
static inline size_t stamp_write(const struct stamp *stamp, const uint8_t *frame, size_t length, uint8_t *out, size_t room) {
    if (length < 1 || (frame[0] & 3) != 0 || length + STAMP_OVERHEAD > room)
        return 0;
    out[0] = frame[0] | 3;
    out[1] = 0x41;
    out[2] = STAMP_BYTES;
    memcpy(out + 3, frame + 1, length - 1);
    uint8_t *p = out + 2 + length;
    memcpy(p, "ANT", 3);
    p[3] = stamp->flags;
    write_u32(p + 4, stamp->run);
    write_u32(p + 8, stamp->talker);
    write_u32(p + 12, stamp->sequence);
    write_u64(p + 16, stamp->sent_ns);
    return length + STAMP_OVERHEAD;
}

/* False where the payload carries none. */
static inline bool stamp_read(const uint8_t *payload, size_t length, struct stamp *stamp) {
    if (length < 3 + STAMP_BYTES || (payload[0] & 3) != 3 || payload[1] != 0x41 || payload[2] != STAMP_BYTES)
        return false;
    const uint8_t *p = payload + length - STAMP_BYTES;
    if (memcmp(p, "ANT", 3) != 0 || p[3] > STAMP_MUTED)
        return false;
    stamp->flags = p[3];
    stamp->run = read_u32(p + 4);
    stamp->talker = read_u32(p + 8);
    stamp->sequence = read_u32(p + 12);
    stamp->sent_ns = read_u64(p + 16);
    return true;
}

#endif
