"""Prometheus metrics: read from the live objects when they are asked for, so that nothing has to be kept in step.

Shards' figures are those of their last heartbeat. Totals of a shard start again at 0 with its process, as Prometheus expects.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from control import __version__
from control.connections import Connections
from control.curve import REFUSALS, CurveDoor
from control.dispatch import Dispatcher
from control.messages import CLIENT_TYPES, ERROR_CODES
from control.processes import LocalShards
from control.shards import DISCARD_REASONS, ShardLink, Shards
from control.tls import RESULTS, Tls
from control.webhooks import RESULTS as HOOK_RESULTS
from sfu.protocol import SETUP_BOUNDS_S, Heartbeat, ShardId


class AntiphonCollector(Collector):
    """All ``antiphon_*`` metrics of control and of every shard it knows."""

    def __init__(
        self, dispatcher: Dispatcher, shards: Shards, local: LocalShards, connections: Connections, tls: Tls | None, door: CurveDoor | None
    ) -> None:
        self._connections = connections
        self._tls = tls
        self._door = door
        self._dispatcher = dispatcher
        self._shards = shards
        self._local = local

    def collect(self) -> Iterable[Metric]:
        yield from self._control()
        yield from self._up()
        yield from self._heartbeats()
        # Of this thread, on which everything of control runs, /metrics included.
        yield CounterMetricFamily("antiphon_control_cpu_seconds", "CPU time of control's thread", value=time.thread_time())
        if self._tls is not None:
            yield from _certificate(self._tls)
        refused = self._door.refused if self._door is not None else {}
        text = "Connections of shards that were not let in, by reason"
        yield _counter("antiphon_shard_refusals", text, "reason", dict.fromkeys(REFUSALS, 0) | refused)

    def _control(self) -> Iterator[Metric]:
        signaling = self._dispatcher.signaling
        build = GaugeMetricFamily("antiphon_build_info", "Version of the control plane; always 1", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield GaugeMetricFamily("antiphon_rooms", "Rooms, idle ones included", value=len(signaling.rooms))
        yield GaugeMetricFamily("antiphon_participants", "Participants in all rooms", value=signaling.rooms.people)
        yield GaugeMetricFamily("antiphon_websockets", "Open signaling sockets", value=self._dispatcher.sockets)
        yield from self._resumes()
        yield CounterMetricFamily(
            "antiphon_websockets_turned_away", "Signaling sockets closed because there were too many", value=self._dispatcher.turned_away
        )
        yield CounterMetricFamily(
            "antiphon_websockets_foreign", "Signaling sockets refused because of the origin of their page", value=self._dispatcher.foreign
        )
        yield GaugeMetricFamily("antiphon_http_connections", "Open TCP connections of HTTP, sockets included", value=len(self._connections))
        hooked = dict.fromkeys(HOOK_RESULTS, 0) | self._dispatcher.hooked
        yield _counter("antiphon_webhooks", "Webhooks by what became of them, and how often one was tried again", "result", hooked)
        yield _counter("antiphon_http_connections_cut", "TCP connections of HTTP that were cut", "reason", self._connections.cut)
        yield _counter(
            "antiphon_signaling_messages", "Valid messages of clients", "type", dict.fromkeys(CLIENT_TYPES, 0) | signaling.messages
        )
        yield _counter(
            "antiphon_signaling_errors", "Errors sent to clients", "code", dict.fromkeys(ERROR_CODES, 0) | signaling.sessions.errors
        )
        yield _counter(
            "antiphon_zmq_bad_messages",
            "Messages from shards that were discarded",
            "reason",
            dict.fromkeys(DISCARD_REASONS, 0) | self._shards.discarded,
        )
        yield CounterMetricFamily(
            "antiphon_shard_commands_unanswered", "Commands given up at their deadline", value=self._shards.unanswered
        )
        yield CounterMetricFamily("antiphon_shard_restarts", "Local shard processes started again", value=self._local.restarts)

    def _resumes(self) -> Iterator[Metric]:
        resumes = self._dispatcher.signaling.sessions.resumes
        yield GaugeMetricFamily("antiphon_sessions_waiting", "Sessions that have lost their socket", value=resumes.waiting)
        ended = {"resumed": resumes.resumed, "expired": resumes.expired, "crowded_out": resumes.crowded_out}
        yield _counter("antiphon_sessions_waited", "What became of sessions that had lost their socket", "outcome", ended)

    def _up(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("antiphon_shard_up", "1 if the shard answers and takes rooms", labels=["shard"])
        for shard in sorted({*self._local.shard_ids, *self._shards.links}):
            link = self._shards.links.get(shard)
            up.add_metric([shard], 1 if link is not None and link.state == "up" else 0)
        yield up
        info = GaugeMetricFamily(
            "antiphon_shard_info",
            "Version, packet protection and scheduling of the shard; always 1",
            labels=["shard", "version", "srtp", "scheduling"],
        )
        for link in self._shards.links.values():
            info.add_metric([link.shard_id, link.hello.version, link.hello.srtp, link.hello.scheduling], 1)
        yield info

    def _heartbeats(self) -> Iterator[Metric]:
        links = [(link.shard_id, link.heartbeat) for link in self._shards.links.values() if _is_current(link)]
        beats = [(shard, beat) for shard, beat in links if beat is not None]
        table = GaugeMetricFamily("antiphon_shard_table", "Entries of the shard's tables", labels=["shard", "table"])
        packets = CounterMetricFamily("antiphon_shard_packets", "Packets through the shard", labels=["shard", "direction"])
        volume = CounterMetricFamily("antiphon_shard_bytes", "Bytes through the shard", labels=["shard", "direction"])
        drops = CounterMetricFamily("antiphon_shard_drops", "Packets that the shard dropped", labels=["shard", "reason"])
        lag = GaugeMetricFamily("antiphon_shard_lag_seconds", "Longest delay of a timer on the signaling thread", labels=["shard"])
        bad = CounterMetricFamily("antiphon_shard_bad_messages", "ZeroMQ messages that the shard could not decode", labels=["shard"])
        expired = CounterMetricFamily("antiphon_shard_expired_commands", "Commands the shard read after their deadline", labels=["shard"])
        for shard, beat in beats:
            for name, value in msgspec.structs.asdict(beat.tables).items():
                table.add_metric([shard, name], value)
            packets.add_metric([shard, "in"], beat.packets_in)
            packets.add_metric([shard, "out"], beat.packets_out)
            volume.add_metric([shard, "in"], beat.bytes_in)
            volume.add_metric([shard, "out"], beat.bytes_out)
            for reason, value in beat.drops.items():
                drops.add_metric([shard, reason], value)
            lag.add_metric([shard], beat.lag_ms / 1000)
            bad.add_metric([shard], beat.bad_messages)
            expired.add_metric([shard], beat.expired_commands)
        yield from (table, packets, volume, drops, lag, bad, expired)
        yield from _forwarding(beats)
        yield from _signaling(beats)


def _forwarding(beats: list[tuple[ShardId, Heartbeat]]) -> Iterator[Metric]:
    """What the forwarding threads say of themselves."""
    cpu = CounterMetricFamily("antiphon_shard_forwarding_cpu_seconds", "CPU time of the forwarding thread", labels=["shard"])
    again = CounterMetricFamily("antiphon_shard_retransmitted", "Packets sent again on a NACK", labels=["shard"])
    rejected = CounterMetricFamily("antiphon_shard_rejected_commands", "Defects of the shard; always 0", labels=["shard"])
    latency = HistogramMetricFamily(
        "antiphon_shard_forwarding_latency_seconds", "From the kernel's receive time to the return of send", labels=["shard"]
    )
    for shard, beat in beats:
        cpu.add_metric([shard], beat.forwarding_cpu_ns / 1e9)
        again.add_metric([shard], beat.retransmitted)
        rejected.add_metric([shard], beat.rejected_commands)
        if beat.latency:
            latency.add_metric([shard], buckets=_buckets(beat), sum_value=beat.latency_sum_ns / 1e9)
    yield from (cpu, again, rejected, latency)


def _signaling(beats: list[tuple[ShardId, Heartbeat]]) -> Iterator[Metric]:
    """What the signaling threads of the shards say of themselves."""
    cpu = CounterMetricFamily("antiphon_shard_signaling_cpu_seconds", "CPU time of the signaling thread", labels=["shard"])
    setups = HistogramMetricFamily(
        "antiphon_shard_setup_duration_seconds",
        "From the offer of a connection to its SRTP keys, answer, ICE and DTLS included, by what goes on it first",
        labels=["shard", "connection"],
    )
    for shard, beat in beats:
        cpu.add_metric([shard], beat.signaling_cpu_ns / 1e9)
        for kind, setup in beat.setups.items():
            cumulative = list(itertools.accumulate(setup.counts))
            bounds = [*(str(bound) for bound in SETUP_BOUNDS_S), "+Inf"]
            setups.add_metric([shard, kind], buckets=list(zip(bounds, map(float, cumulative), strict=True)), sum_value=setup.sum_s)
    yield from (cpu, setups)


def _certificate(tls: Tls) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "antiphon_tls_certificate_expiry_timestamp_seconds", "When the certificate in use ends", value=tls.expires_unix_s
    )
    yield _counter(
        "antiphon_tls_reloads",
        "Changes of the certificate's files, by what became of them",
        "result",
        dict.fromkeys(RESULTS, 0) | tls.reloads,
    )


def _buckets(beat: Heartbeat) -> list[tuple[str, float]]:
    """Cumulative, every fourth bound of the shard's fine histogram: powers of two."""
    cumulative = list(itertools.accumulate(beat.latency))
    coarse = [(str(bound / 1e9), float(cumulative[i])) for i, bound in enumerate(beat.latency_bounds_ns) if i % 4 == 0]
    return [*coarse, ("+Inf", float(cumulative[-1]))]


def registry(
    dispatcher: Dispatcher,
    shards: Shards,
    local: LocalShards,
    connections: Connections,
    tls: Tls | None = None,
    door: CurveDoor | None = None,
) -> CollectorRegistry:
    """What ``/metrics`` shows. ``tls``: None where HTTP is not encrypted; ``door``: None where shards show no keys."""
    result = CollectorRegistry()
    result.register(AntiphonCollector(dispatcher, shards, local, connections, tls, door))
    return result


def _is_current(link: ShardLink) -> bool:
    return not link.gone


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
