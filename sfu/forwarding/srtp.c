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

/* OpenSSL: opaque pointers and two constants of evp.h. */
typedef struct evp_cipher_ctx EVP_CTX;
typedef struct evp_cipher EVP_CIPHER;
enum { EVP_CTRL_AEAD_GET_TAG = 0x10 };

static struct {
    int (*create)(srtp_session *, const struct srtp_policy *);
    int (*dealloc)(srtp_session);
    int (*protect)(srtp_session, void *, int *);
    int (*unprotect)(srtp_session, void *, int *);
    int (*protect_rtcp)(srtp_session, void *, int *);
    int (*unprotect_rtcp)(srtp_session, void *, int *);
    int (*policy_rtp)(struct srtp_crypto_policy *, int);
    int (*policy_rtcp)(struct srtp_crypto_policy *, int);
    EVP_CTX *(*ctx_new)(void);
    void (*ctx_free)(EVP_CTX *);
    int (*ctx_ctrl)(EVP_CTX *, int, int, void *);
    int (*encrypt_init)(EVP_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *);
    int (*encrypt_update)(EVP_CTX *, unsigned char *, int *, const unsigned char *, int);
    int (*encrypt_final)(EVP_CTX *, unsigned char *, int *);
    const EVP_CIPHER *(*aes_128_gcm)(void);
    const EVP_CIPHER *(*aes_128_ecb)(void);
    bool loaded;
    bool evp;
} lib;

struct srtp_keys {
    srtp_session rx;
    srtp_session tx;
    EVP_CTX *gcm; /* NULL: protect through `tx` */
    uint8_t salt[12];
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

static bool find_evp(void *handle) {
    return find(handle, "EVP_CIPHER_CTX_new", &lib.ctx_new) && find(handle, "EVP_CIPHER_CTX_free", &lib.ctx_free) &&
           find(handle, "EVP_CIPHER_CTX_ctrl", &lib.ctx_ctrl) && find(handle, "EVP_EncryptInit_ex", &lib.encrypt_init) &&
           find(handle, "EVP_EncryptUpdate", &lib.encrypt_update) &&
           find(handle, "EVP_EncryptFinal_ex", &lib.encrypt_final) && find(handle, "EVP_aes_128_gcm", &lib.aes_128_gcm) &&
           find(handle, "EVP_aes_128_ecb", &lib.aes_128_ecb);
}

/* ------------------------------------------------------------------------------------------------ GCM by EVP */

static EVP_CTX *gcm_new(const uint8_t *key) {
    EVP_CTX *ctx = lib.ctx_new();
    if (ctx && lib.encrypt_init(ctx, lib.aes_128_gcm(), NULL, key, NULL) != 1) {
        lib.ctx_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

/* RFC 7714 8.1: 16 zero bits, SSRC, ROC, sequence, XOR salt. AAD is the whole header (9.1). */
static bool gcm_protect(EVP_CTX *ctx, const uint8_t *salt, uint8_t *packet, size_t header_length, size_t *length,
                        uint64_t index) {
    uint8_t iv[12] = {0};
    int out = 0, last = 0;
    int payload_length = (int)(*length - header_length);
    memcpy(iv + 2, packet + 8, 4);
    write_u32(iv + 6, (uint32_t)(index >> 16));
    write_u16(iv + 10, (uint16_t)index);
    for (int i = 0; i < 12; i++)
        iv[i] ^= salt[i];
    uint8_t *payload = packet + header_length;
    if (lib.encrypt_init(ctx, NULL, NULL, NULL, iv) != 1 ||
        lib.encrypt_update(ctx, NULL, &out, packet, (int)header_length) != 1 ||
        lib.encrypt_update(ctx, payload, &out, payload, payload_length) != 1 || out != payload_length ||
        lib.encrypt_final(ctx, payload + out, &last) != 1 ||
        lib.ctx_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, payload + payload_length) != 1)
        return false;
    *length += 16;
    return true;
}

bool srtp_derive(const uint8_t *master_key, const uint8_t *master_salt, size_t salt_length, uint8_t *key16, uint8_t *salt14) {
    /* RFC 3711 4.3.1 and 4.3.3, key derivation rate 0: AES in counter mode over (salt XOR label << 48) << 16.
     * RFC 7714 11: a salt of 12 bytes is padded on the right with zeros. */
    EVP_CTX *ctx = lib.ctx_new();
    bool ok = ctx && lib.encrypt_init(ctx, lib.aes_128_ecb(), NULL, master_key, NULL) == 1;
    for (int i = 0; ok && i < 2; i++) {
        uint8_t block[16] = {0}, stream[32];
        int out = 0;
        memcpy(block, master_salt, salt_length);
        block[7] ^= i == 0 ? 0x00 : 0x02; /* label: encryption key, salting key */
        ok = lib.encrypt_update(ctx, stream, &out, block, 16) == 1 && out == 16;
        memcpy(i == 0 ? key16 : salt14, stream, i == 0 ? 16 : 14);
    }
    if (ctx)
        lib.ctx_free(ctx);
    return ok;
}

static bool known_answer_gcm(void) {
    /* RFC 7714 16.1.1 */
    static const uint8_t key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const uint8_t salt[12] = "Quid pro quo";
    static const uint8_t plain[] = "\x80\x40\xf1\x7b\x80\x41\xf8\xd3\x55\x01\xa0\xb2Gallia est omnis divisa in partes tres";
    static const uint8_t cipher[] = "\xf2\x4d\xe3\xa3\xfb\x34\xde\x6c\xac\xba\x86\x1c\x9d\x7e\x4b\xca\xbe\x63\x3b\xd5\x0d\x29"
                                    "\x4e\x6f\x42\xa5\xf4\x7a\x51\xc7\xd1\x9b\x36\xde\x3a\xdf\x88\x33\x89\x9d\x7f\x27\xbe\xb1"
                                    "\x6a\x91\x52\xcf\x76\x5e\xe4\x39\x0c\xce";
    uint8_t packet[sizeof plain + 16];
    size_t length = sizeof plain - 1;
    EVP_CTX *ctx = gcm_new(key);
    memcpy(packet, plain, length);
    bool ok = ctx && gcm_protect(ctx, salt, packet, 12, &length, 0xf17b) && length == 12 + sizeof cipher - 1 &&
              memcmp(packet + 12, cipher, sizeof cipher - 1) == 0;
    if (ctx)
        lib.ctx_free(ctx);
    return ok;
}

static bool known_answer_derivation(void) {
    /* RFC 3711 B.3 */
    static const uint8_t key[16] = {0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE, 0x41, 0x39};
    static const uint8_t salt[14] = {0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6};
    static const uint8_t want_key[16] = {0xC6, 0x1E, 0x7A, 0x93, 0x74, 0x4F, 0x39, 0xEE, 0x10, 0x73, 0x4A, 0xFE, 0x3F, 0xF7, 0xA0, 0x87};
    static const uint8_t want_salt[14] = {0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1};
    uint8_t got_key[16], got_salt[14];
    return srtp_derive(key, salt, 14, got_key, got_salt) && memcmp(got_key, want_key, 16) == 0 &&
           memcmp(got_salt, want_salt, 14) == 0;
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
    lib.evp = find_evp(handle) && known_answer_gcm() && known_answer_derivation();
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
    keys->tx = session_new(profile, SSRC_ANY_OUTBOUND, tx_key);
    bool ok = keys->rx && keys->tx;
    if (ok && use_evp && lib.evp && profile == PROFILE_AEAD_AES_128_GCM) {
        uint8_t key[16], salt[14];
        ok = srtp_derive(tx_key, tx_key + 16, 12, key, salt);
        if (ok) {
            memcpy(keys->salt, salt, 12);
            keys->gcm = gcm_new(key);
            ok = keys->gcm != NULL;
        }
        explicit_bzero(key, sizeof key);
        explicit_bzero(salt, sizeof salt);
    }
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
    if (keys->gcm)
        lib.ctx_free(keys->gcm);
    explicit_bzero(keys, sizeof *keys);
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

bool srtp_protect_rtp(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index) {
    if (keys->gcm)
        return gcm_protect(keys->gcm, keys->salt, packet, header_length, length, index);
    int octets = (int)*length;
    bool ok = lib.protect(keys->tx, packet, &octets) == ERR_OK;
    *length = (size_t)octets;
    return ok;
}

bool srtp_protect_rtcp_packet(struct srtp_keys *keys, uint8_t *packet, size_t *length) {
    int octets = (int)*length;
    bool ok = lib.protect_rtcp(keys->tx, packet, &octets) == ERR_OK;
    *length = (size_t)octets;
    return ok;
}
