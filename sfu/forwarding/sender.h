/* sender.h: what one thread needs to make copies of a packet and send them.
 *
 * Thread: the one that owns it; counters are read by any. Ownership: outboxes' sockets are the loop's, the table is too.
 */
#ifndef ANTIPHON_SENDER_H
#define ANTIPHON_SENDER_H

#include "outbox.h"

#define MAX_SOCKETS 2

struct sender {
    struct table *table;
    struct traffic traffic;
    struct outbox outboxes[MAX_SOCKETS];
    unsigned socket_count;
    uint32_t copies; /* made since commands were last looked at */
};

/* The outbox for a family, or NULL where there is no such socket. */
static inline struct outbox *sender_outbox(struct sender *sender, int family) {
    for (unsigned i = 0; i < sender->socket_count; i++)
        if (sender->outboxes[i].family == family)
            return &sender->outboxes[i];
    return NULL;
}

static inline void sender_flush(struct sender *sender) {
    for (unsigned i = 0; i < sender->socket_count; i++)
        if (sender->outboxes[i].count)
            outbox_flush(&sender->outboxes[i], sender->table, &sender->traffic);
}

/* forward.c: write, encrypt and gather one copy for each of the consumers. */
void send_copies(struct sender *sender, const uint32_t *indices, uint32_t count, const struct source_packet *source, uint64_t arrival_ns);

#endif
