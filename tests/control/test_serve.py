"""``antiphon serve`` as a user starts it: real processes, real shards, free ports only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

import control

ROOT = Path(control.__file__).parent.parent
START_S = 100  # on a machine that is busy with other things
LOOPBACK = ("--port", "0", "--udp-port", "0", "--host", "127.0.0.1", "--advertise", "127.0.0.1")


async def start(*arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "control",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )


async def finished(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command that ends by itself."""
    process = await start(*arguments, **environ)
    out, err = await asyncio.wait_for(process.communicate(), START_S)
    return process.returncode or 0, out.decode(), err.decode()


class Served:
    """A running ``antiphon serve``; ``pids``: its shards, from their Hello in the log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.url = ""
        self._log = asyncio.create_task(self._read_log())
        self._lines: list[dict[str, Any]] = []
        self._grown = asyncio.Event()

    async def opened(self) -> None:
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.out.append(line.rstrip("\n"))
            if found := re.fullmatch(r"Open (http://\S+) in a browser", self.out[-1]):
                self.url = found[1]
                return
        await self._log
        raise AssertionError(f"did not start: {self.out} {self._lines}")

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            with contextlib.suppress(ValueError):
                self._lines.append(json.loads(line))
            self._grown.set()

    async def logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The first ``count`` log lines of an event."""
        async with asyncio.timeout(START_S):
            while len(found := [line for line in self._lines if line.get("event") == event]) < count:
                self._grown.clear()
                await self._grown.wait()
        return found

    async def get(self, path: str) -> str:
        def read() -> str:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(self.url + path) as response:
                return str(response.read().decode())

        return await asyncio.to_thread(read)

    def connect(self) -> Any:
        return websockets.connect(self.url.replace("http://", "ws://") + "/ws", proxy=None)

    async def end(self, number: signal.Signals) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        status = await asyncio.wait_for(self.process.wait(), START_S)
        await self._log
        assert self.process.stdout is not None
        await self.process.stdout.read()  # to its end: a shard that outlives control holds it too
        return status


@contextlib.asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[Served]:
    served = Served(await start("serve", *LOOPBACK, *arguments))
    try:
        await asyncio.wait_for(served.opened(), START_S)
        yield served
    finally:
        await served.end(signal.SIGTERM)


async def say(client: ClientConnection, kind: str, **fields: Any) -> None:
    await client.send(json.dumps({"type": kind, **fields}))


async def hear(client: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(START_S):
        while True:
            message: dict[str, Any] = json.loads(await client.recv())
            if message["type"] == kind:
                return message


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie, or one that is just being taken by its parent, does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class TestCommandLine:
    async def test_help_names_every_command(self) -> None:
        status, out, _ = await finished("--help")
        assert status == 0
        for word in ("serve", "shard", "loadtest", "--version"):
            assert word in out

    async def test_help_of_serve_names_every_flag(self) -> None:
        status, out, _ = await finished("serve", "--help")
        assert status == 0
        for flag in ("--config FILE", "--host", "--port", "--shards N|auto", "--udp-port", "--advertise ADDR[,ADDR]"):
            assert flag in out

    async def test_version(self) -> None:
        assert await finished("--version") == (0, f"antiphon, version {control.__version__}\n", "")

    async def test_shard_has_its_own_help(self) -> None:
        status, out, _ = await finished("shard", "--help")
        assert status == 0
        assert "--shard-id" in out

    async def test_every_mistake_is_one_line_and_nothing_starts(self, tmp_path: Path) -> None:
        file = tmp_path / "antiphon.toml"
        file.write_text("[control]\nprot = 1\n[shards]\n")
        status, out, err = await finished("serve", "--config", str(file), "--port", "x", ANTIPHON_SHARDS="some")
        assert (status, out) == (2, "")
        lines = err.splitlines()
        assert len(lines) == 4
        assert all(line.startswith("antiphon: ") for line in lines)

    async def test_a_mistake_in_the_shards_section_is_said_once_by_the_shard(self, tmp_path: Path) -> None:
        file = tmp_path / "antiphon.toml"
        file.write_text("[shard]\nheartbeat = 1\n")
        status, out, err = await finished("serve", *LOOPBACK, "--shards", "2", "--config", str(file))
        assert (status, out) == (2, "")
        (line,) = err.splitlines()
        assert "heartbeat" in line


class TestPortsInUse:
    async def test_the_http_port_is_one_line_that_names_the_flag(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            status, out, err = await finished("serve", "--host", "127.0.0.1", "--port", str(port))
        assert (status, out) == (2, "")
        assert err == f"antiphon: TCP port {port} on 127.0.0.1 is already in use; choose another one with --port\n"

    async def test_a_shards_udp_port_is_one_line_that_names_the_flag(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            arguments = ("--port", "0", "--udp-port", str(port), "--host", "127.0.0.1", "--advertise", "127.0.0.1")
            status, out, err = await finished("serve", *arguments)
        assert (status, out) == (2, "")
        assert err == f"antiphon: UDP port {port} is already in use; choose other ports with --udp-port\n"

    async def test_an_address_that_is_not_this_machines_is_one_line(self) -> None:
        status, _, err = await finished("serve", "--host", "203.0.113.1", "--port", "0")
        assert status == 2
        assert len(err.splitlines()) == 1
        assert "--host" in err


class TestOpenToTheNetwork:
    @pytest.mark.parametrize("command", ["serve", "check-config"])
    async def test_must_be_said_or_tokens_be_required(self, command: str) -> None:
        status, out, err = await finished(command, "--host", "0.0.0.0", "--port", "0")
        assert (status, out) == (2, "")
        assert err.startswith("antiphon: on 0.0.0.0 anyone on the network could make and join rooms: allow it with --open, or")
        assert len(err.splitlines()) == 1

    async def test_said_it_starts(self) -> None:
        arguments = ("--host", "0.0.0.0", "--open", "--port", "0", "--udp-port", "0", "--shards", "0", "--advertise", "127.0.0.1")
        served = Served(await start("serve", *arguments))
        try:
            await asyncio.wait_for(served.opened(), START_S)
        finally:
            await served.end(signal.SIGTERM)


class TestFileDescriptors:
    async def test_as_many_as_the_system_allows_and_too_few_are_said(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))  # what the server is started with
        try:
            process = await start("serve", *LOOPBACK, "--shards", "0", ANTIPHON_CONTROL_SOCKETS="1000000")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        served = Served(process)
        try:
            await asyncio.wait_for(served.opened(), START_S)
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (limits[1], limits[1])
            if limits[1] != resource.RLIM_INFINITY and limits[1] < 1_000_000:
                (line,) = await served.logged("too few file descriptors for the configured number of sockets")
                assert line["allowed"] == limits[1]
        finally:
            await served.end(signal.SIGTERM)


def free_port(kind: socket.SocketKind) -> int:
    """A port that was free a moment ago: two starts on the same one need its number."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestAfterControlWasKilled:
    @staticmethod
    @contextlib.asynccontextmanager
    async def killed(tmp_path: Path, udp_port: int) -> AsyncIterator[tuple[list[str], int, dict[str, Any]]]:
        """Control is killed while Ann is in a room: how it was started, the process of its shard, what Ann was told when she registered."""
        file = tmp_path / "antiphon.toml"
        file.write_text(f'[control]\nruntime_dir = "{tmp_path / "run"}"\n')
        arguments = ["--port", str(free_port(socket.SOCK_STREAM)), "--udp-port", str(udp_port), "--shards", "1", "--config", str(file)]
        async with serving(*arguments) as served:
            (left,) = await served.logged("shard up")
            async with served.connect() as client:
                await say(client, "register", username="Ann")
                registered = await hear(client, "registered")
                await say(client, "create_room")
                await hear(client, "room_joined")
                served.process.kill()
                with pytest.raises(websockets.ConnectionClosed):
                    await hear(client, "nothing")  # not process.wait: that waits for the shard, which holds the same pipes
            assert alive(left["pid"])
            yield arguments, left["pid"], registered
        # Its end is that of its standard error, which the test has read.
        assert not alive(left["pid"])

    @staticmethod
    def configure(arguments: list[str], more: str) -> None:
        file = Path(arguments[-1])
        file.write_text(file.read_text() + more)

    @pytest.mark.parametrize("udp_ports", ["same", "any"])
    async def test_the_next_one_goes_on_with_its_shards_and_rooms(self, tmp_path: Path, udp_ports: str) -> None:
        udp_port = free_port(socket.SOCK_DGRAM) if udp_ports == "same" else 0
        async with self.killed(tmp_path, udp_port) as (arguments, pid, ann), serving(*arguments) as served:
            (up,) = await served.logged("shard up")
            assert (up["pid"], up["entries"]) == (pid, 1)
            async with served.connect() as client:
                await say(client, "register", username="Ann", resume_token=ann["resume_token"])
                assert (await hear(client, "registered"))["user_id"] == ann["user_id"]
                await hear(client, "room_joined")
                await say(client, "create_publisher")
                await hear(client, "publisher_created")
                os.kill(pid, signal.SIGKILL)  # it is watched like any other
                assert (await hear(client, "room_moved"))["reason"] == "shard_lost"
            assert (await served.logged("shard up", 2))[1]["pid"] != pid

    async def test_a_shard_of_another_configuration_ends_and_one_starts_in_its_place(self, tmp_path: Path) -> None:
        async with self.killed(tmp_path, free_port(socket.SOCK_DGRAM)) as (arguments, pid, ann):
            self.configure(arguments, "[shard]\nmax_tracks = 7\n")
            async with serving(*arguments) as served, served.connect() as client:
                (line,) = await served.logged("shard of an earlier control does not fit and ends")
                assert line["pid"] == pid
                assert (await served.logged("shard up"))[0]["pid"] != pid
                await say(client, "register", username="Ann", resume_token=ann["resume_token"])
                assert not (await hear(client, "registered"))["resumed"]
                await say(client, "create_room")
                await hear(client, "room_joined")

    async def test_a_shard_that_says_nothing_is_killed(self, tmp_path: Path) -> None:
        async with self.killed(tmp_path, free_port(socket.SOCK_DGRAM)) as (arguments, pid, _):
            os.kill(pid, signal.SIGSTOP)
            async with serving(*arguments) as served:
                await served.logged("shard of an earlier control says nothing and is killed")
                assert (await served.logged("shard up"))[0]["pid"] != pid

    async def test_the_shard_that_a_control_had_more_of_ends(self, tmp_path: Path) -> None:
        async with self.killed(tmp_path, 0) as (arguments, pid, _):
            arguments[arguments.index("--shards") + 1] = "0"
            async with serving(*arguments) as served:
                (line,) = await served.logged("shard of an earlier control does not fit and ends")
                assert line["pid"] == pid

    async def test_a_port_that_somebody_else_holds_is_still_one_line(self, tmp_path: Path) -> None:
        runtime = tmp_path / "run"
        runtime.mkdir(mode=0o700)
        port = free_port(socket.SOCK_STREAM)
        (runtime / f"control-127.0.0.1-{port}.sock").touch()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            udp_port = taken.getsockname()[1]
            arguments = ("--host", "127.0.0.1", "--advertise", "127.0.0.1", "--port", str(port), "--udp-port", str(udp_port))
            status, out, err = await finished("serve", *arguments, ANTIPHON_CONTROL_RUNTIME_DIR=str(runtime))
        assert (status, out) == (2, "")
        assert err == f"antiphon: UDP port {udp_port} is already in use; choose other ports with --udp-port\n"


class TestServing:
    async def test_says_where_to_go_and_ctrl_c_ends_every_process_and_removes_its_files(self, tmp_path: Path) -> None:
        file, folder = tmp_path / "antiphon.toml", tmp_path / "run"
        file.write_text(f'[control]\nruntime_dir = "{folder}"\n')
        async with serving("--shards", "2", "--config", str(file)) as served:
            assert len(list(folder.iterdir())) == 2, "the shards' socket and the drawn admin token"
            assert any(re.fullmatch(r"2 shards on UDP ports \d+, \d+", line) for line in served.out)
            assert json.loads(await served.get("/healthz"))["shards"] == {"total": 2, "up": 2}
            assert "<html" in await served.get("/")
            pids = [line["pid"] for line in await served.logged("shard up", 2)]
            async with served.connect() as client:
                await say(client, "register", username="Ann")
                await say(client, "create_room")
                await hear(client, "room_joined")
                assert await served.end(signal.SIGINT) == 0
                with pytest.raises(websockets.ConnectionClosed) as caught:
                    await hear(client, "nothing")
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
            assert not [pid for pid in pids if alive(pid)]
            assert list(folder.iterdir()) == []

    async def test_a_killed_shard_is_replaced_and_its_rooms_are_placed_again(self) -> None:
        async with serving("--shards", "1") as served, served.connect() as client:
            (first,) = await served.logged("shard up")
            await say(client, "register", username="Ann")
            await say(client, "create_room")
            await hear(client, "room_joined")
            os.kill(first["pid"], signal.SIGKILL)
            assert (await hear(client, "room_moved"))["reason"] == "shard_lost"
            await say(client, "create_publisher")
            assert "a=ice-lite" in (await hear(client, "publisher_created"))["sdp"]
            up = await served.logged("shard up", 2)
            assert up[1]["pid"] != first["pid"]
            assert "antiphon_shard_restarts_total 1.0" in await served.get("/metrics")

    async def test_a_stopped_shard_is_treated_as_lost(self, tmp_path: Path) -> None:
        file = tmp_path / "antiphon.toml"
        file.write_text("[control]\nheartbeat_timeout_ms = 3000\n")
        async with serving("--shards", "1", "--config", str(file)) as served, served.connect() as client:
            (first,) = await served.logged("shard up")
            await say(client, "register", username="Ann")
            await say(client, "create_room")
            await hear(client, "room_joined")
            os.kill(first["pid"], signal.SIGSTOP)
            await hear(client, "room_moved")
            assert not alive(first["pid"])
