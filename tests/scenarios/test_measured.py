"""What operators are told of a call that takes place."""

from __future__ import annotations

import json
import urllib.request

from tests.scenarios.call import Call
from tests.server import RunningServer


def total(server: RunningServer, name: str, label: str = "") -> float:
    """Of all shards."""
    return sum(value for sample, value in server.metrics().items() if sample.split("{")[0] == name and label in sample)


def test_ready_is_who_can_place_rooms(server: RunningServer) -> None:
    with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as answer:
        assert (answer.status, json.load(answer)) == (200, {"status": "ready"})


async def test_joins_and_connections_are_timed_and_threads_work(server: RunningServer, call: Call) -> None:
    joins = total(server, "antiphon_join_duration_seconds_count")
    await call.pair()
    assert total(server, "antiphon_join_duration_seconds_count") - joins == 2
    assert 0 < total(server, "antiphon_join_duration_seconds_sum") < 60

    def setups(kind: str) -> float:
        return total(server, "antiphon_shard_setup_duration_seconds_count", f'connection="{kind}"')

    # Both come with the next heartbeat.
    server.wait(lambda: setups("publisher") >= 2 and setups("consumer") >= 2, 30, lambda: server.output)
    assert total(server, "antiphon_shard_setup_duration_seconds_sum") > 0
    server.wait(lambda: total(server, "antiphon_shard_packets_total", 'direction="out"') > 0, 30, lambda: server.output)
    server.wait(lambda: total(server, "antiphon_control_lag_seconds_count") > 0, 30, lambda: server.output)
    for thread in ("control", "shard_signaling", "shard_forwarding"):
        assert total(server, f"antiphon_{thread}_cpu_seconds_total") > 0


async def test_a_join_that_fails_is_an_error_by_its_code_and_no_join(server: RunningServer, call: Call) -> None:
    before = total(server, "antiphon_join_duration_seconds_count")
    errors = server.metrics()['antiphon_signaling_errors_total{code="room_not_found"}']
    peer = await call.person("Ann")
    await peer.signaling.send("join_room", room_id="no such room")
    await peer.signaling.expect("error")
    assert total(server, "antiphon_join_duration_seconds_count") == before
    assert server.metrics()['antiphon_signaling_errors_total{code="room_not_found"}'] == errors + 1
