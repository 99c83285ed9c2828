#include "srtp.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ libsrtp 2.7, as declared in its srtp.h (no headers are needed
 * to build; tests/sfu/forwarding/test_srtp.py compares size and offsets with what pylibsrtp's cffi knows) */

typedef struct srtp_ctx *srtp_session;

struct srtp_ssrc {
    int type;
    unsigned int value;
};

struct srtp_crypto_policy {
    uint32_t cipher_type;
    int cipher_key_length;
    uint32_t auth_type;
    int auth_key_length;
    int auth_tag_length;
    int services;
};

struct srtp_policy {
    struct srtp_ssrc ssrc;
    struct srtp_crypto_policy rtp;
    struct srtp_crypto_policy rtcp;
    const unsigned char *key;
    void **keys;
    unsigned long key_count;
    void *deprecated_ekt;
    unsigned long window_size;
    int allow_repeat_tx;
    int *encrypted_extensions;
    int encrypted_extension_count;
    struct srtp_policy *next;
};

_Static_assert(sizeof(struct srtp_policy) == 128, "srtp_policy_t of libsrtp 2.7 on LP64");

enum { SSRC_ANY_INBOUND = 2, SSRC_ANY_OUTBOUND = 3 };
enum { ERR_OK = 0, ERR_AUTH_FAIL = 7, ERR_REPLAY_FAIL = 9, ERR_REPLAY_OLD = 10, ERR_PACKET_OLD = 26 };

static struct {
    int (*create)(srtp_session *, const struct srtp_policy *);
    int (*dealloc)(srtp_session);
    int (*protect)(srtp_session, void *, int *);
    int (*unprotect)(srtp_session, void *, int *);
    int (*protect_rtcp)(srtp_session, void *, int *);
    int (*unprotect_rtcp)(srtp_session, void *, int *);
    int (*policy_rtp)(struct srtp_crypto_policy *, int);
    int (*policy_rtcp)(struct srtp_crypto_policy *, int);
    bool loaded;
    bool evp;
} lib;

struct srtp_keys {
    srtp_session rx;
    srtp_session tx; /* NULL where the ciphers below are prepared */
    struct cipher rtp;
    struct cipher rtcp;
    uint32_t rtcp_index; /* one count for all SSRCs of the association, so no (SSRC, index) comes twice */
};

/* ------------------------------------------------------------------------------------------------ loading */

static bool find(void *handle, const char *name, void *slot) {
    void *symbol = dlsym(handle, name);
    memcpy(slot, &symbol, sizeof symbol); /* ISO C has no cast from void* to a function pointer */
    return symbol != NULL;
}

static bool find_libsrtp(void *handle) {
    return find(handle, "srtp_create", &lib.create) && find(handle, "srtp_dealloc", &lib.dealloc) &&
           find(handle, "srtp_protect", &lib.protect) && find(handle, "srtp_unprotect", &lib.unprotect) &&
           find(handle, "srtp_protect_rtcp", &lib.protect_rtcp) && find(handle, "srtp_unprotect_rtcp", &lib.unprotect_rtcp) &&
           find(handle, "srtp_crypto_policy_set_from_profile_for_rtp", &lib.policy_rtp) &&
           find(handle, "srtp_crypto_policy_set_from_profile_for_rtcp", &lib.policy_rtcp);
}

bool srtp_library_load(const char *path, char *error, size_t error_size) {
    if (lib.loaded)
        return true;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(error, error_size, "cannot open %s: %s", path, dlerror());
        return false;
    }
    if (!find_libsrtp(handle)) {
        snprintf(error, error_size, "%s does not export libsrtp; install the pylibsrtp version that pyproject.toml names", path);
        return false;
    }
    lib.evp = crypto_load(handle);
    lib.loaded = true;
    return true;
}

bool srtp_evp_available(void) { return lib.evp; }

/* ------------------------------------------------------------------------------------------------ keys */

static srtp_session session_new(int profile, int ssrc_type, const uint8_t *key) {
    struct srtp_policy policy = {
        .ssrc = {.type = ssrc_type},
        .key = key,
        .window_size = SRTP_REPLAY_WINDOW,
        .allow_repeat_tx = 1, /* a retransmission has the index and the bytes of the first transmission */
    };
    srtp_session session = NULL;
    if (lib.policy_rtp(&policy.rtp, profile) != ERR_OK || lib.policy_rtcp(&policy.rtcp, profile) != ERR_OK ||
        lib.create(&session, &policy) != ERR_OK)
        return NULL;
    return session;
}

struct srtp_keys *srtp_keys_new(int profile, const uint8_t *rx_key, const uint8_t *tx_key, bool use_evp) {
    struct srtp_keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        return NULL;
    keys->rx = session_new(profile, SSRC_ANY_INBOUND, rx_key);
    bool ok = keys->rx != NULL;
    if (ok && use_evp && lib.evp)
        ok = cipher_init(&keys->rtp, profile, tx_key, 0) && cipher_init(&keys->rtcp, profile, tx_key, LABELS_RTCP);
    else if (ok)
        ok = (keys->tx = session_new(profile, SSRC_ANY_OUTBOUND, tx_key)) != NULL;
    if (!ok) {
        srtp_keys_free(keys);
        return NULL;
    }
    return keys;
}

void srtp_keys_free(struct srtp_keys *keys) {
    if (!keys)
        return;
    if (keys->rx)
        lib.dealloc(keys->rx);
    if (keys->tx)
        lib.dealloc(keys->tx);
    if (keys->rtp.context)
        cipher_free(&keys->rtp);
    if (keys->rtcp.context)
        cipher_free(&keys->rtcp);
    free(keys);
}

/* ------------------------------------------------------------------------------------------------ packets */

static enum drop_reason unprotected(int status) {
    switch (status) {
    case ERR_OK: return DROP_NONE;
    case ERR_AUTH_FAIL: return DROP_auth_failed;
    case ERR_REPLAY_FAIL:
    case ERR_REPLAY_OLD:
    case ERR_PACKET_OLD: return DROP_replayed;
    default: return DROP_unprotect_failed;
    }
}

enum drop_reason srtp_unprotect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    int octets = (int)*length;
    enum drop_reason reason = unprotected(lib.unprotect(keys->rx, packet, &octets));
    *length = (size_t)octets;
    return reason;
}

enum drop_reason srtp_unprotect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    int octets = (int)*length;
    enum drop_reason reason = unprotected(lib.unprotect_rtcp(keys->rx, packet, &octets));
    *length = (size_t)octets;
    return reason;
}

void srtp_prefetch_keys(const struct srtp_keys *keys) { __builtin_prefetch(&keys->rtp); }

void srtp_prefetch_context(const struct srtp_keys *keys) { cipher_prefetch(&keys->rtp); }

bool srtp_protect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index) {
    if (keys->rtp.context)
        return cipher_protect_rtp(&keys->rtp, packet, header_length, length, index);
    int octets = (int)*length;
    bool ok = lib.protect(keys->tx, packet, &octets) == ERR_OK;
    *length = (size_t)octets;
    return ok;
}

bool srtp_protect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    if (keys->rtcp.context) {
        /* RFC 3711 9.2: 2^31 packets under one key at most. At ten thousand reports a second that is two and a half days of one transport. */
        if (keys->rtcp_index == 0x7FFFFFFF)
            return false;
        return cipher_protect_rtcp(&keys->rtcp, packet, length, ++keys->rtcp_index);
    }
    int octets = (int)*length;
    bool ok = lib.protect_rtcp(keys->tx, packet, &octets) == ERR_OK;
    *length = (size_t)octets;
    return ok;
}
