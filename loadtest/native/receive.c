/* receive.c: one endpoint's datagrams, from the socket to a meter. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define BATCH 32
/* A socket gives way to the others after so many. */
#define BATCHES_PER_TURN 8

static void emit(struct traffic *traffic, const struct endpoint *endpoint, const uint8_t *data, size_t length) {
    struct event event = {(uint32_t)(endpoint - traffic->endpoints), endpoint->generation, (uint32_t)length};
    if (sizeof event + length > traffic->ring.size - traffic->ring.used) {
        traffic->counters.events_dropped++;
        return;
    }
    ring_put(&traffic->ring, &event, sizeof event);
    ring_put(&traffic->ring, data, length);
    uint64_t one = 1;
    if (write(traffic->event_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        traffic->counters.events_dropped++;
}

static void account(struct traffic *traffic, struct meter *meter, const struct stamp *stamp, uint64_t arrival_ns) {
    struct meter_change change = meter_take(meter, stamp, arrival_ns);
    struct group *group = &traffic->groups[meter->group];
    group->missing += change.missing;
    group->duplicates += change.duplicate;
    if (!change.unique)
        return;
    unsigned bucket = histogram_bucket(change.latency_us, FINE);
    group->unique++;
    group->total[bucket]++;
    group->interval[bucket]++;
}

static struct source *find_source(const struct endpoint *endpoint, uint32_t ssrc) {
    for (uint32_t i = 0; i < endpoint->source_count; i++)
        if (endpoint->sources[i].ssrc == ssrc)
            return &endpoint->sources[i];
    return NULL;
}

/* Whose packets an SSRC brings; where there is no memory, or too many, copies of theirs are not counted. */
static void remember_source(struct endpoint *endpoint, const struct rtp_view *view, uint32_t meter) {
    struct source *source = find_source(endpoint, view->ssrc);
    if (!source && endpoint->source_count < MAX_SOURCES) {
        struct source *grown = realloc(endpoint->sources, (endpoint->source_count + 1) * sizeof *grown);
        if (!grown)
            return;
        endpoint->sources = grown;
        source = &grown[endpoint->source_count++];
        *source = (struct source){.ssrc = view->ssrc, .newest = view->sequence};
    }
    if (!source)
        return;
    source->meter = meter;
    if ((int16_t)(view->sequence - source->newest) > 0)
        source->newest = view->sequence;
}

static void note_copy(struct traffic *traffic, struct endpoint *endpoint, const struct rtp_view *view) {
    const struct source *source = find_source(endpoint, view->ssrc);
    if (!source || (int16_t)(view->sequence - source->newest) > 0)
        return;
    traffic->meters[source->meter].duplicates++;
    traffic->groups[traffic->meters[source->meter].group].duplicates++;
}

static void take_rtp(struct traffic *traffic, struct endpoint *endpoint, uint8_t *packet, size_t length, uint64_t arrival_ns) {
    struct rtp_view view;
    struct stamp stamp;
    endpoint->counters.packets++;
    endpoint->counters.bytes += length;
    traffic->counters.packets_in++;
    if (rtp_parse(packet, length, &view) != DROP_NONE) {
        endpoint->counters.auth_failed++;
        traffic->counters.auth_failed++;
        return;
    }
    enum drop_reason reason = srtp_unprotect_rtp(endpoint->keys, packet, &length);
    if (reason == DROP_replayed) {
        /* libsrtp lets no index pass twice, so a copy of a packet is known by being refused. */
        note_copy(traffic, endpoint, &view);
        return;
    }
    if (reason != DROP_NONE || rtp_parse(packet, length, &view) != DROP_NONE) {
        endpoint->counters.auth_failed++;
        traffic->counters.auth_failed++;
        return;
    }
    if (!stamp_read(packet + view.payload_offset, view.payload_length, &stamp) || stamp.run != traffic->run) {
        endpoint->counters.unstamped++;
        return;
    }
    struct meter *meter = pair_find(traffic, endpoint->listener, stamp.talker);
    if (!meter) {
        endpoint->counters.strangers++;
        return;
    }
    if (!meter->ended || (int32_t)(stamp.sequence - meter->limit) <= 0)
        remember_source(endpoint, &view, (uint32_t)(meter - traffic->meters));
    account(traffic, meter, &stamp, arrival_ns);
}

static void keep_early(struct endpoint *endpoint, const uint8_t *packet, size_t length, uint64_t arrival_ns) {
    if (!endpoint->early)
        endpoint->early = calloc(1, sizeof *endpoint->early);
    struct early *early = endpoint->early;
    if (!early || length > sizeof early->packets[0].data) {
        endpoint->counters.early_dropped++;
        return;
    }
    uint32_t place = early->count++ % EARLY_PACKETS;
    endpoint->counters.early_dropped += early->count > EARLY_PACKETS;
    early->packets[place].arrival_ns = arrival_ns;
    early->packets[place].length = (uint16_t)length;
    memcpy(early->packets[place].data, packet, length);
}

void receive_early(struct traffic *traffic, struct endpoint *endpoint) {
    struct early *early = endpoint->early;
    uint32_t oldest = early && early->count > EARLY_PACKETS ? early->count - EARLY_PACKETS : 0;
    for (uint32_t i = oldest; early && i < early->count; i++) {
        uint32_t place = i % EARLY_PACKETS;
        take_rtp(traffic, endpoint, early->packets[place].data, early->packets[place].length, early->packets[place].arrival_ns);
    }
    free(early);
    endpoint->early = NULL;
}

void receive_datagram(struct traffic *traffic, struct endpoint *endpoint, uint8_t *datagram, size_t length, uint64_t arrival_ns) {
    switch (classify(datagram, length)) {
    case PACKET_STUN:
    case PACKET_DTLS: emit(traffic, endpoint, datagram, length); break;
    case PACKET_RTP:
        if (endpoint->keys)
            take_rtp(traffic, endpoint, datagram, length, arrival_ns);
        else
            keep_early(endpoint, datagram, length, arrival_ns);
        break;
    case PACKET_RTCP: /* sender reports, which nothing here needs */
    case PACKET_OTHER: break;
    }
}

/* Kernel's receive time, and how many datagrams it has thrown away so far. */
static uint64_t read_control(struct traffic *traffic, struct endpoint *endpoint, struct msghdr *header) {
    uint64_t arrival_ns = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            arrival_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
        } else if (c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t drops;
            memcpy(&drops, CMSG_DATA(c), sizeof drops);
            endpoint->counters.socket_drops += drops - endpoint->kernel_drops;
            traffic->counters.socket_drops += drops - endpoint->kernel_drops;
            endpoint->kernel_drops = drops;
        }
    }
    return arrival_ns ? arrival_ns : traffic_clock(CLOCK_REALTIME);
}

static int receive_batch(struct traffic *traffic, struct endpoint *endpoint) {
    static _Thread_local uint8_t data[BATCH][DATAGRAM_ROOM];
    static _Thread_local char control[BATCH][128];
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){data[i], DATAGRAM_ROOM};
        headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = control[i], .msg_controllen = 128}};
    }
    int count = recvmmsg(endpoint->fd, headers, BATCH, MSG_DONTWAIT, NULL);
    if (count < 0) {
        /* ICMP says that the port is closed: the server is gone. Whoever asks will see it by the silence. */
        endpoint->counters.socket_errors += errno != EAGAIN && errno != EINTR;
        return errno == ECONNREFUSED ? BATCH : 0;
    }
    for (int i = 0; i < count; i++) {
        uint64_t arrival_ns = read_control(traffic, endpoint, &headers[i].msg_hdr);
        size_t length = headers[i].msg_len;
        if (!(headers[i].msg_hdr.msg_flags & MSG_TRUNC) && !impair(traffic, endpoint, data[i], length, arrival_ns))
            receive_datagram(traffic, endpoint, data[i], length, arrival_ns);
    }
    return count;
}

void receive_all(struct traffic *traffic, uint32_t index, uint32_t generation) {
    struct endpoint *endpoint = &traffic->endpoints[index];
    if (endpoint->fd < 0 || endpoint->generation != generation)
        return;
    for (int i = 0; i < BATCHES_PER_TURN; i++)
        if (receive_batch(traffic, endpoint) < BATCH)
            return;
}
