"""``antiphon loadtest`` as an operator runs it: against a real server with two shards, and against what is none."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loadtest.__main__ import main
from loadtest.participant import Target
from loadtest.run import Plan, run
from loadtest.scenario import Fault, Quality, Scenario, Talk, changed
from tests.scenarios.processes import shard_pid
from tests.server import ROOT, RunningServer

LOADTEST = [sys.executable, "-m", "loadtest"]
PATIENT = ("--max-latency", "2000")
"""A busy machine is slow, and that is not what these tests are about."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(shards=2) as running:
        yield running


def loadtest(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LOADTEST, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)


def test_two_calls_of_both_kinds_on_two_shards_lose_nothing(server: RunningServer, tmp_path: Path) -> None:
    """The smallest scenario, once in each of two rooms."""
    json_file, html_file = tmp_path / "report.json", tmp_path / "report.html"
    files = ("--json", str(json_file), "--report", str(html_file))
    targets = (server.url, server.url.removeprefix("http://"))  # two names of one server, and so a room on each
    done = loadtest(*targets, "--scenario", "call", "--rooms", "2", "--listeners", "1", "--duration", "3", *PATIENT, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing was lost" in done.stdout
    found = json.loads(json_file.read_text())
    assert found["setup"]["attempted"] == found["setup"]["succeeded"] == 8
    assert found["hearing"]["heard"] == found["hearing"]["expected"] == 18
    assert found["people"] == {"light_publishers": 2, "aiortc_publishers": 4, "listeners": 2}
    for media in (found["media"], *found["media_by_kind"].values()):
        assert media["expected_packets"] == media["received_packets"] > 100
        assert media["duplicate_packets"] == 0
    assert set(found["media_by_kind"]) == {"light", "aiortc"}
    assert [room["target"] for room in found["rooms"]] == found["targets"] == list(targets)
    of_server, _ = found["server"]
    assert of_server["reachable"]
    assert all(shard["packets_in_per_s"] > 0 and shard["forwarding_cpu"] is not None for shard in of_server["shards"])
    assert len(of_server["shards"]) == 2
    assert html_file.read_text().startswith("<!doctype html>")
    server.wait_tables_empty()


async def test_people_who_come_and_go_and_mute_lose_nothing(server: RunningServer) -> None:
    scenario = Scenario(rooms=2, publishers=2, listeners=1, duration_s=4, quality=Quality(max_latency_p99_ms=2000))
    scenario = changed(scenario, {"churn.per_minute": 60.0, "churn.away_s": 0.5, "mute.per_minute": 60.0, "mute.muted_s": 0.5})
    report = await run(Plan(scenario, [Target(server.url)]))
    assert report.failures == ()
    assert report.is_good, report.quality
    assert report.setup.attempted > scenario.participants
    assert report.gaps.rejoin.count > 0
    assert report.gaps.unmute.count > 0
    assert report.media.muted_packets == 0
    assert report.media.received_packets == report.media.expected_packets


async def test_what_a_cut_and_a_dead_shard_cost_is_told(server: RunningServer) -> None:
    pid = shard_pid(server.pid, "0")
    faults = (Fault(kind="cut_listeners", at_s=0.5, share=1.0), Fault(kind="kill_shard", at_s=1.5, pid=pid))
    report = await run(Plan(Scenario(rooms=2, publishers=2, duration_s=4, talk=Talk(always=True), faults=faults), [Target(server.url)]))
    cut, killed = report.faults
    assert cut.what == "4 listeners cut off"
    assert killed.what == f"shard 0 (process {pid}) killed"
    assert 1 <= len(killed.listener_silence_s) <= 2  # those of one room; that of the other shard goes on
    assert killed.silence_max_s is not None
    assert 0.06 <= killed.silence_max_s < 5
    assert killed.lost_packets > 0
    assert not report.is_good


def here(*arguments: str) -> Result:
    """The same command in this process, which is faster, for what ends at once."""
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


def test_more_sockets_than_allowed_is_one_line() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        result = here("--peers", "light:2", "--rooms", "40000")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert result.exit_code == 2
    assert f"the system allows {limits[1]}" in result.stderr


def test_nobody_there_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    result = here(f"http://127.0.0.1:{port}")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in result.stderr


def test_web_server_without_signaling_is_one_line(server: RunningServer) -> None:
    result = here(f"{server.url}/nowhere")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "is not an Antiphon server" in result.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--rooms", "0"),
        ("--duration", "soon"),
        ("--publishers", "0"),
        ("--colour", "blue"),
        ("--peers", "browsers"),
        ("--cut", "everybody"),
        ("--cut", "150%@1"),
        ("--kill-shard", "0"),
        ("--scenario", "nonsense"),
        ("--media", "nonsense"),
    ],
)
def test_impossible_flags_are_refused(flags: tuple[str, str]) -> None:
    result = here(*flags)
    assert result.exit_code == 2
    assert result.stderr


def test_ctrl_c_ends_with_the_figures_so_far(server: RunningServer) -> None:
    command = [*LOADTEST, server.url, "--duration", "600", *PATIENT]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:  # the load tester's own word: all are in and hear each other
            if line.startswith("talking:"):
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert "Figures until interrupted" in output
    assert "2 of 2" in output
    assert "Traceback" not in errors
    assert process.returncode == 0, output
    server.wait_tables_empty()


SECRET = "a secret of this test, of more than 32 bytes"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningServer]:
    with RunningServer(shards=1, environment={**os.environ, "ANTIPHON_CONTROL_ACCESS_SECRET": SECRET}) as running:
        yield running


class TestTokens:
    def test_each_participant_gets_one(self, guarded: RunningServer, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text(SECRET + "\n")
        result = here(guarded.url, "--peers", "light:2", "--duration", "1", "--token-secret-file", str(secret), *PATIENT)
        assert result.exit_code == 0, result.output

    @pytest.mark.parametrize("flags", [(), ("--token", "nonsense")])
    def test_a_refused_one_is_one_line(self, guarded: RunningServer, flags: tuple[str, ...]) -> None:
        result = here(guarded.url, *flags)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert "unauthorized" in result.stderr

    def test_a_short_secret_is_one_line(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("not long")
        result = here("--token-secret-file", str(secret))
        assert result.exit_code == 2
        assert "shorter than 32 bytes" in result.stderr
        assert "not long" not in result.stderr


class TestTls:
    @pytest.fixture(scope="class")
    @classmethod
    def secure(cls) -> Iterator[RunningServer]:
        with RunningServer(shards=1, args=["--dev-tls"]) as running:
            yield running

    def test_a_certificate_that_is_not_trusted_is_one_line(self, secure: RunningServer) -> None:
        result = here(secure.url)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert "not to be trusted" in result.stderr

    def test_any_is_trusted_on_request(self, secure: RunningServer, tmp_path: Path) -> None:
        file = tmp_path / "report.json"
        result = here(secure.url, "--insecure", "--peers", "light:2", "--duration", "1", "--json", str(file), *PATIENT)
        assert result.exit_code == 0, result.output
        assert json.loads(file.read_text())["targets"][0].startswith("https://")
