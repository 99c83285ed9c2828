/* floor.c: stands in for srtp.c and rewrite.c when the benchmark links the loop once more. Everything else is the product's own code:
 * the same epoll, recvmmsg, lookups, list walk, slots and sendmmsg, but no decryption, no rewriting and no encryption. What is left is the
 * floor under any SFU that sends through the kernel's UDP sockets: one copy of the packet and 16 bytes of tag that nobody computes.
 */
#include "rewrite.h"
#include "srtp.h"

#include <stdlib.h>

struct srtp_keys {
    int nothing;
};

bool srtp_library_load(const char *path, char *error, size_t error_size) {
    (void)path, (void)error, (void)error_size;
    return true;
}

bool srtp_evp_available(void) { return false; }

struct srtp_keys *srtp_keys_new(int profile, const uint8_t *rx_key, const uint8_t *tx_key, bool use_evp) {
    (void)profile, (void)rx_key, (void)tx_key, (void)use_evp;
    return calloc(1, sizeof(struct srtp_keys));
}

void srtp_keys_free(struct srtp_keys *keys) { free(keys); }

enum drop_reason srtp_unprotect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    (void)keys, (void)packet;
    *length -= 16;
    return DROP_NONE;
}

enum drop_reason srtp_unprotect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    (void)keys, (void)packet, (void)length;
    return DROP_auth_failed;
}

void srtp_prefetch_keys(const struct srtp_keys *keys) { (void)keys; }

void srtp_prefetch_context(const struct srtp_keys *keys) { (void)keys; }

bool srtp_protect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index) {
    (void)keys, (void)packet, (void)header_length, (void)index;
    *length += 16;
    return true;
}

bool srtp_protect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    (void)keys, (void)packet, (void)length;
    return true;
}

void layout_init(struct consumer_layout *layout, uint8_t payload_type, uint8_t level_id, uint8_t mid_id, const uint8_t *mid,
                 uint8_t mid_length) {
    (void)level_id, (void)mid_id, (void)mid, (void)mid_length;
    memset(layout, 0, sizeof *layout);
    layout->payload_type = payload_type;
}

void consumer_init(struct consumer *consumer, uint32_t slot, uint32_t ssrc, uint16_t sequence, uint32_t timestamp) {
    memset(consumer, 0, sizeof *consumer);
    consumer->transport = slot;
    consumer->ssrc = ssrc;
    consumer->next_index = sequence;
    consumer->last_timestamp = timestamp;
}

enum drop_reason rewrite(struct consumer *consumer, const struct consumer_layout *layout, const struct source_packet *source,
                         uint8_t *out, size_t room, size_t *header_length, size_t *length, uint64_t *index) {
    (void)consumer, (void)layout;
    size_t whole = (size_t)source->view.payload_offset + source->view.payload_length;
    if (whole > room)
        return DROP_too_long;
    memcpy(out, source->view.packet, whole);
    *header_length = source->view.payload_offset;
    *length = whole;
    *index = source->index;
    return DROP_NONE;
}
