#include "table.h"

#include <sys/mman.h>

/* Pages that are never touched cost nothing, so slabs have their full size from the start and never move. */
static void *slab(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void slab_free(void *memory, size_t bytes) {
    if (memory)
        munmap(memory, bytes);
}

bool table_init(struct table *table, uint32_t max_transports, uint32_t max_tracks, uint32_t max_consumers, uint64_t seed) {
    memset(table, 0, sizeof *table);
    table->max_transports = max_transports;
    table->max_tracks = max_tracks;
    table->max_consumers = max_consumers;
    table->next_epoch = EPOCH_FIRST;
    table->changes = 1;
    table->transports = slab(max_transports * sizeof *table->transports);
    table->tracks = slab(max_tracks * sizeof *table->tracks);
    table->consumers = slab(max_consumers * sizeof *table->consumers);
    table->layouts = slab(max_consumers * sizeof *table->layouts);
    table->active_tracks = slab(max_tracks * sizeof *table->active_tracks);
    if (table->transports && table->tracks && table->consumers && table->layouts && table->active_tracks &&
        map_init(&table->by_address, max_transports, seed) &&
        map_init(&table->by_ssrc, max_tracks * MAX_ENCODINGS, mix(seed)))
        return true;
    table_free(table);
    return false;
}

void table_free(struct table *table) {
    for (uint32_t i = 0; table->tracks && i < table->max_tracks && counter_get(&table->track_count) > 0; i++)
        table_remove_track(table, i);
    for (uint32_t i = 0; table->transports && i < table->max_transports && counter_get(&table->transport_count) > 0; i++)
        table_remove_transport(table, i);
    table_reap(table);
    slab_free(table->transports, table->max_transports * sizeof *table->transports);
    slab_free(table->tracks, table->max_tracks * sizeof *table->tracks);
    slab_free(table->consumers, table->max_consumers * sizeof *table->consumers);
    slab_free(table->layouts, table->max_consumers * sizeof *table->layouts);
    slab_free(table->active_tracks, table->max_tracks * sizeof *table->active_tracks);
    map_free(&table->by_address);
    map_free(&table->by_ssrc);
    memset(table, 0, sizeof *table);
}

void table_retire(struct table *table, struct retired *item) {
    struct retired *head = atomic_load_explicit(&table->retired, memory_order_relaxed);
    do
        item->next = head;
    while (!atomic_compare_exchange_weak_explicit(&table->retired, &head, item, memory_order_release, memory_order_relaxed));
}

void table_reap(struct table *table) {
    struct retired *item = atomic_exchange_explicit(&table->retired, NULL, memory_order_acquire);
    while (item) {
        struct retired *next = item->next;
        item->destroy(item);
        item = next;
    }
}

/* ------------------------------------------------------------------------------------------------ transports */

static struct transport *active_transport(struct table *table, uint32_t slot) {
    return slot < table->max_transports && table->transports[slot].active ? &table->transports[slot] : NULL;
}

bool table_add_transport(struct table *table, uint32_t slot, uint32_t generation) {
    if (slot >= table->max_transports || table->transports[slot].active)
        return false;
    struct transport *t = &table->transports[slot];
    t->association = NULL;
    t->path.peer_length = 0;
    t->unknown.count = t->rtcp.count = 0;
    t->unknown_reported_ns = 0;
    memset(t->ufrags, 0, sizeof t->ufrags);
    t->stun = (struct allowance){0};
    t->generation = generation;
    t->first_track = MAP_NONE;
    counter_set(&t->packets_in, 0);
    counter_set(&t->bytes_in, 0);
    counter_set(&t->packets_out, 0);
    counter_set(&t->bytes_out, 0);
    counter_set(&t->auth_failed, 0);
    counter_set(&t->replayed, 0);
    t->active = true;
    counter_add(&table->transport_count, 1);
    return true;
}

static void unbind(struct table *table, struct transport *t) {
    if (t->path.peer_length) {
        map_remove(&table->by_address, address_key(&t->path.peer));
        t->path.peer_length = 0;
        counter_set(&table->address_count, table->by_address.count);
    }
}

bool table_remove_transport(struct table *table, uint32_t slot) {
    struct transport *t = active_transport(table, slot);
    if (!t)
        return false;
    while (t->first_track != MAP_NONE)
        table_remove_track(table, t->first_track);
    unbind(table, t);
    if (t->association)
        table_retire(table, &t->association->retired);
    t->association = NULL;
    t->active = false;
    counter_add(&table->transport_count, (uint64_t)-1);
    return true;
}

bool table_bind(struct table *table, uint32_t slot, const struct path *path) {
    struct transport *t = active_transport(table, slot);
    if (!t)
        return false;
    unbind(table, t);
    uint64_t key = address_key(&path->peer);
    uint32_t former = map_get(&table->by_address, key);
    if (former != MAP_NONE)
        unbind(table, &table->transports[former]);
    if (!map_put(&table->by_address, key, slot))
        return false;
    t->path = *path;
    counter_set(&table->address_count, table->by_address.count);
    return true;
}

bool table_set_association(struct table *table, uint32_t slot, struct association *association) {
    struct transport *t = active_transport(table, slot);
    if (!t || t->association) {
        table_retire(table, &association->retired);
        return false;
    }
    t->association = association;
    return true;
}

uint64_t address_key(const union address *address) {
    if (address->any.sa_family == AF_INET)
        return (uint64_t)address->v4.sin_addr.s_addr << 16 | address->v4.sin_port;
    uint64_t halves[2];
    memcpy(halves, &address->v6.sin6_addr, 16);
    /* Never equal to an IPv4 key by construction of the top bit; a clash of two IPv6 keys is caught by the comparison in
     * table_find_transport and costs the later transport its media, once in 2^63. */
    return (mix(halves[0] ^ mix(halves[1] ^ mix(address->v6.sin6_port)))) | 1ull << 63;
}

static bool same_address(const union address *a, const union address *b) {
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr && a->v4.sin_port == b->v4.sin_port;
    return a->v6.sin6_port == b->v6.sin6_port && memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0;
}

struct transport *table_find_transport(struct table *table, const union address *address) {
    uint32_t slot = map_get(&table->by_address, address_key(address));
    if (slot == MAP_NONE || !same_address(&table->transports[slot].path.peer, address))
        return NULL;
    return &table->transports[slot];
}

bool table_set_ufrags(struct table *table, uint32_t slot, const uint8_t ufrags[2][UFRAG_BYTES]) {
    if (slot >= table->max_transports || !table->transports[slot].active)
        return false;
    memcpy(table->transports[slot].ufrags, ufrags, sizeof table->transports[slot].ufrags);
    return true;
}

/* RFC 4648 6, in lower case. UINT32_MAX where it is not that. */
static uint32_t slot_of_ufrag(const uint8_t *ufrag) {
    uint32_t bits = 0;
    for (unsigned i = 0; i < 5; i++) {
        uint8_t c = ufrag[i];
        if ((c < 'a' || c > 'z') && (c < '2' || c > '7'))
            return UINT32_MAX;
        bits = bits << 5 | (uint32_t)(c >= 'a' ? c - 'a' : c - '2' + 26);
    }
    return bits >> 1;
}

struct transport *table_find_user(struct table *table, const uint8_t *username, size_t length) {
    if (length <= UFRAG_BYTES || username[UFRAG_BYTES] != ':')
        return NULL;
    uint32_t slot = slot_of_ufrag(username);
    if (slot >= table->max_transports || !table->transports[slot].active)
        return NULL;
    struct transport *t = &table->transports[slot];
    bool named = memcmp(username, t->ufrags[0], UFRAG_BYTES) == 0 || memcmp(username, t->ufrags[1], UFRAG_BYTES) == 0;
    return named ? t : NULL;
}

/* ------------------------------------------------------------------------------------------------ tracks */

static struct track *active_track(struct table *table, uint32_t track) {
    return track < table->max_tracks && table->tracks[track].active ? &table->tracks[track] : NULL;
}

static uint64_t ssrc_key(uint32_t slot, uint32_t ssrc) { return (uint64_t)slot << 32 | ssrc; }

void track_new_epoch(struct table *table, struct track *track) {
    track->epoch = table->next_epoch;
    if (++table->next_epoch < EPOCH_FIRST)
        table->next_epoch = EPOCH_FIRST;
    table->changes = 1;
}

bool table_add_track(struct table *table, uint32_t track, uint32_t slot, uint32_t clock_rate, uint8_t payload_type,
                     uint8_t audio_level_extension, struct history *history) {
    struct transport *transport = active_transport(table, slot);
    if (!transport || track >= table->max_tracks || table->tracks[track].active) {
        table_retire(table, &history->retired);
        return false;
    }
    struct track *t = &table->tracks[track];
    t->consumers = NULL;
    t->history = history;
    t->transport = slot;
    t->next_on_transport = transport->first_track;
    transport->first_track = track;
    t->clock_rate = clock_rate;
    t->order = t->current = 0;
    t->report_at_ms = 0;
    t->last_timestamp = 0;
    t->last_arrival_ns = 0;
    t->payload_type = payload_type;
    t->audio_level_extension = audio_level_extension;
    t->paused = t->announced = false;
    memset(t->encodings, 0, sizeof t->encodings);
    counter_set(&t->packets, 0);
    counter_set(&t->payload_bytes, 0);
    counter_set(&t->lost, 0);
    counter_set(&t->jitter, 0);
    counter_set(&t->audio_level, 127);
    counter_set(&t->last_packet_ns, 0);
    track_new_epoch(table, t);
    t->active = true;
    t->position = (uint32_t)counter_get(&table->track_count);
    table->active_tracks[t->position] = track;
    counter_add(&table->track_count, 1);
    return true;
}

/* The SSRC may meanwhile belong to a later track; then it is not ours to remove. */
static void forget_ssrc(struct table *table, uint32_t track, uint32_t i) {
    struct track *t = &table->tracks[track];
    uint64_t key = ssrc_key(t->transport, t->encodings[i].ssrc);
    if (t->encodings[i].active && map_get(&table->by_ssrc, key) == track * MAX_ENCODINGS + i)
        map_remove(&table->by_ssrc, key);
    t->encodings[i].active = false;
}

bool table_add_encoding(struct table *table, uint32_t track, uint32_t ssrc) {
    struct track *t = active_track(table, track);
    if (!t)
        return false;
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < MAX_ENCODINGS; i++) {
        if (t->encodings[i].active && t->encodings[i].ssrc == ssrc)
            return true;
        if (!t->encodings[i].active || (t->encodings[chosen].active && t->encodings[i].order < t->encodings[chosen].order))
            chosen = i;
    }
    forget_ssrc(table, track, chosen);
    t->encodings[chosen] = (struct encoding){.ssrc = ssrc, .order = ++t->order, .active = true};
    ssrc_set_remove(&table->transports[t->transport].unknown, ssrc);
    return map_put(&table->by_ssrc, ssrc_key(t->transport, ssrc), track * MAX_ENCODINGS + chosen);
}

bool table_set_paused(struct table *table, uint32_t track, bool paused) {
    struct track *t = active_track(table, track);
    if (!t)
        return false;
    if (t->paused && !paused)
        track_new_epoch(table, t);
    t->paused = paused;
    return true;
}

bool table_remove_track(struct table *table, uint32_t track) {
    struct track *t = active_track(table, track);
    if (!t)
        return false;
    for (uint32_t i = 0; i < MAX_ENCODINGS; i++)
        forget_ssrc(table, track, i);
    uint32_t *link = &table->transports[t->transport].first_track;
    while (*link != track)
        link = &table->tracks[*link].next_on_transport;
    *link = t->next_on_transport;
    if (t->consumers)
        table_retire(table, &t->consumers->retired);
    t->consumers = NULL;
    table_retire(table, &t->history->retired);
    t->history = NULL;
    t->active = false;
    counter_add(&table->track_count, (uint64_t)-1);
    uint32_t last = table->active_tracks[counter_get(&table->track_count)];
    table->active_tracks[t->position] = last;
    table->tracks[last].position = t->position;
    return true;
}

struct track *table_find_track(struct table *table, uint32_t slot, uint32_t ssrc, struct encoding **encoding) {
    uint32_t found = map_get(&table->by_ssrc, ssrc_key(slot, ssrc));
    if (found == MAP_NONE)
        return NULL;
    struct track *track = &table->tracks[found / MAX_ENCODINGS];
    *encoding = &track->encodings[found % MAX_ENCODINGS];
    return track;
}

/* ------------------------------------------------------------------------------------------------ consumers */

bool table_add_consumer(struct table *table, uint32_t index, const struct consumer *consumer, const struct consumer_layout *layout) {
    if (index >= table->max_consumers || table->layouts[index].active || consumer->transport >= table->max_transports)
        return false;
    consumer_init(&table->consumers[index], consumer->transport, consumer->ssrc, (uint16_t)consumer->next_index,
                  consumer->last_timestamp);
    table->layouts[index] = *layout;
    table->layouts[index].active = true;
    table->changes++;
    counter_add(&table->consumer_count, 1);
    return true;
}

bool table_resync_consumer(struct table *table, uint32_t index) {
    if (index >= table->max_consumers || !table->layouts[index].active)
        return false;
    if (table->consumers[index].epoch != EPOCH_NEVER)
        table->consumers[index].epoch = EPOCH_RESYNC;
    return true;
}

bool table_remove_consumer(struct table *table, uint32_t index) {
    if (index >= table->max_consumers || !table->layouts[index].active)
        return false;
    table->layouts[index].active = false;
    counter_add(&table->consumer_count, (uint64_t)-1);
    return true;
}

bool table_set_consumers(struct table *table, uint32_t track, struct consumer_list *list) {
    struct track *t = active_track(table, track);
    if (!t) {
        table_retire(table, &list->retired);
        return false;
    }
    if (t->consumers)
        table_retire(table, &t->consumers->retired);
    t->consumers = list;
    return true;
}

bool table_is_apart(struct table *table, struct consumer_list *list) {
    if (list->checked == table->changes)
        return list->apart;
    list->checked = table->changes;
    list->apart = true;
    table->visits++;
    for (uint32_t i = 0; i < list->count && list->apart; i++) {
        struct transport *t = &table->transports[table->consumers[list->indices[i]].transport];
        list->apart = t->visited != table->visits;
        t->visited = table->visits;
    }
    return list->apart;
}
