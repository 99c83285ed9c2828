/* crypto.h: SRTP and SRTCP encryption by the OpenSSL inside pylibsrtp's wheel, with contexts prepared once per association.
 *
 * Thread: crypto_load once before all else; a context belongs to one thread at a time. Ownership: contexts are the caller's and zeroed when freed.
 * Failure: false; a packet that could not be encrypted must not be sent.
 * Source: RFC 3711 (AES-CM with HMAC-SHA1), RFC 7714 (AES-GCM).
 */
#ifndef ANTIPHON_CRYPTO_H
#define ANTIPHON_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROFILE_AES128_CM_SHA1_80 = 1, PROFILE_AEAD_AES_128_GCM = 7 };

/* Labels of key derivation (RFC 3711 4.3.2) for RTP; RTCP's are 3 higher. */
enum { LABEL_ENCRYPTION = 0, LABEL_AUTHENTICATION = 1, LABEL_SALT = 2, LABELS_RTCP = 3 };

/* SHA_CTX of OpenSSL's sha.h. */
struct sha1 {
    uint32_t h[5], length_low, length_high, data[16];
    unsigned int used;
};

/* Session keys of one direction, for RTP or for RTCP. */
struct cipher {
    void *context; /* OpenSSL's, with the key expanded; NULL: not prepared */
    int profile;
    uint8_t salt[14];
    struct sha1 inner, outer; /* HMAC with the key already absorbed; AES128_CM_SHA1_80 only */
    uint64_t identity;        /* first bytes of the session key; debug builds only, for nonce_audit.h */
};

/* `library`: from dlopen. False where a symbol is missing or a known answer (RFC 7714 16.1.1, RFC 3711 B.3, libsrtp's reference packet) is not
 * what comes out. */
bool crypto_load(void *library);

/* `master`: master key of 16 bytes and master salt of 12 (GCM) or 14 (CM); `labels`: 0 for RTP, LABELS_RTCP for RTCP. */
bool cipher_init(struct cipher *cipher, int profile, const uint8_t *master, unsigned labels);
void cipher_free(struct cipher *cipher);

/* Ask for what protection will read and write of the context. */
void cipher_prefetch(const struct cipher *cipher);

/* In place, with room behind *length for tag and, for RTCP, index (16 or 10, and 4 more). `index`: ROC << 16 | sequence. */
bool cipher_protect_rtp(struct cipher *cipher, uint8_t *packet, size_t header_length, size_t *length, uint64_t index);
/* `index`: 31 bits, never twice for the same SSRC. */
bool cipher_protect_rtcp(struct cipher *cipher, uint8_t *packet, size_t *length, uint32_t index);

#endif
