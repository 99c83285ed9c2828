/* rewrite.h: one source packet becomes one consumer's packet. The heart of an SFU, and all state that it needs.
 *
 * reference.py says the same in Python and is the specification; tests hold this file to it packet for packet.
 *
 * Thread: the forwarding thread (or a test's). Ownership: a consumer is a value in table.h's slab; the source packet is read
 * only, every copy gets a header of its own.
 * Failure: rewrite() returns a drop reason and leaves the consumer as it was.
 *
 * A consumer sees one SSRC with a contiguous sequence, whatever happens behind it: loss before the shard stays visible as
 * a gap (it is the receiver's to conceal), but a pause, a new SSRC or a late start does not. Each of these raises the
 * track's epoch; the first packet of a new epoch gets the next sequence number and a timestamp that went on by the time
 * that really passed, and fixes the offsets for the packets after it.
 */
#ifndef ANTIPHON_REWRITE_H
#define ANTIPHON_REWRITE_H

#include "receive.h"
#include "wire.h"

#define EXTENSION_ROOM 24 /* header of 4, level of 2, MID of 1 + 16, padded to 4 */

/* Walked for every packet: one cache line, nothing that is only needed now and then. */
struct consumer {
    int64_t index_offset;  /* outgoing index - source index, within an epoch */
    uint64_t epoch_start;  /* lowest source index of this epoch that may be forwarded */
    uint64_t next_index;   /* highest outgoing index so far + 1; ROC << 16 | sequence */
    counter packets;       /* handed to the kernel */
    counter payload_bytes;
    uint32_t timestamp_offset;
    uint32_t last_timestamp; /* outgoing, of the packet with the highest index */
    uint32_t last_sent_ms;
    uint32_t ssrc;
    uint32_t transport; /* slot */
    uint32_t epoch;     /* of the track when the offsets were fixed */
};

_Static_assert(sizeof(struct consumer) == 64, "one cache line");

/* Epochs are drawn from one counter per loop, so that no two tracks share one; the first drawn is EPOCH_FIRST. */
enum {
    EPOCH_NEVER = 0,  /* the consumer has not sent a packet */
    EPOCH_RESYNC = 1, /* it has, and its next packet opens a new epoch */
    EPOCH_FIRST = 2,
};

/* What stays the same for all packets of a consumer, kept apart from its counters. */
struct consumer_layout {
    uint8_t extension[EXTENSION_ROOM]; /* whole block with a zero audio level */
    uint8_t extension_length;          /* 0 where no extension was negotiated */
    uint8_t bare_length;               /* the same block without the level: for packets that have none */
    uint8_t bare[EXTENSION_ROOM];
    uint8_t level_offset; /* of the level byte in `extension`; 0: not negotiated */
    uint8_t payload_type;
    bool active;           /* the index is in use */
    uint32_t report_at_ms; /* when the next sender report is due */
};

struct source_packet {
    struct rtp_view view;
    uint64_t index; /* extended sequence number */
    uint32_t clock_rate;
    uint32_t now_ms; /* any epoch, wraps */
    uint32_t epoch;  /* of the track */
    int16_t level;   /* RFC 6464 byte, or -1 */
};

/* Payload type and extension block of a consumer (RFC 8285 4.2). Ids are 1..14 or 0; mid_length is 1..16 or 0. */
void layout_init(struct consumer_layout *layout, uint8_t payload_type, uint8_t level_id, uint8_t mid_id, const uint8_t *mid,
                 uint8_t mid_length);

/* `sequence` and `timestamp` of the first packet to come. */
void consumer_init(struct consumer *consumer, uint32_t slot, uint32_t ssrc, uint16_t sequence, uint32_t timestamp);

/* Write the consumer's copy into out[room]. Returns DROP_NONE with the length of header and packet and the outgoing index, else
 * DROP_stale or DROP_too_long. `room` must leave space for what protection adds. */
enum drop_reason rewrite(struct consumer *consumer, const struct consumer_layout *layout, const struct source_packet *source,
                         uint8_t *out, size_t room, size_t *header_length, size_t *length, uint64_t *index);

#endif
