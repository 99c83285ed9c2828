/* outbox.h: outgoing datagrams of one socket, gathered and handed to the kernel by one sendmmsg.
 *
 * Thread: the forwarding thread. Ownership: slots are the outbox's; destination addresses are copied into the message headers.
 * Failure: what the kernel does not take is dropped and counted by its reason, never counted as sent.
 */
#ifndef ANTIPHON_OUTBOX_H
#define ANTIPHON_OUTBOX_H

#include <sys/socket.h>

#include "table.h"

#define BATCH 64
/* Not a power of two: slots would otherwise compete for the same few L1 sets. */
#define SLOT_BYTES (2048 + 64)
#define LATENCY_BUCKETS 80
#define NO_CONSUMER UINT32_MAX

/* Whose counters a slot belongs to once it is sent. */
struct slot_origin {
    uint32_t transport;
    uint32_t consumer; /* NO_CONSUMER: RTCP, STUN or DTLS */
    uint32_t payload_bytes;
    uint64_t arrival_ns; /* of the source packet, CLOCK_REALTIME; 0: none */
};

struct traffic {
    counter packets_in, packets_out, bytes_in, bytes_out, retransmitted, latency_sum_ns;
    counter drops[DROP_COUNT];
    counter latency[LATENCY_BUCKETS];
};

struct outbox {
    int fd;
    int family;
    unsigned count;
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct slot_origin origins[BATCH];
    union address addresses[BATCH];
    _Alignas(8) uint8_t control[BATCH][PATH_CONTROL_BYTES];
    uint8_t slots[BATCH][SLOT_BYTES];
};

void outbox_init(struct outbox *outbox, int fd, int family);

/* Where the next datagram is to be written. */
static inline uint8_t *outbox_slot(struct outbox *outbox) { return outbox->slots[outbox->count]; }

/* The slot is filled. The caller flushes when this returns true (no slot is left). */
static inline bool outbox_add(struct outbox *outbox, const struct path *path, size_t length, struct slot_origin origin) {
    unsigned i = outbox->count++;
    struct msghdr *header = &outbox->headers[i].msg_hdr;
    outbox->addresses[i] = path->peer;
    header->msg_namelen = path->peer_length;
    header->msg_controllen = 0;
    if (path->has_local)
        path_write_local(path, header, outbox->control[i]);
    outbox->vectors[i].iov_len = length;
    outbox->origins[i] = origin;
    return outbox->count == BATCH;
}

/* Send what is gathered and count it. */
void outbox_flush(struct outbox *outbox, struct table *table, struct traffic *traffic);

unsigned latency_bucket(uint64_t ns);
/* Upper bound of bucket `i` in ns, in steps of a quarter of a power of two from 2^11; the last bucket holds all the rest. */
uint64_t latency_bound(unsigned i);

#endif
