/* stress.c: all threads of a loop at full speed, for ThreadSanitizer and AddressSanitizer: `stress ROUNDS SEED`.
 *
 * The main thread is the signaling thread: ROUNDS times it commands something at random, reads counters and takes events. A generator thread
 * plays the network: media of two publishers, STUN, DTLS, RTCP and garbage, over loopback. Everything about track 1 and about the consumers from 1
 * on changes all the time; consumer 0 stays in the ever changing list of track 0, and must hear each packet once and in order.
 * Exit status 0 means: that was so, no command was rejected, no STUN was lost uncounted, and at the end the tables were empty.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

#define CHECK(holds)                                                                                                                      \
    do {                                                                                                                                  \
        if (!(holds)) {                                                                                                                   \
            fprintf(stderr, "stress: line %d: not so: %s\n", __LINE__, #holds);                                                           \
            abort();                                                                                                                      \
        }                                                                                                                                 \
    } while (0)

enum { PUBLISHER = 0, CHURNING_PUBLISHER, LISTENER, FIRST_CHURNING, PEERS = 11, FIRST_IPV6 = 8, SLOTS = 12, TRACKS = 2, CONSUMERS = 64, OUTSTANDING = 16 };
enum { SSRC = 1000, OTHER_SSRC = 2000, OTHER_SSRCS = 6, PATIENCE_S = 30 };

static struct loop *loop;
static int peers[PEERS]; /* sockets; those from FIRST_IPV6 on are IPv6. Peers 0 to 2 belong to the slots of the same number, the rest to anyone */
static struct path paths[PEERS];
static _Atomic bool done;
static uint64_t sent_steady, heard_steady, sent_stun; /* the generator's; main reads them after it has joined */

static uint32_t pick(uint64_t *state, uint32_t limit) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % limit;
}

static int open_socket(int family, union address *address, socklen_t *length) {
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = 1 << 22;
    memset(address, 0, sizeof *address);
    *length = family == AF_INET ? sizeof address->v4 : sizeof address->v6;
    address->any.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        address->v6.sin6_addr = in6addr_loopback;
    CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) == 0);
    CHECK(bind(fd, &address->any, *length) == 0 && getsockname(fd, &address->any, length) == 0);
    return fd;
}

/* ------------------------------------------------------------------------------------------------ the network */

static void send_rtp(int fd, uint32_t ssrc, uint16_t sequence, uint8_t payload_type, uint64_t number) {
    uint8_t packet[12 + 8 + sizeof number + 4] = {0x90, payload_type};
    write_u16(packet + 2, sequence);
    write_u32(packet + 8, ssrc);
    memcpy(packet + 12, "\xbe\xde\x00\x01\x10\x22\x00\x00", 8);
    memcpy(packet + 20, &number, sizeof number);
    send(fd, packet, sizeof packet, 0);
}

static void send_others(uint64_t *random, uint16_t sequence) {
    static const uint8_t stun[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, dtls[30] = {22}, garbage[5] = {0x50};
    uint8_t report[32] = {0x80, 200, 0, 6};
    write_u32(report + 4, SSRC);
    send_rtp(peers[CHURNING_PUBLISHER], OTHER_SSRC + pick(random, OTHER_SSRCS), sequence, pick(random, 20) ? 111 : 13, sequence);
    sent_stun += send(peers[pick(random, PEERS)], stun, sizeof stun, 0) == sizeof stun;
    send(peers[pick(random, PEERS)], dtls, sizeof dtls, 0);
    send(peers[pick(random, 2)], report, sizeof report, 0);
    send(peers[pick(random, PEERS)], garbage, sizeof garbage, 0);
}

/* Takes what the steady listener has received; its RTP must be complete and in order. */
static void hear(void) {
    uint8_t packet[2048];
    ssize_t length;
    while ((length = recv(peers[LISTENER], packet, sizeof packet, 0)) > 0) {
        struct rtp_view view;
        uint64_t number;
        if (classify(packet, (size_t)length) != PACKET_RTP)
            continue;
        CHECK(rtp_parse(packet, (size_t)length, &view) == DROP_NONE);
        memcpy(&number, packet + view.payload_offset, sizeof number);
        CHECK(number == heard_steady && view.sequence == (uint16_t)(100 + heard_steady));
        heard_steady++;
    }
}

static void *generate(void *argument) {
    uint64_t random = *(uint64_t *)argument;
    time_t deadline = time(NULL) + PATIENCE_S;
    while (!atomic_load(&done) || heard_steady < sent_steady) {
        if (!atomic_load(&done) && sent_steady - heard_steady < OUTSTANDING) {
            send_rtp(peers[PUBLISHER], SSRC, (uint16_t)sent_steady, 111, sent_steady);
            sent_steady++;
            send_others(&random, (uint16_t)sent_steady);
        } else {
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        }
        uint64_t before = heard_steady;
        hear();
        if (heard_steady != before)
            deadline = time(NULL) + PATIENCE_S;
        CHECK(time(NULL) < deadline);
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ signaling */

static struct {
    bool transports[SLOTS], track;
    uint32_t consumer_slots[CONSUMERS]; /* 0: no such consumer */
    uint32_t next_ssrc;
    uint64_t random, stun;
} now = {.next_ssrc = 1 << 20};

static uint32_t any(uint32_t limit) { return pick(&now.random, limit); }

static void add_transport(uint32_t slot, unsigned peer) {
    struct srtp_keys *keys = srtp_keys_new(PROFILE_AEAD_AES_128_GCM, NULL, NULL, true);
    CHECK(loop_add_transport(loop, slot, slot) == LOOP_OK);
    CHECK(loop_bind(loop, slot, &paths[peer]) == LOOP_OK);
    CHECK(loop_set_association(loop, slot, association_new(keys, slot + 1, 4, "antiphon", 8)) == LOOP_OK);
    now.transports[slot] = true;
}

static void add_consumer(uint32_t index, uint32_t slot) {
    struct consumer consumer;
    struct consumer_layout layout;
    layout_init(&layout, 111, 1, 4, (const uint8_t *)"mid", 3);
    consumer_init(&consumer, slot, now.next_ssrc++, 100, 0);
    CHECK(loop_add_consumer(loop, index, &consumer, &layout) == LOOP_OK);
    now.consumer_slots[index] = slot;
}

/* A random choice of what there is; in track 0 always with consumer 0. Every second list has one consumer a transport, so that the helper may
 * take part. */
static void change_list(uint32_t track) {
    struct consumer_list *list = consumer_list_new(CONSUMERS);
    bool apart = any(2), taken[SLOTS] = {false};
    list->count = 0;
    for (uint32_t i = 1; i < CONSUMERS; i++) {
        uint32_t slot = now.consumer_slots[i];
        if (slot && !(apart && taken[slot]) && any(4) == 0) {
            list->indices[list->count++] = i;
            taken[slot] = true;
        }
    }
    if (track == 0) {
        list->indices[list->count++] = 0;
        uint32_t place = any(list->count);
        list->indices[list->count - 1] = list->indices[place];
        list->indices[place] = 0;
    }
    CHECK(loop_set_consumers(loop, track, list) == LOOP_OK);
}

static void remove_consumer(uint32_t index) {
    now.consumer_slots[index] = 0; /* lists first: they must not name it any more */
    change_list(0);
    if (now.track)
        change_list(1);
    CHECK(loop_remove_consumer(loop, index) == LOOP_OK);
}

static void remove_transport(uint32_t slot) {
    for (uint32_t i = 1; i < CONSUMERS; i++)
        if (now.consumer_slots[i] && now.consumer_slots[i] == slot)
            remove_consumer(i);
    CHECK(loop_remove_transport(loop, slot) == LOOP_OK);
    now.transports[slot] = false;
}

static void change_track(void) {
    if (now.track)
        CHECK(loop_remove_track(loop, 1) == LOOP_OK);
    else
        CHECK(loop_add_track(loop, 1, CHURNING_PUBLISHER, 48000, 111, 1) == LOOP_OK);
    now.track = !now.track;
}

static void take_events(void) {
    for (const struct event *event; (event = loop_event_next(loop)); loop_event_done(loop)) {
        CHECK(event->type <= EVENT_FIRST_PACKET && event->length <= DATAGRAM_ROOM);
        now.stun += event->type == EVENT_STUN;
    }
}

static void read_counters(void) {
    struct loop_totals totals;
    struct table_counters tables;
    struct transport_counters transport;
    struct track_counters track;
    struct consumer_counters consumer;
    uint64_t drops[DROP_COUNT];
    loop_drops(loop, drops);
    loop_read_totals(loop, &totals);
    loop_read_tables(loop, &tables);
    CHECK(loop_read_transport(loop, any(SLOTS), &transport) && loop_read_track(loop, any(TRACKS), &track));
    CHECK(loop_read_consumer(loop, any(CONSUMERS), &consumer) && totals.rejected_commands == 0);
}

static void change_something(void) {
    uint32_t slot = FIRST_CHURNING + any(SLOTS - FIRST_CHURNING), consumer = 1 + any(CONSUMERS - 1);
    unsigned peer = LISTENER + 1 + any(PEERS - LISTENER - 1);
    uint16_t sequences[4] = {(uint16_t)any(65536), 100, (uint16_t)(100 + any(20)), (uint16_t)(100 + any(200))};
    switch (any(16)) {
    case 0:
        if (!now.transports[slot])
            add_transport(slot, peer);
        else if (any(8) == 0)
            remove_transport(slot);
        break;
    case 1:
        if (now.transports[slot])
            CHECK(loop_bind(loop, slot, &paths[peer]) == LOOP_OK);
        break;
    case 2: change_track(); break;
    case 3:
        if (now.track)
            CHECK(loop_add_encoding(loop, 1, OTHER_SSRC + any(OTHER_SSRCS)) == LOOP_OK);
        break;
    case 4:
        if (now.track)
            CHECK(loop_set_paused(loop, 1, any(2)) == LOOP_OK);
        break;
    case 5:
        if (now.consumer_slots[consumer])
            CHECK(loop_resync_consumer(loop, consumer) == LOOP_OK);
        break;
    case 6:
        if (now.consumer_slots[consumer])
            CHECK(loop_retransmit(loop, consumer, 0, sequences, 4) == LOOP_OK);
        break;
    case 7: CHECK(loop_send(loop, &paths[peer], (const uint8_t *)"\0STUN", 5) != LOOP_INVALID); break; /* the ring may be full */
    case 8: read_counters(); break;
    case 9: take_events(); break;
    case 10:
        if (now.track)
            change_list(1);
        break;
    case 11:
    case 12: change_list(0); break;
    default:
        if (!now.consumer_slots[consumer] && now.transports[slot])
            add_consumer(consumer, slot);
        else if (now.consumer_slots[consumer] && any(4) == 0)
            remove_consumer(consumer);
        break;
    }
}

static void set_up(void) {
    union address at[2];
    socklen_t lengths[2];
    int sockets[2] = {open_socket(AF_INET, &at[0], &lengths[0]), open_socket(AF_INET6, &at[1], &lengths[1])};
    for (unsigned i = 0; i < PEERS; i++) {
        unsigned family = i >= FIRST_IPV6;
        peers[i] = open_socket(family ? AF_INET6 : AF_INET, &paths[i].peer, &paths[i].peer_length);
        CHECK(connect(peers[i], &at[family].any, lengths[family]) == 0);
    }
    loop = loop_create(sockets, 2, SLOTS, TRACKS, CONSUMERS);
    CHECK(loop != NULL);
    for (uint32_t slot = PUBLISHER; slot <= LISTENER; slot++)
        add_transport(slot, slot);
    CHECK(loop_add_track(loop, 0, PUBLISHER, 48000, 111, 1) == LOOP_OK && loop_add_encoding(loop, 0, SSRC) == LOOP_OK);
    add_consumer(0, LISTENER);
    change_list(0);
}

static uint64_t dropped(enum drop_reason reason) {
    uint64_t drops[DROP_COUNT];
    loop_drops(loop, drops);
    return drops[reason];
}

/* Take everything back, and wait until the last command has been carried out and the last STUN has come. */
static void tear_down(void) {
    struct table_counters tables = {.transports = 1};
    for (uint32_t slot = SLOTS; slot-- > 0;) /* publishers last: their tracks go with them */
        if (now.transports[slot])
            remove_transport(slot);
    CHECK(loop_remove_consumer(loop, 0) == LOOP_OK);
    time_t deadline = time(NULL) + PATIENCE_S;
    while (tables.transports || tables.tracks || tables.consumers || tables.addresses ||
           now.stun + dropped(DROP_ring_full) + dropped(DROP_stun_flood) < sent_stun) {
        CHECK(time(NULL) < deadline);
        take_events();
        loop_read_tables(loop, &tables);
    }
}

int main(int count, char **arguments) {
    pthread_t generator;
    struct loop_totals totals;
    CHECK(count == 3);
    uint64_t seed = now.random = strtoull(arguments[2], NULL, 10);
    set_up();
    CHECK(pthread_create(&generator, NULL, generate, &seed) == 0);
    for (unsigned long rounds = strtoul(arguments[1], NULL, 10); rounds; rounds--)
        change_something();
    atomic_store(&done, true);
    CHECK(pthread_join(generator, NULL) == 0);
    tear_down();
    loop_read_totals(loop, &totals);
    CHECK(totals.rejected_commands == 0 && heard_steady == sent_steady && sent_steady > 0);
    printf("%llu packets heard in order, %llu sent to all, %llu of them by the helper, %llu STUN, %llu retransmitted\n",
           (unsigned long long)heard_steady, (unsigned long long)totals.packets_out, (unsigned long long)totals.helped,
           (unsigned long long)now.stun, (unsigned long long)totals.retransmitted);
    loop_destroy(loop);
    for (unsigned i = 0; i < PEERS; i++)
        close(peers[i]);
    return 0;
}
