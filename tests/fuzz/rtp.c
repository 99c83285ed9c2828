/* Invariant: whatever the RTP reader accepts lies inside the packet: CSRCs, extension block, every element in it, padding. And what is
 * rewritten of it reads back as the consumer's own packet with the source's CSRCs, payload, marker and level, and with no other extension.
 *
 * Input: 4 bytes of layout (level id, MID id, MID length, id of the source's level), then the packet.
 */
#include <stdlib.h>

#include "rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds)
        abort();
}

static void check_elements(const struct rtp_view *view) {
    const uint8_t *begin = view->packet + view->extension_offset;
    for (unsigned id = 0; id < 256; id++) {
        uint8_t length = 0;
        const uint8_t *found = rtp_find_extension(view, (uint8_t)id, &length);
        check(!found || (found > begin && found + length <= begin + view->extension_length));
    }
}

static void check_copy(const struct rtp_view *from, const uint8_t *out, size_t length, int16_t level, uint8_t level_id, uint8_t mid_id,
                       uint8_t mid_length) {
    struct rtp_view to;
    uint8_t found = 0;
    check(rtp_parse(out, length, &to) == DROP_NONE && rtp_check_padding(&to) == DROP_NONE);
    check(to.ssrc == 9000 && to.payload_type == 111 && to.sequence == 7 && to.timestamp == 1000 && to.marker == from->marker);
    check(to.csrc_count == from->csrc_count && memcmp(out + 12, from->packet + 12, 4u * to.csrc_count) == 0);
    check(to.payload_length == from->payload_length);
    check(memcmp(out + to.payload_offset, from->packet + from->payload_offset, to.payload_length) == 0);
    for (uint8_t id = 1; id < 15; id++) {
        const uint8_t *element = rtp_find_extension(&to, id, &found);
        if (id == mid_id && mid_length)
            check(element && found == mid_length && memcmp(element, "abcdefghijklmnop", found) == 0);
        else if (id == level_id && level >= 0)
            check(element && found == 1 && *element == level);
        else
            check(!element);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4)
        return 0;
    uint8_t level_id = data[0] % 15, mid_id = data[1] % 15, mid_length = data[2] % 17, source_level_id = data[3];
    struct source_packet source = {.index = FIRST_CYCLE, .clock_rate = 48000, .epoch = EPOCH_FIRST, .level = -1};
    struct rtp_view *view = &source.view;
    if (rtp_parse(data + 4, size - 4, view) != DROP_NONE)
        return 0;
    check((size_t)view->payload_offset + view->payload_length == size - 4);
    check(view->extension_offset + view->extension_length == view->payload_offset && view->extension_offset >= 12 + 4 * view->csrc_count);
    check_elements(view);
    if (rtp_check_padding(view) != DROP_NONE || level_id == mid_id)
        return 0;
    uint8_t found = 0;
    const uint8_t *level = rtp_find_extension(view, source_level_id, &found);
    if (level && found == 1)
        source.level = *level;

    struct consumer_layout layout;
    struct consumer consumer;
    size_t header_length, length = 0, room = size + 16 + EXTENSION_ROOM;
    uint64_t index = 0;
    layout_init(&layout, 111, level_id, mid_id, (const uint8_t *)"abcdefghijklmnop", mid_length);
    consumer_init(&consumer, 0, 9000, 7, 1000);
    uint8_t *out = malloc(room);
    check(out && rewrite(&consumer, &layout, &source, out, room, &header_length, &length, &index) == DROP_NONE && index == 7);
    check_copy(view, out, length, level_id ? source.level : -1, level_id, mid_id, mid_length);
    free(out);
    return 0;
}
