/* forward.c: the path of one datagram, from the first byte to the slots of the outbox. README.md tells it step by step. */
#include "engine.h"
#include "report.h"

/* Messages a second that Python is asked to look at. An agent that checks many pairs at once sends one in 5 ms at most (RFC 8445 14.2); 512
 * are below 1 % of a core. */
#define STUN_PER_TRANSPORT 256u
#define STUN_FROM_STRANGERS 512u
enum { STUN_USERNAME = 0x0006 }; /* RFC 8489 14.3 */

_Static_assert(RECEPTION_WINDOW == SRTP_REPLAY_WINDOW, "libsrtp and reception_is_new look back equally far");

static void emit_datagram(struct loop *loop, enum event_type type, const struct transport *t, const struct path *from,
                          const uint8_t *datagram, size_t length) {
    struct event event = {.type = (uint8_t)type, .length = (uint32_t)length, .path = *from};
    if (t) {
        event.slot = (uint32_t)(t - loop->table.transports);
        event.generation = t->generation;
    }
    emit(loop, &event, datagram);
}

static void count_unprotect_failure(struct transport *t, enum drop_reason reason) {
    if (reason == DROP_auth_failed)
        counter_add(&t->auth_failed, 1);
    else if (reason == DROP_replayed)
        counter_add(&t->replayed, 1);
}

/* libsrtp keeps a stream, and searches a list, for every SSRC that it has decrypted RTCP of: so a peer may have few. */
static bool may_decrypt_rtcp(struct table *table, const struct transport *t, uint32_t ssrc) {
    struct encoding *encoding;
    return ssrc_set_has(&t->rtcp, ssrc) || t->rtcp.count < MAX_RTCP_SSRCS ||
           table_find_track(table, (uint32_t)(t - table->transports), ssrc, &encoding);
}

static enum drop_reason unprotect_rtcp(struct loop *loop, struct transport *t, uint8_t *packet, size_t *length) {
    if (*length < 8)
        return DROP_truncated;
    uint32_t ssrc = read_u32(packet + 4);
    if (!may_decrypt_rtcp(&loop->table, t, ssrc))
        return DROP_too_many_ssrcs;
    enum drop_reason reason = srtp_unprotect_rtcp_packet(t->association->keys, packet, length);
    if (reason == DROP_NONE)
        ssrc_set_add(&t->rtcp, ssrc, MAX_RTCP_SSRCS);
    else
        count_unprotect_failure(t, reason);
    return reason;
}

static void receive_rtcp(struct loop *loop, struct transport *t, uint8_t *packet, size_t length, const struct path *from) {
    enum drop_reason reason = unprotect_rtcp(loop, t, packet, &length);
    if (reason == DROP_NONE)
        reason = report_read(&loop->table, (uint32_t)(t - loop->table.transports), packet, length, loop->now.monotonic_ns);
    if (reason == DROP_NONE)
        emit_datagram(loop, EVENT_RTCP, t, from, packet, length);
    else
        drop(loop, reason);
}

/* An SSRC that no track claims may be decrypted only while the transport has few of them: libsrtp keeps a stream for each. */
static bool may_decrypt_unknown(const struct transport *t, uint32_t ssrc) {
    return ssrc_set_has(&t->unknown, ssrc) || t->unknown.count < MAX_UNKNOWN_SSRCS;
}

static void report_unknown(struct loop *loop, struct transport *t, const struct rtp_view *view) {
    bool known = ssrc_set_has(&t->unknown, view->ssrc);
    ssrc_set_add(&t->unknown, view->ssrc, MAX_UNKNOWN_SSRCS);
    drop(loop, DROP_unknown_ssrc);
    if (known && loop->now.monotonic_ns - t->unknown_reported_ns < 1000000000u)
        return;
    t->unknown_reported_ns = loop->now.monotonic_ns;
    uint8_t mid_length = 0;
    const uint8_t *mid = rtp_find_extension(view, t->association->mid_extension, &mid_length);
    struct event event = {
        .type = EVENT_UNKNOWN_SSRC,
        .payload_type = view->payload_type,
        .mid_length = mid ? mid_length : 0,
        .slot = (uint32_t)(t - loop->table.transports),
        .generation = t->generation,
        .value = view->ssrc,
        .length = mid ? mid_length : 0,
    };
    emit(loop, &event, mid);
}

/* Whether the packet belongs to the SSRC that is forwarded; the first packet of a newer one takes over. */
static bool select_encoding(struct loop *loop, struct track *track, const struct encoding *encoding) {
    if (encoding->order == track->current)
        return true;
    if (encoding->order < track->current)
        return false;
    if (track->current)
        track_new_epoch(&loop->table, track);
    track->current = encoding->order;
    return true;
}

static void note_reception(struct loop *loop, struct track *track, struct encoding *encoding, const struct source_packet *source) {
    struct reception *r = &encoding->reception;
    uint64_t arrival = (uint64_t)((unsigned __int128)loop->now.monotonic_ns * track->clock_rate / 1000000000u);
    reception_update(r, source->index, source->view.timestamp, arrival, track->clock_rate);
    int64_t lost = reception_lost(r);
    counter_set(&track->lost, lost > 0 ? (uint64_t)lost : 0);
    counter_set(&track->jitter, r->jitter16 >> 4);
    counter_add(&track->packets, 1);
    counter_add(&track->payload_bytes, source->view.payload_length);
    counter_set(&track->last_packet_ns, loop->now.monotonic_ns);
    if (source->level >= 0)
        counter_set(&track->audio_level, (uint64_t)(source->level & 0x7F));
}

static bool send_copy(struct sender *sender, uint32_t index, const struct source_packet *source, uint64_t arrival_ns) {
    struct consumer *consumer = &sender->table->consumers[index];
    const struct consumer_layout *layout = &sender->table->layouts[index];
    const struct transport *t = &sender->table->transports[consumer->transport];
    if (!layout->active || !t->association || !t->path.peer_length) {
        counter_add(&sender->traffic.drops[DROP_not_connected], 1);
        return false;
    }
    struct outbox *outbox = sender_outbox(sender, t->path.peer.any.sa_family);
    uint8_t *out = outbox_slot(outbox);
    size_t header_length, length;
    uint64_t out_index;
    enum drop_reason reason =
        rewrite(consumer, layout, source, out, DATAGRAM_ROOM - SRTP_MAX_OVERHEAD, &header_length, &length, &out_index);
    if (reason == DROP_NONE && !srtp_protect_rtp(t->association->keys, out, header_length, &length, out_index))
        reason = DROP_protect_failed;
    if (reason != DROP_NONE) {
        counter_add(&sender->traffic.drops[reason], 1);
        return false;
    }
    struct slot_origin origin = {consumer->transport, index, source->view.payload_length, arrival_ns};
    if (outbox_add(outbox, &t->path, length, origin))
        outbox_flush(outbox, sender->table, &sender->traffic);
    return true;
}

static int16_t find_level(const struct track *track, const struct rtp_view *view) {
    uint8_t length = 0;
    const uint8_t *level = rtp_find_extension(view, track->audio_level_extension, &length);
    return level && length == 1 ? *level : -1;
}

void retransmit(struct loop *loop, const struct track *track, uint32_t index, uint16_t sequence) {
    const struct consumer *consumer = &loop->table.consumers[index];
    uint64_t newest = consumer->next_index - 1;
    uint64_t outgoing = newest + (uint64_t)(int64_t)(int16_t)(uint16_t)(sequence - (uint16_t)newest);
    struct source_packet source = {
        .index = outgoing - (uint64_t)consumer->index_offset,
        .clock_rate = track->clock_rate,
        .now_ms = loop->now.ms,
        .epoch = consumer->epoch,
    };
    size_t length = 0;
    const uint8_t *packet =
        outgoing <= newest && source.index >= consumer->epoch_start ? history_find(track->history, source.index, source.epoch, &length) : NULL;
    if (!packet || rtp_parse(packet, length, &source.view) != DROP_NONE) {
        drop(loop, DROP_not_in_history);
        return;
    }
    source.level = find_level(track, &source.view);
    loop->sender.copies++;
    if (send_copy(&loop->sender, index, &source, 0))
        counter_add(&loop->sender.traffic.retransmitted, 1);
}

static const struct association *association_of(const struct table *table, uint32_t index) {
    return table->transports[table->consumers[index].transport].association;
}

/* What a copy touches lies in a chain of places, each found in the one before: so each is asked for two entries earlier than the next, which
 * is about as long as memory takes. With a thousand consumers none of it is in the core's own caches. */
static void prefetch_ahead(const struct table *table, const uint32_t *indices, uint32_t left) {
    const struct association *a;
    if (left > 10) {
        __builtin_prefetch(&table->consumers[indices[10]], 1);
        __builtin_prefetch(&table->layouts[indices[10]]);
    }
    if (left > 8) {
        const struct transport *t = &table->transports[table->consumers[indices[8]].transport];
        __builtin_prefetch(t);
        __builtin_prefetch(&t->packets_out, 1);
    }
    if (left > 6 && (a = association_of(table, indices[6])))
        __builtin_prefetch(a);
    if (left > 4 && (a = association_of(table, indices[4])))
        srtp_prefetch_keys(a->keys);
    if (left > 2 && (a = association_of(table, indices[2])))
        srtp_prefetch_context(a->keys);
}

/* The hot loop: the pre-resolved list, or a piece of it. */
void send_copies(struct sender *sender, const uint32_t *indices, uint32_t count, const struct source_packet *source, uint64_t arrival_ns) {
    for (uint32_t i = 0; i < count; i++) {
        prefetch_ahead(sender->table, indices + i, count - i);
        send_copy(sender, indices[i], source, arrival_ns);
    }
}

static void fan_out(struct loop *loop, const struct track *track, const struct source_packet *source, uint64_t arrival_ns) {
    struct consumer_list *list = track->consumers;
    if (helper_fits(&loop->helper, &loop->table, list)) {
        helper_fan_out(&loop->helper, &loop->sender, &(struct job){list, source, arrival_ns});
    } else {
        send_copies(&loop->sender, list->indices, list->count, source, arrival_ns);
        loop->sender.copies += list->count;
    }
}

static void announce(struct loop *loop, struct track *track) {
    track->announced = true;
    struct event event = {
        .type = EVENT_FIRST_PACKET,
        .slot = track->transport,
        .generation = loop->table.transports[track->transport].generation,
        .value = (uint32_t)(track - loop->table.tracks),
    };
    emit(loop, &event, NULL);
}

/* An authentic packet of a known SSRC. */
static enum drop_reason forward(struct loop *loop, struct track *track, struct encoding *encoding, const struct rtp_view *view,
                                uint64_t arrival_ns) {
    struct source_packet source = {
        .view = *view,
        .index = reception_index(&encoding->reception, view->sequence),
        .clock_rate = track->clock_rate,
        .now_ms = loop->now.ms,
        .level = find_level(track, view),
    };
    if (view->payload_type != track->payload_type)
        return DROP_bad_payload_type;
    if (!reception_is_new(&encoding->reception, source.index))
        return DROP_replayed;
    note_reception(loop, track, encoding, &source);
    if (!track->announced)
        announce(loop, track);
    if (track->paused)
        return DROP_paused;
    if (!select_encoding(loop, track, encoding))
        return DROP_stale;
    if (!track->consumers || track->consumers->count == 0)
        return DROP_no_consumer;
    source.epoch = track->epoch;
    history_add(track->history, source.index, source.epoch, view->packet, (size_t)view->payload_offset + view->payload_length);
    fan_out(loop, track, &source, arrival_ns);
    return DROP_NONE;
}

static enum drop_reason receive_rtp(struct loop *loop, struct transport *t, uint8_t *packet, size_t length, uint64_t arrival_ns) {
    struct rtp_view view;
    struct encoding *encoding = NULL;
    size_t wire_length = length;
    enum drop_reason reason = rtp_parse(packet, length, &view); /* the header is in the clear, and tells the SSRC */
    if (reason != DROP_NONE)
        return reason;
    struct track *track = table_find_track(&loop->table, (uint32_t)(t - loop->table.transports), view.ssrc, &encoding);
    if (!track && !may_decrypt_unknown(t, view.ssrc))
        return DROP_too_many_ssrcs;
    reason = srtp_unprotect_rtp(t->association->keys, packet, &length);
    if (reason != DROP_NONE) {
        count_unprotect_failure(t, reason);
        return reason;
    }
    /* Once more: now the length is the plaintext's, and an encrypted header extension would have changed. */
    reason = rtp_parse(packet, length, &view);
    if (reason == DROP_NONE)
        reason = rtp_check_padding(&view);
    if (reason != DROP_NONE)
        return reason;
    counter_add(&loop->sender.traffic.packets_in, 1);
    counter_add(&loop->sender.traffic.bytes_in, wire_length);
    if (!track) {
        report_unknown(loop, t, &view);
        return DROP_NONE;
    }
    return forward(loop, track, encoding, &view, arrival_ns);
}

static struct transport *find_user(struct loop *loop, const uint8_t *datagram, size_t length) {
    uint16_t name_length = 0;
    const uint8_t *name = stun_find_attribute(datagram, length, STUN_USERNAME, &name_length);
    return name ? table_find_user(&loop->table, name, name_length) : NULL;
}

/* Anybody can send STUN, and to answer one takes Python 10 to 20 us. A message that names the ufrag of a transport, which is random and was
 * told to its peer alone, goes by what that transport may send, any other by what all strangers together may: so a flood of either kind is
 * cheap and costs nobody else a check. Likewise strangers may not fill the second half of the ring. */
static void receive_stun(struct loop *loop, const uint8_t *datagram, size_t length, const struct path *from) {
    if (!stun_is_plausible(datagram, length)) {
        drop(loop, DROP_bad_stun);
        return;
    }
    struct transport *user = find_user(loop, datagram, length);
    struct allowance *allowance = user ? &user->stun : &loop->strangers_stun;
    if (ring_used(&loop->events) > EVENT_RING_BYTES / 2 && !user && !table_find_transport(&loop->table, &from->peer))
        drop(loop, DROP_ring_full);
    else if (!allowance_take(allowance, loop->now.monotonic_ns, user ? STUN_PER_TRANSPORT : STUN_FROM_STRANGERS))
        drop(loop, DROP_stun_flood);
    else
        emit_datagram(loop, EVENT_STUN, NULL, from, datagram, length);
}

void receive_datagram(struct loop *loop, uint8_t *datagram, size_t length, const struct path *from, uint64_t arrival_ns) {
    enum packet_kind kind = classify(datagram, length);
    if (from->peer.v4.sin_port == 0) { /* at the same place for IPv6; nobody can be answered there */
        drop(loop, DROP_bad_source);
        return;
    }
    if (kind == PACKET_OTHER) {
        drop(loop, length < 2 ? DROP_truncated : DROP_bad_version);
        return;
    }
    if (kind == PACKET_STUN) {
        receive_stun(loop, datagram, length, from);
        return;
    }
    struct transport *t = table_find_transport(&loop->table, &from->peer);
    if (!t) {
        drop(loop, DROP_unknown_address);
        return;
    }
    counter_add(&t->packets_in, 1);
    counter_add(&t->bytes_in, length);
    if (kind == PACKET_DTLS) {
        emit_datagram(loop, EVENT_DTLS, t, from, datagram, length);
    } else if (!t->association) {
        drop(loop, DROP_no_keys);
    } else if (kind == PACKET_RTCP) {
        receive_rtcp(loop, t, datagram, length, from);
    } else {
        enum drop_reason reason = receive_rtp(loop, t, datagram, length, arrival_ns);
        if (reason != DROP_NONE)
            drop(loop, reason);
    }
}
