/* wire.h: what is on the wire, read with bounds checked first.
 *
 * Thread: any; every function is pure. Ownership: views point into the caller's buffer and live as long as it does.
 * Failure: readers return one of enum drop_reason, or DROP_NONE where the bytes are what they claim to be.
 */
#ifndef ANTIPHON_WIRE_H
#define ANTIPHON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Every way in which a packet ends here instead of at a receiver. README.md says what an operator should make of each. */
#define DROP_REASONS(X)                                                                                                \
    X(truncated, "shorter than its own length fields say, or than the smallest packet of its kind")                    \
    X(oversized, "longer than the receive buffer")                                                                     \
    X(bad_version, "first byte belongs to none of STUN, DTLS and RTP version 2 (RFC 7983)")                            \
    X(bad_stun, "STUN without the magic cookie or with a wrong length")                                                \
    X(bad_source, "source port 0, which cannot be answered")                                                           \
    X(unknown_address, "DTLS or RTP from an address that no transport is bound to")                                    \
    X(no_keys, "RTP or RTCP before the DTLS handshake has ended")                                                      \
    X(auth_failed, "SRTP or SRTCP authentication failed")                                                              \
    X(replayed, "SRTP or SRTCP index seen before, or older than the replay window")                                    \
    X(unprotect_failed, "libsrtp refused the packet for another reason")                                               \
    X(unknown_ssrc, "authentic RTP of an SSRC that no track claims")                                                   \
    X(too_many_ssrcs, "authentic peer uses more SSRCs than a transport may")                                           \
    X(bad_payload_type, "payload type that was not negotiated for the track")                                          \
    X(not_in_history, "retransmission was asked for a packet that is not kept any more, or never was sent")                \
    X(stale, "source packet older than the point at which its consumer began, or of a replaced SSRC")                  \
    X(paused, "track is paused (muted)")                                                                               \
    X(no_consumer, "track has no consumer")                                                                            \
    X(not_connected, "consumer's transport has no address or no keys yet")                                             \
    X(too_long, "outgoing copy would exceed the send buffer")                                                          \
    X(protect_failed, "outgoing packet could not be encrypted")                                                        \
    X(send_eagain, "kernel's send buffer was full")                                                                    \
    X(send_error, "kernel refused to send (no route, no address, ...)")                                                \
    X(stun_flood, "more STUN in a second than one connection needs, or than strangers may have looked at")              \
    X(ring_full, "event ring to the signaling thread was full")

enum drop_reason {
#define DROP_ENUM(name, text) DROP_##name,
    DROP_REASONS(DROP_ENUM)
#undef DROP_ENUM
        DROP_COUNT,
    DROP_NONE = DROP_COUNT
};

/* What callers reserve for one value of each. */
enum { MAX_DROP_REASONS = DROP_COUNT };

/* RFC 7983 7, as far as a shard speaks it; RFC 5761 4 tells RTCP from RTP. */
enum packet_kind { PACKET_STUN, PACKET_DTLS, PACKET_RTP, PACKET_RTCP, PACKET_OTHER };

static inline uint16_t read_u16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t read_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void write_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void write_u32(uint8_t *p, uint32_t v) {
    write_u16(p, (uint16_t)(v >> 16));
    write_u16(p + 2, (uint16_t)v);
}

static inline enum packet_kind classify(const uint8_t *packet, size_t length) {
    if (length < 2)
        return PACKET_OTHER;
    uint8_t first = packet[0];
    if (first <= 3)
        return PACKET_STUN;
    if (first >= 20 && first <= 63)
        return PACKET_DTLS;
    if (first < 128 || first > 191)
        return PACKET_OTHER;
    /* RFC 5761 4: RTCP packet types 192..223 look like payload types 64..95 with the marker bit set. */
    return packet[1] >= 192 && packet[1] <= 223 ? PACKET_RTCP : PACKET_RTP;
}

/* RFC 8489 5: two zero bits, type, length (a multiple of 4), magic cookie, transaction id. */
static inline bool stun_is_plausible(const uint8_t *packet, size_t length) {
    return length >= 20 && read_u32(packet + 4) == 0x2112A442u && read_u16(packet + 2) == length - 20 &&
           (length & 3) == 0;
}

/* Value of the first attribute of a kind in a plausible message (RFC 8489 14), or NULL. */
static inline const uint8_t *stun_find_attribute(const uint8_t *packet, size_t length, uint16_t kind, uint16_t *value_length) {
    for (size_t at = 20; at + 4 <= length;) {
        size_t size = read_u16(packet + at + 2), value = at + 4;
        if (size > length - value)
            return NULL;
        if (read_u16(packet + at) == kind) {
            *value_length = (uint16_t)size;
            return packet + value;
        }
        at = value + ((size + 3) & ~(size_t)3);
    }
    return NULL;
}

/* One RTP packet (RFC 3550 5.1), all lengths proven to lie inside it. */
struct rtp_view {
    const uint8_t *packet;
    uint16_t sequence;
    uint32_t timestamp;
    uint32_t ssrc;
    uint8_t payload_type;
    uint8_t csrc_count;
    bool marker;
    bool padding;
    uint16_t extension_profile;  /* 0xBEDE or 0x100x (RFC 8285); 0 where there is none */
    uint16_t extension_length;   /* bytes of extension data */
    uint16_t extension_offset;   /* of extension data in the packet */
    uint16_t payload_offset;     /* header with CSRCs and extension ends here */
    uint16_t payload_length;     /* payload and padding */
};

/* Fixed header of 12 bytes and the CSRC list: readable before decryption. */
static inline enum drop_reason rtp_parse(const uint8_t *packet, size_t length, struct rtp_view *view) {
    if (length < 12 || length > UINT16_MAX)
        return DROP_truncated;
    if (packet[0] >> 6 != 2)
        return DROP_bad_version;
    view->packet = packet;
    view->padding = (packet[0] & 0x20) != 0;
    view->csrc_count = packet[0] & 0x0F;
    view->marker = (packet[1] & 0x80) != 0;
    view->payload_type = packet[1] & 0x7F;
    view->sequence = read_u16(packet + 2);
    view->timestamp = read_u32(packet + 4);
    view->ssrc = read_u32(packet + 8);
    view->extension_profile = 0;
    view->extension_length = 0;
    size_t offset = 12 + 4 * (size_t)view->csrc_count;
    if (packet[0] & 0x10) {
        if (length < offset + 4)
            return DROP_truncated;
        size_t extension_length = 4 * (size_t)read_u16(packet + offset + 2);
        if (extension_length > length - offset - 4)
            return DROP_truncated;
        view->extension_profile = read_u16(packet + offset);
        view->extension_length = (uint16_t)extension_length;
        offset += 4;
        view->extension_offset = (uint16_t)offset;
        offset += view->extension_length;
    } else {
        view->extension_offset = (uint16_t)offset;
    }
    if (offset > length)
        return DROP_truncated;
    view->payload_offset = (uint16_t)offset;
    view->payload_length = (uint16_t)(length - offset);
    return DROP_NONE;
}

/* After decryption: RFC 3550 5.1, the last byte counts the padding, itself included. */
static inline enum drop_reason rtp_check_padding(const struct rtp_view *view) {
    if (!view->padding)
        return DROP_NONE;
    if (view->payload_length == 0)
        return DROP_truncated;
    uint8_t count = view->packet[view->payload_offset + view->payload_length - 1];
    return count == 0 || count > view->payload_length ? DROP_truncated : DROP_NONE;
}

/* Finds header extension `id` in the one-byte or the two-byte form (RFC 8285 4.2, 4.3).
 * Returns its data and sets *length, or NULL. A malformed tail ends the search, it does not condemn the packet. */
static inline const uint8_t *rtp_find_extension(const struct rtp_view *view, uint8_t id, uint8_t *length) {
    const uint8_t *p = view->packet + view->extension_offset;
    const uint8_t *end = p + view->extension_length;
    bool one_byte = view->extension_profile == 0xBEDE;
    if (id == 0 || (!one_byte && (view->extension_profile & 0xFFF0) != 0x1000))
        return NULL;
    while (p < end) {
        if (*p == 0) { /* padding between elements */
            p++;
            continue;
        }
        uint8_t found, size;
        if (one_byte) {
            found = *p >> 4;
            size = (uint8_t)((*p & 0x0F) + 1);
            p += 1;
            if (found == 15) /* RFC 8285 4.2: reserved, stop here */
                return NULL;
        } else {
            if (end - p < 2)
                return NULL;
            found = p[0];
            size = p[1];
            p += 2;
        }
        if (end - p < size)
            return NULL;
        if (found == id) {
            *length = size;
            return p;
        }
        p += size;
    }
    return NULL;
}

#endif
