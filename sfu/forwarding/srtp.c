#include "srtp.h"

#ifdef ANTIPHON_DEBUG
#include "nonce_audit.h"
#endif

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

/* SHA_CTX of OpenSSL's sha.h. */
struct sha1 {
    uint32_t h[5], length_low, length_high, data[16];
    unsigned int used;
};

enum { LABEL_ENCRYPTION = 0, LABEL_AUTHENTICATION = 1, LABEL_SALT = 2 };

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
    const EVP_CIPHER *(*aes_128_ctr)(void);
    const EVP_CIPHER *(*aes_128_ecb)(void);
    int (*sha1_init)(struct sha1 *);
    int (*sha1_update)(struct sha1 *, const void *, size_t);
    int (*sha1_final)(unsigned char *, struct sha1 *);
    bool loaded;
    bool evp;
} lib;

struct srtp_keys {
    srtp_session rx;
    srtp_session tx;
    EVP_CTX *cipher; /* NULL: protect through `tx` */
    int profile;
    uint8_t salt[14];
    struct sha1 inner, outer; /* HMAC with the key already absorbed; AES128_CM_SHA1_80 only */
#ifdef ANTIPHON_DEBUG
    uint64_t identity;
#endif
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
           find(handle, "EVP_aes_128_ctr", &lib.aes_128_ctr) && find(handle, "EVP_aes_128_ecb", &lib.aes_128_ecb) &&
           find(handle, "SHA1_Init", &lib.sha1_init) && find(handle, "SHA1_Update", &lib.sha1_update) &&
           find(handle, "SHA1_Final", &lib.sha1_final);
}

/* ------------------------------------------------------------------------------------------------ protection by OpenSSL */

static EVP_CTX *cipher_new(const EVP_CIPHER *cipher, const uint8_t *key) {
    EVP_CTX *ctx = lib.ctx_new();
    if (ctx && lib.encrypt_init(ctx, cipher, NULL, key, NULL) != 1) {
        lib.ctx_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

/* RFC 7714 8.1: 16 zero bits, SSRC, ROC, sequence, XOR salt. AAD is the whole header (9.1). */
static bool gcm_protect(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index) {
    uint8_t iv[12] = {0};
    int out = 0, last = 0;
    int payload_length = (int)(*length - header_length);
    memcpy(iv + 2, packet + 8, 4);
    write_u32(iv + 6, (uint32_t)(index >> 16));
    write_u16(iv + 10, (uint16_t)index);
    for (int i = 0; i < 12; i++)
        iv[i] ^= keys->salt[i];
    uint8_t *payload = packet + header_length;
    if (lib.encrypt_init(keys->cipher, NULL, NULL, NULL, iv) != 1 ||
        lib.encrypt_update(keys->cipher, NULL, &out, packet, (int)header_length) != 1 ||
        lib.encrypt_update(keys->cipher, payload, &out, payload, payload_length) != 1 || out != payload_length ||
        lib.encrypt_final(keys->cipher, payload + out, &last) != 1 ||
        lib.ctx_ctrl(keys->cipher, EVP_CTRL_AEAD_GET_TAG, 16, payload + payload_length) != 1)
        return false;
    *length += 16;
    return true;
}

/* RFC 2104, up to where the message begins: contexts that have absorbed key XOR ipad and key XOR opad. */
static void hmac_prepare(struct srtp_keys *keys, const uint8_t key[20]) {
    uint8_t block[64];
    for (int pass = 0; pass < 2; pass++) {
        struct sha1 *ctx = pass ? &keys->outer : &keys->inner;
        memset(block, pass ? 0x5c : 0x36, sizeof block);
        for (int i = 0; i < 20; i++)
            block[i] ^= key[i];
        lib.sha1_init(ctx);
        lib.sha1_update(ctx, block, sizeof block);
    }
    explicit_bzero(block, sizeof block);
}

/* RFC 3711 4.1.1: AES in counter mode from (salt << 16) XOR (SSRC << 64) XOR (index << 16). 4.2: the tag is the first 80 bits of
 * HMAC-SHA1 over the encrypted packet and the ROC. */
static bool cm_protect(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index) {
    uint8_t iv[16] = {0}, roc[4], digest[20];
    int out = 0;
    int payload_length = (int)(*length - header_length);
    memcpy(iv + 4, packet + 8, 4);
    write_u32(iv + 8, (uint32_t)(index >> 16));
    write_u16(iv + 12, (uint16_t)index);
    for (int i = 0; i < 14; i++)
        iv[i] ^= keys->salt[i];
    uint8_t *payload = packet + header_length;
    if (lib.encrypt_init(keys->cipher, NULL, NULL, NULL, iv) != 1 ||
        lib.encrypt_update(keys->cipher, payload, &out, payload, payload_length) != 1 || out != payload_length)
        return false;
    struct sha1 hash = keys->inner;
    write_u32(roc, (uint32_t)(index >> 16));
    lib.sha1_update(&hash, packet, *length);
    lib.sha1_update(&hash, roc, sizeof roc);
    lib.sha1_final(digest, &hash);
    hash = keys->outer;
    lib.sha1_update(&hash, digest, sizeof digest);
    lib.sha1_final(digest, &hash);
    memcpy(packet + *length, digest, 10);
    *length += 10;
    return true;
}

static bool openssl_protect(struct srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index) {
    return keys->profile == PROFILE_AEAD_AES_128_GCM ? gcm_protect(keys, packet, header_length, length, index)
                                                     : cm_protect(keys, packet, header_length, length, index);
}

bool srtp_derive(const uint8_t *master_key, const uint8_t *master_salt, size_t salt_length, uint8_t label, uint8_t *out, size_t size) {
    /* RFC 3711 4.3.1 and 4.3.3, key derivation rate 0: AES in counter mode over (salt XOR label << 48) << 16.
     * RFC 7714 11: a salt of 12 bytes is padded on the right with zeros. */
    uint8_t blocks[2][16] = {{0}}, stream[32];
    int produced = 0;
    memcpy(blocks[0], master_salt, salt_length);
    blocks[0][7] ^= label;
    memcpy(blocks[1], blocks[0], 16);
    blocks[1][15] = 1;
    EVP_CTX *ctx = cipher_new(lib.aes_128_ecb(), master_key);
    bool ok = size <= sizeof stream && ctx && lib.encrypt_update(ctx, stream, &produced, blocks[0], 32) == 1 && produced == 32;
    if (ok)
        memcpy(out, stream, size);
    if (ctx)
        lib.ctx_free(ctx);
    explicit_bzero(stream, sizeof stream);
    return ok;
}

/* Session keys for openssl_protect from a master key with its salt behind it. */
static bool prepare_cipher(struct srtp_keys *keys, int profile, const uint8_t *master) {
    uint8_t key[16], authentication[20];
    size_t salt_length = profile == PROFILE_AEAD_AES_128_GCM ? 12 : 14;
    const uint8_t *master_salt = master + 16;
    bool ok = srtp_derive(master, master_salt, salt_length, LABEL_ENCRYPTION, key, sizeof key) &&
              srtp_derive(master, master_salt, salt_length, LABEL_SALT, keys->salt, salt_length) &&
              srtp_derive(master, master_salt, salt_length, LABEL_AUTHENTICATION, authentication, sizeof authentication);
    keys->profile = profile;
    if (ok && profile != PROFILE_AEAD_AES_128_GCM)
        hmac_prepare(keys, authentication);
    if (ok)
        keys->cipher = cipher_new(profile == PROFILE_AEAD_AES_128_GCM ? lib.aes_128_gcm() : lib.aes_128_ctr(), key);
#ifdef ANTIPHON_DEBUG
    memcpy(&keys->identity, key, sizeof keys->identity);
#endif
    explicit_bzero(key, sizeof key);
    explicit_bzero(authentication, sizeof authentication);
    return keys->cipher != NULL;
}

/* ------------------------------------------------------------------------------------------------ known answers */

static bool known_answer_gcm(void) {
    /* RFC 7714 16.1.1 gives session keys, not master keys. */
    static const uint8_t key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const uint8_t plain[] = "\x80\x40\xf1\x7b\x80\x41\xf8\xd3\x55\x01\xa0\xb2Gallia est omnis divisa in partes tres";
    static const uint8_t cipher[] = "\xf2\x4d\xe3\xa3\xfb\x34\xde\x6c\xac\xba\x86\x1c\x9d\x7e\x4b\xca\xbe\x63\x3b\xd5\x0d\x29"
                                    "\x4e\x6f\x42\xa5\xf4\x7a\x51\xc7\xd1\x9b\x36\xde\x3a\xdf\x88\x33\x89\x9d\x7f\x27\xbe\xb1"
                                    "\x6a\x91\x52\xcf\x76\x5e\xe4\x39\x0c\xce";
    struct srtp_keys keys = {.profile = PROFILE_AEAD_AES_128_GCM, .salt = "Quid pro quo"};
    uint8_t packet[sizeof plain + 16];
    size_t length = sizeof plain - 1;
    memcpy(packet, plain, length);
    keys.cipher = cipher_new(lib.aes_128_gcm(), key);
    bool ok = keys.cipher && gcm_protect(&keys, packet, 12, &length, 0xf17b) && length == 12 + sizeof cipher - 1 &&
              memcmp(packet + 12, cipher, sizeof cipher - 1) == 0;
    if (keys.cipher)
        lib.ctx_free(keys.cipher);
    return ok;
}

/* RFC 3711 B.3 for the derivation; for the whole packet the reference vector that libsrtp validates itself with. */
static bool known_answer_cm(void) {
    static const uint8_t master[30] = "\xE1\xF9\x7A\x0D\x3E\x01\x8B\xE0\xD6\x4F\xA3\x2C\x06\xDE\x41\x39"
                                      "\x0E\xC6\x75\xAD\x49\x8A\xFE\xEB\xB6\x96\x0B\x3A\xAB\xE6";
    static const uint8_t want[] = "\xC6\x1E\x7A\x93\x74\x4F\x39\xEE\x10\x73\x4A\xFE\x3F\xF7\xA0\x87";
    static const uint8_t cipher[] = "\x80\x0f\x12\x34\xde\xca\xfb\xad\xca\xfe\xba\xbe\x4e\x55\xdc\x4c\xe7\x99\x78\xd8\x8c\xa4"
                                    "\xd2\x15\x94\x9d\x24\x02\xb7\x8d\x6a\xcc\x99\xea\x17\x9b\x8d\xbb";
    struct srtp_keys keys = {0};
    uint8_t key[16], packet[28 + SRTP_MAX_OVERHEAD];
    size_t length = 28;
    memcpy(packet, cipher, 12);
    memset(packet + 12, 0xab, 16);
    bool ok = srtp_derive(master, master + 16, 14, LABEL_ENCRYPTION, key, sizeof key) && memcmp(key, want, 16) == 0 &&
              prepare_cipher(&keys, PROFILE_AES128_CM_SHA1_80, master) && cm_protect(&keys, packet, 12, &length, 0x1234) &&
              length == sizeof cipher - 1 && memcmp(packet, cipher, length) == 0;
    if (keys.cipher)
        lib.ctx_free(keys.cipher);
    return ok;
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
    lib.evp = find_evp(handle) && known_answer_gcm() && known_answer_cm();
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
    keys->tx = session_new(profile, SSRC_ANY_OUTBOUND, tx_key);
    bool ok = keys->rx && keys->tx;
    if (ok && use_evp && lib.evp)
        ok = prepare_cipher(keys, profile, tx_key);
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
    if (keys->cipher)
        lib.ctx_free(keys->cipher);
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
    if (keys->cipher) {
#ifdef ANTIPHON_DEBUG
        nonce_audit(keys->identity, packet, *length, index);
#endif
        return openssl_protect(keys, packet, header_length, length, index);
    }
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
