"""Keys of shards: a shard that was refused gets in when control learns its key, and local shards need none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zmq.auth

from control.binding import StartError
from control.config import ConfigError, load
from control.curve import CurveDoor, ServerKeys, read_server_keys
from control.shards import Shards, ShardTimes
from sfu import protocol as p
from sfu.config import ConfigError as ShardConfigError
from sfu.config import ShardConfig
from sfu.config import load as load_shard
from sfu.errors import ShardError
from sfu.keys import LinkKeys, read_keys
from sfu.link import Link
from sfu.metrics import Metrics

CONTROL, SHARD, OTHER = zmq.curve_keypair(), zmq.curve_keypair(), zmq.curve_keypair()
REMOTE = "tcp://203.0.113.7:8081"


class Nobody:
    """Listens to no shard."""

    def shard_up(self, shard: p.ShardId) -> None: ...

    def shard_lost(self, shard: p.ShardId) -> None: ...

    def shard_event(self, event: p.ShardMessage) -> None: ...


class Ends:
    """Control with an ipc socket and a guarded tcp one, and links to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.links: list[Link] = []
        self.shards: Shards | None = None

    def control(self, endpoint: str, *allowed: bytes) -> tuple[CurveDoor, str]:
        """Start control; where its guarded socket is."""
        self.shards = Shards(Nobody(), ShardTimes())
        self.shards.start(f"ipc://{self.folder}/control.sock")
        door = CurveDoor(ServerKeys(CONTROL[1], frozenset(allowed)))
        return door, self.shards.listen(endpoint, door)

    async def stop_control(self) -> None:
        assert self.shards is not None
        await self.shards.stop()

    def link(self, endpoint: str, keys: LinkKeys | None) -> tuple[Link, Metrics]:
        metrics = Metrics()
        self.links.append(Link(endpoint, "0", metrics, lambda body: None, lambda connected: None, keys))
        return self.links[-1], metrics


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    result = Ends(tmp_path)
    yield result
    for link in result.links:
        link.close()
    await result.stop_control()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - ZeroMQ's own thread changes it
            await asyncio.sleep(0.01)


def keys_of(pair: tuple[bytes, bytes]) -> LinkKeys:
    return LinkKeys(pair[0], pair[1], CONTROL[0])


async def test_a_shard_that_was_refused_gets_in_when_control_knows_its_key(ends: Ends) -> None:
    door, endpoint = ends.control("tcp://127.0.0.1:*", OTHER[0])
    link, metrics = ends.link(endpoint, keys_of(SHARD))
    await until(lambda: door.refused["unknown_key"] >= 2)  # it tries again
    assert metrics.dropped("control_refused") >= 1
    assert not link.connected
    await ends.stop_control()
    ends.control(endpoint, OTHER[0], SHARD[0])
    await until(lambda: link.connected)


async def test_local_shards_need_no_key_beside_those_that_do(ends: Ends) -> None:
    door, endpoint = ends.control("tcp://127.0.0.1:*", SHARD[0])
    local, _ = ends.link(f"ipc://{ends.folder}/control.sock", None)
    remote, _ = ends.link(endpoint, keys_of(SHARD))
    stranger, _ = ends.link(endpoint, None)
    await until(lambda: local.connected and remote.connected and door.refused["handshake"] > 0)
    assert not stranger.connected


class TestConfiguration:
    KEY = SHARD[0].decode()

    @pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:8081", "tcp://*:8081", "tcp://[::]:8081", "tcp://example.org:1", REMOTE])
    def test_control_takes_no_strangers_without_keys(self, endpoint: str) -> None:
        with pytest.raises(ConfigError, match="needs shard_key_file and shard_public_keys"):
            load({"shard_endpoint": endpoint}, {}, None)
        load({"shard_endpoint": endpoint, "shard_key_file": "x", "shard_public_keys": self.KEY}, {}, None)

    @pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:8081", "tcp://[::1]:8081", "tcp://localhost:8081", "ipc:///tmp/x"])
    def test_on_this_host_control_needs_none(self, endpoint: str) -> None:
        load({"shard_endpoint": endpoint}, {}, None)
        load_shard({"control": endpoint}, environment={})

    @pytest.mark.parametrize("flags", [{"shard_key_file": "x"}, {"shard_public_keys": SHARD[0].decode()}])
    def test_one_key_alone_is_no_use_to_control(self, flags: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match="expected both or neither"):
            load({"shard_endpoint": REMOTE, **flags}, {}, None)

    @pytest.mark.parametrize("endpoint", [REMOTE, "tcp://example.org:8081", "tcp://127.example.org:8081"])
    def test_a_shard_obeys_no_control_elsewhere_without_keys(self, endpoint: str) -> None:
        with pytest.raises(ShardConfigError, match="needs key_file and control_public_key"):
            load_shard({"control": endpoint}, environment={})
        load_shard({"control": endpoint, "key_file": "x", "control_public_key": self.KEY}, environment={})
        with pytest.raises(ShardConfigError, match="both or neither"):
            load_shard({"control": endpoint, "key_file": "x"}, environment={})

    @pytest.mark.parametrize("key", ["short", "x" * 41, "," * 40])
    def test_what_is_no_key_is_told(self, key: str) -> None:
        with pytest.raises(ConfigError):
            load({"shard_endpoint": REMOTE, "shard_key_file": "x", "shard_public_keys": [key]}, {}, None)
        with pytest.raises(ShardConfigError):
            load_shard({"control": REMOTE, "key_file": "x", "control_public_key": key}, environment={})


class TestFiles:
    def test_both_ends_read_theirs(self, tmp_path: Path) -> None:
        public, secret = zmq.auth.create_certificates(tmp_path, "a")
        pair = zmq.auth.load_certificate(secret)
        assert read_server_keys(secret, ["x"]).secret == pair[1]
        config = ShardConfig(control=REMOTE, key_file=secret, control_public_key=pair[0].decode())
        keys = read_keys(config)
        assert keys is not None
        assert (keys.public, keys.secret) == pair
        assert pair[1] is not None
        assert pair[1].decode() not in repr(keys) + repr(read_server_keys(secret, []))
        assert read_keys(ShardConfig(control="ipc:///x", key_file=secret, control_public_key=pair[0].decode())) is None
        for file in (public, str(tmp_path / "none"), __file__):
            with pytest.raises(StartError, match="shard_key_file"):
                read_server_keys(file, [])
            with pytest.raises(ShardError, match="key_file"):
                read_keys(config.model_copy(update={"key_file": file}))
