"""The server as a set of processes: it starts or says in one line why not, it ends as a whole, and it survives a dead shard."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest

from loadtest.peer import Peer
from tests.scenarios.call import Call, all_hear_all
from tests.scenarios.processes import children, is_alive, shard_pid
from tests.server import ROOT, RunningServer

SERVE = [sys.executable, "-m", "control", "serve", "--host", "127.0.0.1", "--advertise", "127.0.0.1", "--shards", "2"]
END_S = 10.0


def serve_until_open() -> subprocess.Popen[str]:
    """A server of its own that has said where to open it. Its log goes nowhere."""
    command = [*SERVE, "--port", "0", "--udp-port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Open http://"):
            return process
    raise AssertionError(f"the server ended with status {process.wait()}")


def wait_gone(pids: list[int]) -> None:
    RunningServer.wait(lambda: not any(map(is_alive, pids)), END_S, lambda: f"still alive: {[pid for pid in pids if is_alive(pid)]}")


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
    def test_one_signal_to_control_ends_every_process_in_order(self, number: signal.Signals) -> None:
        with serve_until_open() as process:
            pids = children(process.pid)
            assert len(pids) == 2
            process.send_signal(number)
            assert process.wait(END_S) == 0
            wait_gone(pids)

    def test_ctrl_c_while_people_talk_ends_as_fast(self) -> None:
        async def talk_and_stop(server: RunningServer) -> float:
            ann = await Peer(server.url, "Ann").connect()
            room = await ann.create_room()
            await ann.publish()
            bo = await Peer(server.url, "Bo").connect()
            await bo.join_room(room)
            await bo.hear(ann)
            start = time.monotonic()
            await asyncio.to_thread(server.stop, signal.SIGINT)
            took_s = time.monotonic() - start
            assert (await bo.signaling.wait_closed()).code == 1001
            await asyncio.gather(ann.close(), bo.close())
            return took_s

        server = RunningServer(shards=2)
        server.start()
        assert asyncio.run(talk_and_stop(server)) < END_S / 2


class TestStarting:
    def refused(self, *flags: str) -> str:
        """What a start that must fail says; it must be one line on stderr, and status 2."""
        done = subprocess.run([*SERVE, *flags], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    def test_tcp_port_in_use_is_one_line_that_names_it(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert f"port {port} " in self.refused("--port", str(port), "--udp-port", "0")

    def test_udp_port_in_use_is_one_line_that_names_it(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            assert f"UDP port {port} " in self.refused("--port", "0", "--udp-port", str(port), "--shards", "1")

    def test_second_server_on_the_same_ports_does_not_disturb_the_first(self, server: RunningServer) -> None:
        before = server.metrics()["antiphon_websockets"]
        assert server.url.rsplit(":", 1)[1] in self.refused("--port", server.url.rsplit(":", 1)[1], "--udp-port", "0")
        assert server.metrics()["antiphon_websockets"] == before


class TestShardDies:
    @pytest.fixture
    async def call(self, server: RunningServer) -> AsyncIterator[Call]:
        async with Call(server) as people:
            yield people

    async def wait_both_up(self, call: Call) -> None:
        for shard in ("0", "1"):
            await call.wait_metric(f'antiphon_shard_up{{shard="{shard}"}}', lambda up: up == 1)

    async def test_killed_shard_costs_its_rooms_seconds_and_the_other_rooms_nothing(self, call: Call) -> None:
        await self.wait_both_up(call)
        ann, bo = await call.pair()
        theirs = await call.wait_shard_with_rooms()
        cy = await call.host("Cy")
        dee = await call.guest("Dee", cy.room_id)
        await all_hear_all(cy, dee)
        unharmed = await dee.hear(cy)

        os.kill(shard_pid(call.server.pid, theirs), signal.SIGKILL)
        for peer in (ann, bo):
            await peer.signaling.expect("room_moved", timeout_s=5)
            await peer.signaling.expect("audio_published", after=self.position(peer, "room_moved"))
        await all_hear_all(ann, bo)

        assert await dee.hear(cy) is unharmed
        assert (await unharmed.reception()).lost == 0
        await self.wait_both_up(call)
        assert "user_left" not in {message["type"] for message in ann.signaling.received}

    async def test_only_shard_killed_comes_back_and_takes_the_room_again(self) -> None:
        with RunningServer(shards=1) as server:
            async with Call(server) as call:
                ann, bo = await call.pair()
                os.kill(shard_pid(server.pid, "0"), signal.SIGKILL)
                for peer in (ann, bo):
                    await peer.signaling.expect("room_moved", timeout_s=15)
                    await peer.signaling.expect("audio_published", after=self.position(peer, "room_moved"))
                await all_hear_all(ann, bo)

    @staticmethod
    def position(peer: Peer, type: str) -> int:
        return next(n for n, message in enumerate(peer.signaling.received) if message["type"] == type)
