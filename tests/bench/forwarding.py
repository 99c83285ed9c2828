"""What the forwarding thread does per CPU-second, against the floor under it, and the latency it adds.

The floor is the product's own loop linked without srtp.c and rewrite.c: the same epoll, recvmmsg, list walk and sendmmsg. Floor
and loop run in turns within one process, on sockets made alike and with the same payloads. A packet counts when a receiver has it;
CPU time is the forwarding thread's own. The ratio is what can be compared between machines.

    python tests/bench/forwarding.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import socket
import statistics
import struct
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from pylibsrtp import Policy, Session

from sfu.forwarding import _native
from tests.bench.build import floor_module, traffic_library

PROFILES = {"AEAD_AES_128_GCM": _native.AEAD_AES_128_GCM, "AES128_CM_SHA1_80": _native.AES128_CM_SHA1_80}
POLICIES = {"AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM, "AES128_CM_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80}
KEY_BYTES = {"AEAD_AES_128_GCM": 28, "AES128_CM_SHA1_80": 30}
OVERHEAD = {"AEAD_AES_128_GCM": 16, "AES128_CM_SHA1_80": 10}
SSRC = 1234
SO_TIMESTAMPNS = 35  # of asm-generic/socket.h; the socket module does not have it
BURST_COPIES = 4096
"""Copies in flight at once: what all receive buffers together hold without loss."""


@dataclass
class Row:
    """One line of the table. pps: packets that receivers counted per CPU-second of the forwarding threads; latencies in microseconds
    from the kernel's receive time to the return of send, at half of the loop's capacity with the Python thread busy. All but the maximum
    are medians over turns: a virtual machine that is stopped for some milliseconds spoils the p99 of the one it happens in."""

    consumers: int
    payload_bytes: int
    profile: str
    floor_pps: float
    loop_pps: float
    ratio: float
    p50_us: float
    p99_us: float
    max_us: float


def rtp(sequence: int, payload: bytes) -> bytes:
    """A packet as Chromium sends it: audio level and MID in a one-byte extension block."""
    extension = struct.pack("!HH4B", 0xBEDE, 1, 0x10, 0x85, 0x40, ord("0"))
    return struct.pack("!BBHII", 0x90, 111, sequence & 0xFFFF, sequence * 960 & 0xFFFFFFFF, SSRC) + extension + payload


class Bench:
    """One loop (``module`` is the product's or the floor's), one publisher, so many consumers on sockets of their own."""

    def __init__(self, module: ModuleType, consumers: int, payload_bytes: int, profile: str, encrypt: bool) -> None:
        self.traffic = traffic_library()
        self.consumers = consumers
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            server.setsockopt(socket.SOL_SOCKET, option, 1 << 22)
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        port = server.getsockname()[1]
        self.loop = module.Loop([server.detach()])
        size = KEY_BYTES[profile]
        key = os.urandom(size)
        self.publisher = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.publisher.bind(("127.0.0.1", 0))
        self.publisher.connect(("127.0.0.1", port))
        self.session = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=POLICIES[profile])) if encrypt else None
        self._transport(0, self.publisher, profile, key)
        self.loop.add_track(0, 0, clock_rate=48000, payload_type=111, audio_level_extension=1)
        self.loop.add_encoding(0, SSRC)
        self.receivers = []
        for i in range(consumers):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            receiver.bind(("127.0.0.1", 0))
            self.receivers.append(receiver)
            self._transport(i + 1, receiver, profile, os.urandom(size))
            self.loop.add_consumer(
                i, i + 1, ssrc=9000 + i, payload_type=111, audio_level_extension=1, mid_extension=4, mid=b"0", sequence=i, timestamp=0
            )
        self.loop.set_consumers(0, range(consumers))
        self.fds = (ctypes.c_int * consumers)(*[receiver.fileno() for receiver in self.receivers])
        self.payload = os.urandom(payload_bytes)
        self.sequence = 0
        self.packet_bytes = 20 + payload_bytes + OVERHEAD[profile] if encrypt else 20 + payload_bytes + 16

    def _transport(self, slot: int, peer: socket.socket, profile: str, key: bytes) -> None:
        self.loop.add_transport(slot, 1)
        self.loop.bind_address(slot, peer.getsockname())
        self.loop.set_keys(slot, PROFILES[profile], key, key, slot + 1, b"bench", 4)

    def packets(self, count: int) -> bytes:
        """The next packets of the publisher, one behind the other."""
        prepared = []
        for _ in range(count):
            packet = rtp(self.sequence, self.payload)
            prepared.append(self.session.protect(packet) if self.session else packet + bytes(16))
            self.sequence += 1
        return b"".join(prepared)

    def received(self, expected: int) -> int:
        """Count at the receivers until all are there, or nothing came for 200 ms."""
        total, last = 0, time.monotonic()
        while total < expected and time.monotonic() - last < 0.2:
            got = self.traffic.count_packets(self.fds, self.consumers)
            if got:
                total, last = total + got, time.monotonic()
        return total

    def throughput(self, copies: int) -> float:
        """Packets per CPU-second, in bursts that every buffer can hold.

        The forwarding thread has the last core, the receivers the first: who shares a core with its receivers sends a third cheaper, and
        the kernel's choice would differ between floor and loop.
        """
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:1])
        os.sched_setaffinity(self.loop.thread_id, cores[-1:])
        try:
            return self._throughput(copies)
        finally:
            for thread in (0, self.loop.thread_id):
                os.sched_setaffinity(thread, cores)

    def _throughput(self, copies: int) -> float:
        burst = max(1, min(512, BURST_COPIES // self.consumers))
        bursts = max(1, copies // (burst * self.consumers))
        prepared = [self.packets(burst) for _ in range(bursts)]
        before = self.loop.totals()
        counted = 0
        for packets in prepared:
            self.traffic.send_packets(self.publisher.fileno(), packets, burst, self.packet_bytes, 0, -1)
            counted += self.received(burst * self.consumers)
        after = self.loop.totals()
        if counted != bursts * burst * self.consumers:
            print(f"warning: {bursts * burst * self.consumers - counted} packets were lost on the way to the receivers", file=sys.stderr)
        return counted / ((after.cpu_ns - before.cpu_ns) / 1e9)

    def latency(self, packets_per_s: float, seconds: float) -> tuple[float, float, float]:
        """p50, p99 and maximum in microseconds at a paced load, from the loop's own histogram.

        The loop shares a core with the Python thread, which never rests; the load comes from another core, where there is one.
        """
        count = max(20, int(packets_per_s * seconds))
        prepared = self.packets(count)
        before = self.loop.totals()
        cores = sorted(os.sched_getaffinity(0))
        for thread in (0, self.loop.thread_id):
            os.sched_setaffinity(thread, cores[:1])
        sender = threading.Thread(
            target=self.traffic.send_packets,
            args=(self.publisher.fileno(), prepared, count, self.packet_bytes, int(1e9 / packets_per_s), cores[-1]),
        )
        sender.start()
        counted = 0
        while sender.is_alive():  # this thread is the shard's busy Python thread
            counted += self.traffic.count_packets(self.fds, self.consumers)
            spin_until = time.perf_counter() + 0.002
            while time.perf_counter() < spin_until:
                pass
        sender.join()
        counted += self.received(count * self.consumers - counted)
        after = self.loop.totals()
        for thread in (0, self.loop.thread_id):
            os.sched_setaffinity(thread, cores)
        counts = [b - a for a, b in zip(before.latency_ns, after.latency_ns, strict=True)]
        return percentile(counts, 0.5), percentile(counts, 0.99), percentile(counts, 1.0)

    def close(self) -> None:
        self.loop.close()
        for peer in [self.publisher, *self.receivers]:
            peer.close()


def percentile(counts: list[int], share: float) -> float:
    """In microseconds, interpolated within the histogram's bucket (a fifth of its value wide)."""
    wanted, seen = share * sum(counts), 0
    bounds = [0, *_native.Loop.LATENCY_BOUNDS_NS, _native.Loop.LATENCY_BOUNDS_NS[-1]]
    for i, count in enumerate(counts):
        if count and seen + count >= wanted:
            return (bounds[i] + (bounds[i + 1] - bounds[i]) * (wanted - seen) / count) / 1000
        seen += count
    return 0.0


@dataclass(frozen=True)
class Effort:
    """Turns of floor and loop for one ratio with so many copies each, and windows for one latency."""

    rounds: int
    copies: int
    windows: int
    window_s: float


def measure(floor: ModuleType, consumers: int, payload_bytes: int, profile: str, effort: Effort) -> Row:
    below = Bench(floor, consumers, payload_bytes, profile, encrypt=False)
    above = Bench(_native, consumers, payload_bytes, profile, encrypt=True)
    pairs = []
    below.throughput(effort.copies), above.throughput(effort.copies)  # warm-up
    for i in range(effort.rounds):
        order = [below, above] if i % 2 else [above, below]
        result = {bench: bench.throughput(effort.copies) for bench in order}
        pairs.append((result[below], result[above]))
    loop_pps = statistics.median(pair[1] for pair in pairs)
    latencies = [above.latency(0.5 * loop_pps / consumers, effort.window_s) for _ in range(effort.windows)]
    below.close(), above.close()
    return Row(
        consumers=consumers,
        payload_bytes=payload_bytes,
        profile=profile,
        floor_pps=round(statistics.median(pair[0] for pair in pairs)),
        loop_pps=round(loop_pps),
        ratio=round(statistics.median(pair[1] / pair[0] for pair in pairs), 4),
        p50_us=round(statistics.median(p50 for p50, _, _ in latencies), 1),
        p99_us=round(statistics.median(p99 for _, p99, _ in latencies), 1),
        max_us=round(max(worst for _, _, worst in latencies), 1),
    )


def fan_out_spread(consumers: int, packets: int) -> float:
    """Median time in microseconds between the first and the last copy of one packet, by the kernel's receive times at the receivers."""
    bench = Bench(_native, consumers, 160, "AEAD_AES_128_GCM", encrypt=True)
    for receiver in bench.receivers:
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    spreads = []
    for _ in range(packets):
        bench.publisher.send(bench.packets(1))
        arrivals = []
        for receiver in bench.receivers:
            while True:
                data, control, *_ = receiver.recvmsg(2048, 64)
                if not 192 <= data[1] <= 223:
                    break
            seconds, nanoseconds = struct.unpack("qq", control[0][2])
            arrivals.append(seconds * 1_000_000 + nanoseconds / 1000)
        spreads.append(max(arrivals) - min(arrivals))
    bench.close()
    return statistics.median(spreads)


def aiortc_path(consumers: int, payload_bytes: int, packets: int) -> float:
    """Copies per CPU-second of the same work in Python: aiortc's RtpPacket, pylibsrtp and sendto, one after the other."""
    key = os.urandom(28)
    inbound = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM))
    source = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM))
    outbound = [
        Session(Policy(key=os.urandom(28), ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM))
        for _ in range(consumers)
    ]
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind(("127.0.0.1", 0))
    address, extensions = receiver.getsockname(), HeaderExtensionsMap()
    payload, counted, cpu = os.urandom(payload_bytes), 0, 0.0
    for sequence in range(packets):
        protected = source.protect(rtp(sequence, payload))
        start = time.thread_time()
        packet = RtpPacket.parse(inbound.unprotect(protected), extensions)
        for i, session in enumerate(outbound):
            packet.ssrc = 9000 + i
            sender.sendto(session.protect(packet.serialize(extensions)), address)
        cpu += time.thread_time() - start
        counted += traffic_library().count_packets((ctypes.c_int * 1)(receiver.fileno()), 1)
    receiver.close(), sender.close()
    return counted / cpu


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def print_table(result: dict[str, Any]) -> None:
    print(f"{result['machine']}\n")
    print("| consumers | payload | profile | floor pps | loop pps | loop/floor | p50 µs | p99 µs | max µs |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    for row in result["rows"]:
        print(
            f"| {row['consumers']} | {row['payload_bytes']} | {row['profile']} | {row['floor_pps']:,.0f} | {row['loop_pps']:,.0f}"
            f" | {row['ratio']:.3f} | {row['p50_us']:.0f} | {row['p99_us']:.0f} | {row['max_us']:.0f} |"
        )
    print(f"\nfirst to last copy of one packet to 900 consumers: {result['spread_900_us']:,} µs (median)")
    print(f"aiortc and pylibsrtp alone, in Python, 10 consumers, 160 bytes: {result['aiortc_pps']:,.0f} pps")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds, under 45 s")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    floor = floor_module()
    payloads = [160] if options.quick else [160, 1200]
    # Many short turns: what other machines on this host do changes within seconds, and is then the same for both of a pair.
    effort = Effort(rounds=11, copies=12_000, windows=3, window_s=0.2) if options.quick else Effort(31, 20_000, 7, 0.5)
    rows = []
    for profile in PROFILES:
        for payload_bytes in payloads:
            for consumers in [1, 10, 100, 1000]:
                print(f"measuring {profile}, {payload_bytes} bytes, {consumers} consumers ...", file=sys.stderr)
                rows.append(asdict(measure(floor, consumers, payload_bytes, profile, effort)))
    machine = f"{cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    result = {
        "machine": machine,
        "rows": rows,
        "aiortc_pps": round(statistics.median(aiortc_path(10, 160, 300) for _ in range(5))),
        "spread_900_us": round(fan_out_spread(900, 100)),
    }
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
