#include "report.h"

enum { RTCP_SR = 200, RTCP_RR = 201, RTCP_SDES = 202 };

static size_t write_header(uint8_t *out, uint8_t count, uint8_t type, size_t length) {
    out[0] = (uint8_t)(0x80 | count);
    out[1] = type;
    write_u16(out + 2, (uint16_t)(length / 4 - 1));
    return length;
}

/* RFC 3550 6.5: one chunk with one CNAME item, ended by at least one zero byte, padded to 32 bits. */
static size_t write_sdes(uint8_t *out, uint32_t ssrc, const struct association *a) {
    size_t length = (4 + 4 + 2 + (size_t)a->cname_length + 1 + 3) & ~(size_t)3;
    memset(out, 0, length);
    write_u32(out + 4, ssrc);
    out[8] = 1;
    out[9] = a->cname_length;
    memcpy(out + 10, a->cname, a->cname_length);
    return write_header(out, 1, RTCP_SDES, length);
}

size_t report_sender(uint8_t *out, const struct consumer *consumer, const struct association *association, uint64_t ntp,
                     uint32_t timestamp) {
    write_u32(out + 4, consumer->ssrc);
    write_u32(out + 8, (uint32_t)(ntp >> 32));
    write_u32(out + 12, (uint32_t)ntp);
    write_u32(out + 16, timestamp);
    write_u32(out + 20, (uint32_t)counter_get(&consumer->packets));
    write_u32(out + 24, (uint32_t)counter_get(&consumer->payload_bytes));
    size_t length = write_header(out, 0, RTCP_SR, 28);
    return length + write_sdes(out + length, consumer->ssrc, association);
}

static void write_block(uint8_t *out, struct encoding *encoding, uint64_t now_ns) {
    struct reception *r = &encoding->reception;
    uint64_t expected = r->highest - r->base + 1;
    int64_t expected_now = (int64_t)(expected - r->expected_before);
    int64_t lost_now = expected_now - (int64_t)(r->received - r->received_before);
    int64_t lost = reception_lost(r);
    r->expected_before = expected;
    r->received_before = r->received;
    if (lost > 0x7FFFFF)
        lost = 0x7FFFFF;
    if (lost < -0x800000)
        lost = -0x800000;
    uint32_t fraction = expected_now > 0 && lost_now > 0 ? (uint32_t)(lost_now * 256 / expected_now) : 0;
    if (fraction > 255)
        fraction = 255;
    write_u32(out, encoding->ssrc);
    write_u32(out + 4, fraction << 24 | ((uint32_t)lost & 0xFFFFFF));
    write_u32(out + 8, (uint32_t)(r->highest - FIRST_CYCLE));
    write_u32(out + 12, (uint32_t)(r->jitter16 >> 4));
    write_u32(out + 16, r->last_sr);
    write_u32(out + 20, r->last_sr ? (uint32_t)((now_ns - r->last_sr_ns) * 65536 / 1000000000u) : 0);
}

size_t report_receiver(uint8_t *out, struct track *track, const struct association *association, uint64_t now_ns) {
    uint8_t blocks = 0;
    for (uint32_t i = 0; i < MAX_ENCODINGS; i++)
        if (track->encodings[i].active && track->encodings[i].reception.started)
            write_block(out + 8 + 24 * (size_t)blocks++, &track->encodings[i], now_ns);
    if (!blocks)
        return 0;
    write_u32(out + 4, association->rtcp_ssrc);
    size_t length = write_header(out, blocks, RTCP_RR, 8 + 24 * (size_t)blocks);
    return length + write_sdes(out + length, association->rtcp_ssrc, association);
}

enum drop_reason report_read(struct table *table, uint32_t slot, const uint8_t *packet, size_t length, uint64_t now_ns) {
    while (length) {
        if (length < 4 || packet[0] >> 6 != 2) /* an SDES or BYE about nobody has 4 bytes */
            return DROP_truncated;
        size_t size = 4 * ((size_t)read_u16(packet + 2) + 1);
        if (size > length)
            return DROP_truncated;
        if (packet[1] == RTCP_SR) {
            struct encoding *encoding;
            if (size < 28)
                return DROP_truncated;
            if (table_find_track(table, slot, read_u32(packet + 4), &encoding)) {
                /* RFC 3550 6.4.1, LSR: the middle 32 of the 64 NTP bits. */
                encoding->reception.last_sr = read_u16(packet + 10) * 65536u + read_u16(packet + 12);
                encoding->reception.last_sr_ns = now_ns;
            }
        }
        packet += size;
        length -= size;
    }
    return DROP_NONE;
}
