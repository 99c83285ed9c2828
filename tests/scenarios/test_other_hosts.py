"""Shards on other hosts: control and two shards with loopback addresses of their own, keys made by ``antiphon keygen``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth

from tests.scenarios.call import Call, all_hear_all, nothing_lost
from tests.server import ROOT, STOP_S, RunningServer

REFUSALS = "antiphon_shard_refusals_total"
WAIT_S = 30.0


class ShardOnHost:
    """``antiphon shard`` with everything on one address. Its log is read when it has ended."""

    def __init__(self, address: str, endpoint: str, *flags: str) -> None:
        self.address = address
        command = [sys.executable, "-m", "control", "shard", "--control", endpoint, "--host", address, "--udp-port", "0", *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def wait_line(self, event: str) -> dict[str, Any]:
        """The next line of its log with this event."""
        assert self.process.stderr is not None
        seen = []
        for text in self.process.stderr:
            seen.append(text)
            line: dict[str, Any] = json.loads(text)
            if line["event"] == event:
                return line
        raise AssertionError(f"ended without saying {event!r}: {seen}")

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=STOP_S)


@dataclass
class Keys:
    """Of ``antiphon keygen``. ``stranger`` is a pair that control is not told of."""

    folder: Path

    def public(self, name: str) -> str:
        return zmq.auth.load_certificate(self.folder / f"{name}.key")[0].decode()

    def secret(self, name: str) -> str:
        return str(self.folder / f"{name}.key_secret")

    def flags(self, name: str, control: str = "control") -> list[str]:
        return ["--key-file", self.secret(name), "--control-public-key", self.public(control)]


@dataclass
class Hosts:
    server: RunningServer
    endpoint: str
    keys: Keys
    shards: list[ShardOnHost]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    command = [sys.executable, "-m", "control", "keygen", "--dir", str(folder), "control", "first", "second", "stranger"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return Keys(folder)


@contextlib.contextmanager
def running_shards(*shards: ShardOnHost) -> Iterator[list[ShardOnHost]]:
    try:
        yield list(shards)
    finally:
        for shard in shards:
            shard.end()


@pytest.fixture(scope="module")
def hosts(keys: Keys) -> Iterator[Hosts]:
    environment = {
        **os.environ,
        "ANTIPHON_CONTROL_SHARD_ENDPOINT": "tcp://127.0.0.1:*",
        "ANTIPHON_CONTROL_SHARD_KEY_FILE": keys.secret("control"),
        "ANTIPHON_CONTROL_SHARD_PUBLIC_KEYS": f"{keys.public('first')},{keys.public('second')}",
    }
    with RunningServer(shards=0, environment=environment) as server:
        listening = re.compile(r'"endpoint": "(tcp://127\.0\.0\.1:\d+)"')
        server.wait(lambda: listening.search(server.output) is not None, WAIT_S, lambda: server.output)
        endpoint = listening.findall(server.output)[0]
        first = ShardOnHost("127.0.0.2", endpoint, *keys.flags("first"))
        second = ShardOnHost("127.0.0.3", endpoint, *keys.flags("second"))
        with running_shards(first, second) as shards:
            names = [shard.wait_line("shard running")["shard"] for shard in shards]
            server.wait(lambda: all(is_up(server, name) for name in names), WAIT_S, lambda: server.output)
            yield Hosts(server, endpoint, keys, shards)


def is_up(server: RunningServer, shard: str) -> bool:
    return server.metrics().get(f'antiphon_shard_up{{shard="{shard}"}}') == 1


@pytest.fixture
def server(hosts: Hosts) -> RunningServer:
    return hosts.server


def offered_addresses(call: Call) -> set[str]:
    offers = [message["sdp"] for peer in call.peers for message in peer.signaling.received if "sdp" in message]
    return {found for offer in offers for found in re.findall(r"^a=candidate:\S+ 1 udp \d+ (\S+) \d+ typ host", offer, re.MULTILINE)}


async def test_rooms_land_on_both_hosts_and_people_hear_each_other(hosts: Hosts, call: Call) -> None:
    rooms = []
    for number in range(2):
        host = await call.host(f"host {number}")
        rooms.append((host, await call.guest(f"guest {number}", host.room_id)))
    await asyncio.gather(*(all_hear_all(*room) for room in rooms))
    assert offered_addresses(call) == {"127.0.0.2", "127.0.0.3"}
    tables = hosts.server.tables()
    assert sorted(value for name, value in tables.items() if 'table="rooms"' in name) == [1, 1]
    for room in rooms:
        await nothing_lost(*room)


def refused(server: RunningServer, reason: str) -> float:
    return server.metrics()[f'{REFUSALS}{{reason="{reason}"}}']


@pytest.mark.parametrize(
    ("key", "control", "reason", "said"),
    [
        ("stranger", "control", "unknown_key", "does not know this shard's key"),
        ("first", "stranger", "handshake", "does not have the key that control_public_key names"),
        (None, None, "handshake", "this shard has none (key_file)"),
    ],
)
def test_a_shard_with_a_wrong_key_is_refused_and_counted(
    hosts: Hosts, key: str | None, control: str | None, reason: str, said: str
) -> None:
    server, before = hosts.server, refused(hosts.server, reason)
    flags = hosts.keys.flags(key, control) if key is not None and control is not None else []
    with running_shards(ShardOnHost("127.0.0.4", hosts.endpoint, "--shard-id", "intruder", *flags)) as (shard,):
        line = shard.wait_line("no connection to control")
        assert said in line["problem"]
        assert line["shard"] == "intruder"
        server.wait(lambda: refused(server, reason) > before, WAIT_S, lambda: server.output)
    assert not [name for name in server.metrics() if "intruder" in name]
    server.wait(lambda: "shard refused" in server.output, WAIT_S, lambda: server.output)


@pytest.mark.parametrize("impostor", ["has another key", "has no key"])
def test_a_shard_says_nothing_to_a_control_without_the_right_key(keys: Keys, impostor: str) -> None:
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    if impostor == "has another key":
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt(zmq.CURVE_SECRETKEY, zmq.auth.load_certificate(keys.secret("stranger"))[1])  # type: ignore[arg-type]
    port = router.bind_to_random_port("tcp://127.0.0.1")
    try:
        with running_shards(ShardOnHost("127.0.0.4", f"tcp://127.0.0.1:{port}", *keys.flags("first"))) as (shard,):
            assert "control_public_key" in shard.wait_line("no connection to control")["problem"]
            assert not router.poll(0)
    finally:
        router.close(0)
        context.term()


def test_what_keygen_prints_is_the_configuration_of_both_ends(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    command = [sys.executable, "-m", "control", "keygen", "--dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert sorted(file.name for file in folder.iterdir()) == ["control.key", "control.key_secret", "shard.key", "shard.key_secret"]
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    secrets = [zmq.auth.load_certificate(file)[1] for file in folder.glob("*.key_secret")]
    assert not [secret for secret in secrets if secret is not None and secret.decode() in done.stdout]
    sections = re.findall(r"^\[\w+\]\n(?:\w+ = .*\n?)+", done.stdout, re.MULTILINE)
    document = tomllib.loads("\n".join(sections))
    keys = Keys(folder)
    assert document["control"]["shard_public_keys"] == [keys.public("shard")]
    assert document["control"]["shard_key_file"] == keys.secret("control")
    assert document["shard"]["control_public_key"] == keys.public("control")
    file = tmp_path / "antiphon.toml"
    file.write_text("\n".join(sections).replace("HOST", "203.0.113.7").replace('"shard.key_secret"', f'"{keys.secret("shard")}"'))
    check = [sys.executable, "-m", "control", "check-config", "--config", str(file)]
    assert subprocess.run(check, cwd=ROOT, capture_output=True, text=True).stderr == ""
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
