/* Invariant: demultiplexing reads no byte outside the datagram, follows the first byte as RFC 7983 7 and the second as RFC 5761 4 say, and
 * nothing passes for STUN whose length field, cookie or alignment is not STUN's.
 */
#include <stdlib.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    switch (classify(data, size)) {
    case PACKET_STUN:
        check(data[0] <= 3);
        if (stun_is_plausible(data, size)) {
            check(size >= 20 && size % 4 == 0 && size == 20u + data[2] * 256u + data[3]);
            check(memcmp(data + 4, "\x21\x12\xa4\x42", 4) == 0);
            for (uint16_t kind = 0; kind < 64; kind++) {
                uint16_t length = 0;
                const uint8_t *value = stun_find_attribute(data, size, kind, &length);
                check(!value || (value >= data + 24 && value + length <= data + size));
            }
        }
        break;
    case PACKET_DTLS: check(data[0] >= 20 && data[0] <= 63); break;
    case PACKET_RTCP: check(data[0] >> 6 == 2 && data[1] >= 192 && data[1] <= 223); break;
    case PACKET_RTP: check(data[0] >> 6 == 2 && (data[1] < 192 || data[1] > 223)); break;
    case PACKET_OTHER: check(size < 2 || (data[0] > 3 && data[0] < 20) || (data[0] > 63 && data[0] < 128) || data[0] > 191); break;
    }
    return 0;
}
