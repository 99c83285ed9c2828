"""What Python may ask of the forwarding thread: the readable contract of ``_native.pyx``.

One :class:`Loop` is one native thread that owns the shard's UDP sockets. All methods are called from one Python thread (the
signaling thread); they put commands into a ring or read counters and never wait for a packet. Commands take effect in the
order given, between two packets. Slots and indices are small integers chosen by the caller, below the maxima given at
construction; they may be reused as soon as the removing call has returned.

Hosts are numeric. Times are nanoseconds of CLOCK_MONOTONIC unless said otherwise.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

Address = tuple[str, int] | tuple[str, int, str]
"""Host and port of a peer, and which of this machine's addresses it came to, where the socket is bound to all of them. Hand it back whole:
what is sent there leaves from that address (RFC 8445 7.2.5.2.1 wants it so)."""

AEAD_AES_128_GCM: Final[int]
"""SRTP profile 7 (RFC 7714 14.2): 16 byte key, 12 byte salt."""
AES128_CM_SHA1_80: Final[int]
"""SRTP profile 1 (RFC 5764 4.1.2): 16 byte key, 14 byte salt."""

DROP_REASONS: Final[tuple[str, ...]]
"""Name of every drop counter, in the order of the C enumeration (wire.h): what each means is in README.md."""

class StunReceived(NamedTuple):
    """A datagram whose first byte is 0..3 and whose STUN header and cookie are plausible. Not authenticated."""

    address: Address
    data: bytes

class DtlsReceived(NamedTuple):
    """A datagram whose first byte is 20..63, from an address bound to ``slot``."""

    slot: int
    generation: int
    data: bytes

class RtcpReceived(NamedTuple):
    """A compound RTCP packet that was authenticated and decrypted."""

    slot: int
    generation: int
    data: bytes

class UnknownSsrc(NamedTuple):
    """The first authenticated packet of an SSRC that no track of the transport claims. Reported once a second at most
    per transport. ``mid``: value of the transport's MID extension in that packet, or empty."""

    slot: int
    generation: int
    ssrc: int
    payload_type: int
    mid: bytes

class FirstPacket(NamedTuple):
    """The first packet of a track arrived and was offered to its consumers."""

    slot: int
    generation: int
    track: int

Event = StunReceived | DtlsReceived | RtcpReceived | UnknownSsrc | FirstPacket

class TransportCounters(NamedTuple):
    """Totals since ``add_transport``. ``bytes_*`` are UDP payload bytes, media and RTCP, after protection."""

    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    auth_failed: int
    replayed: int

class TrackCounters(NamedTuple):
    """Totals since ``add_track``. ``lost`` is cumulative (RFC 3550 A.3), ``jitter`` in RTP clock ticks, ``audio_level``
    the last in -dBov (0 loud .. 127 silent; RFC 6464), ``last_packet_ns`` its arrival or 0."""

    packets: int
    payload_bytes: int
    lost: int
    jitter: int
    audio_level: int
    last_packet_ns: int

class ConsumerCounters(NamedTuple):
    """Totals since ``add_consumer``: packets and RTP payload bytes that were handed to the kernel without error."""

    packets: int
    payload_bytes: int

class Tables(NamedTuple):
    """What the forwarding thread holds now, counted by itself."""

    transports: int
    tracks: int
    consumers: int
    addresses: int

class Totals(NamedTuple):
    """Sums over the life of the loop. RTP only; ``latency_ns`` is a histogram of kernel receive time to send returned:
    ``latency_ns[i]`` counts packets below ``Loop.LATENCY_BOUNDS_NS[i]``, the last one all others. ``cpu_ns``: CPU time of the thread
    and of its helper; ``helped``: packets that the helper sent (among ``packets_out``). ``rejected_commands``: commands that named
    something which is not there; always 0 unless the caller has a defect."""

    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int
    cpu_ns: int
    retransmitted: int
    rejected_commands: int
    latency_sum_ns: int
    helped: int
    latency_ns: tuple[int, ...]

class Loop:
    """The forwarding thread of one shard.

    ``sockets``: file descriptors of bound, non-blocking UDP sockets, at most one AF_INET and one AF_INET6 (V6ONLY). The loop owns them
    from here on and closes them in :meth:`close`; detach them from their Python objects first.

    Raises ValueError for impossible arguments, OSError where the kernel refuses (no thread, no memory, not a UDP socket),
    RuntimeError where the crypto library inside pylibsrtp cannot be reached or fails its known-answer test without a fallback.
    """

    LATENCY_BOUNDS_NS: Final[tuple[int, ...]]

    def __init__(
        self, sockets: Sequence[int], *, max_transports: int = 16384, max_tracks: int = 16384, max_consumers: int = 65536
    ) -> None: ...
    @property
    def event_fd(self) -> int:
        """Becomes readable when :meth:`events` has something. Watch it with ``loop.add_reader``."""
    @property
    def srtp_implementation(self) -> str:
        """``evp`` where GCM packets are protected by OpenSSL directly, ``libsrtp`` where they are not."""
    @property
    def scheduling(self) -> str:
        """``realtime`` (SCHED_RR) where that is permitted, else ``nice -20`` or whatever the thread got."""
    @property
    def thread_id(self) -> int:
        """Kernel thread id, for /proc/self/task."""
    def events(self, limit: int = 256) -> list[Event]:
        """Take at most ``limit`` events, oldest first. An empty list means that ``event_fd`` has been re-armed; call again until then, or
        later if a full list came."""
    def send(self, address: Address, data: bytes) -> None:
        """Send one datagram (STUN, DTLS) of 1..1500 bytes. Raises ValueError on another size or a host that is no IP
        address of a family that has a socket, BufferError when the ring has no room (the caller may treat it as loss)."""
    def add_transport(self, slot: int, generation: int) -> None:
        """Make ``slot`` known. ``generation`` comes back in its events, so that late ones can be told apart."""
    def set_ufrags(self, slot: int, current: str, former: str) -> None:
        """Local ufrags by which STUN of this transport is known: that of the last offer, and the one before an ICE restart or "". STUN that
        names neither shares what strangers may send. Raises ValueError on another length than ``UFRAG_LENGTH`` of ice_lite.py."""
    def remove_transport(self, slot: int) -> None:
        """Forget its addresses, keys and tracks. Its consumers must have been taken out of every list."""
    def bind_address(self, slot: int, address: Address) -> None:
        """Take packets from ``address`` for ``slot`` and send its media there. Replaces its former address and takes the address away
        from another transport that had it."""
    def set_keys(self, slot: int, profile: int, rx_key: bytes, tx_key: bytes, rtcp_ssrc: int, cname: bytes, mid_extension: int) -> None:
        """Start SRTP. Keys are master key followed by salt, of the profile's length. ``rtcp_ssrc`` and ``cname`` (1..255 bytes)
        are used in reports. ``mid_extension``: id of the MID header extension that the peer sends with, or 0.
        May be called once per transport. Raises ValueError on a wrong length or profile."""
    def add_track(self, track: int, slot: int, *, clock_rate: int, payload_type: int, audio_level_extension: int) -> None:
        """A source that comes in on ``slot``. Packets with another payload type are dropped as ``bad_payload_type``;
        ``audio_level_extension``: id under which the peer sends RFC 6464, or 0."""
    def add_encoding(self, track: int, ssrc: int) -> None:
        """Let packets of ``ssrc`` on the track's transport belong to the track. One SSRC claimed twice on a transport
        goes to the later track. Consumers go on without a gap when the SSRC changes."""
    def set_paused(self, track: int, paused: bool) -> None:
        """Stop (packets are dropped as ``paused``) or resume forwarding; consumers go on with the next sequence number."""
    def remove_track(self, track: int) -> None: ...
    def add_consumer(
        self,
        consumer_index: int,
        slot: int,
        *,
        ssrc: int,
        payload_type: int,
        audio_level_extension: int,
        mid_extension: int,
        mid: bytes,
        sequence: int,
        timestamp: int,
    ) -> None:
        """Describe an outgoing copy that is sent over ``slot``. Extension ids are 1..14 or 0 for none, ``mid`` 1..16 bytes.
        ``sequence`` (0..32767) and ``timestamp`` are those of its first packet; draw them at random. Nothing flows before
        a track lists it."""
    def resync_consumer(self, consumer_index: int) -> None:
        """Let its next packet follow its last one without a gap. Call it before listing a consumer again that has been out of every list
        (or on another track) for a while."""
    def retransmit(self, consumer_index: int, track: int, sequences: Sequence[int]) -> None:
        """Send packets again that the consumer has been sent, by their sequence numbers on its stream: byte by byte the same, so
        the same nonce is no danger. ``track`` is the one that lists the consumer. What is not kept any more (6 s of voice, nothing
        from before the last pause) is counted as ``not_in_history``. Raises ValueError for more than 64 at once; the caller bounds
        the rate."""
    def remove_consumer(self, consumer_index: int) -> None:
        """Forget it. It must be in no list any more."""
    def set_consumers(self, track: int, consumers: Sequence[int]) -> None:
        """Replace the track's pre-resolved list whole, between two packets. Consumers keep their state across lists."""
    def transport_counters(self, slot: int) -> TransportCounters: ...
    def track_counters(self, track: int) -> TrackCounters: ...
    def consumer_counters(self, consumer_index: int) -> ConsumerCounters: ...
    def drops(self) -> dict[str, int]:
        """Total of every reason in :data:`DROP_REASONS`."""
    def tables(self) -> Tables: ...
    def totals(self) -> Totals: ...
    def close(self) -> None:
        """Apply what was commanded, send what was queued, end the thread, close the sockets and free everything. Harmless when repeated;
        every other method raises RuntimeError afterwards."""

class Rewriter:
    """The C side of rewriting without sockets and crypto: one source, one consumer. Tests hold it to reference.py."""

    def __init__(
        self,
        *,
        clock_rate: int,
        source_level_extension: int,
        ssrc: int,
        payload_type: int,
        audio_level_extension: int,
        mid_extension: int,
        mid: bytes,
        sequence: int,
        timestamp: int,
    ) -> None: ...
    def new_epoch(self) -> None:
        """As after a pause."""
    def new_source(self) -> None:
        """As after a change of SSRC: sequence and timestamps of the source begin anew."""
    def rewrite(self, packet: bytes, now_ms: int) -> tuple[bytes, int] | str:
        """The consumer's plaintext packet and its index (ROC << 16 | sequence), or the name of the drop reason."""

def protect(profile: int, key: bytes, packet: bytes, header_length: int, index: int, use_evp: bool) -> bytes:
    """Protect one packet with a fresh context of ``key`` (master key and salt), RTCP where ``header_length`` is 0: for
    known-answer tests."""
