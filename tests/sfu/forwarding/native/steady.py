"""Under native/allocations.c: what the forwarding thread allocates while packets flow. ``python -m`` this prints the counts as JSON."""

from __future__ import annotations

import ctypes
import json
import struct
import threading

from sfu.forwarding import _native
from tests.sfu.forwarding.peers import RunningLoop, wait_until

PACKETS, BURST, LISTENERS = 20_000, 100, 10
PROFILES = [_native.AEAD_AES_128_GCM, _native.AES128_CM_SHA1_80]
SSRC = 1234


def main() -> None:
    count = ctypes.CDLL(None).allocation_count
    count.restype = ctypes.c_long
    with RunningLoop() as loop:
        slot, publisher = loop.peer()
        loop.track(0, slot, SSRC)
        for i in range(LISTENERS):
            slot, _ = loop.peer(profile=PROFILES[i % 2])
            loop.consumer(i, slot, ssrc=9000 + i)
        loop.native.set_consumers(0, range(LISTENERS))

        def first_copies() -> int:
            return loop.native.totals().packets_out - loop.native.totals().retransmitted

        def answered() -> int:
            return loop.native.totals().retransmitted + loop.native.drops()["not_in_history"]

        def send(begin: int, end: int) -> None:
            for at in range(begin, end, BURST):
                for i in range(at, at + BURST):
                    publisher.send(struct.pack("!BBHII", 0x80, 111, i & 0xFFFF, 960 * i & 0xFFFFFFFF, SSRC) + bytes(160))
                wait_until(lambda want=(at + BURST) * LISTENERS: first_copies() == want, "all copies")
                # Commands on the way: lists swapped, muted and not, a copy asked for again.
                loop.native.set_consumers(0, range(LISTENERS))
                loop.native.set_paused(0, True)
                loop.native.set_paused(0, False)
                loop.native.retransmit(at // BURST % LISTENERS, 0, [100 + at + BURST - 1 & 0xFFFF])
                wait_until(lambda want=at // BURST + 1: answered() == want, "an answer to the NACK")

        thread = loop.native.thread_id
        send(0, 10 * BURST)
        before = count(thread)
        send(10 * BURST, 10 * BURST + PACKETS)
        sums = {"before": before, "after": count(thread), "python": count(threading.get_native_id())}
        print(json.dumps(sums | {"packets_out": first_copies(), "retransmitted": loop.native.totals().retransmitted}))


if __name__ == "__main__":
    main()
