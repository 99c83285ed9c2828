/* srtp.h: SRTP protection with the libsrtp and the OpenSSL that live inside pylibsrtp's wheel.
 *
 * Thread: srtp_library_load once before all else. Keys are made by any thread, then used by the forwarding thread alone
 * (libsrtp sessions and OpenSSL contexts are not thread-safe), then freed by any thread.
 * Ownership: srtp_keys belongs to whoever holds the pointer; it zeroes its secrets when freed.
 * Failure: NULL or false, with a sentence in `error` where one is passed; unprotect returns a drop reason.
 *
 * Outgoing packets are encrypted by OpenSSL directly (crypto.h): AEAD_AES_128_GCM three times faster than through libsrtp, and with the
 * packet index chosen by the caller, so that a nonce is spent exactly once. What comes in goes through libsrtp, which keeps the
 * replay window; so does what goes out where OpenSSL cannot be reached or gives other results than the published ones.
 */
#ifndef ANTIPHON_SRTP_H
#define ANTIPHON_SRTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto.h"
#include "wire.h"

/* Bytes that protection may add: GCM tag of 16 (RFC 7714 13.2), or for RTCP index of 4 and tag of 16. */
#define SRTP_MAX_OVERHEAD 16
#define SRTCP_MAX_OVERHEAD 20
/* RFC 3711 3.3.2 asks for 64 at least; a burst after Wi-Fi stalls reorders more. */
#define SRTP_REPLAY_WINDOW 1024

struct srtp_keys;

/* `path`: file of pylibsrtp's extension module, already imported. Fills `error` and returns false where a symbol is missing or a
 * known-answer test of libsrtp fails. */
bool srtp_library_load(const char *path, char *error, size_t error_size);

/* True where outgoing packets are encrypted by OpenSSL directly. */
bool srtp_evp_available(void);

/* Keys are master key and master salt: 16+12 bytes for GCM, 16+14 for CM. NULL where libsrtp or OpenSSL has no memory left.
 * `use_evp` false forces libsrtp for outgoing packets. */
struct srtp_keys *srtp_keys_new(int profile, const uint8_t *rx_key, const uint8_t *tx_key, bool use_evp);
void srtp_keys_free(struct srtp_keys *keys);

/* Ask for what srtp_protect_rtp will read: first the keys, and when they are there, what they refer to. */
void srtp_prefetch_keys(const struct srtp_keys *keys);
void srtp_prefetch_context(const struct srtp_keys *keys);

/* In place; *length shrinks to the plaintext. */
enum drop_reason srtp_unprotect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t *length);
enum drop_reason srtp_unprotect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length);

/* In place, `header_length` bytes of header and then payload; `index` = ROC * 2^16 + sequence (RFC 3711 3.3.1). There must be room for
 * SRTP_MAX_OVERHEAD more bytes. The same (SSRC, index) may be passed again only with the same bytes (a retransmission). */
bool srtp_protect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index);
bool srtp_protect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length);

#endif
