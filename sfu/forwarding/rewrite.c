#include "rewrite.h"

static uint8_t write_block(uint8_t *block, uint8_t level_id, uint8_t mid_id, const uint8_t *mid, uint8_t mid_length,
                           uint8_t *level_offset) {
    uint8_t used = 4;
    *level_offset = 0;
    memset(block, 0, EXTENSION_ROOM);
    if (level_id) {
        block[used] = (uint8_t)(level_id << 4); /* length field 0 means one byte */
        *level_offset = (uint8_t)(used + 1);
        used += 2;
    }
    if (mid_id && mid_length) {
        block[used] = (uint8_t)(mid_id << 4 | (mid_length - 1));
        memcpy(block + used + 1, mid, mid_length);
        used = (uint8_t)(used + 1 + mid_length);
    }
    if (used == 4)
        return 0;
    used = (uint8_t)((used + 3) & ~3);
    write_u16(block, 0xBEDE);
    write_u16(block + 2, (uint16_t)((used - 4) / 4));
    return used;
}

void layout_init(struct consumer_layout *layout, uint8_t payload_type, uint8_t level_id, uint8_t mid_id, const uint8_t *mid,
                 uint8_t mid_length) {
    uint8_t none;
    memset(layout, 0, sizeof *layout);
    layout->payload_type = payload_type;
    layout->extension_length = write_block(layout->extension, level_id, mid_id, mid, mid_length, &layout->level_offset);
    layout->bare_length = write_block(layout->bare, 0, mid_id, mid, mid_length, &none);
}

void consumer_init(struct consumer *consumer, uint32_t slot, uint32_t ssrc, uint16_t sequence, uint32_t timestamp) {
    consumer->index_offset = 0;
    consumer->epoch_start = 0;
    consumer->next_index = sequence;
    counter_set(&consumer->packets, 0);
    counter_set(&consumer->payload_bytes, 0);
    consumer->timestamp_offset = 0;
    consumer->last_timestamp = timestamp;
    consumer->last_sent_ms = 0;
    consumer->ssrc = ssrc;
    consumer->transport = slot;
    consumer->epoch = EPOCH_NEVER;
}

/* The first packet of an epoch goes out next; those before it in source order never will. */
static void begin_epoch(struct consumer *consumer, const struct source_packet *source) {
    uint32_t timestamp = consumer->last_timestamp;
    if (consumer->epoch != EPOCH_NEVER) {
        uint64_t elapsed_ms = source->now_ms - consumer->last_sent_ms;
        uint32_t ticks = (uint32_t)(elapsed_ms * source->clock_rate / 1000);
        timestamp += ticks ? ticks : 1;
    }
    consumer->index_offset = (int64_t)(consumer->next_index - source->index);
    consumer->epoch_start = source->index;
    consumer->timestamp_offset = timestamp - source->view.timestamp;
    consumer->epoch = source->epoch;
}

enum drop_reason rewrite(struct consumer *consumer, const struct consumer_layout *layout, const struct source_packet *source,
                         uint8_t *out, size_t room, size_t *header_length, size_t *length, uint64_t *index) {
    const struct rtp_view *view = &source->view;
    bool with_level = source->level >= 0 && layout->level_offset;
    const uint8_t *extension = with_level ? layout->extension : layout->bare;
    size_t extension_length = with_level ? layout->extension_length : layout->bare_length;
    size_t csrc_length = 4 * (size_t)view->csrc_count;
    size_t header = 12 + csrc_length + extension_length;
    if (header + view->payload_length > room)
        return DROP_too_long;
    if (consumer->epoch != source->epoch)
        begin_epoch(consumer, source);
    else if (source->index < consumer->epoch_start)
        return DROP_stale;

    uint64_t outgoing = source->index + (uint64_t)consumer->index_offset;
    uint32_t timestamp = view->timestamp + consumer->timestamp_offset;
    out[0] = (uint8_t)(0x80 | (view->padding ? 0x20 : 0) | (extension_length ? 0x10 : 0) | view->csrc_count);
    out[1] = (uint8_t)((view->marker ? 0x80 : 0) | layout->payload_type);
    write_u16(out + 2, (uint16_t)outgoing);
    write_u32(out + 4, timestamp);
    write_u32(out + 8, consumer->ssrc);
    memcpy(out + 12, view->packet + 12, csrc_length);
    memcpy(out + 12 + csrc_length, extension, extension_length);
    if (with_level)
        out[12 + csrc_length + layout->level_offset] = (uint8_t)source->level;
    memcpy(out + header, view->packet + view->payload_offset, view->payload_length);

    if (outgoing >= consumer->next_index) {
        consumer->next_index = outgoing + 1;
        consumer->last_timestamp = timestamp;
        consumer->last_sent_ms = source->now_ms;
    }
    *header_length = header;
    *length = header + view->payload_length;
    *index = outgoing;
    return DROP_NONE;
}
