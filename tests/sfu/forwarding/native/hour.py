"""An hour of one call in virtual time, against the debug build, which aborts if a nonce comes twice: ``python -m`` this.

One publisher sends 50 packets/s, as fast as the machine goes, with loss, repeats and reordering on the way. Meanwhile consumers come and
go, leave lists and come back, ask for retransmissions and move; the publisher mutes, changes its SSRC, jumps and reconnects. Four times
everything ends and begins anew in another loop. Prints the sums as JSON.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from collections import Counter

import tests.native_debug  # noqa: F401  first: it decides which _native the others get
from sfu.forwarding import _native
from tests.sfu.forwarding.peers import Peer, RunningLoop, wait_until

PACKETS_PER_SECOND = 50
PROFILES = [_native.AEAD_AES_128_GCM, _native.AEAD_AES_128_GCM, _native.AES128_CM_SHA1_80]


class Call:
    """One life of a loop: track 0, and three listeners with one consumer each."""

    def __init__(self, loop: RunningLoop, choose: random.Random, sums: Counter[str]) -> None:
        self.loop, self.native, self.choose, self.sums = loop, loop.native, choose, sums
        self.paused = False
        self.next_ssrc = self.next_consumer = 1
        self.connect_publisher()
        self.listeners: list[tuple[int, Peer]] = [loop.peer(profile=profile) for profile in PROFILES]
        self.consumers = [self.new_consumer(slot) for slot, _ in self.listeners]
        self.newest = [0] * len(self.listeners)
        self.list_all()

    def connect_publisher(self) -> None:
        self.slot, self.publisher = self.loop.peer()
        self.native.add_track(0, self.slot, clock_rate=48000, payload_type=111, audio_level_extension=1)
        self.paused = False
        self.change_source()

    def change_source(self) -> None:
        self.next_ssrc += 1
        self.native.add_encoding(0, self.next_ssrc)
        self.sequence = 65_000 if self.next_ssrc % 2 else self.choose.randrange(32768)
        self.timestamp = self.choose.randrange(1 << 32)

    def new_consumer(self, slot: int) -> int:
        self.next_consumer += 1
        self.native.add_consumer(
            self.next_consumer,
            slot,
            ssrc=self.choose.randrange(1 << 32),
            payload_type=111,
            audio_level_extension=1,
            mid_extension=4,
            mid=b"0",
            sequence=self.choose.randrange(32768),
            timestamp=0,
        )
        return self.next_consumer

    def list_all(self) -> None:
        self.native.set_consumers(0, self.consumers)

    def second(self) -> None:
        """A second's packets, some lost, repeated and out of order."""
        wire = []
        for _ in range(PACKETS_PER_SECOND):
            header = struct.pack("!BBHII", 0x80, 111, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.next_ssrc)
            self.sequence += 1
            self.timestamp += 960
            wire.append(self.publisher.outbound.protect(header + self.choose.randbytes(20)))
        lost = self.choose.randrange(PACKETS_PER_SECOND)
        wire += [wire[lost], *self.choose.sample(wire, 3)]
        wire[lost], wire[lost - 1] = wire[lost - 1], wire[-1]
        before = self.native.transport_counters(self.slot).packets_in
        for datagram in wire:
            self.publisher.socket.send(datagram)
        wait_until(lambda: self.native.transport_counters(self.slot).packets_in == before + len(wire), "a second's packets")

    def hear(self) -> None:
        """Empty the listeners' sockets; the sequence number is in the clear."""
        for i, (_, peer) in enumerate(self.listeners):
            peer.socket.setblocking(False)
            try:
                while True:
                    datagram = peer.socket.recv(2048)
                    if not 192 <= datagram[1] <= 223:
                        self.sums["heard"] += 1
                        self.newest[i] = struct.unpack_from("!H", datagram, 2)[0]
            except BlockingIOError:
                pass

    def event(self) -> None:
        i = self.choose.randrange(len(self.listeners))
        slot, peer = self.listeners[i]
        what = self.choose.choice(
            ["retransmit"] * 6
            + ["leave and return", "replace", "mute", "unmute", "unmute", "unmute", "move", "source", "jump", "reconnect"]
        )
        self.sums[what] += 1
        if what == "retransmit":
            self.native.retransmit(self.consumers[i], 0, [(self.newest[i] - back) & 0xFFFF for back in self.choose.sample(range(100), 8)])
        elif what == "leave and return":
            self.native.set_consumers(0, [c for c in self.consumers if c != self.consumers[i]])
            self.second()
            if self.choose.random() < 0.5:  # without it the consumer has a gap, but still no index twice
                self.native.resync_consumer(self.consumers[i])
            self.list_all()
        elif what == "replace":
            old, self.consumers[i] = self.consumers[i], self.new_consumer(slot)
            self.list_all()
            self.native.remove_consumer(old)
        elif what in ("mute", "unmute"):
            self.native.set_paused(0, what == "mute")
        elif what == "move":
            moved = Peer(self.loop.port, profile=peer.profile)
            self.loop.peers.append(moved)
            self.native.bind_address(slot, moved.address)
            self.listeners[i] = slot, moved
            peer.socket.close()
        elif what == "source":
            self.change_source()
        elif what == "jump":
            self.sequence += self.choose.choice([500, 5_000, 30_000])
        else:
            self.native.remove_track(0)
            self.native.remove_transport(self.slot)
            self.publisher.socket.close()
            self.connect_publisher()
            self.list_all()


def main(seconds: int, seed: int) -> None:
    choose, sums = random.Random(seed), Counter[str]()
    for _ in range(4):
        with RunningLoop() as loop:
            call = Call(loop, choose, sums)
            for _ in range(seconds // 4):
                call.second()
                call.hear()
                if choose.random() < 0.2:
                    call.event()
                loop.native.events()
            totals = loop.native.totals()
            sums.update(packets_in=totals.packets_in, packets_out=totals.packets_out, retransmitted=totals.retransmitted)
            sums.update(loop.native.drops())
    print(json.dumps({name: count for name, count in sums.items() if count}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
