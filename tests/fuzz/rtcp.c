/* Invariant: the reader of a peer's reports looks at no byte outside the compound packet and changes nothing but the announced encoding's
 * last sender report; and every report that we write, whatever the figures in it, fits its room and reads back.
 *
 * Input: 32 bytes of reception figures, 1 byte of CNAME length, then the compound packet.
 */
#include <stdlib.h>

#include "loop.h"
#include "report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TRACK = 0, SLOT = 0, SSRC = 1234, FIGURES = 33 };

static void check(bool holds) {
    if (!holds)
        abort();
}

static void check_written(struct table *table, struct reception *r, const uint8_t *figures) {
    static const uint8_t name[256] = "antiphon";
    uint8_t out[REPORT_ROOM];
    struct consumer consumer;
    uint64_t words[4];
    memcpy(words, figures, sizeof words);
    /* What a stream can come to: all indices within 48 bits, a base no higher than the highest. */
    r->started = true;
    r->highest = words[0] >> 16;
    r->base = words[1] >> 16 < r->highest ? words[1] >> 16 : r->highest;
    r->received = words[2] >> 16;
    r->jitter16 = words[3] >> 24;
    struct association *a = association_new(NULL, 5, 0, (const char *)name, figures[32]);
    size_t length = report_receiver(out, &table->tracks[TRACK], a, words[3]);
    check(length == 8 + 24 + ((10 + (size_t)figures[32] + 1 + 3) & ~(size_t)3) && length <= REPORT_ROOM - SRTCP_MAX_OVERHEAD);
    check(report_read(table, SLOT, out, length, 1) == DROP_NONE);
    consumer_init(&consumer, SLOT, SSRC, 0, 0);
    length = report_sender(out, &consumer, a, words[0], (uint32_t)words[1]);
    check(length <= REPORT_ROOM - SRTCP_MAX_OVERHEAD && report_read(table, SLOT, out, length, 1) == DROP_NONE);
    check(r->last_sr == (uint32_t)(words[0] >> 16));
    a->retired.destroy(&a->retired);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct table table;
    struct encoding *encoding = NULL, before;
    if (size < FIGURES)
        return 0;
    check(table_init(&table, 1, 1, 1, 1) && table_add_transport(&table, SLOT, 1) &&
          table_add_track(&table, TRACK, SLOT, 48000, 111, 1, history_new()) && table_add_encoding(&table, TRACK, SSRC) &&
          table_find_track(&table, SLOT, SSRC, &encoding));
    before = *encoding;
    report_read(&table, SLOT, data + FIGURES, size - FIGURES, 7);
    check(encoding->reception.last_sr_ns == 0 || encoding->reception.last_sr_ns == 7);
    before.reception.last_sr = encoding->reception.last_sr;
    before.reception.last_sr_ns = encoding->reception.last_sr_ns;
    check(memcmp(&before, encoding, sizeof before) == 0);
    check_written(&table, &encoding->reception, data);
    table_free(&table);
    return 0;
}
