/* Invariant: whatever peers send and whatever is commanded meanwhile, the loop reads and writes no byte that is not its own; every datagram
 * becomes an event, a received packet or a named drop; every packet that leaves is one consumer's well-formed RTP, or RTCP, or what was to
 * be sent; no nonce is spent twice (the audit aborts); and when all was taken back nothing is left, neither in tables nor in memory.
 *
 * Input: a list of steps, each a byte that says which (see `step`) and then its arguments. A call of three is up before the first one.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine.h"
#include "nonce_audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_sendmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags);

enum { SLOTS = 4, TRACKS = 4, CONSUMERS = 8, FIRST_SSRC = 9000, SOURCE_SSRC = 1000 };

static struct loop loop;
static uint32_t next_ssrc;
static uint8_t kernel_mood; /* 0: takes everything; 1: is full; 2: refuses; 3: takes one at a time */
static const uint8_t *input, *input_end;

static void check(bool holds) {
    if (!holds)
        abort();
}

/* Next byte of input below `limit`; zeros when it is used up. */
static uint32_t take(uint32_t limit) { return input < input_end ? *input++ % limit : 0; }
static uint16_t take_u16(void) {
    uint32_t high = take(256);
    return (uint16_t)(high << 8 | take(256));
}

int __wrap_sendmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags) {
    (void)flags;
    if (kernel_mood == 1 || kernel_mood == 2) {
        errno = kernel_mood == 1 ? EAGAIN : EHOSTUNREACH;
        return -1;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct msghdr *h = &headers[i].msg_hdr;
        const uint8_t *packet = h->msg_iov->iov_base;
        size_t length = h->msg_iov->iov_len;
        struct rtp_view view;
        check(h->msg_namelen == (fd == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)));
        check(h->msg_iovlen == 1 && length > 0 && length <= DATAGRAM_ROOM && ((struct sockaddr *)h->msg_name)->sa_family == fd);
        if (classify(packet, length) == PACKET_RTP)
            check(rtp_parse(packet, length - SRTP_MAX_OVERHEAD, &view) == DROP_NONE && view.payload_type == 111 &&
                  view.ssrc >= FIRST_SSRC && view.ssrc < next_ssrc && (view.extension_profile == 0 || view.extension_profile == 0xBEDE));
    }
    return kernel_mood == 3 ? 1 : (int)count;
}

/* Peers 0..3 are IPv4, 4..7 IPv6. */
static struct path path_of(uint32_t peer) {
    struct path path = {.has_local = (peer & 1) != 0, .local = {127, 0, 0, 1}};
    if (peer < 4) {
        path.peer.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((in_port_t)(peer + 1)), .sin_addr = {0x0100007F}};
        path.peer_length = sizeof path.peer.v4;
    } else {
        path.peer.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons((in_port_t)(peer + 1)), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        path.peer_length = sizeof path.peer.v6;
    }
    return path;
}

static uint64_t traces(void) {
    uint64_t sum = counter_get(&loop.sender.traffic.packets_in) + atomic_load(&loop.events.head);
    for (unsigned i = 0; i < DROP_COUNT; i++)
        sum += counter_get(&loop.sender.traffic.drops[i]);
    return sum;
}

static void receive(uint32_t peer, const uint8_t *bytes, size_t length) {
    struct path from = path_of(peer);
    /* A block of exactly this size, so that a byte too far is noticed. */
    uint8_t *datagram = malloc(length ? length : 1);
    check(datagram != NULL);
    memcpy(datagram, bytes, length);
    uint64_t before = traces();
    receive_datagram(&loop, datagram, length, &from, 1);
    check(traces() > before);
    free(datagram);
}

static void add_association(uint32_t slot) {
    struct srtp_keys *keys = srtp_keys_new(PROFILE_AEAD_AES_128_GCM, NULL, NULL, true);
    check(loop_set_association(&loop, slot, association_new(keys, slot + 1, 4, "antiphon", 8)) == LOOP_OK);
}

static void add_consumer(uint32_t index, uint32_t slot, uint8_t level_id, uint8_t mid_length) {
    struct consumer consumer;
    struct consumer_layout layout;
    layout_init(&layout, 111, level_id, 4, (const uint8_t *)"abcdefghijklmnop", mid_length);
    consumer_init(&consumer, slot, next_ssrc++, (uint16_t)(32767 - index), 0);
    loop_add_consumer(&loop, index, &consumer, &layout);
}

static void list_consumers(uint32_t track, uint32_t count) {
    struct consumer_list *list = consumer_list_new(count);
    for (uint32_t i = 0; i < count; i++)
        list->indices[i] = i < CONSUMERS ? i : take(CONSUMERS); /* the beginning is always 0, 1, 2 ... */
    loop_set_consumers(&loop, track, list);
}

static void add_track(uint32_t track, uint32_t slot) { loop_add_track(&loop, track, slot, 48000, 111, 1); }

static void bind_peer(uint32_t slot, uint32_t peer) {
    struct path path = path_of(peer);
    loop_bind(&loop, slot, &path);
}

static void begin(void) {
    check(table_init(&loop.table, SLOTS, TRACKS, CONSUMERS, 1));
    memset(&loop.sender.traffic, 0, sizeof loop.sender.traffic);
    loop.sender.table = &loop.table;
    memset(&loop.now, 0, sizeof loop.now);
    loop.report_track = loop.report_consumer = loop.next_report_pass_ms = 0;
    kernel_mood = 0;
    next_ssrc = FIRST_SSRC;
    nonce_audit_clear();
    for (uint32_t slot = 0; slot < 3; slot++) {
        loop_add_transport(&loop, slot, slot);
        bind_peer(slot, slot * 2); /* the third is IPv6 */
        add_association(slot);
    }
    add_track(0, 0);
    loop_add_encoding(&loop, 0, SOURCE_SSRC);
    add_consumer(0, 1, 1, 1);
    add_consumer(1, 2, 0, 16);
    add_consumer(2, 1, 14, 0);
    list_consumers(0, 3);
    apply_commands(&loop);
}

static void drain_events(void) {
    for (const struct event *event; (event = loop_event_next(&loop)); loop_event_done(&loop))
        check(event->type <= EVENT_FIRST_PACKET && event->length <= DATAGRAM_ROOM && event->slot < SLOTS);
}

static void step(void) {
    uint32_t what = take(32);
    uint16_t numbers[3];
    struct path path;
    switch (what) {
    default: { /* 12 to 28: a datagram of a peer, its length in the next two bytes */
        uint32_t peer = take(8);
        size_t length = take_u16() % (DATAGRAM_ROOM + 1u), left = (size_t)(input_end - input);
        length = length < left ? length : left;
        receive(peer, input, length);
        input += length;
        break;
    }
    case 0: loop_add_transport(&loop, take(SLOTS), 1); break;
    case 1: loop_remove_transport(&loop, take(SLOTS)); break;
    case 2: bind_peer(take(SLOTS), take(8)); break;
    case 3: add_association(take(SLOTS)); break;
    case 4: add_track(take(TRACKS), take(SLOTS)); break;
    case 5: loop_add_encoding(&loop, take(TRACKS), SOURCE_SSRC + take(8)); break;
    case 6: loop_set_paused(&loop, take(TRACKS), take(2)); break;
    case 7: loop_remove_track(&loop, take(TRACKS)); break;
    case 8: add_consumer(take(CONSUMERS), take(SLOTS), (uint8_t)take(15), (uint8_t)take(17)); break;
    case 9: take(2) ? loop_resync_consumer(&loop, take(CONSUMERS)) : loop_remove_consumer(&loop, take(CONSUMERS)); break;
    case 10: list_consumers(take(TRACKS), take(3 * CONSUMERS)); break;
    case 11:
        for (unsigned i = 0; i < 3; i++)
            numbers[i] = take_u16();
        loop_retransmit(&loop, take(CONSUMERS), take(TRACKS), numbers, 3);
        break;
    case 29: {
        uint32_t slot = take(SLOTS);
        uint8_t ufrag[2][UFRAG_BYTES] = {"aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa"};
        ufrag[0][3] = ufrag[1][3] = (uint8_t)('a' + slot / 16);
        ufrag[0][4] = ufrag[1][4] = (uint8_t)('a' + 2 * (slot % 16));
        ufrag[1][15] = (uint8_t)take(256);
        loop_set_ufrags(&loop, slot, ufrag[0], ufrag[1]);
        break;
    }
    case 30:
        loop.now.monotonic_ns += take_u16() * 10000000ull;
        loop.now.ms = (uint32_t)(loop.now.monotonic_ns / 1000000);
        send_reports(&loop);
        break;
    case 31:
        kernel_mood = (uint8_t)take(4);
        path = path_of(take(8));
        loop_send(&loop, &path, (const uint8_t *)"\0STUN", 1 + take(4));
        drain_events();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!loop.sender.socket_count) { /* once */
        loop.epoll_fd = loop.wake_fd = loop.event_fd = -1;
        check(ring_init(&loop.commands, COMMAND_RING_BYTES) && ring_init(&loop.events, 1 << 14));
        outbox_init(&loop.sender.outboxes[loop.sender.socket_count++], AF_INET, AF_INET);
        outbox_init(&loop.sender.outboxes[loop.sender.socket_count++], AF_INET6, AF_INET6);
    }
    begin();
    for (input = data, input_end = data + size; input < input_end; apply_commands(&loop))
        step();
    flush_all(&loop);
    drain_events();
    for (uint32_t i = 0; i < CONSUMERS; i++)
        loop_remove_consumer(&loop, i);
    for (uint32_t i = 0; i < SLOTS; i++)
        loop_remove_transport(&loop, i);
    apply_commands(&loop);
    check(!counter_get(&loop.table.transport_count) && !counter_get(&loop.table.track_count) && !counter_get(&loop.table.address_count) &&
          !counter_get(&loop.table.consumer_count) && !loop.table.by_ssrc.count);
    table_free(&loop.table);
    return 0;
}
