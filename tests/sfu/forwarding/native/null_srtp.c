/* null_srtp.c: stands in for srtp.c and crypto.c in fuzz targets and stress tests, where encryption would be a wall.
 *
 * A "protected" packet ends in a tag of 4 bytes. The last of them says what becomes of the packet, so that a fuzzer can choose any outcome.
 * Outgoing packets are held to what encryption relies on: header and index belong together, the tag has room, no nonce comes twice.
 */
#include <stdlib.h>

#include "nonce_audit.h"
#include "srtp.h"

enum { TAG = 4, TAG_FORGED = 0xF0, TAG_REPLAYED = 0xF1, TAG_REFUSED = 0xF2 };

struct srtp_keys {
    uint64_t identity;
};

bool srtp_library_load(const char *path, char *error, size_t error_size) {
    (void)path, (void)error, (void)error_size;
    return true;
}

bool srtp_evp_available(void) { return false; }

struct srtp_keys *srtp_keys_new(int profile, const uint8_t *rx_key, const uint8_t *tx_key, bool use_evp) {
    static uint64_t last;
    (void)profile, (void)rx_key, (void)tx_key, (void)use_evp;
    struct srtp_keys *keys = malloc(sizeof *keys);
    if (keys)
        keys->identity = ++last;
    return keys;
}

void srtp_keys_free(struct srtp_keys *keys) { free(keys); }

static enum drop_reason remove_tag(const uint8_t *packet, size_t *length) {
    if (*length < TAG)
        return DROP_unprotect_failed;
    *length -= TAG;
    switch (packet[*length + TAG - 1]) {
    case TAG_FORGED: return DROP_auth_failed;
    case TAG_REPLAYED: return DROP_replayed;
    case TAG_REFUSED: return DROP_unprotect_failed;
    default: return DROP_NONE;
    }
}

enum drop_reason srtp_unprotect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    (void)keys;
    return remove_tag(packet, length);
}

enum drop_reason srtp_unprotect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    (void)keys;
    return remove_tag(packet, length);
}

void srtp_prefetch_keys(const struct srtp_keys *keys) { (void)keys; }

void srtp_prefetch_context(const struct srtp_keys *keys) { (void)keys; }

bool srtp_protect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index) {
    struct rtp_view view;
    enum drop_reason reason = rtp_parse(packet, *length, &view);
    if (reason != DROP_NONE || view.payload_offset != header_length || view.sequence != (uint16_t)index || index >> 48)
        abort();
#ifdef ANTIPHON_DEBUG
    nonce_audit(keys->identity, read_u32(packet + 8), packet, *length, index);
#else
    (void)keys;
#endif
    memset(packet + *length, 0, SRTP_MAX_OVERHEAD);
    *length += SRTP_MAX_OVERHEAD;
    return true;
}

bool srtp_protect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    (void)keys;
    memset(packet + *length, 0, SRTCP_MAX_OVERHEAD);
    *length += SRTCP_MAX_OVERHEAD;
    return true;
}
