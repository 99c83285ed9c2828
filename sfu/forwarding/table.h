/* table.h: transports, tracks and consumers, and how a packet finds them.
 *
 * Thread: everything here belongs to the forwarding thread; other threads read counters only. Ownership: the table owns its slabs,
 * the consumer lists and the keys that were given to it; what it takes out of use goes to `retired`, because the forwarding
 * thread does not free memory.
 * Failure: lookups return NULL; changes return false for an impossible command (a mistake of the caller, asserted in debug builds).
 */
#ifndef ANTIPHON_TABLE_H
#define ANTIPHON_TABLE_H

#include "history.h"
#include "map.h"
#include "path.h"
#include "receive.h"
#include "rewrite.h"
#include "srtp.h"

#define MAX_ENCODINGS 4
/* An authentic peer that sends more unknown SSRCs than this is cut off before libsrtp allocates a stream for each. */
#define MAX_UNKNOWN_SSRCS 16
/* Likewise for senders of RTCP. Browsers report with one SSRC of their own, or with that of what they send. */
#define MAX_RTCP_SSRCS 8
#define CNAME_ROOM 256
/* Length of a local ICE ufrag (sfu/transport/ice_lite.py); its first 24 bits in base32 are the slot. */
#define UFRAG_BYTES 16

/* What the end of a DTLS handshake brings. */
struct association {
    struct retired retired;
    struct srtp_keys *keys;
    uint32_t rtcp_ssrc;
    uint8_t mid_extension;
    uint8_t cname_length;
    char cname[CNAME_ROOM];
};

/* Pre-resolved: consumer indices, walked in order for each packet of a track. */
struct consumer_list {
    struct retired retired;
    uint64_t checked; /* table.changes at the time of `apart`, or 0 */
    bool apart;       /* no two of its consumers share a transport */
    uint32_t count;
    uint32_t indices[];
};

/* A few SSRCs: what a peer may make libsrtp remember is bounded. */
struct ssrc_set {
    uint8_t count;
    uint32_t values[MAX_UNKNOWN_SSRCS];
};

static inline bool ssrc_set_has(const struct ssrc_set *set, uint32_t ssrc) {
    for (uint8_t i = 0; i < set->count; i++)
        if (set->values[i] == ssrc)
            return true;
    return false;
}

/* Does nothing where it is there, or `limit` are. */
static inline void ssrc_set_add(struct ssrc_set *set, uint32_t ssrc, uint8_t limit) {
    if (set->count < limit && !ssrc_set_has(set, ssrc))
        set->values[set->count++] = ssrc;
}

static inline void ssrc_set_remove(struct ssrc_set *set, uint32_t ssrc) {
    for (uint8_t i = 0; i < set->count; i++)
        if (set->values[i] == ssrc)
            set->values[i] = set->values[--set->count];
}

/* So many of something in one second, and no more. */
struct allowance {
    uint64_t second;
    uint32_t taken;
};

static inline bool allowance_take(struct allowance *allowance, uint64_t now_ns, uint32_t limit) {
    uint64_t second = now_ns / 1000000000u;
    if (allowance->second != second)
        *allowance = (struct allowance){second, 0};
    return allowance->taken < limit && ++allowance->taken;
}

struct transport {
    struct association *association; /* NULL until SRTP keys are known */
    struct path path; /* peer_length 0 until an address is bound */
    bool active;
    uint32_t generation;
    uint64_t visited; /* number of the last walk that came here */
    uint32_t first_track; /* head of a list through track.next_on_transport, or MAP_NONE */
    uint64_t unknown_reported_ns;
    struct ssrc_set unknown; /* senders of RTP that no track claims */
    struct ssrc_set rtcp;    /* senders of RTCP */
    counter packets_in, bytes_in, packets_out, bytes_out, auth_failed, replayed;
    uint8_t ufrags[2][UFRAG_BYTES]; /* of the ICE session and of the one before a restart; zeros: none */
    struct allowance stun;
};

struct encoding {
    uint32_t ssrc;
    uint32_t order; /* of its announcement; a later one takes over with its first packet */
    bool active;
    struct reception reception;
};

struct track {
    struct consumer_list *consumers; /* NULL: none */
    struct history *history;
    uint32_t transport;
    uint32_t next_on_transport;
    uint32_t position; /* in table.active_tracks */
    uint32_t epoch;
    uint32_t clock_rate;
    uint32_t order;   /* of the newest encoding */
    uint32_t current; /* order of the encoding that is forwarded; 0: none yet */
    uint32_t report_at_ms;
    uint32_t last_timestamp; /* newest of the source, and when it came: what a sender report extrapolates */
    uint64_t last_arrival_ns;
    uint8_t payload_type;
    uint8_t audio_level_extension;
    bool active;
    bool paused;
    bool announced; /* first packet was reported */
    struct encoding encodings[MAX_ENCODINGS];
    counter packets, payload_bytes, lost, jitter, audio_level, last_packet_ns;
};

struct table {
    struct transport *transports;
    struct track *tracks;
    struct consumer *consumers;
    struct consumer_layout *layouts;
    uint32_t max_transports, max_tracks, max_consumers;
    uint32_t *active_tracks;
    uint32_t next_epoch;
    uint64_t changes; /* consumers ever added, plus 1 */
    uint64_t visits;  /* walks that have marked transports */
    struct map by_address; /* hash of address -> slot */
    struct map by_ssrc;    /* slot << 32 | SSRC -> track * MAX_ENCODINGS + encoding */
    counter transport_count, track_count, consumer_count, address_count;
    _Atomic(struct retired *) retired;
};

bool table_init(struct table *table, uint32_t max_transports, uint32_t max_tracks, uint32_t max_consumers, uint64_t seed);
/* Frees everything that is still in use, and what was retired. */
void table_free(struct table *table);

/* Any thread may push; table_reap frees all that was pushed and belongs to the thread that commands. */
void table_retire(struct table *table, struct retired *item);
void table_reap(struct table *table);

bool table_add_transport(struct table *table, uint32_t slot, uint32_t generation);
bool table_remove_transport(struct table *table, uint32_t slot);
bool table_set_ufrags(struct table *table, uint32_t slot, const uint8_t ufrags[2][UFRAG_BYTES]);
bool table_bind(struct table *table, uint32_t slot, const struct path *path);
bool table_set_association(struct table *table, uint32_t slot, struct association *association);
/* Takes the history over, also where it fails. */
bool table_add_track(struct table *table, uint32_t track, uint32_t slot, uint32_t clock_rate, uint8_t payload_type,
                     uint8_t audio_level_extension, struct history *history);
bool table_add_encoding(struct table *table, uint32_t track, uint32_t ssrc);
bool table_set_paused(struct table *table, uint32_t track, bool paused);
bool table_remove_track(struct table *table, uint32_t track);
bool table_add_consumer(struct table *table, uint32_t index, const struct consumer *consumer, const struct consumer_layout *layout);
bool table_resync_consumer(struct table *table, uint32_t index);
bool table_remove_consumer(struct table *table, uint32_t index);
bool table_set_consumers(struct table *table, uint32_t track, struct consumer_list *list);
/* Whether no two consumers of the list share a transport. Walks the list only when it, or any consumer, is new since the last time. */
bool table_is_apart(struct table *table, struct consumer_list *list);

uint64_t address_key(const union address *address);
/* NULL where no transport is bound to the address. */
struct transport *table_find_transport(struct table *table, const union address *address);
/* The transport that a STUN message's USERNAME names by its whole ufrag (RFC 8445 7.2.2), or NULL. */
struct transport *table_find_user(struct table *table, const uint8_t *username, size_t length);
/* NULL where no track of the transport claims the SSRC. */
struct track *table_find_track(struct table *table, uint32_t slot, uint32_t ssrc, struct encoding **encoding);
/* The next packets of the track open a new epoch at every consumer. */
void track_new_epoch(struct table *table, struct track *track);

#endif
