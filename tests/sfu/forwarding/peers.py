"""Domain helpers: a running loop with SRTP peers on loopback sockets, and bounded waiting."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pylibsrtp import Error, Policy, Session

from sfu.forwarding import _native
from tests.sfu.forwarding.packets import SSRC

PATIENCE_S = 10.0
POLICIES = {
    _native.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    _native.AES128_CM_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}
KEY_BYTES = {_native.AEAD_AES_128_GCM: 28, _native.AES128_CM_SHA1_80: 30}


def wait_until(condition: Callable[[], bool], what: str = "condition") -> None:
    """Poll until true. Fails the test after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.001)


class Peer:
    """One transport seen from outside: a socket and both SRTP sessions. ``keys`` are (towards the loop, from the loop)."""

    def __init__(self, port: int, host: str = "127.0.0.1", profile: int = _native.AEAD_AES_128_GCM) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.connect((host, port))
        self.socket.settimeout(PATIENCE_S)
        self.profile = profile
        self.keys = os.urandom(KEY_BYTES[profile]), os.urandom(KEY_BYTES[profile])
        self.outbound = Session(self._policy(self.keys[0], Policy.SSRC_ANY_OUTBOUND))
        self.inbound = Session(self._policy(self.keys[1], Policy.SSRC_ANY_INBOUND))

    def _policy(self, key: bytes, ssrc_type: int) -> Policy:
        policy = Policy(key=key, ssrc_type=ssrc_type, srtp_profile=POLICIES[self.profile])
        policy.window_size = 1024
        return policy

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()[:2]
        return host, port

    def send(self, packet: bytes) -> bytes:
        """Protect and send; returns what went over the wire."""
        protected = self.outbound.protect(packet)
        self.socket.send(protected)
        return protected

    def send_rtcp(self, packet: bytes) -> None:
        self.socket.send(self.outbound.protect_rtcp(packet))

    def receive_wire(self) -> bytes:
        """Next RTP packet as it came; RTCP in between is passed over."""
        while True:
            datagram = self.socket.recv(2048)
            if not 192 <= datagram[1] <= 223:
                return datagram

    def receive(self) -> bytes:
        """Next RTP packet in the clear."""
        return self.inbound.unprotect(self.receive_wire())

    def receive_rtcp(self) -> bytes:
        while True:
            datagram = self.socket.recv(2048)
            if 192 <= datagram[1] <= 223:
                return self.inbound.unprotect_rtcp(datagram)

    def waiting(self) -> list[bytes]:
        """All RTP packets that are there already."""
        packets = []
        while select.select([self.socket], [], [], 0)[0]:
            datagram = self.socket.recv(2048)
            if not 192 <= datagram[1] <= 223:
                packets.append(self.inbound.unprotect(datagram))
        return packets


class RunningLoop:
    """A loop on an ephemeral port, with slots handed out in order. Asserts at the end that no command was rejected."""

    def __init__(self, host: str = "127.0.0.1", **limits: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        server.bind((host, 0))
        server.setblocking(False)
        self.host, self.port = host, server.getsockname()[1]
        self.native = _native.Loop([server.detach()], **limits)
        self.next_slot = 0
        self.peers: list[Peer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                assert self.native.totals().rejected_commands == 0
        finally:
            self.native.close()
            for peer in self.peers:
                peer.socket.close()

    def peer(self, *, profile: int = _native.AEAD_AES_128_GCM, keyed: bool = True, bound: bool = True) -> tuple[int, Peer]:
        """A new transport, bound and keyed."""
        slot, peer = self.next_slot, Peer(self.port, self.host, profile)
        self.next_slot += 1
        self.peers.append(peer)
        self.native.add_transport(slot, generation=slot + 1000)
        if bound:
            self.native.bind_address(slot, peer.address)
        if keyed:
            self.native.set_keys(slot, profile, peer.keys[0], peer.keys[1], 0x5000 + slot, b"antiphon", 4)
        return slot, peer

    def track(self, track: int, slot: int, *ssrcs: int) -> None:
        self.native.add_track(track, slot, clock_rate=48000, payload_type=111, audio_level_extension=1)
        for ssrc in ssrcs:
            self.native.add_encoding(track, ssrc)

    def consumer(self, consumer: int, slot: int, ssrc: int, mid: bytes = b"0") -> None:
        self.native.add_consumer(
            consumer, slot, ssrc=ssrc, payload_type=111, audio_level_extension=1, mid_extension=4, mid=mid, sequence=100, timestamp=0
        )

    def wait_drop(self, reason: str, count: int = 1) -> None:
        wait_until(lambda: self.native.drops()[reason] >= count, f"{count} drops for {reason}: {self.native.drops()}")

    def events(self, count: int = 1) -> list[_native.Event]:
        """Wait for so many events."""
        taken: list[_native.Event] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(taken) < count:
            assert time.monotonic() < deadline, taken
            taken += self.native.events()
            if len(taken) < count:
                select.select([self.native.event_fd], [], [], 0.1)
        return taken


def call(loop: RunningLoop, consumers: int = 1, profile: int = _native.AEAD_AES_128_GCM) -> tuple[Peer, list[Peer]]:
    """One publisher on slot 0 with track 0, and so many consumers of it."""
    slot, publisher = loop.peer(profile=profile)
    loop.track(0, slot, SSRC)
    listeners = []
    for i in range(consumers):
        slot, listener = loop.peer(profile=profile)
        loop.consumer(i, slot, ssrc=9000 + i)
        listeners.append(listener)
    loop.native.set_consumers(0, range(consumers))
    return publisher, listeners


__all__ = ["Error", "Peer", "RunningLoop", "call", "wait_until"]
