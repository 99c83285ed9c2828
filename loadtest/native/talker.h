/* talker.h: what one light publisher says in each 20 ms, from speech that all of them share.
 *
 * Thread: whoever holds the lock of the traffic. Ownership: a talker borrows the speech, which outlives it. Failure: none.
 */
#ifndef LOADTEST_TALKER_H
#define LOADTEST_TALKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_TICKS 960 /* RTP clock ticks (1/48000 s) of 20 ms */
#define LEVEL_SILENT 127
/* While nothing is to be heard, one packet says so each 400 ms, as libopus does with DTX. */
#define COMFORT_FRAMES 20

/* One Opus packet of code 0. `level`: -dBov (RFC 6464 3), `silent`: nothing to hear in it. */
struct frame {
    const uint8_t *data;
    uint16_t length;
    uint8_t level;
    bool silent;
};

struct speech {
    struct frame *frames;
    uint32_t count;
};

struct talker {
    bool used, speaking; /* speaking: on whether or not there is a connection */
    bool always;         /* sends silence, too, as without DTX */
    uint8_t flag;        /* enum stamp_flag */
    uint32_t position;   /* in the speech */
    uint32_t talk_frames, pause_frames; /* of a spurt and the pause after it; pause 0: only the speech's own pauses */
    uint32_t spurt;                     /* frames since the last spurt began */
    uint32_t quiet;                     /* frames in a row without sound */
    uint32_t sequence;                  /* of the newest counted packet; they start at 1 */
    uint32_t timestamp;
    uint64_t sent, send_errors;
};

struct utterance {
    const uint8_t *data;
    size_t length;
    uint8_t level;
    bool marker; /* RFC 3551 4.1: first packet after a silence */
};

/* The next 20 ms. False where nothing is sent; the clock goes on in any case. */
bool talker_next(struct talker *talker, const struct speech *speech, struct utterance *out);

/* Take the next number for a packet that is about to go (or to be missing). */
uint32_t talker_count(struct talker *talker);

#endif
