/* engine.h: what the files of the traffic thread share, and nobody else.
 *
 * Thread: every field is read and written with `lock` held, but for `waiting` and `stop`. Ownership: struct traffic owns all it points to.
 */
#ifndef LOADTEST_ENGINE_H
#define LOADTEST_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ring.h"
#include "traffic.h"

#define FRAME_NS 20000000u
#define SLOT_NS (FRAME_NS / SLOTS)
#define DATAGRAM_ROOM 1600
/* Media that come between the server's last flight of DTLS and the keys; of more than these the oldest are given up, so that what is kept
 * has no hole. */
#define EARLY_PACKETS 100
#define EVENT_RING_BYTES (4u << 20)
#define HELD_RING_BYTES (16u << 20)
#define MAX_SOURCES 1024
#define NO_TALKER UINT32_MAX
#define NO_ENDPOINT UINT32_MAX

struct early {
    uint32_t count; /* of all that came; the newest EARLY_PACKETS are kept */
    struct {
        uint64_t arrival_ns;
        uint16_t length;
        uint8_t data[400]; /* speech is shorter */
    } packets[EARLY_PACKETS];
};

/* An SSRC that an endpoint has heard, whose it is, and the RTP sequence number of the newest packet that counts. */
struct source {
    uint32_t ssrc, meter;
    uint16_t newest;
};

struct endpoint {
    int fd; /* -1: free */
    uint32_t generation;
    uint32_t listener;
    uint32_t kernel_drops; /* as the kernel last said, a count of 32 bits */
    struct srtp_keys *keys;
    struct early *early;
    struct source *sources;
    uint32_t source_count;
    struct endpoint_counters counters;
};

/* A talker and its place among those who send from here. */
struct speaker {
    struct talker talker;
    uint32_t slot, next; /* the next one of the same slot */
    uint32_t endpoint;   /* NO_ENDPOINT: speaks into the void */
    uint32_t generation;
    uint64_t index; /* SRTP packet index of the next packet */
    struct sending sending;
};

/* What is done to everything that arrives. */
struct impairment {
    double loss_ratio;
    uint64_t delay_ns, seed;
    struct ring ring; /* what is held back */
};

struct traffic {
    pthread_t thread;
    pthread_mutex_t lock;
    atomic_uint waiting; /* threads that want the lock: the traffic thread lets them go first */
    atomic_bool stop;
    bool started;
    uint32_t run;
    int epoll, event_fd;
    struct speech speech;
    struct endpoint *endpoints;
    struct speaker *speakers;
    struct meter *meters;
    struct group *groups;
    uint32_t endpoint_count, speaker_count, meter_count, group_count;                /* in use, or once in use */
    uint32_t endpoint_room, speaker_room, meter_room, group_room;
    uint32_t *pairs; /* (listener, talker) -> meter + 1, open addressing */
    uint32_t pair_room;
    uint32_t slots[SLOTS]; /* first talker of each */
    uint64_t next_slot;    /* since CLOCK_MONOTONIC began, in SLOT_NS */
    struct ring ring; /* events */
    struct impairment impairment;
    struct traffic_counters counters;
};

uint64_t traffic_clock(clockid_t clock);
void traffic_lock(struct traffic *traffic);
void traffic_unlock(struct traffic *traffic);

/* endpoints.c; NULL where there is none */
struct endpoint *open_endpoint(struct traffic *traffic, uint32_t index);
/* receive.c */
void receive_all(struct traffic *traffic, uint32_t endpoint, uint32_t generation);
void receive_early(struct traffic *traffic, struct endpoint *endpoint);
void receive_datagram(struct traffic *traffic, struct endpoint *endpoint, uint8_t *datagram, size_t length, uint64_t arrival_ns);
/* impair.c; impair: true where the datagram is lost, or comes later; impair_due: when, by CLOCK_MONOTONIC, or UINT64_MAX */
bool impair(struct traffic *traffic, const struct endpoint *endpoint, const uint8_t *data, size_t length, uint64_t arrival_ns);
uint64_t impair_due(const struct traffic *traffic);
void impair_release(struct traffic *traffic, uint64_t now_ns);
/* send.c */
void send_due(struct traffic *traffic, uint64_t now_ns);
/* pairs.c */
struct meter *pair_find(const struct traffic *traffic, uint32_t listener, uint32_t talker);
void pair_add(struct traffic *traffic, uint32_t listener, uint32_t talker, uint32_t meter);

#endif
