#include "nonce_audit.h"

#ifdef ANTIPHON_DEBUG

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "map.h"
#include "wire.h"

/* An index has 48 bits, so a free place is told by FREE. */
#define FREE UINT64_MAX

struct record {
    uint64_t key_identity;
    uint64_t index;
    uint64_t digest; /* of header and plaintext */
    uint32_t ssrc;
};

static struct {
    pthread_mutex_t lock; /* loops of one process share the audit */
    struct record *records;
    uint64_t capacity; /* a power of two, or 0 */
    uint64_t count;
} audit = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t digest(const uint8_t *bytes, size_t length) {
    uint64_t state = length;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        state = mix(state ^ word) + 0x9e3779b97f4a7c15u;
    }
    uint64_t rest = 0;
    memcpy(&rest, bytes, length);
    return mix(state ^ rest);
}

/* The nonce's place: its own, or the free one where it belongs. */
static struct record *place(uint64_t key_identity, uint32_t ssrc, uint64_t index) {
    uint64_t i = mix(key_identity ^ mix(index ^ mix(ssrc)));
    for (;; i++) {
        struct record *r = &audit.records[i & (audit.capacity - 1)];
        if (r->index == FREE || (r->key_identity == key_identity && r->ssrc == ssrc && r->index == index))
            return r;
    }
}

static void grow(void) {
    struct record *old = audit.records;
    uint64_t old_capacity = audit.capacity;
    audit.capacity = old_capacity ? 2 * old_capacity : 1024;
    audit.records = malloc(audit.capacity * sizeof *audit.records);
    if (!audit.records) {
        fputs("nonce audit: out of memory\n", stderr);
        abort();
    }
    for (uint64_t i = 0; i < audit.capacity; i++)
        audit.records[i].index = FREE;
    for (uint64_t i = 0; i < old_capacity; i++)
        if (old[i].index != FREE)
            *place(old[i].key_identity, old[i].ssrc, old[i].index) = old[i];
    free(old);
}

void nonce_audit(uint64_t key_identity, uint32_t ssrc, const uint8_t *packet, size_t length, uint64_t index) {
    const char *setting = getenv("ANTIPHON_NONCE_AUDIT");
    if (setting && strcmp(setting, "off") == 0)
        return;
    struct record now = {key_identity, index, digest(packet, length), ssrc};
    pthread_mutex_lock(&audit.lock);
    if (2 * audit.count >= audit.capacity)
        grow();
    struct record *r = place(key_identity, now.ssrc, index);
    if (r->index == FREE) {
        *r = now;
        audit.count++;
    } else if (r->digest != now.digest) {
        fprintf(stderr, "nonce audit: SSRC %08" PRIx32 ", index %" PRIu64 " was spent on two different packets under one key\n", now.ssrc, index);
        abort();
    }
    pthread_mutex_unlock(&audit.lock);
}

void nonce_audit_clear(void) {
    pthread_mutex_lock(&audit.lock);
    for (uint64_t i = 0; i < audit.capacity; i++)
        audit.records[i].index = FREE;
    audit.count = 0;
    pthread_mutex_unlock(&audit.lock);
}

#endif
