"""What a run found: the figures, whether they are as demanded, and their form as JSON (schema version 1, REPORT.md).

Every field is documented here once; ``antiphon loadtest --json`` writes exactly these structures. None means that there was nothing to
measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.native import _traffic
from loadtest.scenario import Quality, Scenario

SCHEMA: Final = 1
KEPT_FAILURES: Final = 100


def percentile(values: Iterable[float], percent: float) -> float:
    """Nearest-rank percentile: the smallest value that at least ``percent`` % of all do not exceed; nan if there is none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Counts:
    """A histogram of the native traffic. ``fine``: buckets of 1/64, otherwise of 1/8."""

    def __init__(self, data: bytes = b"", *, fine: bool = True) -> None:
        self._bounds = np.array(_traffic.FINE_BOUNDS_US if fine else _traffic.COARSE_BOUNDS_US, dtype=np.float64)
        self.buckets: NDArray[np.int64] = np.zeros(len(self._bounds) - 1, np.int64)
        if data:
            self.add(data)

    def add(self, data: bytes) -> None:
        self.buckets += np.frombuffer(data, np.uint32)

    @property
    def total(self) -> int:
        return int(self.buckets.sum())

    def percentile_ms(self, percent: float) -> float | None:
        """Milliseconds, taken to lie evenly within a bucket; None of nothing."""
        if not self.total:
            return None
        rank = self.total * percent / 100
        cumulative = np.cumsum(self.buckets)
        index = int(np.searchsorted(cumulative, rank))
        before = int(cumulative[index - 1]) if index else 0
        low, high = self._bounds[index], self._bounds[index + 1]
        return float(low + (high - low) * min(1.0, (rank - before) / max(1, self.buckets[index]))) / 1000


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``count`` measurements."""

    count: int
    p50_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, values_s: Iterable[float]) -> Durations:
        values = [1000 * value for value in values_s]
        return cls(count=len(values), p50_ms=_known(percentile(values, 50)), p99_ms=_known(percentile(values, 99)))


class SetupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How people came in. ``attempted`` counts every coming in, those after a leave included; ``succeeded`` those who were in the room,
    with
    their own track up, and heard everybody who talked. The time goes from opening the WebSocket until in the room and on the air, or for
    those who only listen, until the first packet of somebody. ``steps``: websocket, register, join, offer, ice, dtls of whoever publishes;
    consumer_offer, consumer_ice, consumer_dtls, first_packet (since DTLS was up; a talker's pause is in it) of whoever listens."""

    attempted: int
    succeeded: int
    p50_ms: float | None
    p99_ms: float | None
    steps: dict[str, Durations]


class HearingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of listener and talker: how many there should be at the end, how many were heard, and after what time since they were
    asked for."""

    expected: int
    heard: int
    p50_ms: float | None
    p99_ms: float | None


class MediaFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all pairs of listener and talker. ``received_packets``: each once. ``latency``: from the talker's stamp to the kernel's
    receive time. ``jitter``: of RFC 3550 6.4.1 at the end, over pairs. ``muted_packets``: heard though the talker had long been muted.
    ``silence_s``: sum of the times in which a listener missed three packets of a talker or more in a row."""

    expected_packets: int
    received_packets: int
    loss_ratio: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    jitter_p99_ms: float | None
    duplicate_packets: int = 0
    reordered_packets: int = 0
    muted_packets: int = 0
    silence_s: float = 0.0
    longest_silence_s: float = 0.0


class StreamFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one listener heard of one talker. ``kind``: how the talker publishes, light or aiortc. ``first_packet_ms``: since it was
    asked for."""

    room: int
    listener: str
    publisher: str
    kind: str
    expected_packets: int
    received_packets: int
    duplicate_packets: int
    reordered_packets: int
    latency_mean_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    jitter_ms: float | None
    silence_s: float
    longest_silence_s: float
    first_packet_ms: float | None


class RoomFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of one room."""

    room: int
    target: str
    expected_packets: int
    received_packets: int
    loss_ratio: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    silence_s: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One second. ``t_s``: its end, since the run began. ``missing_packets``: holes that showed in this second (those of an outage show
    when
    it ends). ``silent_streams``: pairs that had missed half a second of speech at its end. ``rooms_p99_ms``, ``rooms_loss``: by room."""

    t_s: float
    phase: str
    joined: int
    talking: int
    heard_streams: int
    received_packets: int
    missing_packets: int
    loss_ratio: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    silent_streams: int
    rooms_p99_ms: tuple[float | None, ...]
    rooms_loss: tuple[float | None, ...]
    generator_cpu: float
    machine_cpu: float | None
    loop_lag_ms: float
    tick_late_p99_ms: float | None
    shard_cpu: dict[str, float]


class GapFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How long people waited for somebody's sound after something was asked for. ``unmute``: of the talker to the first packet at a
    listener;
    ``rejoin``: from opening the WebSocket again to the first packet; ``reconnect``: from losing the signaling connection to having it
    again."""

    unmute: Durations
    rejoin: Durations
    reconnect: Durations


class FaultFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault cost, from its moment to the next one or the end: for each listener the longest sum of silences of one talker."""

    kind: str
    at_s: float
    what: str
    listeners: int
    affected: int
    silence_p50_s: float | None
    silence_p99_s: float | None
    silence_max_s: float | None
    listener_silence_s: dict[str, float]
    lost_packets: int


class ShardFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of a shard, while people talked, as its control's ``/metrics`` had it. ``forwarding_cpu``: cores that its forwarding thread used.
    ``latency``: from the kernel's receive time to the return of send, in buckets of powers of two."""

    shard: str
    packets_in_per_s: float
    packets_out_per_s: float
    forwarding_cpu: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    lag_max_ms: float | None
    retransmitted: int
    drops: dict[str, int]


class ServerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One target. ``reachable`` false: its metrics could not be read, and ``note`` says why."""

    url: str
    reachable: bool
    note: str = ""
    version: str = ""
    shards: tuple[ShardFigures, ...] = ()


class GeneratorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The load tester itself. ``bottlenecks`` says in words where it, and not the server, may have made the figures; empty is good.
    ``python_cpu``, ``native_cpu``, ``machine_cpu``: cores in use, the latter of ``cores``. ``tick_late``: how late light talkers' turns
    began. ``socket_drops``: packets that the kernel threw away because the load tester did not fetch them."""

    host: str
    cores: int
    clock: str
    python_cpu: float
    native_cpu: float
    machine_cpu: float | None
    loop_lag_p99_ms: float | None
    loop_lag_max_ms: float | None
    tick_late_p99_ms: float | None
    skipped_turns: int
    socket_drops: int
    send_errors: int
    events_dropped: int
    auth_failed: int
    bottlenecks: tuple[str, ...]


class LinkDirection(msgspec.Struct, frozen=True, kw_only=True):
    """IP packets that the bad link got in one direction. ``dropped`` of them by chance, as asked for; ``media_packets``,
    ``media_dropped``: RTP among them; ``overflowed``: lost because the link could not keep up."""

    packets: int
    dropped: int
    media_packets: int
    media_dropped: int
    overflowed: int


class LinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What :mod:`loadtest.namespace`'s link did. ``loss_ratio``, ``delay_ms``: what was asked of it, in each direction; ``late``: how
    much later than the delay packets went; ``cpu``: cores that its process used."""

    loss_ratio: float
    delay_ms: float
    to_server: LinkDirection
    from_server: LinkDirection
    late_p99_ms: float | None
    late_max_ms: float | None
    cpu: float


class Criterion(msgspec.Struct, frozen=True, kw_only=True):
    """One demand, and whether it was met."""

    name: str
    demanded: str
    found: str
    met: bool


class People(msgspec.Struct, frozen=True, kw_only=True):
    """Which participants are which, over all rooms."""

    light_publishers: int
    aiortc_publishers: int
    listeners: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. ``failures``: the first hundred things that went wrong, in words; ``failure_count``: how many there were."""

    schema: int = SCHEMA
    version: str
    started_at: str
    duration_s: float
    interrupted: bool
    targets: tuple[str, ...]
    scenario: Scenario
    people: People
    setup: SetupFigures
    hearing: HearingFigures
    media: MediaFigures
    media_by_kind: dict[str, MediaFigures]
    gaps: GapFigures
    server: tuple[ServerFigures, ...]
    generator: GeneratorFigures
    link: LinkFigures | None = None
    faults: tuple[FaultFigures, ...]
    quality: tuple[Criterion, ...]
    failures: tuple[str, ...]
    failure_count: int
    rooms: tuple[RoomFigures, ...]
    streams: tuple[StreamFigures, ...]
    timeline: tuple[Sample, ...]

    @property
    def is_good(self) -> bool:
        """Whether every demand was met."""
        return all(criterion.met for criterion in self.quality)


def encode(report: Report) -> bytes:
    """As JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def judge(
    quality: Quality, setup: SetupFigures, hearing: HearingFigures, media: MediaFigures, cuts: int, *, expects_sound: bool
) -> tuple[Criterion, ...]:
    """Compare with what was demanded. ``cuts``: connections that the server ended without being asked, or by no fault of ours."""
    ratio = setup.succeeded / setup.attempted if setup.attempted else 0.0
    loss, p99 = media.loss_ratio, media.latency_p99_ms
    silent = not expects_sound and media.expected_packets == 0
    return (
        Criterion(
            name="setup",
            demanded=f"at least {_percent(quality.min_setup_ratio)}",
            found=_percent(ratio),
            met=ratio >= quality.min_setup_ratio,
        ),
        Criterion(
            name="heard",
            demanded="everybody who talks",
            found=f"{hearing.heard} of {hearing.expected}",
            met=hearing.heard == hearing.expected,
        ),
        Criterion(
            name="loss",
            demanded=f"at most {_percent(quality.max_loss_ratio)}",
            found=_percent(loss),
            met=silent or (loss is not None and loss <= quality.max_loss_ratio),
        ),
        Criterion(
            name="latency p99",
            demanded=f"at most {quality.max_latency_p99_ms:g} ms",
            found="nothing" if p99 is None else f"{p99:.1f} ms",
            met=silent or (p99 is not None and p99 <= quality.max_latency_p99_ms),
        ),
        Criterion(name="muted", demanded="nothing of who is muted", found=f"{media.muted_packets} packets", met=media.muted_packets == 0),
        Criterion(name="cuts", demanded="none that was not asked for", found=str(cuts), met=cuts == 0),
    )


def media_of(meters: Sequence[_traffic.MeterFigures], latency: Counts) -> MediaFigures:
    """Sum up. ``latency``: of all these meters, fine where it is known."""
    expected, received = sum(m.expected for m in meters), sum(m.received for m in meters)
    heard = [m for m in meters if m.received]
    return MediaFigures(
        expected_packets=expected,
        received_packets=received,
        loss_ratio=1 - received / expected if expected else None,
        latency_p50_ms=latency.percentile_ms(50),
        latency_p99_ms=latency.percentile_ms(99),
        latency_max_ms=max((m.latency_max_us for m in heard), default=0) / 1000 if heard else None,
        jitter_p99_ms=_known(percentile((m.jitter_ns / 1e6 for m in heard), 99)),
        duplicate_packets=sum(m.duplicates for m in meters),
        reordered_packets=sum(m.reordered for m in meters),
        muted_packets=sum(m.muted for m in meters),
        silence_s=sum(m.silence_ns for m in meters) / 1e9,
        longest_silence_s=max((m.longest_silence_ns for m in meters), default=0) / 1e9,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _percent(ratio: float | None) -> str:
    return "nothing" if ratio is None else f"{100 * ratio:.3f}".rstrip("0").rstrip(".") + " %"
