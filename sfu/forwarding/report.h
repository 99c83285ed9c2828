/* report.h: sender and receiver reports as bytes, and what is read of a peer's (RFC 3550 6.4).
 *
 * Thread: any; pure but for reading counters. Ownership: the caller's buffers, REPORT_ROOM bytes each.
 * Every report is a compound packet that ends in an SDES with the CNAME (RFC 3550 6.1).
 */
#ifndef ANTIPHON_REPORT_H
#define ANTIPHON_REPORT_H

#include "table.h"

/* SR of 28 + 4 blocks of 24, SDES of 8 + 2 + 255 + padding, SRTCP trailer. */
#define REPORT_ROOM 512

/* `ntp`: 64-bit NTP time now; `timestamp`: the RTP timestamp of that moment on the consumer's line. Returns the length. */
size_t report_sender(uint8_t *out, const struct consumer *consumer, const struct association *association, uint64_t ntp,
                     uint32_t timestamp);

/* One block for every encoding that has sent. Returns 0 where there is none. Starts a new interval of fraction lost. */
size_t report_receiver(uint8_t *out, struct track *track, const struct association *association, uint64_t now_ns);

/* Note the sender reports in a decrypted compound packet that came in on `slot`. Returns DROP_truncated where a length lies. */
enum drop_reason report_read(struct table *table, uint32_t slot, const uint8_t *packet, size_t length, uint64_t now_ns);

#endif
