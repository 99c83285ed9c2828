/* history.h: the last packets of a track in the clear, once for all its consumers, so that any of them can be sent again.
 *
 * Thread: made by the signaling thread, used by the forwarding thread. Ownership: the track's; it comes back through table_retire.
 * Failure: history_find returns NULL where the packet was never there or has been overwritten.
 *
 * A retransmission needs no memory per consumer: within an epoch outgoing and source index differ by a constant, and the copy is made
 * anew from the source packet, to the same bytes under the same nonce (RFC 4588 1 allows retransmission on the original stream).
 */
#ifndef ANTIPHON_HISTORY_H
#define ANTIPHON_HISTORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Memory on its way back to the thread that frees it: an intrusive stack, pushed by one thread, emptied by another. */
struct retired {
    struct retired *next;
    void (*destroy)(struct retired *);
};

/* About 6 s of voice at 50 packets/s of 200 bytes; both powers of two. */
#define HISTORY_ENTRIES 512u
#define HISTORY_BYTES 65536u

struct history_entry {
    uint64_t index; /* extended sequence number at the source */
    uint64_t start; /* position in all bytes ever written */
    uint32_t epoch; /* 0: free */
    uint16_t length;
};

struct history {
    struct retired retired;
    uint64_t written;
    struct history_entry entries[HISTORY_ENTRIES];
    uint8_t bytes[HISTORY_BYTES];
};

static inline void history_destroy(struct retired *item) { free(item); }

static inline struct history *history_new(void) {
    struct history *history = calloc(1, sizeof *history);
    if (history)
        history->retired.destroy = history_destroy;
    return history;
}

static inline void history_add(struct history *history, uint64_t index, uint32_t epoch, const uint8_t *packet, size_t length) {
    uint64_t offset = history->written & (HISTORY_BYTES - 1);
    if (offset + length > HISTORY_BYTES) /* a packet never wraps */
        history->written += HISTORY_BYTES - offset;
    memcpy(history->bytes + (history->written & (HISTORY_BYTES - 1)), packet, length);
    history->entries[index & (HISTORY_ENTRIES - 1)] =
        (struct history_entry){.index = index, .start = history->written, .epoch = epoch, .length = (uint16_t)length};
    history->written += length;
}

static inline const uint8_t *history_find(const struct history *history, uint64_t index, uint32_t epoch, size_t *length) {
    const struct history_entry *entry = &history->entries[index & (HISTORY_ENTRIES - 1)];
    if (entry->index != index || entry->epoch != epoch || history->written - entry->start > HISTORY_BYTES)
        return NULL;
    *length = entry->length;
    return history->bytes + (entry->start & (HISTORY_BYTES - 1));
}

#endif
