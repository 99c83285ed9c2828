"""The second thread, which takes part in sending one packet to very many consumers (helper.h)."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sfu.forwarding.packets import SSRC, rtp
from tests.sfu.forwarding.peers import Peer, RunningLoop, call, wait_until

LISTENERS = 600
"""More than SPLIT_FROM of helper.h."""
PACKETS = 20
NEEDS_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a single core has no helper")


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] if before[1] < 8192 else max(before[0], 8192), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def helpers() -> int:
    """How many threads of this process are helpers of some loop."""
    names = [task / "comm" for task in Path("/proc/self/task").iterdir()]
    return sum(name.read_text().strip() == "antiphon-help" for name in names if name.exists())


def sequences(listener: Peer) -> list[int]:
    return [int.from_bytes(packet[2:4], "big") for packet in listener.waiting()]


@NEEDS_CORES
class TestSplit:
    def test_each_of_many_listeners_hears_each_packet_once_and_in_order(self, loop: RunningLoop) -> None:
        publisher, listeners = call(loop, consumers=LISTENERS)
        sent = 0
        while sent < PACKETS or loop.native.totals().helped == 0:  # a helper that comes too late is not waited for
            assert sent < 500 * PACKETS, "the helper never took part"
            for _ in range(PACKETS):
                publisher.send(rtp(sent, payload=sent.to_bytes(2, "big")))
                sent += 1
            wait_until(lambda want=sent * LISTENERS: loop.native.totals().packets_out == want, "all copies")
            expected = [(100 + i) & 0xFFFF for i in range(sent - PACKETS, sent)]
            assert all(sequences(listener) == expected for listener in listeners)
        assert sum(loop.native.totals().latency_ns) == sent * LISTENERS
        assert sum(loop.native.drops().values()) == 0
        assert all(loop.native.consumer_counters(i).packets == sent for i in range(LISTENERS))

    def test_consumers_that_share_a_transport_are_sent_to_by_one_thread(self, loop: RunningLoop) -> None:
        """Its keys, counters and packet order belong to one thread at a time."""
        slot, publisher = loop.peer()
        loop.track(0, slot, SSRC)
        slots = [loop.peer()[0] for _ in range(LISTENERS // 2)]
        for i in range(LISTENERS):
            loop.consumer(i, slots[i // 2], ssrc=9000 + i)
        loop.native.set_consumers(0, range(LISTENERS))
        for sequence in range(PACKETS):
            publisher.send(rtp(sequence))
        wait_until(lambda: loop.native.totals().packets_out == PACKETS * LISTENERS, "all copies")
        assert loop.native.totals().helped == 0

    def test_a_consumer_that_moves_to_a_shared_transport_ends_the_split(self, loop: RunningLoop) -> None:
        publisher, _ = call(loop, consumers=LISTENERS)
        publisher.send(rtp(0))
        wait_until(lambda: loop.native.totals().packets_out == LISTENERS, "all copies")
        before = loop.native.totals().helped
        loop.native.remove_consumer(7)
        loop.consumer(7, 1, ssrc=9999)  # the list still names it
        for sequence in range(1, PACKETS):
            publisher.send(rtp(sequence))
        wait_until(lambda: loop.native.totals().packets_out == PACKETS * LISTENERS, "all copies")
        assert loop.native.totals().helped == before


class TestThread:
    @NEEDS_CORES
    def test_it_ends_with_its_loop(self) -> None:
        before = helpers()
        with RunningLoop():
            assert helpers() == before + 1
        assert helpers() == before

    def test_a_single_core_has_none(self) -> None:
        before, counts = helpers(), []

        def confined() -> None:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            with RunningLoop():
                counts.append(helpers())

        thread = threading.Thread(target=confined)
        thread.start()
        thread.join()
        assert counts == [before]
