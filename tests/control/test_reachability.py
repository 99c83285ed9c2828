"""The warning that browsers elsewhere cannot reach the shards."""

from __future__ import annotations

import pytest
import structlog

from control.reachability import Reachability, is_public
from sfu.protocol import Hello, ShardId
from tests.server import RunningServer

PRIVATE = (
    "127.0.0.1",
    "::1",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.1.1",
    "fe80::1%eth0",
    "fd00::2",
    "fc00::1",
    "::ffff:10.0.0.1",
)
PUBLIC = ("8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "fe00::1")


@pytest.mark.parametrize("address", PRIVATE)
def test_is_private(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_is_public(address: str) -> None:
    assert is_public(address)


def hello(instance: str, *addresses: str) -> Hello:
    more = {"protocol": 1, "version": "0", "pid": 1, "host": "h", "udp_port": 1, "srtp": "x", "scheduling": "x"}
    return Hello(shard_id=ShardId("0"), instance=instance, addresses=list(addresses), **more)  # type: ignore[arg-type]


def warnings_of(*rounds: list[Hello]) -> list[list[str]]:
    reachability = Reachability()
    with structlog.testing.capture_logs() as logs:
        for hellos in rounds:
            reachability.check(hellos)
    assert all("--advertise" in line["event"] and line["log_level"] == "warning" for line in logs)
    return [line["addresses"] for line in logs]


def test_only_private_addresses_are_said_once_of_each_shard_process() -> None:
    first, again = hello("a", "10.0.0.1", "fd00::2"), hello("b", "127.0.0.1")
    assert warnings_of([first], [first], [again], [first, again]) == [["10.0.0.1", "fd00::2"], ["127.0.0.1"]]


def test_one_public_address_of_either_family_is_enough() -> None:
    assert warnings_of([hello("a", "10.0.0.1", "2606:4700::1111"), hello("b", "8.8.8.8", "fd00::2")]) == []


def test_the_server_says_so_at_its_start() -> None:
    with RunningServer(shards=1, args=["--host", "0.0.0.0", "--open"]) as server:  # announces 127.0.0.1
        warned = "only private addresses are announced for media"
        server.wait(lambda: warned in server.output, 30, lambda: server.output)
