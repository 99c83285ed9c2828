# cython: language_level=3
"""Every declaration of C that _traffic.pyx uses, in the order of the headers."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "crypto.h" nogil:
    enum:
        PROFILE_AES128_CM_SHA1_80
        PROFILE_AEAD_AES_128_GCM

cdef extern from "srtp.h" nogil:
    cdef struct srtp_keys:
        pass
    bint srtp_library_load(const char *path, char *error, size_t error_size)
    srtp_keys *srtp_keys_new(int profile, const uint8_t *rx_key, const uint8_t *tx_key, bint use_evp)
    void srtp_keys_free(srtp_keys *keys)

cdef extern from "histogram.h" nogil:
    enum:
        COARSE
        FINE
        FINE_BUCKETS "BUCKETS(FINE)"
        COARSE_BUCKETS "BUCKETS(COARSE)"
    uint64_t histogram_start(unsigned bucket, unsigned fine)

cdef extern from "stamp.h" nogil:
    enum:
        STAMP_COUNTED
        STAMP_UNSURE
        STAMP_MUTED
    cdef struct stamp:
        uint8_t flags
        uint32_t run, talker, sequence
        uint64_t sent_ns
    size_t stamp_write(const stamp *stamp, const uint8_t *frame, size_t length, uint8_t *out, size_t room)
    bint stamp_read(const uint8_t *payload, size_t length, stamp *stamp)

cdef extern from "meter.h" nogil:
    cdef struct meter:
        bint started
        uint32_t talker, group, listener
        uint64_t unique, duplicates, reordered, muted, first_ns, last_ns, silence_ns, longest_silence_ns, marked_ns, resumed_ns
        double jitter_ns
        uint64_t latency_sum_us, latency_max_us
        uint32_t latency[COARSE_BUCKETS]
    cdef struct meter_change:
        pass
    void meter_init(meter *meter, uint32_t listener, uint32_t talker, uint32_t group)
    meter_change meter_take(meter *meter, const stamp *stamp, uint64_t arrival_ns)
    void meter_end(meter *meter, uint32_t sequence)
    void meter_mark(meter *meter, uint64_t now_ns)
    uint64_t meter_expected(const meter *meter, uint32_t spoken)
    uint64_t meter_silence(const meter *meter, uint32_t spoken, uint64_t now_ns)

cdef extern from "talker.h" nogil:
    cdef struct talker:
        uint32_t sequence
        uint64_t sent, send_errors

cdef extern from "traffic.h" nogil:
    enum:
        NO_LISTENER
        MID_ROOM
    cdef struct traffic:
        pass
    cdef struct sending:
        uint32_t ssrc, timestamp
        uint16_t sequence
        uint8_t payload_type, level_id, mid_id, mid_length
        char mid[MID_ROOM]
    cdef struct event:
        uint32_t endpoint, generation, length
    cdef struct endpoint_counters:
        uint64_t packets, bytes, auth_failed, unstamped, strangers, socket_drops, early_dropped, socket_errors
    cdef struct group:
        uint64_t unique, duplicates
        int64_t missing
        uint32_t total[FINE_BUCKETS]
        uint32_t interval[FINE_BUCKETS]
    cdef struct traffic_counters:
        uint64_t cpu_ns, turns, packets_in, packets_out, socket_drops, auth_failed, skipped, events_dropped
        uint32_t late[FINE_BUCKETS]
    traffic *traffic_new(uint32_t run, uint32_t endpoints, uint32_t talkers, uint32_t meters, uint32_t groups)
    void traffic_free(traffic *traffic)
    int traffic_event_fd(const traffic *traffic)
    bint traffic_impair(traffic *traffic, double loss_ratio, uint64_t delay_ns)
    bint traffic_add_frame(traffic *traffic, const uint8_t *data, size_t length, uint8_t level, bint silent)
    int64_t endpoint_open(traffic *traffic, int fd, uint32_t listener, uint32_t *generation)
    bint endpoint_set_keys(traffic *traffic, uint32_t endpoint, srtp_keys *keys)
    bint endpoint_read(traffic *traffic, uint32_t endpoint, endpoint_counters *counters)
    bint endpoint_close(traffic *traffic, uint32_t endpoint)
    bint traffic_next_event(traffic *traffic, event *event, uint8_t *data, size_t room)
    int64_t talker_open(traffic *traffic, uint32_t position, uint32_t talk_frames, uint32_t pause_frames, bint always, uint32_t slot,
                        bint native)
    bint talker_connect(traffic *traffic, uint32_t talker, uint32_t endpoint, const sending *sending)
    bint talker_set_speaking(traffic *traffic, uint32_t talker, bint speaking)
    bint talker_set_flag(traffic *traffic, uint32_t talker, uint8_t flag)
    bint talker_read(traffic *traffic, uint32_t talker, talker *copy)
    size_t talker_utter(traffic *traffic, uint32_t talker, uint8_t *out, size_t room, uint8_t *level)
    int64_t meter_open(traffic *traffic, uint32_t listener, uint32_t talker, uint32_t group)
    bint meter_finish(traffic *traffic, uint32_t meter)
    bint meter_set_mark(traffic *traffic, uint32_t meter)
    bint meter_read(traffic *traffic, uint32_t meter, meter *copy, uint64_t *expected, uint64_t *silence_ns)
    uint32_t meters_silent(traffic *traffic, uint32_t packets)
    bint group_read(traffic *traffic, uint32_t group, group *copy)
    void traffic_read(traffic *traffic, traffic_counters *copy)
