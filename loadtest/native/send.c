/* send.c: what talkers say, from the speech to their sockets. */
#include <errno.h>
#include <sys/socket.h>

#include "engine.h"

/* Beyond this the thread does not catch up, as a sound card would not: the talkers have said nothing meanwhile, and it is counted. */
#define CATCH_UP_SLOTS (5 * SLOTS)

/* RFC 8285 4.2, one-byte form: audio level (RFC 6464 3, V bit clear) and MID, as far as negotiated. Returns the header's length. */
static size_t write_header(const struct speaker *speaker, const struct utterance *said, uint8_t *out) {
    const struct sending *sending = &speaker->sending;
    out[0] = 0x80;
    out[1] = (uint8_t)((said->marker ? 0x80 : 0) | sending->payload_type);
    write_u16(out + 2, (uint16_t)speaker->index);
    write_u32(out + 4, sending->timestamp + speaker->talker.timestamp);
    write_u32(out + 8, sending->ssrc);
    size_t length = 16;
    if (sending->level_id) {
        out[length++] = (uint8_t)(sending->level_id << 4);
        out[length++] = said->level;
    }
    if (sending->mid_id && sending->mid_length) {
        out[length++] = (uint8_t)(sending->mid_id << 4 | (sending->mid_length - 1));
        memcpy(out + length, sending->mid, sending->mid_length);
        length += sending->mid_length;
    }
    if (length == 16)
        return 12;
    while (length % 4)
        out[length++] = 0;
    out[0] |= 0x10;
    write_u16(out + 12, 0xBEDE);
    write_u16(out + 14, (uint16_t)((length - 16) / 4));
    return length;
}

static struct endpoint *endpoint_of(struct traffic *traffic, const struct speaker *speaker) {
    if (speaker->endpoint == NO_ENDPOINT)
        return NULL;
    struct endpoint *endpoint = &traffic->endpoints[speaker->endpoint];
    return endpoint->fd >= 0 && endpoint->generation == speaker->generation && endpoint->keys ? endpoint : NULL;
}

static void utter(struct traffic *traffic, struct speaker *speaker, const struct utterance *said) {
    struct endpoint *endpoint = endpoint_of(traffic, speaker);
    struct stamp stamp = {
        .flags = speaker->talker.flag,
        .run = traffic->run,
        .talker = (uint32_t)(speaker - traffic->speakers),
        .sequence = talker_count(&speaker->talker),
        .sent_ns = traffic_clock(CLOCK_REALTIME),
    };
    if (!endpoint)
        return; /* spoken, and missing to all */
    uint8_t packet[DATAGRAM_ROOM];
    size_t header = write_header(speaker, said, packet);
    size_t payload = stamp_write(&stamp, said->data, said->length, packet + header, sizeof packet - header - SRTP_MAX_OVERHEAD);
    size_t length = header + payload;
    if (!payload || !srtp_protect_rtp(endpoint->keys, packet, header, &length, speaker->index)) {
        speaker->talker.send_errors++;
        return;
    }
    speaker->index++;
    ssize_t sent = send(endpoint->fd, packet, length, MSG_DONTWAIT);
    if (sent < 0 && errno == ECONNREFUSED) /* the error is of an earlier packet, this one has not gone yet */
        sent = send(endpoint->fd, packet, length, MSG_DONTWAIT);
    if (sent < 0) {
        speaker->talker.send_errors++;
        return;
    }
    speaker->talker.sent++;
    traffic->counters.packets_out++;
}

static void send_slot(struct traffic *traffic, uint32_t slot) {
    for (uint32_t i = traffic->slots[slot]; i != NO_TALKER; i = traffic->speakers[i].next) {
        struct speaker *speaker = &traffic->speakers[i];
        struct utterance said;
        if (speaker->talker.speaking && talker_next(&speaker->talker, &traffic->speech, &said))
            utter(traffic, speaker, &said);
    }
}

static bool has_talkers(const struct traffic *traffic, uint32_t slot) { return traffic->slots[slot] != NO_TALKER; }

void send_due(struct traffic *traffic, uint64_t now_ns) {
    uint64_t due = now_ns / SLOT_NS;
    if (due > traffic->next_slot + CATCH_UP_SLOTS) {
        for (uint64_t s = traffic->next_slot; s < due - CATCH_UP_SLOTS; s++)
            traffic->counters.skipped += has_talkers(traffic, s % SLOTS);
        traffic->next_slot = due - CATCH_UP_SLOTS;
    }
    for (; traffic->next_slot <= due; traffic->next_slot++) {
        uint32_t slot = traffic->next_slot % SLOTS;
        if (!has_talkers(traffic, slot))
            continue;
        uint64_t late_ns = traffic_clock(CLOCK_MONOTONIC) - traffic->next_slot * SLOT_NS;
        traffic->counters.late[histogram_bucket(late_ns / 1000, FINE)]++;
        send_slot(traffic, slot);
    }
}
