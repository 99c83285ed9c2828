"""How figures are summed up, when they are good enough, and what they look like as JSON and in a terminal."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from loadtest import generator
from loadtest.capacity import next_rooms
from loadtest.metrics import ServerWatch, bucket_percentile_ms, metrics_url, read
from loadtest.native import _traffic
from loadtest.report import SCHEMA, Counts, Report, encode, judge, percentile
from loadtest.scenario import Quality
from loadtest.table import show
from tests.loadtest.samples import HEARING, MEDIA, SETUP, report

DOCUMENT = Path(generator.__file__).with_name("REPORT.md")


def shown(of: Report) -> str:
    output = io.StringIO()
    show(of, Console(file=output, width=120))
    return output.getvalue()


class TestSums:
    def test_nearest_rank_percentiles(self) -> None:
        assert percentile([3, 1, 2], 50) == 2
        assert percentile(range(1, 101), 99) == 99
        assert percentile([7], 99) == 7
        assert math.isnan(percentile([], 50))

    @given(st.lists(st.integers(1, 100_000_000), min_size=1, max_size=200), st.sampled_from([50, 90, 99, 100]))
    def test_percentiles_of_a_histogram_are_right_within_a_bucket(self, values_us: list[int], percent: int) -> None:
        buckets = np.zeros(len(_traffic.FINE_BOUNDS_US) - 1, np.uint32)
        for value in values_us:
            buckets[np.searchsorted(_traffic.FINE_BOUNDS_US, value, side="right") - 1] += 1
        found = Counts(buckets.tobytes()).percentile_ms(percent)
        assert found is not None
        assert 1000 * found == pytest.approx(percentile(values_us, percent), rel=1 / 64, abs=1)

    def test_nothing_has_no_percentile(self) -> None:
        assert Counts().percentile_ms(50) is None
        assert bucket_percentile_ms({}, 50) is None


@dataclass(frozen=True)
class Miss:
    name: str
    setup: dict[str, int]
    media: dict[str, object]
    cuts: int = 0


class TestJudgement:
    @pytest.mark.parametrize(
        "miss",
        [
            Miss("setup", {"succeeded": 3}, {}),
            Miss("loss", {}, {"loss_ratio": 0.0011}),
            Miss("loss", {}, {"loss_ratio": None}),
            Miss("latency p99", {}, {"latency_p99_ms": 20.1}),
            Miss("muted", {}, {"muted_packets": 1}),
            Miss("cuts", {}, {}, cuts=1),
        ],
        ids=lambda miss: miss.name,
    )
    def test_each_demand_can_be_missed(self, miss: Miss) -> None:
        setup, media = msgspec.structs.replace(SETUP, **miss.setup), msgspec.structs.replace(MEDIA, **miss.media)
        missed = [c.name for c in judge(Quality(), setup, HEARING, media, miss.cuts, expects_sound=True) if not c.met]
        assert missed == [miss.name]

    def test_who_is_not_heard_is_missed(self) -> None:
        hearing = msgspec.structs.replace(HEARING, heard=11)
        assert [c.name for c in judge(Quality(), SETUP, hearing, MEDIA, 0, expects_sound=True) if not c.met] == ["heard"]

    def test_where_nobody_talks_silence_is_good(self) -> None:
        silence = msgspec.structs.replace(MEDIA, expected_packets=0, received_packets=0, loss_ratio=None, latency_p99_ms=None)
        assert all(c.met for c in judge(Quality(), SETUP, HEARING, silence, 0, expects_sound=False))


class TestJson:
    def test_the_fields_that_others_rely_on(self) -> None:
        found = json.loads(encode(report()))
        assert found["schema"] == SCHEMA == 1
        assert found["setup"].items() >= {"attempted": 4, "succeeded": 4, "p50_ms": 50.0, "p99_ms": 60.0}.items()
        wanted = {"expected_packets", "received_packets", "loss_ratio", "latency_p50_ms", "latency_p99_ms", "jitter_p99_ms"}
        assert found["media"].keys() >= wanted
        assert found.keys() >= {"server", "generator"}

    def test_it_reads_back_as_the_same_report(self) -> None:
        assert msgspec.json.decode(encode(report()), type=Report) == report()

    def test_every_field_is_documented(self) -> None:
        document = DOCUMENT.read_text()
        assert f"version {SCHEMA}" in document
        schema = msgspec.json.schema(Report)
        missing = {
            f"{part}.{field}"
            for part, described in schema["$defs"].items()
            for field in described["properties"]
            if f"`{field}`" not in document
        }
        assert missing == set()


class TestTable:
    def test_counts_and_verdict(self) -> None:
        text = shown(report())
        for expected in ("4 of 4", "12 of 12", "600 of 600", "0.000 %", "Nothing was lost", "no_consumer 3", "2 of 4 listeners noticed"):
            assert expected in text

    def test_failures_are_shown_but_not_hundreds_of_them(self) -> None:
        text = shown(report(failures=tuple(f"person [{n}]" for n in range(100)), failure_count=300))
        assert "person [3]" in text
        assert "290 more failures" in text

    def test_what_was_missed_is_named(self) -> None:
        media = msgspec.structs.replace(MEDIA, loss_ratio=0.05)
        text = shown(report(quality=judge(Quality(), SETUP, HEARING, media, 0, expects_sound=True)))
        assert "missed loss: demanded at most 0.1 %, found 5 %" in text

    def test_nothing_measured_is_shown_as_such(self) -> None:
        nothing = {name: None for name in MEDIA.__struct_fields__ if name.endswith(("_ms", "ratio"))}
        text = shown(report(media=msgspec.structs.replace(MEDIA, **nothing)))
        assert "nan" not in text
        assert "None" not in text


class TestGenerator:
    def test_a_load_tester_that_keeps_up_is_no_bottleneck(self) -> None:
        assert generator.problems(report().generator) == ()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"python_cpu": 0.97}, "97% of a core"),
            ({"native_cpu": 0.97}, "traffic thread"),
            ({"loop_lag_p99_ms": 140.0}, "140 ms late"),
            ({"tick_late_p99_ms": 8.0}, "8.0 ms late"),
            ({"skipped_turns": 3}, "3 turns"),
            ({"socket_drops": 9}, "dropped 9 packets"),
            ({"events_dropped": 2}, "2 STUN"),
            ({"machine_cpu": 1.99}, "2.0 of 2 cores"),
        ],
    )
    def test_one_that_does_not_says_so(self, change: dict[str, float], said: str) -> None:
        (problem,) = generator.problems(msgspec.structs.replace(report().generator, **change))
        assert said in problem
        assert problem in " ".join(shown(report(generator=msgspec.structs.replace(report().generator, bottlenecks=(problem,)))).split())


METRICS = """
antiphon_build_info{{version="1.2.3"}} 1
antiphon_shard_packets_total{{shard="0",direction="in"}} {packets}
antiphon_shard_packets_total{{shard="0",direction="out"}} {packets}
antiphon_shard_forwarding_cpu_seconds_total{{shard="0"}} {cpu}
antiphon_shard_lag_seconds{{shard="0"}} 0.004
antiphon_shard_drops_total{{shard="0",reason="paused"}} {packets}
antiphon_shard_forwarding_latency_seconds_bucket{{shard="0",le="0.001"}} {packets}
antiphon_shard_forwarding_latency_seconds_bucket{{shard="0",le="+Inf"}} {packets}
"""


class TestServerSide:
    def test_rates_are_those_between_two_readings(self) -> None:
        watch = ServerWatch("http://127.0.0.1:1")
        watch.last = read(METRICS.format(packets=1000, cpu=1.0), 10.0)
        watch.begin()
        watch.note = ""
        watch.last = read(METRICS.format(packets=3000, cpu=2.0), 14.0)
        (shard,) = watch.figures().shards
        assert (shard.packets_in_per_s, shard.packets_out_per_s, shard.forwarding_cpu) == (500, 500, 0.25)
        assert shard.drops == {"paused": 2000}
        assert shard.latency_p50_ms == pytest.approx(0.5)

    def test_a_shard_that_began_again_is_no_negative_rate(self) -> None:
        watch = ServerWatch("http://127.0.0.1:1")
        watch.last = read(METRICS.format(packets=1000, cpu=1.0), 10.0)
        watch.begin()
        watch.last = read(METRICS.format(packets=400, cpu=0.2), 14.0)
        assert watch.figures().shards[0].packets_in_per_s == 100

    async def test_metrics_that_cannot_be_read_are_said_to(self) -> None:
        watch = ServerWatch("http://127.0.0.1:9")
        assert await watch.look(0.0) == {}
        assert not watch.figures().reachable
        assert "127.0.0.1:9/metrics cannot be read" in watch.figures().note
        await watch.close()

    @pytest.mark.parametrize("url", ["http://h:1", "h:1", "ws://h:1/ws", "http://h:1/"])
    def test_metrics_are_beside_the_web_socket(self, url: str) -> None:
        assert metrics_url(url) == "http://h:1/metrics"


@pytest.mark.parametrize(
    ("good", "bad", "following"),
    [(1, 0, 2), (10, 0, 15), (0, 8, 4), (0, 1, None), (10, 15, 12), (10, 12, 11), (10, 11, None), (100, 109, None)],
)
def test_capacity_is_closed_in_on(good: int, bad: int, following: int | None) -> None:
    assert next_rooms(good, bad, first=bad or 1) == following
