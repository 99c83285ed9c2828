"""A network namespace of a run's own, joined to this host by nothing but a bad link (:mod:`loadtest.bad_link`).

The whole load tester goes in, so every socket that it opens afterwards (signaling, light and aiortc media, ``/metrics``) is at the bad end.
The namespace has no name: the kernel removes it, its device and the host's device when the load tester and the link's process have ended,
however they ended. Routes lead to the targets only, so nothing goes through this host to another machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from loadtest.bad_link import LinkCounts
from loadtest.reach import is_of_this_machine
from loadtest.report import LinkDirection, LinkFigures
from loadtest.scenario import Network

TUN: Final = Path("/dev/net/tun")
CLONE_NEWNET: Final = 0x4000_0000
TUNSETIFF: Final = 0x4004_54CA
IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
QUEUE_PACKETS: Final = 10_000
"""What a device holds until the link reads it; the kernel's 500 would be full after a short pause of a busy machine."""
BENCHMARKING: Final = ipaddress.ip_network("198.18.0.0/15")
"""RFC 2544 C.2.2: for tests of networks, and so in use nowhere else. The participants get one address of it."""
SEED: Final = 2544
ANSWER_S: Final = 10.0
TX_DROPPED: Final = 11
"""Column of ``/proc/net/dev`` after the name."""


class NamespaceError(Exception):
    """There can be no namespace; one line that says what to do."""


class Link:
    """The link while it works. Only the main thread may use it."""

    def __init__(self, network: Network, process: subprocess.Popen[bytes], devices: Sequence[tuple[Path, str]]) -> None:
        self._network = network
        self._process = process
        self._devices = devices
        """Where the kernel counts what it could not queue: to the server, and from it."""
        self._dropped_before = [0, 0]

    def figures(self) -> LinkFigures:
        """Since the last call. Raises :class:`OSError` where the link's process is gone."""
        counts = self._ask()
        dropped = [_queue_drops(file, device) for file, device in self._devices]
        refused = [now - before for now, before in zip(dropped, self._dropped_before, strict=True)]
        self._dropped_before = dropped
        up, down = (
            LinkDirection(
                packets=way.packets,
                dropped=way.dropped,
                media_packets=way.media_packets,
                media_dropped=way.media_dropped,
                overflowed=way.overflowed + more,
            )
            for way, more in zip((counts.to_server, counts.from_server), refused, strict=True)
        )
        return LinkFigures(
            loss_ratio=self._network.loss_ratio,
            delay_ms=self._network.delay_ms,
            to_server=up,
            from_server=down,
            late_p99_ms=counts.late_p99_ms,
            late_max_ms=counts.late_max_ms,
            cpu=counts.cpu,
        )

    def _ask(self) -> LinkCounts:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise OSError("the process of the bad link does not answer")
        return msgspec.json.decode(line, type=LinkCounts)


@contextlib.contextmanager
def entered(network: Network, targets: Iterable[str], media: Iterable[str] = ()) -> Iterator[Link]:
    """This process in a namespace of its own behind a link as bad as ``network`` says; and back, with everything removed.

    ``targets``: hosts of the URLs; ``media``: what ``--media`` named. To be called in the main thread before another thread exists that
    opens sockets. Raises :class:`NamespaceError` where that cannot be.
    """
    addresses = [_local_address(host) for host in dict.fromkeys([*targets, *media])]
    _check_machine()
    with contextlib.ExitStack() as ends:
        host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        ends.callback(os.close, host)
        try:
            link = _build(network, addresses, host, ends)
        except subprocess.CalledProcessError as error:
            why = error.stderr.strip().splitlines()[:1]
            raise NamespaceError(f"--netns: {' '.join(error.cmd)}: {why[0] if why else error.returncode}") from None
        except OSError as error:
            advice = "root needs CAP_SYS_ADMIN and CAP_NET_ADMIN for it, which a container may lack"
            raise NamespaceError(f"--netns: no network namespace: {error.strerror or error} ({advice})") from None
        yield link


def _build(network: Network, addresses: Sequence[str], host: int, ends: contextlib.ExitStack) -> Link:
    outside, outer = _tun(ends)
    _call("unshare", CLONE_NEWNET)
    ends.callback(_call, "setns", host, CLONE_NEWNET)
    inside, inner = _tun(ends)
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    ends.callback(os.close, namespace)

    _call("setns", host, CLONE_NEWNET)
    own = _free_address()
    _ip("link", "set", "dev", outer, "up", "txqueuelen", str(QUEUE_PACKETS))
    # A server that is bound to 0.0.0.0 answers from the address that it was asked at.
    _ip("route", "add", f"{own}/32", "dev", outer, "src", addresses[0])
    process = _start_link(network, inside, outside, ends)

    _call("setns", namespace, CLONE_NEWNET)
    _ip("link", "set", "dev", "lo", "up")
    _ip("link", "set", "dev", inner, "up", "txqueuelen", str(QUEUE_PACKETS))
    _ip("address", "add", f"{own}/32", "dev", inner)
    for address in addresses:
        _ip("route", "add", f"{address}/32", "dev", inner, "src", own)
    # A process sees its own namespace's devices: this one those inside, the link's process those of the host.
    return Link(network, process, [(Path(f"/proc/{pid}/net/dev"), name) for pid, name in ((os.getpid(), inner), (process.pid, outer))])


def _start_link(network: Network, inside: int, outside: int, ends: contextlib.ExitStack) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "loadtest.bad_link", str(inside), str(outside)]
    process = subprocess.Popen(
        [*command, str(network.loss_ratio), str(network.delay_ms), str(SEED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(inside, outside),
        cwd=Path(__file__).parent.parent,
        start_new_session=True,  # Ctrl-C is for the load tester, which ends the link when it needs it no more
    )
    ends.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _local_address(host: str) -> str:
    """``host``, where it is an IPv4 address of this machine that can be reached from another namespace."""
    advice = "with --netns give an IPv4 address of this host that is no loopback address (`ip -4 address` lists them)"
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise NamespaceError(f"{host} is a name, a network or no IPv4 address: {advice}") from None
    if address.is_loopback:
        raise NamespaceError(f"{host} is loopback, which each namespace has for itself: {advice}")
    if not is_of_this_machine(address):
        raise NamespaceError(f"{host} is not an address of this host: {advice}")
    return str(address)


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise NamespaceError("--netns makes network devices: run it as root (sudo), or without --netns for loss and delay in user space")
    if shutil.which("ip") is None:
        raise NamespaceError("--netns needs the command ip: apt-get install iproute2")
    if not TUN.exists():
        raise NamespaceError(f"--netns needs {TUN}: modprobe tun, or mknod {TUN} c 10 200, or give it to the container (--device {TUN})")
    assert threading.current_thread() is threading.main_thread()


def _tun(ends: contextlib.ExitStack) -> tuple[int, str]:
    """A new device in the namespace that this thread is in: descriptor and name."""
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    ends.callback(os.close, device)
    request = fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"antiphon%d", IFF_TUN_NO_PI))
    return device, request[:16].rstrip(b"\0").decode()


def _free_address() -> str:
    """One of :data:`BENCHMARKING` to which no route of this host leads."""
    routes = msgspec.json.decode(_ip("-json", "-4", "route", "show", "table", "all") or "[]")
    known = {str(route.get("dst", "")).partition("/")[0] for route in routes}
    while True:
        address = str(BENCHMARKING[random.randrange(1, BENCHMARKING.num_addresses - 1)])
        if address not in known:
            return address


def _queue_drops(file: Path, device: str) -> int:
    """Packets that the kernel threw away because the link had not fetched those before."""
    for line in file.read_text().splitlines():
        name, _, columns = line.partition(":")
        if name.strip() == device:
            return int(columns.split()[TX_DROPPED])
    raise OSError(f"the device {device} of the bad link is gone")


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def _call(name: str, *arguments: int) -> None:
    """``unshare`` or ``setns``, which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
