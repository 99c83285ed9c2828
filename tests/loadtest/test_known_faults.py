"""The figures are right: a proxy before a real server loses, repeats and delays exactly so much, and the report finds it within 2 %."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest

from loadtest.participant import Target
from loadtest.report import Report
from loadtest.run import Plan, run
from loadtest.scenario import Network, Scenario
from tests.loadtest.relay import FaultyServer
from tests.server import RunningServer

WITHIN = 0.02
SCENARIO = Scenario(publishers=3, aiortc_publishers=1, listeners=7, duration_s=5)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(shards=1) as running:
        yield running


async def measured(url: str, scenario: Scenario = SCENARIO) -> Report:
    report = await run(Plan(scenario, [Target(url)]))
    assert report.failures == ()
    assert report.hearing.heard == report.hearing.expected == scenario.streams
    return report


# 13 and 7 have no factor in common with the ten listeners of each packet: otherwise it would always be the same that lose.
async def test_loss_duplication_and_delay_are_found_as_they_were_made(server: RunningServer) -> None:
    async with FaultyServer(server.ws_url, lose_every=13, repeat_every=7, delay_s=0.1) as faulty:
        report = await measured(faulty.url)
        (relay,) = faulty.relays.values()
        held_ms = 1000 * statistics.median(relay.held_s)
    media = report.media
    assert media.expected_packets > 3000
    assert media.loss_ratio == pytest.approx(1 / 13, rel=WITHIN)
    assert media.duplicate_packets / media.received_packets == pytest.approx(1 / 7, rel=WITHIN)
    assert media.latency_p50_ms is not None
    # What the server itself takes comes on top: some tenths of a millisecond, on a machine that is not too busy.
    assert media.latency_p50_ms == pytest.approx(held_ms, rel=WITHIN)
    assert sum(room.expected_packets for room in report.rooms) == sum(s.expected_packets for s in report.streams) == media.expected_packets
    assert {criterion.name for criterion in report.quality if not criterion.met} == {"loss", "latency p99"}


async def test_the_load_testers_own_bad_network_is_as_bad_as_asked_for(server: RunningServer) -> None:
    scenario = Scenario(publishers=4, listeners=7, duration_s=3, network=Network(loss_ratio=0.05, delay_ms=80))
    report = await measured(server.url, scenario)
    # Chance, and not every twentieth: so many packets within five standard deviations.
    assert report.media.loss_ratio == pytest.approx(0.05, abs=5 * (0.05 * 0.95 / report.media.expected_packets) ** 0.5)
    assert report.media.latency_p50_ms == pytest.approx(80, rel=WITHIN)
