# cython: language_level=3, boundscheck=True, wraparound=False
"""The only file that knows both Python and C. What it offers is described in _native.pyi, what it calls is declared in _native.pxd."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import os
from collections import namedtuple

import pylibsrtp._binding as _pylibsrtp_binding

# ---------------------------------------------------------------------------------------------------- values

AEAD_AES_128_GCM = PROFILE_AEAD_AES_128_GCM
AES128_CM_SHA1_80 = PROFILE_AES128_CM_SHA1_80
DROP_REASONS = tuple([(<bytes>drop_name(i)).decode() for i in range(DROP_COUNT)])

_LATENCY_BOUNDS_NS = tuple([latency_bound(i) for i in range(LATENCY_BUCKETS - 1)])

StunReceived = namedtuple("StunReceived", "address data")
DtlsReceived = namedtuple("DtlsReceived", "slot generation data")
RtcpReceived = namedtuple("RtcpReceived", "slot generation data")
UnknownSsrc = namedtuple("UnknownSsrc", "slot generation ssrc payload_type mid")
FirstPacket = namedtuple("FirstPacket", "slot generation track")
TransportCounters = namedtuple("TransportCounters", "packets_in bytes_in packets_out bytes_out auth_failed replayed")
TrackCounters = namedtuple("TrackCounters", "packets payload_bytes lost jitter audio_level last_packet_ns")
ConsumerCounters = namedtuple("ConsumerCounters", "packets payload_bytes")
Tables = namedtuple("Tables", "transports tracks consumers addresses")
Totals = namedtuple("Totals", "packets_in packets_out bytes_in bytes_out cpu_ns retransmitted rejected_commands latency_sum_ns helped latency_ns")

cdef int SALT_LENGTH(int profile) except -1:
    if profile == PROFILE_AEAD_AES_128_GCM:
        return 12
    if profile == PROFILE_AES128_CM_SHA1_80:
        return 14
    raise ValueError(f"no such SRTP profile: {profile}")

cdef int to_path(object value, path *out) except -1:
    """(host, port) or (host, port, local host); returns the family."""
    host, port = value[0], value[1]
    cdef bytes text = host.encode("ascii")
    cdef int family = AF_INET6 if ":" in host else AF_INET
    if not 0 < port < 65536:
        raise ValueError(f"no UDP port: {port}")
    memset(out, 0, sizeof(path))
    if family == AF_INET:
        out.peer.v4.sin_family = AF_INET
        out.peer.v4.sin_port = htons(port)
        out.peer_length = sizeof(sockaddr_in)
    else:
        out.peer.v6.sin6_family = AF_INET6
        out.peer.v6.sin6_port = htons(port)
        out.peer_length = sizeof(sockaddr_in6)
    if inet_pton(family, text, &out.peer.v4.sin_addr if family == AF_INET else <void *>&out.peer.v6.sin6_addr) != 1:
        raise ValueError(f"no IP address: {host!r}")
    if len(value) > 2:
        text = value[2].encode("ascii")
        if inet_pton(family, text, out.local) != 1:
            raise ValueError(f"no local address of the same family: {value[2]!r}")
        out.has_local = True
    return family

cdef object from_path(const path *value):
    cdef char text[64]
    cdef int family = value.peer.any.sa_family
    inet_ntop(family, &value.peer.v4.sin_addr if family == AF_INET else <const void *>&value.peer.v6.sin6_addr, text, 64)
    host = (<bytes>text).decode()
    port = ntohs(value.peer.v4.sin_port if family == AF_INET else value.peer.v6.sin6_port)
    if not value.has_local:
        return host, port
    inet_ntop(family, value.local, text, 64)
    return host, port, (<bytes>text).decode()

cdef object from_event(const event *e):
    cdef bytes data = PyBytes_FromStringAndSize(<const char *>e.data, e.length)
    if e.type == EVENT_STUN:
        return StunReceived(from_path(&e.path), data)
    if e.type == EVENT_DTLS:
        return DtlsReceived(e.slot, e.generation, data)
    if e.type == EVENT_RTCP:
        return RtcpReceived(e.slot, e.generation, data)
    if e.type == EVENT_UNKNOWN_SSRC:
        return UnknownSsrc(e.slot, e.generation, e.value, e.payload_type, data)
    return FirstPacket(e.slot, e.generation, e.value)

cdef int check(int status) except -1:
    if status == LOOP_FULL:
        raise RuntimeError("the forwarding thread does not take commands any more")
    if status == LOOP_INVALID:
        raise ValueError("index out of range")
    return 0

cdef load_library():
    cdef char error[512]
    if not srtp_library_load(os.fsencode(_pylibsrtp_binding.__file__), error, sizeof(error)):
        raise RuntimeError((<bytes>error).decode(errors="replace"))

cdef int describe_consumer(consumer *c, consumer_layout *layout, uint32_t slot, uint32_t ssrc, int payload_type, int level_id, int mid_id,
                           bytes mid, int sequence, uint32_t timestamp) except -1:
    if not (0 <= payload_type < 128 and 0 <= level_id < 15 and 0 <= mid_id < 15 and len(mid) <= 16 and 0 <= sequence < 32768):
        raise ValueError("payload type, extension id, MID or sequence out of range")
    layout_init(layout, payload_type, level_id, mid_id, <const uint8_t *>PyBytes_AS_STRING(mid), <uint8_t>len(mid))
    consumer_init(c, slot, ssrc, sequence, timestamp)
    return 0

# ---------------------------------------------------------------------------------------------------- the loop

cdef class Loop:
    cdef loop *_loop

    LATENCY_BOUNDS_NS = _LATENCY_BOUNDS_NS

    def __init__(self, sockets, *, uint32_t max_transports=16384, uint32_t max_tracks=16384, uint32_t max_consumers=65536):
        cdef int fds[2]
        cdef unsigned count = len(sockets)
        if self._loop is not NULL:
            raise RuntimeError("the loop is already running")
        if not 1 <= count <= 2 or not max_transports or not max_tracks or not max_consumers:
            raise ValueError("one or two sockets, and room for at least one of everything")
        if max_transports > 1 << 20 or max_tracks > 1 << 20 or max_consumers > 1 << 24:
            raise ValueError("no shard holds that many")
        load_library()
        for i in range(count):
            fds[i] = sockets[i]
        with nogil:
            self._loop = loop_create(fds, count, max_transports, max_tracks, max_consumers)
        if self._loop is NULL:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self._loop is not NULL:
            loop_destroy(self._loop)

    cdef loop *running(self) except NULL:
        if self._loop is NULL:
            raise RuntimeError("the loop is closed")
        return self._loop

    @property
    def event_fd(self):
        return loop_event_fd(self.running())

    @property
    def srtp_implementation(self):
        return "evp" if srtp_evp_available() else "libsrtp"

    @property
    def scheduling(self):
        return "realtime" if loop_is_realtime(self.running()) else f"nice {loop_nice(self.running())}"

    @property
    def thread_id(self):
        return loop_thread_id(self.running())

    def events(self, int limit=256):
        cdef loop *l = self.running()
        cdef const event *e
        taken = []
        while len(taken) < limit:
            e = loop_event_next(l)
            if e is NULL:
                break
            taken.append(from_event(e))
            loop_event_done(l)
        return taken

    def send(self, destination, bytes data):
        cdef path p
        if not loop_has_family(self.running(), to_path(destination, &p)):
            raise ValueError(f"no socket for the family of {destination[0]}")
        cdef int status = loop_send(self.running(), &p, <const uint8_t *>PyBytes_AS_STRING(data), len(data))
        if status == LOOP_FULL:
            raise BufferError("no room for the datagram")
        if status == LOOP_INVALID:
            raise ValueError(f"a datagram has 1 to {SEND_LIMIT} bytes, not {len(data)}")

    def add_transport(self, uint32_t slot, uint32_t generation):
        check(loop_add_transport(self.running(), slot, generation))

    def set_ufrags(self, uint32_t slot, str current, str former):
        if len(current) != UFRAG_BYTES or len(former) not in (0, UFRAG_BYTES):
            raise ValueError(f"a ufrag has {UFRAG_BYTES} characters")
        cdef bytes first = current.encode("ascii"), second = former.encode("ascii") or bytes(UFRAG_BYTES)
        check(loop_set_ufrags(self.running(), slot, <const uint8_t *>PyBytes_AS_STRING(first), <const uint8_t *>PyBytes_AS_STRING(second)))

    def remove_transport(self, uint32_t slot):
        check(loop_remove_transport(self.running(), slot))

    def bind_address(self, uint32_t slot, destination):
        cdef path p
        if not loop_has_family(self.running(), to_path(destination, &p)):
            raise ValueError(f"no socket for the family of {destination[0]}")
        check(loop_bind(self.running(), slot, &p))

    def set_keys(self, uint32_t slot, int profile, bytes rx_key, bytes tx_key, uint32_t rtcp_ssrc, bytes cname, int mid_extension):
        cdef int want = 16 + SALT_LENGTH(profile)
        if len(rx_key) != want or len(tx_key) != want:
            raise ValueError(f"keys of profile {profile} have {want} bytes")
        if not 1 <= len(cname) <= 255 or not 0 <= mid_extension < 15:
            raise ValueError("CNAME or extension id out of range")
        cdef loop *l = self.running()
        cdef srtp_keys *keys = srtp_keys_new(profile, <const uint8_t *>PyBytes_AS_STRING(rx_key), <const uint8_t *>PyBytes_AS_STRING(tx_key), True)
        if keys is NULL:
            raise MemoryError("SRTP keys")
        cdef association *a = association_new(keys, rtcp_ssrc, mid_extension, PyBytes_AS_STRING(cname), <uint8_t>len(cname))
        if a is NULL:
            srtp_keys_free(keys)
            raise MemoryError("SRTP keys")
        check(loop_set_association(l, slot, a))

    def add_track(self, uint32_t track, uint32_t slot, *, uint32_t clock_rate, int payload_type, int audio_level_extension):
        if not (0 <= payload_type < 128 and 0 <= audio_level_extension < 15):
            raise ValueError("payload type or extension id out of range")
        check(loop_add_track(self.running(), track, slot, clock_rate, payload_type, audio_level_extension))

    def add_encoding(self, uint32_t track, uint32_t ssrc):
        check(loop_add_encoding(self.running(), track, ssrc))

    def set_paused(self, uint32_t track, bint paused):
        check(loop_set_paused(self.running(), track, paused))

    def remove_track(self, uint32_t track):
        check(loop_remove_track(self.running(), track))

    def add_consumer(self, uint32_t consumer_index, uint32_t slot, *, uint32_t ssrc, int payload_type, int audio_level_extension,
                     int mid_extension, bytes mid, int sequence, uint32_t timestamp):
        cdef consumer c
        cdef consumer_layout layout
        memset(&c, 0, sizeof(c))
        describe_consumer(&c, &layout, slot, ssrc, payload_type, audio_level_extension, mid_extension, mid, sequence, timestamp)
        check(loop_add_consumer(self.running(), consumer_index, &c, &layout))

    def resync_consumer(self, uint32_t consumer_index):
        check(loop_resync_consumer(self.running(), consumer_index))

    def retransmit(self, uint32_t consumer_index, uint32_t track, sequences):
        cdef uint16_t values[RETRANSMIT_LIMIT]
        cdef size_t count = len(sequences)
        if count > RETRANSMIT_LIMIT:
            raise ValueError(f"at most {RETRANSMIT_LIMIT} sequence numbers at once")
        for i in range(count):
            values[i] = <uint16_t>(<object>sequences[i] & 0xFFFF)
        check(loop_retransmit(self.running(), consumer_index, track, values, count))

    def remove_consumer(self, uint32_t consumer_index):
        check(loop_remove_consumer(self.running(), consumer_index))

    def set_consumers(self, uint32_t track, consumers):
        cdef uint32_t count = len(consumers)
        cdef uint32_t i
        cdef loop *l = self.running()
        cdef list values = [int(v) for v in consumers]
        cdef consumer_list *compiled = consumer_list_new(count)
        if compiled is NULL:
            raise MemoryError("consumer list")
        for i in range(count):
            compiled.indices[i] = <uint32_t>(<object>values[i] & 0xFFFFFFFF)
        check(loop_set_consumers(l, track, compiled))

    def transport_counters(self, uint32_t slot):
        cdef transport_counters c
        if not loop_read_transport(self.running(), slot, &c):
            raise ValueError("index out of range")
        return TransportCounters(c.packets_in, c.bytes_in, c.packets_out, c.bytes_out, c.auth_failed, c.replayed)

    def track_counters(self, uint32_t track):
        cdef track_counters c
        if not loop_read_track(self.running(), track, &c):
            raise ValueError("index out of range")
        return TrackCounters(c.packets, c.payload_bytes, c.lost, c.jitter, c.audio_level, c.last_packet_ns)

    def consumer_counters(self, uint32_t consumer_index):
        cdef consumer_counters c
        if not loop_read_consumer(self.running(), consumer_index, &c):
            raise ValueError("index out of range")
        return ConsumerCounters(c.packets, c.payload_bytes)

    def drops(self):
        cdef uint64_t values[MAX_DROP_REASONS]
        loop_drops(self.running(), values)
        return {name: values[i] for i, name in enumerate(DROP_REASONS)}

    def tables(self):
        cdef table_counters c
        loop_read_tables(self.running(), &c)
        return Tables(c.transports, c.tracks, c.consumers, c.addresses)

    def totals(self):
        cdef loop_totals t
        loop_read_totals(self.running(), &t)
        return Totals(t.packets_in, t.packets_out, t.bytes_in, t.bytes_out, t.cpu_ns, t.retransmitted, t.rejected_commands, t.latency_sum_ns, t.helped,
                      tuple([t.latency[i] for i in range(LATENCY_BUCKETS)]))

    def close(self):
        cdef loop *l = self._loop
        if l is not NULL:
            self._loop = NULL
            with nogil:
                loop_destroy(l)

# ---------------------------------------------------------------------------------------------------- for tests

cdef class Rewriter:
    """The C side of rewriting without sockets and crypto: one source, one consumer. Tests compare it with reference.py."""

    cdef reception _reception
    cdef consumer _consumer
    cdef consumer_layout _layout
    cdef uint32_t _clock_rate
    cdef uint8_t _level_in
    cdef uint32_t _epoch

    def __init__(self, *, uint32_t clock_rate, int source_level_extension, uint32_t ssrc, int payload_type, int audio_level_extension,
                 int mid_extension, bytes mid, int sequence, uint32_t timestamp):
        memset(&self._reception, 0, sizeof(self._reception))
        memset(&self._consumer, 0, sizeof(self._consumer))
        self._clock_rate = clock_rate
        self._level_in = source_level_extension
        self._epoch = EPOCH_FIRST
        describe_consumer(&self._consumer, &self._layout, 0, ssrc, payload_type, audio_level_extension, mid_extension, mid, sequence, timestamp)

    def new_epoch(self):
        self._epoch += 1

    def new_source(self):
        memset(&self._reception, 0, sizeof(self._reception))
        self._epoch += 1

    def rewrite(self, bytes packet, uint32_t now_ms):
        """(outgoing packet, index), or the name of the drop reason."""
        cdef source_packet source
        cdef uint8_t out[2048]
        cdef size_t header_length, length
        cdef uint64_t index
        cdef uint8_t level_length = 0
        cdef const uint8_t *level
        cdef int reason = rtp_parse(<const uint8_t *>PyBytes_AS_STRING(packet), len(packet), &source.view)
        if reason == DROP_NONE:
            reason = rtp_check_padding(&source.view)
        if reason != DROP_NONE:
            return DROP_REASONS[reason]
        level = rtp_find_extension(&source.view, self._level_in, &level_length)
        source.index = reception_index(&self._reception, source.view.sequence)
        source.clock_rate = self._clock_rate
        source.now_ms = now_ms
        source.epoch = self._epoch
        source.level = level[0] if level is not NULL and level_length == 1 else -1
        reception_update(&self._reception, source.index, source.view.timestamp, now_ms * <uint64_t>self._clock_rate // 1000, self._clock_rate)
        reason = rewrite(&self._consumer, &self._layout, &source, out, DATAGRAM_ROOM - SRTP_MAX_OVERHEAD, &header_length, &length, &index)
        if reason != DROP_NONE:
            return DROP_REASONS[reason]
        return PyBytes_FromStringAndSize(<const char *>out, length), index


def protect(int profile, bytes key, bytes packet, size_t header_length, uint64_t index, bint use_evp):
    """Protect one packet with a fresh context of ``key`` (master key and salt), RTCP where header_length is 0: for known-answer tests."""
    cdef uint8_t buffer[2112]
    cdef size_t length = len(packet)
    cdef bint ok
    if length > 2048 or header_length > length or len(key) != 16 + SALT_LENGTH(profile):
        raise ValueError("packet or key has a wrong length")
    load_library()
    cdef srtp_keys *keys = srtp_keys_new(profile, <const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(key), use_evp)
    if keys is NULL:
        raise MemoryError("SRTP keys")
    memcpy(buffer, PyBytes_AS_STRING(packet), length)
    if header_length:
        ok = srtp_protect_rtp(keys, buffer, header_length, &length, index)
    else:
        ok = srtp_protect_rtcp_packet(keys, buffer, &length)
    srtp_keys_free(keys)
    if not ok:
        raise RuntimeError("protection failed")
    return PyBytes_FromStringAndSize(<const char *>buffer, length)
