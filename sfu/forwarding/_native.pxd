# cython: language_level=3
"""Every declaration of C that _native.pyx uses, in the order of the headers."""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<sys/socket.h>" nogil:
    cdef struct sockaddr:
        uint16_t sa_family
    ctypedef uint32_t socklen_t

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        pass
    cdef struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t htons(uint16_t)
    uint16_t ntohs(uint16_t)
    enum:
        AF_INET
        AF_INET6

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *address)
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size)

cdef extern from "path.h" nogil:
    cdef union address:
        sockaddr any
        sockaddr_in v4
        sockaddr_in6 v6
    cdef struct path:
        address peer
        socklen_t peer_length
        bint has_local
        uint8_t local[16]

cdef extern from "wire.h" nogil:
    enum:
        DROP_COUNT
        DROP_NONE
        MAX_DROP_REASONS
    cdef struct rtp_view:
        uint16_t payload_length
        uint8_t payload_type
        uint16_t sequence
        uint32_t timestamp
    int rtp_parse(const uint8_t *packet, size_t length, rtp_view *view)
    int rtp_check_padding(const rtp_view *view)
    const uint8_t *rtp_find_extension(const rtp_view *view, uint8_t id, uint8_t *length)

cdef extern from "crypto.h" nogil:
    enum:
        PROFILE_AES128_CM_SHA1_80
        PROFILE_AEAD_AES_128_GCM

cdef extern from "srtp.h" nogil:
    enum:
        SRTP_MAX_OVERHEAD
    cdef struct srtp_keys:
        pass
    bint srtp_library_load(const char *path, char *error, size_t error_size)
    bint srtp_evp_available()
    srtp_keys *srtp_keys_new(int profile, const uint8_t *rx_key, const uint8_t *tx_key, bint use_evp)
    void srtp_keys_free(srtp_keys *keys)
    bint srtp_protect_rtcp_packet(srtp_keys *keys, uint8_t *packet, size_t *length)
    bint srtp_protect_rtp(srtp_keys *keys, uint8_t *packet, size_t header_length, size_t *length, uint64_t index)

cdef extern from "rewrite.h" nogil:
    enum:
        EPOCH_FIRST
    cdef struct reception:
        uint64_t highest
        bint started
    cdef struct consumer:
        pass
    cdef struct consumer_layout:
        pass
    cdef struct source_packet:
        rtp_view view
        uint64_t index
        uint32_t clock_rate
        uint32_t now_ms
        uint32_t epoch
        int16_t level
    uint64_t reception_index(const reception *r, uint16_t sequence)
    void reception_update(reception *r, uint64_t index, uint32_t timestamp, uint64_t arrival, uint32_t clock_rate)
    void layout_init(consumer_layout *layout, uint8_t payload_type, uint8_t level_id, uint8_t mid_id, const uint8_t *mid, uint8_t mid_length)
    void consumer_init(consumer *consumer, uint32_t slot, uint32_t ssrc, uint16_t sequence, uint32_t timestamp)
    int rewrite(consumer *consumer, const consumer_layout *layout, const source_packet *source, uint8_t *out, size_t room,
                size_t *header_length, size_t *length, uint64_t *index)

cdef extern from "outbox.h" nogil:
    enum:
        LATENCY_BUCKETS
    uint64_t latency_bound(unsigned i)

cdef extern from "loop.h" nogil:
    enum:
        LOOP_OK
        LOOP_FULL
        LOOP_INVALID
        EVENT_STUN
        EVENT_DTLS
        EVENT_RTCP
        EVENT_UNKNOWN_SSRC
        EVENT_FIRST_PACKET
        SEND_LIMIT
        UFRAG_BYTES
        RETRANSMIT_LIMIT
        DATAGRAM_ROOM
    cdef struct association:
        pass
    cdef struct consumer_list:
        uint32_t indices[]
    cdef struct event:
        uint8_t type
        uint8_t payload_type
        uint8_t mid_length
        uint32_t slot
        uint32_t generation
        uint32_t value
        uint32_t length
        path path
        uint8_t data[]
    cdef struct loop_totals:
        uint64_t packets_in, packets_out, bytes_in, bytes_out, cpu_ns, retransmitted, rejected_commands, latency_sum_ns, helped
        uint64_t latency[LATENCY_BUCKETS]
    cdef struct transport_counters:
        uint64_t packets_in, bytes_in, packets_out, bytes_out, auth_failed, replayed
    cdef struct track_counters:
        uint64_t packets, payload_bytes, lost, jitter, audio_level, last_packet_ns
    cdef struct consumer_counters:
        uint64_t packets, payload_bytes
    cdef struct table_counters:
        uint64_t transports, tracks, consumers, addresses
    cdef struct loop:
        pass
    loop *loop_create(const int *sockets, unsigned count, uint32_t max_transports, uint32_t max_tracks, uint32_t max_consumers)
    void loop_destroy(loop *loop)
    int loop_event_fd(const loop *loop)
    bint loop_is_realtime(const loop *loop)
    int loop_nice(const loop *loop)
    int loop_thread_id(const loop *loop)
    bint loop_has_family(const loop *loop, int family)
    int loop_send(loop *loop, const path *path, const uint8_t *data, size_t length)
    int loop_add_transport(loop *loop, uint32_t slot, uint32_t generation)
    int loop_set_ufrags(loop *loop, uint32_t slot, const uint8_t *current, const uint8_t *former)
    int loop_remove_transport(loop *loop, uint32_t slot)
    int loop_bind(loop *loop, uint32_t slot, const path *path)
    int loop_set_association(loop *loop, uint32_t slot, association *association)
    int loop_add_track(loop *loop, uint32_t track, uint32_t slot, uint32_t clock_rate, uint8_t payload_type, uint8_t audio_level_extension)
    int loop_add_encoding(loop *loop, uint32_t track, uint32_t ssrc)
    int loop_set_paused(loop *loop, uint32_t track, bint paused)
    int loop_remove_track(loop *loop, uint32_t track)
    int loop_add_consumer(loop *loop, uint32_t index, const consumer *consumer, const consumer_layout *layout)
    int loop_resync_consumer(loop *loop, uint32_t index)
    int loop_retransmit(loop *loop, uint32_t index, uint32_t track, const uint16_t *sequences, size_t count)
    int loop_remove_consumer(loop *loop, uint32_t index)
    int loop_set_consumers(loop *loop, uint32_t track, consumer_list *list)
    const event *loop_event_next(loop *loop)
    void loop_event_done(loop *loop)
    association *association_new(srtp_keys *keys, uint32_t rtcp_ssrc, uint8_t mid_extension, const char *cname, uint8_t cname_length)
    consumer_list *consumer_list_new(uint32_t count)
    void loop_drops(const loop *loop, uint64_t *drops)
    void loop_read_totals(const loop *loop, loop_totals *totals)
    void loop_read_tables(const loop *loop, table_counters *counters)
    bint loop_read_transport(const loop *loop, uint32_t slot, transport_counters *counters)
    bint loop_read_track(const loop *loop, uint32_t track, track_counters *counters)
    bint loop_read_consumer(const loop *loop, uint32_t index, consumer_counters *counters)
    const char *drop_name(unsigned reason)
