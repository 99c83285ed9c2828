"""10 000 consumers in one loop while 1000 of them per second come and go: is a packet lost, repeated or sent under a wrong key, and
what does it cost the others in latency?

100 tracks of 100 consumers each on 1000 transports; half of the consumers stay, the other half are removed and added at random. The
quiet case is the same load without changes, before and after. Receivers that stay must count every packet; every 20th pair of
transports decrypts all it gets and checks that each of its streams has a contiguous sequence.

    python tests/bench/churn.py [--seconds 5] [--json]
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import random
import resource
import socket
import statistics
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pylibsrtp import Policy, Session

from sfu.forwarding import _native
from tests.bench.build import traffic_library
from tests.bench.forwarding import SSRC, percentile, rtp

TRACKS, PER_TRACK, TRANSPORTS = 100, 100, 1000
CONSUMERS = TRACKS * PER_TRACK
CHANGES_PER_S = 1000
PACKETS_PER_S = 500
"""Incoming, over all tracks: 50 000 copies/s, about a fifth of a core's capacity."""
SAMPLE = 20
GCM = Policy.SRTP_PROFILE_AEAD_AES_128_GCM


def udp() -> socket.socket:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    peer.bind(("127.0.0.1", 0))
    return peer


class Churn:
    """Consumer ``i`` is on track ``i % TRACKS`` and transport ``i % TRANSPORTS``. Transports of even number stay whole."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.traffic = traffic_library()
        server = udp()
        server.setblocking(False)
        self.port = server.getsockname()[1]
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
        self.loop = _native.Loop([server.detach()])
        self.receivers = [udp() for _ in range(TRANSPORTS)]
        self.keys = [os.urandom(28) for _ in range(TRANSPORTS)]
        for slot, receiver in enumerate(self.receivers):
            self.add_transport(slot, receiver, self.keys[slot])
        key = os.urandom(28)
        self.publisher = udp()
        self.publisher.connect(("127.0.0.1", self.port))
        self.session = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=GCM))
        self.add_transport(TRANSPORTS, self.publisher, key)
        self.lists = [list(range(track, CONSUMERS, TRACKS)) for track in range(TRACKS)]
        for consumer in range(CONSUMERS):
            self.add_consumer(consumer)
        for track in range(TRACKS):
            self.loop.add_track(track, TRANSPORTS, clock_rate=48000, payload_type=111, audio_level_extension=1)
            self.loop.add_encoding(track, SSRC + track)
            self.loop.set_consumers(track, self.lists[track])
        self.absent: list[int] = []
        self.next_ssrc = 1 << 20
        self.sequence = 0

    def add_transport(self, slot: int, peer: socket.socket, key: bytes) -> None:
        self.loop.add_transport(slot, 1)
        self.loop.bind_address(slot, peer.getsockname())
        self.loop.set_keys(slot, _native.AEAD_AES_128_GCM, key, key, 1, b"bench", 4)

    def add_consumer(self, consumer: int, ssrc: int | None = None) -> None:
        self.loop.add_consumer(
            consumer,
            consumer % TRANSPORTS,
            ssrc=10_000 + consumer if ssrc is None else ssrc,
            payload_type=111,
            audio_level_extension=1,
            mid_extension=4,
            mid=b"0",
            sequence=0,
            timestamp=0,
        )

    def change(self) -> None:
        """Remove a random consumer of an odd transport, or add one of the removed again, under a new SSRC."""
        if self.absent and self.random.random() < len(self.absent) / 1000:
            consumer = self.absent.pop(self.random.randrange(len(self.absent)))
            self.next_ssrc += 1
            self.add_consumer(consumer, self.next_ssrc)
            self.lists[consumer % TRACKS].append(consumer)
            self.loop.set_consumers(consumer % TRACKS, self.lists[consumer % TRACKS])
            return
        track = self.random.randrange(1, TRACKS, 2)
        members = self.lists[track]
        if members:
            consumer = members.pop(self.random.randrange(len(members)))
            self.loop.set_consumers(track, members)
            self.loop.remove_consumer(consumer)
            self.absent.append(consumer)

    def run(self, seconds: float, changes_per_s: int) -> dict[str, Any]:
        """One phase. Returns latency, and what was sent and what the steady receivers and the sample got."""
        count = int(PACKETS_PER_S * seconds) // TRACKS * TRACKS
        packets = b"".join(self._packet(i) for i in range(count))
        before = self.loop.totals()
        sender = threading.Thread(
            target=self.traffic.send_packets,
            args=(self.publisher.fileno(), packets, count, len(packets) // count, int(1e9 / PACKETS_PER_S), -1),
        )
        sender.start()
        start, changes = time.monotonic(), 0
        while sender.is_alive():
            while changes < (time.monotonic() - start) * changes_per_s:
                self.change()
                changes += 1
            time.sleep(0.0005)
        sender.join()
        time.sleep(0.3)
        after = self.loop.totals()
        counts = [b - a for a, b in zip(before.latency_ns, after.latency_ns, strict=True)]
        return {"changes": changes, "p99_us": percentile(counts, 0.99), "p50_us": percentile(counts, 0.5), **self._collect(count)}

    def _packet(self, i: int) -> bytes:
        packet = rtp(self.sequence + i // TRACKS, bytes(160))
        return self.session.protect(packet[:8] + struct.pack("!I", SSRC + i % TRACKS) + packet[12:])

    def _collect(self, count: int) -> dict[str, int]:
        self.sequence += count // TRACKS
        lost = repeated = gaps = undecryptable = decrypted = 0
        for slot, receiver in enumerate(self.receivers):
            expected = count // TRACKS * (CONSUMERS // TRANSPORTS)
            if slot % SAMPLE < 2:
                result = self._inspect(slot, receiver)
                got = result["packets"]
                decrypted += got
                undecryptable += result["undecryptable"]
                gaps += result["gaps"]
                repeated += result["repeated"]
            else:
                got = self.traffic.count_packets((ctypes.c_int * 1)(receiver.fileno()), 1)
            if slot % 2 == 0:
                lost += expected - got
        return {"lost": lost, "gaps": gaps, "repeated": repeated, "undecryptable": undecryptable, "decrypted": decrypted}

    def _inspect(self, slot: int, receiver: socket.socket) -> dict[str, int]:
        policy = Policy(key=self.keys[slot], ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=GCM)
        policy.window_size = 4096
        session = Session(policy)
        streams: dict[int, list[int]] = {}
        result = {"packets": 0, "undecryptable": 0, "gaps": 0, "repeated": 0}
        receiver.setblocking(False)
        while True:
            try:
                datagram = receiver.recv(2048)
            except BlockingIOError:
                break
            if 192 <= datagram[1] <= 223:
                continue
            result["packets"] += 1
            try:
                packet = session.unprotect(datagram)
            except Exception:
                result["undecryptable"] += 1
                continue
            sequence, ssrc = struct.unpack_from("!H4xI", packet, 2)
            streams.setdefault(ssrc, []).append(sequence)
        for sequences in streams.values():
            steps = [(b - a) & 0xFFFF for a, b in itertools.pairwise(sequences)]
            result["gaps"] += sum(step > 1 for step in steps)
            result["repeated"] += sum(step == 0 for step in steps)
        return result

    def close(self) -> None:
        self.loop.close()
        for peer in [self.publisher, *self.receivers]:
            peer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each phase")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    churn = Churn()
    phases = [churn.run(options.seconds, rate) for rate in [0, CHANGES_PER_S, 0, CHANGES_PER_S, 0]]
    churn.close()
    quiet = statistics.median(phase["p99_us"] for phase in phases[::2])
    busy = statistics.median(phase["p99_us"] for phase in phases[1::2])
    result = {
        "consumers": CONSUMERS,
        "changes_per_s": CHANGES_PER_S,
        "quiet_p99_us": quiet,
        "churn_p99_us": busy,
        "ratio": round(busy / quiet, 2),
        **{key: sum(phase[key] for phase in phases) for key in ["changes", "lost", "gaps", "repeated", "undecryptable", "decrypted"]},
    }
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:>16}: {value}")


if __name__ == "__main__":
    main()
