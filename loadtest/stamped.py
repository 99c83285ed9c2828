"""Publishing over a whole aiortc peer connection, with the same stamped packets that light participants send.

aiortc sends what a track gives as :class:`av.Packet` without encoding it again; it then adds no audio-level extension.
"""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import Packet
from av.stream import Stream

from loadtest.light import Steps
from loadtest.native._traffic import Traffic
from loadtest.peer import Connection

FRAME_SAMPLES = 960
FRAME_S = 0.02


class StampedTrack(MediaStreamTrack):
    """What one talker of the native traffic says, 20 ms at a time by the event loop's clock; pauses are not sent."""

    kind = "audio"

    def __init__(self, traffic: Traffic, talker: int) -> None:
        super().__init__()
        self.hushed = asyncio.Event()
        self._traffic = traffic
        self._talker = talker
        self._frames = 0
        self._start_s: float | None = None

    async def recv(self) -> Packet[Stream]:
        """The next packet, when it is due. Raises :class:`MediaStreamError` after ``stop``."""
        while self.readyState == "live":
            payload = await self._next()
            if payload is not None:
                packet: Packet[Stream] = Packet(payload)
                packet.pts = self._frames * FRAME_SAMPLES
                packet.time_base = Fraction(1, 48_000)
                return packet
        raise MediaStreamError

    async def _next(self) -> bytes | None:
        now_s = asyncio.get_running_loop().time()
        if self._start_s is None:
            self._start_s = now_s
        self._frames += 1
        due_s = self._start_s + self._frames * FRAME_S
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
        return None if self.hushed.is_set() else self._traffic.utter(self._talker)


class StampedPublishing(Connection):
    """A publisher's connection, with the moments of its setup as :class:`~loadtest.light.LightConnection` has them."""

    def __init__(self, traffic: Traffic, talker: int) -> None:
        self._stamped = StampedTrack(traffic, talker)
        super().__init__(self._stamped)
        self.steps = Steps()

    async def answer(self, offer: str) -> str:
        self.steps.offered = time.monotonic()
        answer = await super().answer(offer)
        self.ice.on("statechange", self._ice_changed)
        return answer

    async def connected(self, timeout_s: float = 15.0) -> None:
        await super().connected(timeout_s)
        self.steps.dtls = self.connected_at or time.monotonic()

    def hush(self) -> None:
        """Say nothing more; the connection stays."""
        self._stamped.hushed.set()

    def _ice_changed(self) -> None:
        if self.ice.state == "completed" and not self.steps.ice:
            self.steps.ice = time.monotonic()
