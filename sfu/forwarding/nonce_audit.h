/* nonce_audit.h: debug builds only: proof that no (key, SSRC, index) ever encrypts two different packets.
 *
 * A GCM nonce that is spent twice gives away the authentication key (RFC 7714 9.1), a repeated AES-CM keystream gives away both packets.
 * Thread: any. Ownership: one record per packet, kept for the life of the process, so that neither a reused slot nor a new loop with old
 * keys escapes; that is memory without bound, and one reason why release builds have no audit.
 * ANTIPHON_NONCE_AUDIT=off in the environment switches it off, for known-answer tests that share a published key.
 * Failure: prints the repeated nonce and aborts.
 */
#ifndef ANTIPHON_NONCE_AUDIT_H
#define ANTIPHON_NONCE_AUDIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef ANTIPHON_DEBUG
/* Call before `packet`, header and plaintext, is encrypted. `key_identity` stands for the session key: the same after a restart with
 * the same key, different for any other key. The same bytes under the same nonce are a retransmission, and no offence. */
void nonce_audit(uint64_t key_identity, uint32_t ssrc, const uint8_t *packet, size_t length, uint64_t index);
/* Forget all records: for a fuzz target, whose every input begins with new keys. */
void nonce_audit_clear(void);
#endif

#endif
