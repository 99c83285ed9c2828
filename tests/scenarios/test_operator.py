"""The commands of an operator against a running server with real shards, and what SIGTERM does while people are in a call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.scenarios.call import Call
from tests.server import ROOT, RunningServer

WAIT_S = 30.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both the server and the commands have one runtime folder: there the commands find the token."""
    return {**os.environ, "ANTIPHON_CONTROL_RUNTIME_DIR": str(tmp_path_factory.mktemp("run", numbered=True) / "antiphon")}


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[RunningServer]:
    with RunningServer(shards=2, environment=environment) as running:
        yield running


async def antiphon(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "control", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WAIT_S)
    return done.returncode, done.stdout, done.stderr


async def say(client: ClientConnection, kind: str, **fields: Any) -> None:
    await client.send(json.dumps({"type": kind, **fields}))


async def hear(client: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while True:
            message: dict[str, Any] = json.loads(await client.recv())
            if message["type"] == kind:
                return message


async def enter(client: ClientConnection, name: str = "Ann") -> str:
    await say(client, "register", username=name)
    await say(client, "create_room")
    return str((await hear(client, "room_joined"))["room_id"])


def connect(server: RunningServer) -> Any:
    return websockets.connect(server.ws_url, proxy=None)


class TestCommands:
    async def test_rooms_and_shards_are_listed_with_the_token_that_the_server_drew(
        self, server: RunningServer, environment: dict[str, str]
    ) -> None:
        async with connect(server) as ann:
            room = await enter(ann)
            status, out, err = await antiphon(environment, "rooms", "--json", "--url", server.url)
            assert (status, err) == (0, "")
            (listed,) = [one for one in json.loads(out)["rooms"] if one["room_id"] == room]
            assert [person["username"] for person in listed["participants"]] == ["Ann"]
            for command, text in (("rooms", "Ann"), ("shards", "up")):
                status, out, _ = await antiphon(environment, command, "--url", server.url)
                assert status == 0
                assert text in out

    async def test_a_drained_shard_is_empty_and_its_room_goes_on_elsewhere(
        self, server: RunningServer, environment: dict[str, str]
    ) -> None:
        async with connect(server) as ann:
            room = await enter(ann)

            async def shard_of_room() -> str:
                _, out, _ = await antiphon(environment, "rooms", "--json", "--url", server.url)
                return str(next(one for one in json.loads(out)["rooms"] if one["room_id"] == room)["shard_id"])

            shard = await shard_of_room()
            status, out, err = await antiphon(environment, "drain", shard, "--deadline", "1", "--url", server.url)
            assert (status, err) == (0, "")
            assert out.endswith(f"shard {shard} is empty\n")
            assert (await hear(ann, "server_draining"))["deadline_s"] == 1
            assert (await hear(ann, "room_moved"))["reason"] == "draining"
            assert await shard_of_room() != shard
            await say(ann, "create_publisher")
            await hear(ann, "publisher_created")
            status, out, _ = await antiphon(environment, "undrain", shard, "--url", server.url)
            assert (status, out) == (0, f"shard {shard} takes rooms\n")

    async def test_one_room_is_shown_with_what_comes_in_from_its_people(self, server: RunningServer, environment: dict[str, str]) -> None:
        async with Call(server) as call:
            ann = await call.host("Ann")
            await call.guest("Bo", ann.room_id, publishes=False)

            async def people() -> dict[str, Any]:
                status, out, err = await antiphon(environment, "rooms", ann.room_id, "--json", "--url", server.url)
                assert (status, err) == (0, "")
                return {person["username"]: person["media"] for person in json.loads(out)["participants"]}

            first = await people()
            second = await people()
            assert first["Bo"] is None
            assert second["Ann"]["packets"] > first["Ann"]["packets"] > 0
            assert second["Ann"]["lost"] == 0
            assert 1_000 < second["Ann"]["bitrate_bps"] < 200_000
            assert 10 < second["Ann"]["packets_per_s"] < 200
            status, out, _ = await antiphon(environment, "rooms", ann.room_id, "--url", server.url)
            assert status == 0
            assert "Ann" in out

    async def test_mistakes_are_one_line(self, server: RunningServer, environment: dict[str, str], tmp_path: Path) -> None:
        elsewhere = {**environment, "ANTIPHON_CONTROL_RUNTIME_DIR": str(tmp_path)}
        wrong = {**environment, "ANTIPHON_CONTROL_ADMIN_TOKEN": "x" * 20}
        cases = [
            (environment, ("drain", "9", "--url", server.url), "no such shard"),
            (elsewhere, ("rooms", "--url", server.url), "no admin token"),
            (wrong, ("rooms", "--url", server.url), "not the admin token"),
            (wrong, ("rooms", "--url", "http://127.0.0.1:1"), "no server answers"),
        ]
        for environ, arguments, words in cases:
            status, out, err = await antiphon(environ, *arguments)
            assert (status, out) == (1, "")
            assert words in err
            assert err.count("\n") == 1


async def ended(server: RunningServer) -> None:
    """Returns when control has ended."""
    assert server._process is not None
    await asyncio.to_thread(server._process.wait, WAIT_S)


class TestSigterm:
    async def test_people_are_told_and_have_the_time_that_was_promised(self) -> None:
        environment = {**os.environ, "ANTIPHON_CONTROL_DRAIN_DEADLINE_S": "2"}
        async with RunningServer(shards=1, environment=environment) as server, connect(server) as ann:
            await enter(ann)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            assert (await hear(ann, "server_draining"))["deadline_s"] == 2
            await say(ann, "ping")
            await hear(ann, "pong")
            with pytest.raises(websockets.ConnectionClosed):
                await hear(ann, "room_left")
            assert ann.close_code == 1001
            assert time.monotonic() - began >= 2
            await ended(server)

    async def test_it_ends_as_soon_as_the_last_one_has_left(self) -> None:
        environment = {**os.environ, "ANTIPHON_CONTROL_DRAIN_DEADLINE_S": "600"}
        async with RunningServer(shards=1, environment=environment) as server, connect(server) as ann:
            await enter(ann)
            os.kill(server.pid, signal.SIGTERM)
            await hear(ann, "server_draining")
            await say(ann, "leave_room")
            await ended(server)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
    async def test_ctrl_c_waits_for_nobody(self, number: signal.Signals) -> None:
        environment = {**os.environ, "ANTIPHON_CONTROL_DRAIN_DEADLINE_S": "600"}
        async with RunningServer(shards=1, environment=environment) as server, connect(server) as ann:
            await enter(ann)
            os.kill(server.pid, number)
            with pytest.raises(websockets.ConnectionClosed):
                await hear(ann, "room_left")
            assert ann.close_code == 1001
            await ended(server)
