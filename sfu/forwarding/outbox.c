#include "outbox.h"

#include <errno.h>
#include <time.h>

#define LATENCY_FIRST_BIT 11u

void outbox_init(struct outbox *outbox, int fd, int family) {
    outbox->fd = fd;
    outbox->family = family;
    outbox->count = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        outbox->vectors[i].iov_base = outbox->slots[i];
        outbox->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &outbox->addresses[i],
            .msg_iov = &outbox->vectors[i],
            .msg_iovlen = 1,
        };
    }
}

/* Four buckets for each power of two: the two bits behind the leading one. */
unsigned latency_bucket(uint64_t ns) {
    if (ns < 1u << LATENCY_FIRST_BIT)
        return 0;
    unsigned bit = 63u - (unsigned)__builtin_clzll(ns);
    unsigned bucket = 1 + 4 * (bit - LATENCY_FIRST_BIT) + (unsigned)(ns >> (bit - 2) & 3);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

uint64_t latency_bound(unsigned i) {
    if (i == 0)
        return 1u << LATENCY_FIRST_BIT;
    unsigned bit = LATENCY_FIRST_BIT + (i - 1) / 4;
    return (uint64_t)(4 + (i - 1) % 4 + 1) << (bit - 2);
}

static void count_sent(struct outbox *outbox, unsigned begin, unsigned end, struct table *table, struct traffic *traffic,
                       uint64_t now_ns) {
    for (unsigned i = begin; i < end; i++) {
        const struct slot_origin *origin = &outbox->origins[i];
        if (origin->transport < table->max_transports) {
            struct transport *t = &table->transports[origin->transport];
            counter_add(&t->packets_out, 1);
            counter_add(&t->bytes_out, outbox->vectors[i].iov_len);
        }
        if (origin->consumer == NO_CONSUMER)
            continue;
        struct consumer *c = &table->consumers[origin->consumer];
        counter_add(&c->packets, 1);
        counter_add(&c->payload_bytes, origin->payload_bytes);
        counter_add(&traffic->packets_out, 1);
        counter_add(&traffic->bytes_out, outbox->vectors[i].iov_len);
        if (origin->arrival_ns) {
            uint64_t latency_ns = now_ns > origin->arrival_ns ? now_ns - origin->arrival_ns : 0;
            counter_add(&traffic->latency[latency_bucket(latency_ns)], 1);
            counter_add(&traffic->latency_sum_ns, latency_ns);
        }
    }
}

void outbox_flush(struct outbox *outbox, struct table *table, struct traffic *traffic) {
    unsigned done = 0;
    while (done < outbox->count) {
        int sent = sendmmsg(outbox->fd, outbox->headers + done, outbox->count - done, MSG_DONTWAIT);
        if (sent > 0) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            count_sent(outbox, done, done + (unsigned)sent, table, traffic,
                       (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
            done += (unsigned)sent;
        } else if (errno == EINTR) {
            continue;
        } else if (errno == EAGAIN || errno == ENOBUFS) {
            /* Waiting would delay everybody else's packets; media that is late is lost anyway. */
            counter_add(&traffic->drops[DROP_send_eagain], outbox->count - done);
            break;
        } else {
            counter_add(&traffic->drops[DROP_send_error], 1); /* this destination's fault: go on with the next */
            done++;
        }
    }
    outbox->count = 0;
}
