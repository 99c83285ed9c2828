"""``antiphon loadtest`` as an operator runs it: against a real server with two shards, and against what is none."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from loadtest.scenario import Progress, Run, Scenario
from tests.scenarios.processes import shard_pid
from tests.server import ROOT, RunningServer

LOADTEST = [sys.executable, "-m", "loadtest"]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(shards=2) as running:
        yield running


def loadtest(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LOADTEST, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def test_two_rooms_on_two_shards_lose_nothing(server: RunningServer) -> None:
    done = loadtest(server.url, "--rooms", "2", "--publishers", "2", "--listeners", "1", "--duration", "2", "--ramp", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6" in done.stdout  # participants
    assert "8 of 8" in done.stdout  # streams: each publisher is heard by the other one and by the listener
    assert "Nothing was lost" in done.stdout
    server.wait_tables_empty()


def test_nobody_there_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    done = loadtest(f"http://127.0.0.1:{port}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stdout


def test_web_server_without_signaling_is_one_line(server: RunningServer) -> None:
    done = loadtest(f"{server.url}/nowhere")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is not an Antiphon server" in done.stderr


@pytest.mark.parametrize("flags", [("--rooms", "0"), ("--duration", "soon"), ("--publishers", "0"), ("--colour", "blue")])
def test_impossible_flags_are_refused(flags: tuple[str, str]) -> None:
    done = loadtest(*flags)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def people(server: RunningServer) -> float:
    return server.metrics()["antiphon_participants"]


def test_ctrl_c_ends_with_the_figures_so_far(server: RunningServer) -> None:
    command = [*LOADTEST, server.url, "--duration", "600"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
        server.wait(lambda: people(server) == 2, 20, lambda: f"{people(server)} are in a room")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert "Figures until interrupted" in output
    assert "2 of 2" in output
    assert "Traceback" not in errors
    assert process.returncode == 0
    server.wait_tables_empty()


async def test_shard_that_dies_during_a_run_is_not_hidden(server: RunningServer) -> None:
    """The figures of a run in which everybody was cut off for a moment are not those of a good one."""
    talking = asyncio.Event()

    def note(progress: Progress) -> None:
        if progress.phase == "talking":
            talking.set()

    run = Run(Scenario(server.url, rooms=2, duration_s=4), note)
    execution = asyncio.create_task(run.execute())
    await talking.wait()
    for shard in ("0", "1"):
        os.kill(shard_pid(server.pid, shard), signal.SIGKILL)
    assert not (await execution).is_good
