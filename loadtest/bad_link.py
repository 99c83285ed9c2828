"""A link that loses and delays real IP packets: it carries them between two TUN devices, in both directions.

It is a process of its own (``python -m loadtest.bad_link``), so that neither the load tester's Python nor its traffic thread holds a packet
up. It gets the devices' descriptors from :mod:`loadtest.namespace`, answers each line on standard input with the :class:`LinkCounts` since
the line before, and ends when that input ends; the devices then vanish with the last descriptor.
"""

from __future__ import annotations

import os
import random
import select
import sys
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import msgspec

PACKET_BYTES: Final = 65_535
READ_AT_ONCE: Final = 64
"""Packets taken from one device before the other one and what is due get their turn."""
MAX_QUEUED: Final = 100_000
"""Packets on their way in one direction; about 100 MB of full ones. What comes on top is dropped and counted apart."""
LATE_STEP_S: Final = 0.0001
LATE_STEPS: Final = 10_000
UDP: Final = 17


class DirectionCounts(msgspec.Struct, kw_only=True):
    """``dropped``: of ``packets``, by chance, as asked for; ``media_packets`` and ``media_dropped``: of these what was RTP;
    ``overflowed``: lost beyond that, because the link could not hold or hand them over."""

    packets: int = 0
    dropped: int = 0
    media_packets: int = 0
    media_dropped: int = 0
    overflowed: int = 0


class LinkCounts(msgspec.Struct, kw_only=True):
    """``late``: how much later than the delay packets went, by :data:`LATE_STEP_S`; ``cpu``: cores in use."""

    to_server: DirectionCounts
    from_server: DirectionCounts
    late_p99_ms: float | None
    late_max_ms: float | None
    cpu: float


class Direction:
    """Packets on their way in one direction; ``delay_s`` is the same for all, so they stay in order. Reads no clock."""

    def __init__(self, loss_ratio: float, delay_s: float, seed: int) -> None:
        self.counts = DirectionCounts()
        self._loss_ratio = loss_ratio
        self._delay_s = delay_s
        self._random = random.Random(seed)
        self._queue: deque[tuple[float, bytes]] = deque()

    @property
    def next_at(self) -> float:
        """When the next packet is due; infinity where there is none."""
        return self._queue[0][0] if self._queue else float("inf")

    def take(self, packet: bytes, now: float) -> None:
        """A packet has come from one device."""
        counts, media = self.counts, is_media(packet)
        counts.packets += 1
        counts.media_packets += media
        if self._random.random() < self._loss_ratio:
            counts.dropped += 1
            counts.media_dropped += media
        elif len(self._queue) >= MAX_QUEUED:
            counts.overflowed += 1
        else:
            self._queue.append((now + self._delay_s, packet))

    def due(self, now: float) -> Iterator[tuple[float, bytes]]:
        """Packets that have to go to the other device, each with when it should have gone."""
        while self._queue and self._queue[0][0] <= now:
            yield self._queue.popleft()


def is_ipv4(packet: bytes) -> bool:
    return len(packet) >= 20 and packet[0] >> 4 == 4


def is_media(packet: bytes) -> bool:
    """Whether an IPv4 packet carries RTP or SRTP; RTCP is none."""
    payload = (packet[0] & 15) * 4 + 8
    if packet[9] != UDP or len(packet) < payload + 12:
        return False
    # RFC 7983 7: the first byte tells RTP and RTCP from STUN and DTLS; RFC 5761 4: the second one RTP from RTCP.
    return 128 <= packet[payload] <= 191 and not 192 <= packet[payload + 1] <= 223


class Lateness:
    """How late packets went, in steps; what is beyond the last step is in that."""

    def __init__(self) -> None:
        self._steps = [0] * LATE_STEPS
        self._max_s = 0.0

    def add(self, late_s: float) -> None:
        self._steps[min(int(late_s / LATE_STEP_S), LATE_STEPS - 1)] += 1
        self._max_s = max(self._max_s, late_s)

    def p99_and_max_ms(self) -> tuple[float | None, float | None]:
        """None where nothing went."""
        if not any(self._steps):
            return None, None
        so_far = list(accumulate(self._steps))
        step = bisect_left(so_far, 0.99 * so_far[-1])
        return min(1000 * self._max_s, 1000 * LATE_STEP_S * (step + 1)), 1000 * self._max_s


class BadLink:
    """Moves packets between the devices: ``inside`` is the participants' end, ``outside`` the server's. Both must not block."""

    def __init__(self, inside: int, outside: int, *, loss_ratio: float, delay_s: float, seed: int) -> None:
        up, down = (Direction(loss_ratio, delay_s, seed + number) for number in range(2))
        self._ways = ((inside, up, outside), (outside, down, inside))
        self._up, self._down = up, down
        self._restart()

    def _restart(self) -> None:
        self._up.counts, self._down.counts = DirectionCounts(), DirectionCounts()
        self._lateness = Lateness()
        self._since = (time.monotonic(), time.process_time())

    def run(self, questions: int, answers: int) -> None:
        """Until ``questions`` ends."""
        devices = [source for source, _, _ in self._ways]
        while True:
            due_s = min(self._up.next_at, self._down.next_at) - time.monotonic()
            ready, _, _ = select.select([*devices, questions], [], [], None if due_s == float("inf") else max(0.0, due_s))
            for source, way, target in self._ways:
                if source in ready:
                    self._read(source, way)
                self._write(way, target)
            if questions in ready:
                asked = os.read(questions, 4096)
                if not asked:
                    return
                for _ in range(asked.count(b"\n")):
                    os.write(answers, msgspec.json.encode(self._counts()) + b"\n")

    def _read(self, source: int, way: Direction) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                packet = os.read(source, PACKET_BYTES)
            except BlockingIOError:
                return
            if is_ipv4(packet):  # the kernel's own IPv6 multicasts stay where they are
                way.take(packet, time.monotonic())

    def _write(self, way: Direction, target: int) -> None:
        for due, packet in way.due(time.monotonic()):
            try:
                os.write(target, packet)
            except OSError:
                way.counts.overflowed += 1
            self._lateness.add(time.monotonic() - due)

    def _counts(self) -> LinkCounts:
        at, cpu = self._since
        p99, highest = self._lateness.p99_and_max_ms()
        used = (time.process_time() - cpu) / max(1e-6, time.monotonic() - at)
        counts = LinkCounts(to_server=self._up.counts, from_server=self._down.counts, late_p99_ms=p99, late_max_ms=highest, cpu=used)
        self._restart()
        return counts


def main() -> None:
    inside, outside, loss_ratio, delay_ms, seed = sys.argv[1:]
    link = BadLink(int(inside), int(outside), loss_ratio=float(loss_ratio), delay_s=float(delay_ms) / 1000, seed=int(seed))
    link.run(sys.stdin.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
