/* loop.h: the forwarding thread and its two rings: commands in, events out.
 *
 * Thread: all functions are called from one thread (the signaling thread), but for those of the thread itself, which are static in
 * loop.c. Ownership: loop_create takes the sockets over, loop_destroy closes them. Nothing passed in is kept, but for an
 * association and a consumer list, which belong to the loop from the call on, whatever it returns.
 * Failure: commands return LOOP_OK, LOOP_FULL (ring stayed full) or LOOP_INVALID (arguments out of range).
 */
#ifndef ANTIPHON_LOOP_H
#define ANTIPHON_LOOP_H

#include "outbox.h"
#include "table.h"

enum loop_status { LOOP_OK, LOOP_FULL, LOOP_INVALID };

enum event_type { EVENT_STUN, EVENT_DTLS, EVENT_RTCP, EVENT_UNKNOWN_SSRC, EVENT_FIRST_PACKET };

/* Largest datagram that is read or written. */
#define DATAGRAM_ROOM 2048
/* Largest that Python may send: STUN and DTLS fit any path's MTU. */
#define SEND_LIMIT 1500
/* One NACK names 17 packets an item (RFC 4585 6.2.1); a peer that asks for more in one command is asking for a burst. */
#define RETRANSMIT_LIMIT 64

struct event {
    uint8_t type;
    uint8_t payload_type;
    uint8_t mid_length;
    uint32_t slot;
    uint32_t generation;
    uint32_t value; /* SSRC or track */
    uint32_t length;
    struct path path;
    uint8_t data[]; /* MID or datagram */
};

struct loop_totals {
    uint64_t packets_in, packets_out, bytes_in, bytes_out, cpu_ns, retransmitted, rejected_commands, latency_sum_ns, helped;
    uint64_t latency[LATENCY_BUCKETS];
};

struct transport_counters {
    uint64_t packets_in, bytes_in, packets_out, bytes_out, auth_failed, replayed;
};
struct track_counters {
    uint64_t packets, payload_bytes, lost, jitter, audio_level, last_packet_ns;
};
struct consumer_counters {
    uint64_t packets, payload_bytes;
};
struct table_counters {
    uint64_t transports, tracks, consumers, addresses;
};

struct loop;

/* Starts the thread. `sockets`: one or two bound UDP sockets of different families. NULL with errno set where that fails; the
 * sockets are still the caller's then. */
struct loop *loop_create(const int *sockets, unsigned count, uint32_t max_transports, uint32_t max_tracks, uint32_t max_consumers);
/* Applies what was commanded, ends the thread, closes and frees. */
void loop_destroy(struct loop *loop);

int loop_event_fd(const struct loop *loop);
bool loop_is_realtime(const struct loop *loop);
int loop_nice(const struct loop *loop);
int loop_thread_id(const struct loop *loop);
bool loop_has_family(const struct loop *loop, int family);

enum loop_status loop_send(struct loop *loop, const struct path *path, const uint8_t *data, size_t length);
enum loop_status loop_add_transport(struct loop *loop, uint32_t slot, uint32_t generation);
/* A former one of zeros: none. */
enum loop_status loop_set_ufrags(struct loop *loop, uint32_t slot, const uint8_t current[UFRAG_BYTES], const uint8_t former[UFRAG_BYTES]);
enum loop_status loop_remove_transport(struct loop *loop, uint32_t slot);
enum loop_status loop_bind(struct loop *loop, uint32_t slot, const struct path *path);
enum loop_status loop_set_association(struct loop *loop, uint32_t slot, struct association *association);
enum loop_status loop_add_track(struct loop *loop, uint32_t track, uint32_t slot, uint32_t clock_rate, uint8_t payload_type,
                                uint8_t audio_level_extension);
enum loop_status loop_add_encoding(struct loop *loop, uint32_t track, uint32_t ssrc);
enum loop_status loop_set_paused(struct loop *loop, uint32_t track, bool paused);
enum loop_status loop_remove_track(struct loop *loop, uint32_t track);
enum loop_status loop_add_consumer(struct loop *loop, uint32_t index, const struct consumer *consumer, const struct consumer_layout *layout);
enum loop_status loop_resync_consumer(struct loop *loop, uint32_t index);
/* `track` is the one that lists the consumer; at most RETRANSMIT_LIMIT sequence numbers. */
enum loop_status loop_retransmit(struct loop *loop, uint32_t index, uint32_t track, const uint16_t *sequences, size_t count);
enum loop_status loop_remove_consumer(struct loop *loop, uint32_t index);
enum loop_status loop_set_consumers(struct loop *loop, uint32_t track, struct consumer_list *list);

/* The oldest event, valid until loop_event_done; NULL means that there is none and that event_fd will become readable. */
const struct event *loop_event_next(struct loop *loop);
void loop_event_done(struct loop *loop);

/* `association->keys` must be set; `list->indices` has room for `count`. Both NULL where memory is out. */
struct association *association_new(struct srtp_keys *keys, uint32_t rtcp_ssrc, uint8_t mid_extension, const char *cname, uint8_t cname_length);
struct consumer_list *consumer_list_new(uint32_t count);

void loop_drops(const struct loop *loop, uint64_t drops[DROP_COUNT]);
void loop_read_totals(const struct loop *loop, struct loop_totals *totals);
void loop_read_tables(const struct loop *loop, struct table_counters *counters);
bool loop_read_transport(const struct loop *loop, uint32_t slot, struct transport_counters *counters);
bool loop_read_track(const struct loop *loop, uint32_t track, struct track_counters *counters);
bool loop_read_consumer(const struct loop *loop, uint32_t index, struct consumer_counters *counters);

const char *drop_name(unsigned reason);

#endif
