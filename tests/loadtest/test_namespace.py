"""``antiphon loadtest --netns``: a server in a namespace of the test's own, the load tester in one behind a bad link to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadtest import bad_link
from loadtest.__main__ import main
from loadtest.generator import link_problems
from loadtest.html import page
from loadtest.namespace import TUN
from loadtest.report import LinkDirection, LinkFigures
from loadtest.table import rows
from tests.loadtest.samples import report
from tests.server import ROOT, RunningServer

ADDRESS = "10.213.0.1"
LOSS, DELAY_MS = 0.1, 25.0
SCENARIO = """
publishers = 3
aiortc_publishers = 1
duration_s = 3
[talk]
always = true
[network]
delay_ms = 25
[quality]
max_loss_ratio = 0.5
max_latency_p99_ms = 2000
min_setup_ratio = 0.5
"""
GONE_S = 5.0
"""How long the kernel may take to remove a namespace that nobody is in any more."""


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Place:
    """A namespace with a server in it."""

    prefix: tuple[str, ...]
    server: RunningServer

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [*self.prefix, sys.executable, "-m", "loadtest", self.server.url, "--netns", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    def devices(self) -> list[str]:
        """Of its links to load testers."""
        links = json.loads(subprocess.run([*self.prefix, "ip", "-json", "link"], check=True, capture_output=True, text=True).stdout)
        return [link["ifname"] for link in links if link["ifname"].startswith("antiphon")]


def what_is_missing() -> str:
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    if shutil.which("ip") is None:
        return "there is no command ip (iproute2)"
    return "" if TUN.exists() else f"there is no {TUN}"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    missing = what_is_missing()
    if missing and os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(missing)
    elif missing:
        pytest.skip(missing)
    name = f"antiphon-test-{os.getpid()}"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "address", "add", f"{ADDRESS}/32", "dev", "lo")
        prefix = ("ip", "netns", "exec", name)
        with RunningServer(shards=1, args=["--host", ADDRESS, "--open", "--advertise", ADDRESS], prefix=prefix) as server:
            yield Place(prefix, server)
    finally:
        ip("netns", "delete", name)


def namespace_of(pid: int) -> str:
    """Its number in the kernel; empty for a process that is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def wait_for(place: Place, process: subprocess.Popen[str], phase: str) -> list[int]:
    """Read until the run is there. The processes that hold its namespace: the load tester, and the link."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"{phase}:"):
            assert namespace_of(process.pid) not in ("", namespace_of(place.server.pid), namespace_of(os.getpid()))
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert len(children) == 1
            return [process.pid, int(children[0])]
    raise AssertionError(f"the load tester ended: {process.communicate()}")


@dataclass(frozen=True)
class Run:
    """A load test that goes on while other tests do."""

    process: subprocess.Popen[str]
    holders: list[int]
    json_file: Path


@pytest.fixture(scope="module")
def lossy(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """What is lost on the way in comes again after whole seconds: that is waited for while the other tests run."""
    files = tmp_path_factory.mktemp("lossy")
    (files / "bad.toml").write_text(SCENARIO)
    json_file = files / "report.json"
    with place.start("--scenario", str(files / "bad.toml"), "--loss", str(LOSS), "--json", str(json_file)) as process:
        try:
            yield Run(process, wait_for(place, process, "joining"), json_file)
        finally:
            process.kill()  # nothing, where it has ended


def assert_gone(place: Place, holders: list[int], others: list[str]) -> None:
    """A namespace without a name is gone when nobody holds it, and then so are its devices: only those of ``others`` are left. (Its
    number says nothing: the kernel gives it to the next one, which may be a browser's.)"""

    def leftovers() -> list[str]:
        processes = [f"process {pid}" for pid in holders if namespace_of(pid)]
        return processes + [device for device in place.devices() if device not in others]

    end = time.monotonic() + GONE_S
    while left := leftovers():
        assert time.monotonic() < end, left
        time.sleep(0.05)


def test_nothing_is_left_after_ctrl_c(place: Place, lossy: Run) -> None:
    others = place.devices()
    with place.start("--peers", "light:2", "--duration", "600", "--max-latency", "2000") as process:
        holders = wait_for(place, process, "talking")
        assert place.devices()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, ""), output
    assert "Figures until interrupted" in output
    assert_gone(place, holders, others)


def test_nothing_is_left_after_a_kill(place: Place, lossy: Run) -> None:
    others = place.devices()
    with place.start("--peers", "light:2", "--duration", "600") as process:
        holders = wait_for(place, process, "talking")
        assert place.devices()
        process.kill()
    assert_gone(place, holders, others)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http://127.0.0.1:8080",), "127.0.0.1 is loopback"),
        (("http://localhost:8080",), "localhost is a name"),
        (("http://198.51.100.1:8080",), "198.51.100.1 is not an address of this host"),
        (("http://[::1]:8080",), "::1 is a name, a network or no IPv4 address"),
    ],
)
def test_what_cannot_be_reached_from_there_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, [*arguments, "--netns"], catch_exceptions=False)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr
    assert "give an IPv4 address of this host" in result.stderr


def refusal(place: Place, *command: str) -> str:
    """What the load tester says when ``command`` has taken something from it."""
    done = subprocess.run(
        [*place.prefix, *command, sys.executable, "-m", "loadtest", place.server.url, "--netns"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_without_the_command_ip_one_line_says_so(place: Place) -> None:
    assert "apt-get install iproute2" in refusal(place, "env", "PATH=/nowhere")


def test_without_tun_one_line_says_so(place: Place) -> None:
    hidden = ("ip", "netns", "exec", place.prefix[-1], "sh", "-c", f'mount -t tmpfs none {TUN.parent} && exec "$@"', "sh")
    assert f"mknod {TUN} c 10 200" in refusal(place, *hidden)  # in the mounts of its own that ip netns exec gives


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
class TestLess:
    def test_than_root_is_one_line(self, place: Place) -> None:
        assert "run it as root" in refusal(
            place, "setpriv", "--reuid", "65534", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"
        )

    def test_than_all_of_roots_capabilities_is_one_line(self, place: Place) -> None:
        assert "root needs CAP_SYS_ADMIN" in refusal(place, "setpriv", "--bounding-set", "-sys_admin")


def test_the_report_finds_what_the_link_did(place: Place, lossy: Run) -> None:
    output, errors = lossy.process.communicate(timeout=60)
    assert lossy.process.returncode in (0, 1), errors  # whether everybody got in within the time is chance
    assert "Bad link: asked for, each way" in output
    assert_gone(place, lossy.holders, [])

    found: dict[str, Any] = json.loads(lossy.json_file.read_text())
    link = found["link"]
    assert (link["loss_ratio"], link["delay_ms"]) == (LOSS, DELAY_MS)
    come_through = 1.0
    for way in (link["to_server"], link["from_server"]):
        assert way["overflowed"] == 0
        assert way["packets"] > way["media_packets"] > 500
        # Chance: within five standard deviations.
        assert way["dropped"] / way["packets"] == pytest.approx(LOSS, abs=5 * (LOSS * (1 - LOSS) / way["packets"]) ** 0.5)
        come_through *= 1 - way["media_dropped"] / way["media_packets"]
    media = found["media"]
    assert media["expected_packets"] > 1500
    assert media["loss_ratio"] == pytest.approx(1 - come_through, abs=0.02)
    assert 2 * DELAY_MS <= media["latency_p50_ms"] < 2 * DELAY_MS + 10  # there and back again
    for kind in ("light", "aiortc"):
        assert found["media_by_kind"][kind]["latency_p50_ms"] >= 2 * DELAY_MS
    # Signaling crosses the link too: a question and its answer.
    assert found["setup"]["steps"]["register"]["p50_ms"] >= 2 * DELAY_MS


class TestDirection:
    PACKET = bytes([0x45, *[0] * 8, bad_link.UDP, *[0] * 18, 0x80, 111, *[0] * 10])

    def test_a_packet_goes_when_its_delay_is_over_and_in_order(self) -> None:
        way = bad_link.Direction(0.0, 0.5, seed=1)
        way.take(self.PACKET, 10.0)
        way.take(self.PACKET[:20], 10.1)
        assert list(way.due(10.4)) == []
        assert way.next_at == 10.5
        assert [packet for _, packet in way.due(10.7)] == [self.PACKET, self.PACKET[:20]]
        assert way.next_at == float("inf")

    def test_the_same_seed_loses_the_same(self) -> None:
        def lost() -> list[int]:
            way = bad_link.Direction(0.3, 0.0, seed=7)
            return [way.counts.dropped for _ in range(100) if way.take(self.PACKET, 0.0) is None]

        assert lost() == lost()
        assert 15 < lost()[-1] < 45

    def test_it_holds_no_more_than_its_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bad_link, "MAX_QUEUED", 3)
        way = bad_link.Direction(0.0, 1.0, seed=1)
        for _ in range(5):
            way.take(self.PACKET, 0.0)
        assert (way.counts.packets, way.counts.overflowed, len(list(way.due(2.0)))) == (5, 2, 3)

    @pytest.mark.parametrize(
        ("first", "second", "counted"),
        [(0x80, 111, True), (0x90, 0x80 | 111, True), (0x80, 200, False), (0, 1, False), (22, 254, False)],
        ids=["RTP", "RTP with extension and marker", "RTCP", "STUN", "DTLS"],
    )
    def test_only_rtp_is_media(self, first: int, second: int, counted: bool) -> None:
        assert bad_link.is_media(self.PACKET[:28] + bytes([first, second, *[0] * 10])) is counted

    def test_other_protocols_and_pieces_are_no_media(self) -> None:
        assert not bad_link.is_media(self.PACKET[:9] + b"\x06" + self.PACKET[10:])
        assert not bad_link.is_media(self.PACKET[:30])
        assert not bad_link.is_ipv4(b"\x60" + self.PACKET[1:])
        assert not bad_link.is_ipv4(b"")


def test_lateness_is_right_within_a_step() -> None:
    lateness = bad_link.Lateness()
    assert lateness.p99_and_max_ms() == (None, None)
    for number in range(1, 101):
        lateness.add(number / 10_000 - 0.00005)
    p99, highest = lateness.p99_and_max_ms()
    assert p99 == pytest.approx(9.9)
    assert highest == pytest.approx(9.95)


def test_a_link_that_did_not_keep_up_is_told_in_table_and_page() -> None:
    way = LinkDirection(packets=100, dropped=10, media_packets=80, media_dropped=7, overflowed=3)
    link = LinkFigures(loss_ratio=0.1, delay_ms=25, to_server=way, from_server=way, late_p99_ms=9.0, late_max_ms=12.0, cpu=0.95)
    assert [problem.split(" ", 3)[3] for problem in link_problems(link)] == [
        "let packets go up to 9.0 ms late (p99)",
        "lost 6 packets that it had no room for: they count as lost",
        "used 95% of a core",
    ]
    assert ("Bad link: asked for, each way", "10 % loss, 25 ms") in list(rows(report(link=link)))
    assert "10 % loss and 25 ms delay each way" in page(report(link=link))
    assert "10 of 100" in page(report(link=link))
