/* traffic.h: the sockets of all light participants, and the thread that serves them.
 *
 * Thread: traffic_new starts the traffic thread. Every other function may be called by any thread; it takes the lock that the traffic thread
 * holds during a turn, which is some hundred microseconds at most.
 * Ownership: sockets are the caller's, who closes a descriptor only after endpoint_close. Keys pass to the endpoint.
 * Failure: NULL, a negative index, or false where there is no room left or an index names nothing.
 */
#ifndef LOADTEST_TRAFFIC_H
#define LOADTEST_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"
#include "meter.h"
#include "srtp.h"
#include "talker.h"

/* Talkers take turns in this many slots of 20 ms, so that they do not all send at once. */
#define SLOTS 40
#define NO_LISTENER UINT32_MAX
#define MID_ROOM 16

struct traffic;

/* Where media are going to or come from, as negotiated. */
struct sending {
    uint32_t ssrc;
    uint32_t timestamp; /* of the first packet, random (RFC 3550 5.1) */
    uint16_t sequence;  /* likewise, below 32768 */
    uint8_t payload_type;
    uint8_t level_id, mid_id; /* header extension ids; 0: not negotiated */
    uint8_t mid_length;
    char mid[MID_ROOM];
};

/* Anything that is not media: for the caller, who speaks STUN and DTLS. */
struct event {
    uint32_t endpoint, generation, length;
};

struct endpoint_counters {
    uint64_t packets, bytes;   /* SRTP received */
    uint64_t auth_failed;      /* did not decrypt */
    uint64_t unstamped;        /* authentic, but of somebody else */
    uint64_t strangers;        /* stamped by a talker that this listener has no meter for */
    uint64_t socket_drops;     /* the kernel had no room in the receive buffer (SO_RXQ_OVFL) */
    uint64_t early_dropped;    /* came before the keys, and there were too many */
    uint64_t socket_errors;    /* nobody listens at the other end any more, ... */
};

struct group {
    uint64_t unique, duplicates;
    int64_t missing; /* seen by a later packet that came; those that come late after all are taken off again */
    uint32_t total[BUCKETS(FINE)], interval[BUCKETS(FINE)]; /* latency; interval: since it was last read */
};

struct traffic_counters {
    uint64_t cpu_ns;                  /* of the traffic thread */
    uint64_t turns;
    uint64_t packets_in, packets_out;
    uint64_t socket_drops, auth_failed; /* of all endpoints, those that are closed included */
    uint64_t skipped;                 /* turns of a talker that were left out, because the thread came 100 ms late */
    uint64_t events_dropped;          /* STUN and DTLS, or what was held back, that there was no room for */
    uint32_t late[BUCKETS(FINE)];     /* how late turns of talkers began; since it was last read */
};

struct traffic *traffic_new(uint32_t run, uint32_t endpoints, uint32_t talkers, uint32_t meters, uint32_t groups);
void traffic_free(struct traffic *traffic);
int traffic_event_fd(const struct traffic *traffic);

/* Throw away so much of all that arrives, and let the rest come so much later; its arrival counts as that much later, too. */
bool traffic_impair(struct traffic *traffic, double loss_ratio, uint64_t delay_ns);

/* Copies `data`. All frames come before the first talker. */
bool traffic_add_frame(struct traffic *traffic, const uint8_t *data, size_t length, uint8_t level, bool silent);

/* `fd`: non-blocking UDP socket, connected. `listener`: whose ears it is, or NO_LISTENER. */
int64_t endpoint_open(struct traffic *traffic, int fd, uint32_t listener, uint32_t *generation);
bool endpoint_set_keys(struct traffic *traffic, uint32_t endpoint, struct srtp_keys *keys);
bool endpoint_read(struct traffic *traffic, uint32_t endpoint, struct endpoint_counters *counters);
bool endpoint_close(struct traffic *traffic, uint32_t endpoint);

/* Fills `event` and copies its bytes into `data`; false where there is none. */
bool traffic_next_event(struct traffic *traffic, struct event *event, uint8_t *data, size_t room);

int64_t talker_open(struct traffic *traffic, uint32_t position, uint32_t talk_frames, uint32_t pause_frames, bool always, uint32_t slot,
                    bool native);
/* Send over this endpoint from now on; speech that is due meanwhile is missing to those who listen. */
bool talker_connect(struct traffic *traffic, uint32_t talker, uint32_t endpoint, const struct sending *sending);
bool talker_set_speaking(struct traffic *traffic, uint32_t talker, bool speaking);
bool talker_set_flag(struct traffic *traffic, uint32_t talker, uint8_t flag);
bool talker_read(struct traffic *traffic, uint32_t talker, struct talker *copy);
/* For a publisher that is not sent from here: its next packet with a stamp. Returns the length, 0 where nothing is to be sent. */
size_t talker_utter(struct traffic *traffic, uint32_t talker, uint8_t *out, size_t room, uint8_t *level);

/* A meter that this pair has had is kept with what it has counted, and counts no more. */
int64_t meter_open(struct traffic *traffic, uint32_t listener, uint32_t talker, uint32_t group);
bool meter_finish(struct traffic *traffic, uint32_t meter);
bool meter_set_mark(struct traffic *traffic, uint32_t meter);
/* A copy of the meter, and what meter_expected and meter_silence say of it now. */
bool meter_read(struct traffic *traffic, uint32_t meter, struct meter *copy, uint64_t *expected, uint64_t *silence_ns);
/* How many meters have heard nothing of the newest `packets` counted packets of a talker. */
uint32_t meters_silent(struct traffic *traffic, uint32_t packets);

/* Copies a group, and starts its interval afresh. */
bool group_read(struct traffic *traffic, uint32_t group, struct group *copy);
/* Likewise `late`. */
void traffic_read(struct traffic *traffic, struct traffic_counters *copy);

#endif
