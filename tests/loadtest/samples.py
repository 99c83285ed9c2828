"""A report of a run that never was, for tests of what becomes of one."""

from __future__ import annotations

from loadtest.report import (
    Durations,
    FaultFigures,
    GapFigures,
    GeneratorFigures,
    HearingFigures,
    MediaFigures,
    People,
    Report,
    RoomFigures,
    Sample,
    ServerFigures,
    SetupFigures,
    ShardFigures,
    StreamFigures,
    judge,
)
from loadtest.scenario import Quality, Scenario

TIMES = Durations(count=4, p50_ms=20.0, p99_ms=60.0)
NONE = Durations(count=0, p50_ms=None, p99_ms=None)
SETUP = SetupFigures(attempted=4, succeeded=4, p50_ms=50.0, p99_ms=60.0, steps={"websocket": TIMES, "ice": TIMES})
HEARING = HearingFigures(expected=12, heard=12, p50_ms=150.0, p99_ms=170.0)
MEDIA = MediaFigures(
    expected_packets=600,
    received_packets=600,
    loss_ratio=0.0,
    latency_p50_ms=0.2,
    latency_p99_ms=0.9,
    latency_max_ms=2.0,
    jitter_p99_ms=0.1,
)
SHARD = ShardFigures(
    shard="0",
    packets_in_per_s=200.0,
    packets_out_per_s=600.0,
    forwarding_cpu=0.1,
    latency_p50_ms=0.05,
    latency_p99_ms=0.4,
    lag_max_ms=3.0,
    retransmitted=0,
    drops={"no_consumer": 3},
)


def sample(second: int, rooms: int = 2) -> Sample:
    return Sample(
        t_s=float(second),
        phase="talking",
        joined=4,
        talking=4,
        heard_streams=12,
        received_packets=500,
        missing_packets=second % 3,
        loss_ratio=(second % 3) / 500,
        latency_p50_ms=0.2,
        latency_p99_ms=0.5 + second % 5,
        silent_streams=0,
        rooms_p99_ms=tuple(None if second == 1 else 0.5 + room for room in range(rooms)),
        rooms_loss=(0.0,) * rooms,
        generator_cpu=0.1,
        machine_cpu=0.5,
        loop_lag_ms=1.0,
        tick_late_p99_ms=0.1,
        shard_cpu={"0": 0.1, "1": 0.12},
    )


def report(**changes: object) -> Report:
    """A good one, but for ``changes``."""
    fields: dict[str, object] = {
        "version": "0.1.0",
        "started_at": "2026-01-02T03:04:05+00:00",
        "duration_s": 12.0,
        "interrupted": False,
        "targets": ("http://127.0.0.1:8080",),
        "scenario": Scenario(title="Two & <two>", rooms=2, publishers=2),
        "people": People(light_publishers=4, aiortc_publishers=0, listeners=0),
        "setup": SETUP,
        "hearing": HEARING,
        "media": MEDIA,
        "media_by_kind": {"light": MEDIA},
        "gaps": GapFigures(unmute=TIMES, rejoin=NONE, reconnect=NONE),
        "server": (ServerFigures(url="http://127.0.0.1:8080", reachable=True, version="0.1.0", shards=(SHARD,)),),
        "generator": GeneratorFigures(
            host="a machine",
            cores=2,
            clock="one clock",
            python_cpu=0.1,
            native_cpu=0.05,
            machine_cpu=0.5,
            loop_lag_p99_ms=1.0,
            loop_lag_max_ms=2.0,
            tick_late_p99_ms=0.1,
            skipped_turns=0,
            socket_drops=0,
            send_errors=0,
            events_dropped=0,
            auth_failed=0,
            bottlenecks=(),
        ),
        "faults": (
            FaultFigures(
                kind="cut_listeners",
                at_s=5.0,
                what="2 listeners cut off",
                listeners=4,
                affected=2,
                silence_p50_s=0.2,
                silence_p99_s=0.4,
                silence_max_s=0.4,
                listener_silence_s={"room 1 talker 1": 0.4, "room 2 talker 1": 0.2},
                lost_packets=30,
            ),
        ),
        "quality": judge(Quality(), SETUP, HEARING, MEDIA, 0, expects_sound=True),
        "failures": (),
        "failure_count": 0,
        "rooms": tuple(
            RoomFigures(
                room=room,
                target="http://127.0.0.1:8080",
                expected_packets=300,
                received_packets=300,
                loss_ratio=0.0,
                latency_p50_ms=0.2,
                latency_p99_ms=0.9,
                silence_s=0.0,
            )
            for room in (1, 2)
        ),
        "streams": (
            StreamFigures(
                room=1,
                listener="room 1 talker 1",
                publisher="room 1 talker 2",
                kind="light",
                expected_packets=50,
                received_packets=50,
                duplicate_packets=0,
                reordered_packets=0,
                latency_mean_ms=0.2,
                latency_p99_ms=0.9,
                latency_max_ms=2.0,
                jitter_ms=0.1,
                silence_s=0.0,
                longest_silence_s=0.0,
                first_packet_ms=20.0,
            ),
        ),
        "timeline": tuple(sample(second) for second in range(1, 13)),
    }
    return Report(**(fields | changes))  # type: ignore[arg-type]
