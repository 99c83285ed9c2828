/* engine.h: the inside of a loop, shared by loop.c (thread), forward.c (a packet's path) and commands.c (the rings).
 *
 * Thread: fields are the forwarding thread's unless marked otherwise.
 */
#ifndef ANTIPHON_ENGINE_H
#define ANTIPHON_ENGINE_H

#include <pthread.h>

#include "helper.h"
#include "loop.h"
#include "ring.h"

#define COMMAND_RING_BYTES (1u << 20)
#define EVENT_RING_BYTES (1u << 20)
/* Receive time and local address. */
#define CONTROL_BYTES 128

/* One recvmmsg's worth of datagrams. */
struct inbox {
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct path paths[BATCH];
    _Alignas(8) uint8_t control[BATCH][CONTROL_BYTES];
    uint8_t slots[BATCH][SLOT_BYTES];
};

/* Clocks read once a batch. */
struct moment {
    uint64_t monotonic_ns;
    uint64_t real_ns;
    uint32_t ms; /* monotonic, wraps after 49 days */
};

struct loop {
    struct table table;
    struct sender sender;
    struct helper helper; /* not started where there is one core */
    struct inbox inbox;
    struct moment now;
    uint64_t random;
    struct allowance strangers_stun;
    /* reports.c's walk over tracks and consumers */
    uint32_t report_track;
    uint32_t report_consumer;
    uint32_t next_report_pass_ms;
    bool events_pending; /* committed since the reader was last woken */
    bool stopping;
    counter rejected_commands;

    struct ring commands; /* signaling thread -> forwarding thread */
    struct ring events;   /* forwarding thread -> signaling thread */
    _Atomic bool thread_sleeps;
    _Atomic bool reader_sleeps;
    int epoll_fd;
    int wake_fd;  /* written by the signaling thread when thread_sleeps */
    int event_fd; /* written by the forwarding thread when reader_sleeps */
    pthread_t thread;
    bool thread_started; /* signaling thread's */
    _Atomic int thread_id;
    _Atomic int nice;
    _Atomic bool realtime;
    _Atomic bool ready;
};

static inline void drop(struct loop *loop, enum drop_reason reason) { counter_add(&loop->sender.traffic.drops[reason], 1); }

static inline struct outbox *outbox_for(struct loop *loop, int family) { return sender_outbox(&loop->sender, family); }
static inline void flush_all(struct loop *loop) { sender_flush(&loop->sender); }

/* forward.c: one datagram, `arrival_ns` being the kernel's receive time (CLOCK_REALTIME) or 0. */
void receive_datagram(struct loop *loop, uint8_t *datagram, size_t length, const struct path *from, uint64_t arrival_ns);

/* forward.c: send the packet with outgoing sequence number `sequence` to the consumer once more; counts it where that cannot be done. */
void retransmit(struct loop *loop, const struct track *track, uint32_t index, uint16_t sequence);

/* commands.c: carry out what the signaling thread has put into the ring. */
void apply_commands(struct loop *loop);
/* Copies to the event ring, or counts ring_full. */
void emit(struct loop *loop, const struct event *event, const uint8_t *data);
void wake_reader(struct loop *loop);

/* reports.c: send some of the reports that are due. Returns ms until it wants to be called again, or -1 when nothing flows. */
int send_reports(struct loop *loop);

#endif
