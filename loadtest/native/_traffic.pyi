"""The native traffic of light participants, as Python sees it. traffic.h has the rules; nothing here is called per packet.

A missing index raises LookupError, a full table RuntimeError. Histograms are bytes of native uint32, one for each bucket; bucket ``i`` goes
from ``*_BOUNDS_US[i]`` up to ``*_BOUNDS_US[i + 1]``.
"""

from typing import Final, NamedTuple

AEAD_AES_128_GCM: Final[int]
AES128_CM_SHA1_80: Final[int]
COUNTED: Final[int]
UNSURE: Final[int]
MUTED: Final[int]
FINE_BOUNDS_US: Final[tuple[int, ...]]
"""A bucket is 1/64 of its value wide at most."""
COARSE_BOUNDS_US: Final[tuple[int, ...]]
"""1/8."""

class Event(NamedTuple):
    """A STUN or DTLS datagram that came to an endpoint."""

    endpoint: int
    generation: int
    data: bytes

class EndpointCounters(NamedTuple):
    """``packets``, ``bytes``: SRTP received. ``unstamped``: of somebody who is not of this run. ``strangers``: of a talker that no meter
    waits for. ``socket_drops``: thrown away by the kernel because nobody fetched them in time."""

    packets: int
    bytes: int
    auth_failed: int
    unstamped: int
    strangers: int
    socket_drops: int
    early_dropped: int
    socket_errors: int

class TalkerCounters(NamedTuple):
    """``spoken``: counted packets, sent or not."""

    spoken: int
    sent: int
    send_errors: int

class MeterFigures(NamedTuple):
    """What a listener has heard of a talker. ``received``: each packet once. ``resumed_after_ns``: from the mark to the first packet
    after it, -1 before that. ``latency``: coarse histogram."""

    listener: int
    talker: int
    group: int
    expected: int
    received: int
    duplicates: int
    reordered: int
    muted: int
    first_ns: int
    last_ns: int
    silence_ns: int
    longest_silence_ns: int
    resumed_after_ns: int
    jitter_ns: float
    latency_sum_us: int
    latency_max_us: int
    latency: bytes

class GroupFigures(NamedTuple):
    """Sums over the meters of a group. ``missing``: holes that later packets have shown so far. ``latency``, ``interval``: fine
    histograms of everything, and since the last call."""

    received: int
    duplicates: int
    missing: int
    latency: bytes
    interval: bytes

class TrafficCounters(NamedTuple):
    """``socket_drops``, ``auth_failed``: of all endpoints, those that are closed included. ``skipped``: turns of talkers left out because
    the thread was 100 ms late. ``late``: fine histogram of how late turns began,
    since the last call."""

    cpu_ns: int
    turns: int
    packets_in: int
    packets_out: int
    socket_drops: int
    auth_failed: int
    skipped: int
    events_dropped: int
    late: bytes

class Stamp(NamedTuple):
    flags: int
    run: int
    talker: int
    sequence: int
    sent_ns: int

def write_stamp(frame: bytes, flags: int, run: int, talker: int, sequence: int, sent_ns: int) -> bytes:
    """``frame`` as a packet of code 3 that carries the stamp in its padding. Raises ValueError where it is not of code 0."""

def read_stamp(payload: bytes) -> Stamp | None:
    """The stamp of an Opus packet, or None."""

class Meter:
    """One meter by itself, for tests of the arithmetic."""

    def __init__(self) -> None: ...
    def take(self, sequence: int, sent_ns: int, arrival_ns: int, flags: int = ...) -> None: ...
    def end(self, sequence: int) -> None: ...
    def mark(self, now_ns: int) -> None: ...
    def figures(self, spoken: int, now_ns: int) -> MeterFigures: ...

class Traffic:
    """The thread and its tables, of fixed size. ``run`` tells this run's packets from others'. Close it before the sockets."""

    def __init__(self, run: int, *, endpoints: int, talkers: int, meters: int, groups: int) -> None: ...
    def close(self) -> None:
        """End the thread. Harmless when repeated; everything else raises RuntimeError afterwards."""

    @property
    def event_fd(self) -> int:
        """Readable while there may be events."""

    def events(self, most: int = 256) -> list[Event]:
        """Fetch what there is; fewer than ``most`` means that it was all."""

    def impair(self, loss_ratio: float, delay_ns: int) -> None:
        """A bad network for all that arrives from now on: so much is lost, the rest comes so much later."""

    def add_frame(self, data: bytes, level: int, silent: bool) -> None:
        """20 ms of the speech that all talkers share: an Opus packet of code 0. ``level``: -dBov."""

    def open_endpoint(self, fd: int, listener: int | None = None) -> tuple[int, int]:
        """Receive on a connected, non-blocking UDP socket from now on. Returns index and generation."""

    def set_keys(self, endpoint: int, profile: int, rx_key: bytes, tx_key: bytes) -> None: ...
    def endpoint(self, endpoint: int) -> EndpointCounters: ...
    def close_endpoint(self, endpoint: int) -> None: ...
    def open_talker(
        self,
        position: int,
        *,
        talk_frames: int = 0,
        pause_frames: int = 0,
        always: bool = False,
        slot: int = 0,
        native: bool = True,
    ) -> int:
        """Somebody who starts at frame ``position`` of the speech; silent until :meth:`set_speaking`. ``always``: sends silence, too.
        ``native``: sends from here."""

    def connect_talker(
        self,
        talker: int,
        endpoint: int,
        *,
        ssrc: int,
        timestamp: int,
        sequence: int,
        payload_type: int,
        level_id: int,
        mid_id: int,
        mid: bytes,
    ) -> None: ...
    def set_speaking(self, talker: int, speaking: bool) -> None: ...
    def set_flag(self, talker: int, flag: int) -> None:
        """How listeners are to count what it sends from now on: COUNTED, UNSURE or MUTED."""

    def talker(self, index: int) -> TalkerCounters: ...
    def utter(self, talker: int) -> bytes | None:
        """The next 20 ms of a talker that is not native, stamped; None where nothing is to be sent."""

    def open_meter(self, listener: int, talker: int, group: int) -> int: ...
    def finish_meter(self, index: int) -> None:
        """What is spoken after now is not expected any more."""

    def mark_meter(self, index: int) -> None: ...
    def meter(self, index: int) -> MeterFigures: ...
    def silent_meters(self, packets: int) -> int:
        """Meters that have missed the newest ``packets`` packets of their talker, or more."""

    def group(self, index: int) -> GroupFigures: ...
    def counters(self) -> TrafficCounters: ...
