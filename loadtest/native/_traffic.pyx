# cython: language_level=3, boundscheck=True, wraparound=False
"""The only file of the load tester that knows both Python and C. What it offers is described in _traffic.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import os
from collections import namedtuple

import pylibsrtp._binding as _pylibsrtp_binding

AEAD_AES_128_GCM = PROFILE_AEAD_AES_128_GCM
AES128_CM_SHA1_80 = PROFILE_AES128_CM_SHA1_80
COUNTED, UNSURE, MUTED = STAMP_COUNTED, STAMP_UNSURE, STAMP_MUTED
FINE_BOUNDS_US = tuple([histogram_start(i, FINE) for i in range(FINE_BUCKETS + 1)])
COARSE_BOUNDS_US = tuple([histogram_start(i, COARSE) for i in range(COARSE_BUCKETS + 1)])

Event = namedtuple("Event", "endpoint generation data")
EndpointCounters = namedtuple("EndpointCounters", "packets bytes auth_failed unstamped strangers socket_drops early_dropped socket_errors")
TalkerCounters = namedtuple("TalkerCounters", "spoken sent send_errors")
MeterFigures = namedtuple(
    "MeterFigures",
    "listener talker group expected received duplicates reordered muted first_ns last_ns silence_ns longest_silence_ns resumed_after_ns "
    "jitter_ns latency_sum_us latency_max_us latency",
)
GroupFigures = namedtuple("GroupFigures", "received duplicates missing latency interval")
TrafficCounters = namedtuple("TrafficCounters", "cpu_ns turns packets_in packets_out socket_drops auth_failed skipped events_dropped late")
Stamp = namedtuple("Stamp", "flags run talker sequence sent_ns")


cdef bytes counts(const uint32_t *buckets, size_t count):
    return PyBytes_FromStringAndSize(<const char *>buckets, count * sizeof(uint32_t))


cdef object figures(const meter *m, uint64_t expected, uint64_t silence_ns):
    cdef int64_t resumed = <int64_t>(m.resumed_ns - m.marked_ns) if m.resumed_ns else -1
    longest = max(m.longest_silence_ns, silence_ns - m.silence_ns)
    return MeterFigures(
        m.listener, m.talker, m.group, expected, m.unique, m.duplicates, m.reordered, m.muted, m.first_ns, m.last_ns, silence_ns,
        longest, resumed, m.jitter_ns, m.latency_sum_us, m.latency_max_us, counts(m.latency, COARSE_BUCKETS),
    )


cdef int64_t found(int64_t index, str what) except -1:
    if index < 0:
        raise RuntimeError(f"there is no room for another {what}")
    return index


cdef int existing(bint ok) except -1:
    if not ok:
        raise LookupError("there is no such thing (any more)")
    return 0


def write_stamp(bytes frame, uint8_t flags, uint32_t run, uint32_t talker, uint32_t sequence, uint64_t sent_ns):
    cdef uint8_t out[1600]
    cdef stamp value = stamp(flags, run, talker, sequence, sent_ns)
    cdef size_t length = stamp_write(&value, <const uint8_t *>PyBytes_AS_STRING(frame), len(frame), out, sizeof(out))
    if length == 0:
        raise ValueError("only an Opus packet of code 0 that leaves room can carry a stamp")
    return PyBytes_FromStringAndSize(<const char *>out, length)


def read_stamp(bytes payload):
    cdef stamp value
    if not stamp_read(<const uint8_t *>PyBytes_AS_STRING(payload), len(payload), &value):
        return None
    return Stamp(value.flags, value.run, value.talker, value.sequence, value.sent_ns)


cdef class Meter:
    """One meter by itself, for tests."""

    cdef meter _meter

    def __init__(self):
        meter_init(&self._meter, 0, 0, 0)

    def take(self, uint32_t sequence, uint64_t sent_ns, uint64_t arrival_ns, uint8_t flags=STAMP_COUNTED):
        cdef stamp value = stamp(flags, 0, 0, sequence, sent_ns)
        meter_take(&self._meter, &value, arrival_ns)

    def end(self, uint32_t sequence):
        meter_end(&self._meter, sequence)

    def mark(self, uint64_t now_ns):
        meter_mark(&self._meter, now_ns)

    def figures(self, uint32_t spoken, uint64_t now_ns):
        return figures(&self._meter, meter_expected(&self._meter, spoken), meter_silence(&self._meter, spoken, now_ns))


cdef class Traffic:
    cdef traffic *_traffic

    def __init__(self, uint32_t run, *, uint32_t endpoints, uint32_t talkers, uint32_t meters, uint32_t groups):
        cdef char error[512]
        if self._traffic is not NULL:
            raise RuntimeError("the traffic is already running")
        if not (0 < endpoints <= 1 << 20 and 0 < talkers <= 1 << 20 and 0 < meters <= 1 << 24 and 0 < groups <= 1 << 20):
            raise ValueError("room for at least one of everything, and not for millions")
        if not srtp_library_load(os.fsencode(_pylibsrtp_binding.__file__), error, sizeof(error)):
            raise RuntimeError((<bytes>error).decode(errors="replace"))
        with nogil:
            self._traffic = traffic_new(run, endpoints, talkers, meters, groups)
        if self._traffic is NULL:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        self.close()

    def close(self):
        cdef traffic *t = self._traffic
        self._traffic = NULL
        if t is not NULL:
            with nogil:
                traffic_free(t)

    cdef traffic *running(self) except NULL:
        if self._traffic is NULL:
            raise RuntimeError("the traffic is closed")
        return self._traffic

    @property
    def event_fd(self):
        return traffic_event_fd(self.running())

    def events(self, int most=256):
        cdef traffic *t = self.running()
        cdef uint8_t data[1600]
        cdef event e
        cdef bint some
        result = []
        while len(result) < most:
            with nogil:
                some = traffic_next_event(t, &e, data, sizeof(data))
            if not some:
                break
            result.append(Event(e.endpoint, e.generation, PyBytes_FromStringAndSize(<const char *>data, e.length)))
        return result

    def impair(self, double loss_ratio, uint64_t delay_ns):
        if not 0 <= loss_ratio <= 1 or delay_ns > 60_000_000_000:
            raise ValueError("a ratio, and a minute at most")
        if not traffic_impair(self.running(), loss_ratio, delay_ns):
            raise MemoryError

    def add_frame(self, bytes data, uint8_t level, bint silent):
        if not data or len(data) > 1200 or data[0] & 3:
            raise ValueError("no Opus packet of code 0")
        if not traffic_add_frame(self.running(), <const uint8_t *>PyBytes_AS_STRING(data), len(data), level, silent):
            raise RuntimeError("the frames come before the first talker")

    # ------------------------------------------------------------------------------------------------ endpoints

    def open_endpoint(self, int fd, listener=None):
        cdef traffic *t = self.running()
        cdef uint32_t generation = 0
        cdef uint32_t whose = NO_LISTENER if listener is None else listener
        cdef int64_t index
        with nogil:
            index = endpoint_open(t, fd, whose, &generation)
        return found(index, "endpoint"), generation

    def set_keys(self, uint32_t endpoint, int profile, bytes rx_key, bytes tx_key):
        cdef traffic *t = self.running()
        cdef Py_ssize_t length = {PROFILE_AEAD_AES_128_GCM: 28, PROFILE_AES128_CM_SHA1_80: 30}[profile]
        if len(rx_key) != length or len(tx_key) != length:
            raise ValueError("keys of the wrong length")
        cdef srtp_keys *keys = srtp_keys_new(profile, <const uint8_t *>PyBytes_AS_STRING(rx_key), <const uint8_t *>PyBytes_AS_STRING(tx_key), True)
        if keys is NULL:
            raise MemoryError
        cdef bint ok
        with nogil:
            ok = endpoint_set_keys(t, endpoint, keys)
        if not ok:
            srtp_keys_free(keys)
        existing(ok)

    def endpoint(self, uint32_t endpoint):
        cdef traffic *t = self.running()
        cdef endpoint_counters c
        cdef bint ok
        with nogil:
            ok = endpoint_read(t, endpoint, &c)
        existing(ok)
        return EndpointCounters(c.packets, c.bytes, c.auth_failed, c.unstamped, c.strangers, c.socket_drops, c.early_dropped, c.socket_errors)

    def close_endpoint(self, uint32_t endpoint):
        cdef traffic *t = self.running()
        cdef bint ok
        with nogil:
            ok = endpoint_close(t, endpoint)
        existing(ok)

    # ------------------------------------------------------------------------------------------------ talkers

    def open_talker(self, uint32_t position, *, uint32_t talk_frames=0, uint32_t pause_frames=0, bint always=False, uint32_t slot=0,
                    bint native=True):
        cdef traffic *t = self.running()
        cdef int64_t index
        if pause_frames and not talk_frames:
            raise ValueError("a pause follows a spurt")
        if talk_frames > 1 << 20 or pause_frames > 1 << 20:
            raise ValueError("spurts and pauses of hours")
        with nogil:
            index = talker_open(t, position, talk_frames, pause_frames, always, slot, native)
        return found(index, "talker")

    def connect_talker(self, uint32_t talker, uint32_t endpoint, *, uint32_t ssrc, uint32_t timestamp, uint16_t sequence, uint8_t payload_type,
                       uint8_t level_id, uint8_t mid_id, bytes mid):
        cdef traffic *t = self.running()
        cdef sending value
        cdef bint ok
        if payload_type > 127 or level_id > 14 or mid_id > 14 or len(mid) > MID_ROOM or sequence > 32767:
            raise ValueError("payload type, extension id, MID or sequence out of range")
        memset(&value, 0, sizeof(value))
        value.ssrc, value.timestamp, value.sequence, value.payload_type = ssrc, timestamp, sequence, payload_type
        value.level_id, value.mid_id, value.mid_length = level_id, mid_id, <uint8_t>len(mid)
        memcpy(value.mid, PyBytes_AS_STRING(mid), len(mid))
        with nogil:
            ok = talker_connect(t, talker, endpoint, &value)
        existing(ok)

    def set_speaking(self, uint32_t talker, bint speaking):
        cdef traffic *t = self.running()
        cdef bint ok
        with nogil:
            ok = talker_set_speaking(t, talker, speaking)
        existing(ok)

    def set_flag(self, uint32_t talker, uint8_t flag):
        cdef traffic *t = self.running()
        cdef bint ok
        if flag > STAMP_MUTED:
            raise ValueError("no such flag")
        with nogil:
            ok = talker_set_flag(t, talker, flag)
        existing(ok)

    def talker(self, uint32_t index):
        cdef traffic *t = self.running()
        cdef talker copy
        cdef bint ok
        with nogil:
            ok = talker_read(t, index, &copy)
        existing(ok)
        return TalkerCounters(copy.sequence, copy.sent, copy.send_errors)

    def utter(self, uint32_t talker):
        cdef traffic *t = self.running()
        cdef uint8_t out[1600]
        cdef uint8_t level = 0
        cdef size_t length
        with nogil:
            length = talker_utter(t, talker, out, sizeof(out), &level)
        return PyBytes_FromStringAndSize(<const char *>out, length) if length else None

    # ------------------------------------------------------------------------------------------------ figures

    def open_meter(self, uint32_t listener, uint32_t talker, uint32_t group):
        cdef traffic *t = self.running()
        cdef int64_t index
        with nogil:
            index = meter_open(t, listener, talker, group)
        return found(index, "meter")

    def finish_meter(self, uint32_t index):
        cdef traffic *t = self.running()
        cdef bint ok
        with nogil:
            ok = meter_finish(t, index)
        existing(ok)

    def mark_meter(self, uint32_t index):
        cdef traffic *t = self.running()
        cdef bint ok
        with nogil:
            ok = meter_set_mark(t, index)
        existing(ok)

    def meter(self, uint32_t index):
        cdef traffic *t = self.running()
        cdef meter copy
        cdef uint64_t expected = 0, silence_ns = 0
        cdef bint ok
        with nogil:
            ok = meter_read(t, index, &copy, &expected, &silence_ns)
        existing(ok)
        return figures(&copy, expected, silence_ns)

    def silent_meters(self, uint32_t packets):
        cdef traffic *t = self.running()
        cdef uint32_t count
        with nogil:
            count = meters_silent(t, packets)
        return count

    def group(self, uint32_t index):
        cdef traffic *t = self.running()
        cdef group copy
        cdef bint ok
        with nogil:
            ok = group_read(t, index, &copy)
        existing(ok)
        return GroupFigures(
            copy.unique, copy.duplicates, copy.missing, counts(copy.total, FINE_BUCKETS), counts(copy.interval, FINE_BUCKETS)
        )

    def counters(self):
        cdef traffic *t = self.running()
        cdef traffic_counters copy
        with nogil:
            traffic_read(t, &copy)
        return TrafficCounters(
            copy.cpu_ns, copy.turns, copy.packets_in, copy.packets_out, copy.socket_drops, copy.auth_failed, copy.skipped,
            copy.events_dropped, counts(copy.late, FINE_BUCKETS),
        )
