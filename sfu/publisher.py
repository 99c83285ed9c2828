"""A participant's incoming side: its connection and the tracks that come in on it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from sfu.negotiation import AnsweredSection, Section
from sfu.protocol import TrackId

if TYPE_CHECKING:
    from sfu.connection import Connection
    from sfu.consumer import Consumer
    from sfu.forwarding._native import Loop

MAX_ENCODINGS: Final = 4
"""SSRCs that the native loop keeps of one track (MAX_ENCODINGS in forwarding/table.h); a further one takes the place of the one named
first. Browsers change theirs on few occasions (RFC 3550 8.2 collisions, a new sender)."""


class Track:
    """One published source. ``index`` is its place in the native loop; ``consumers`` are all its copies, connected or not."""

    def __init__(self, publisher: Publisher, index: int, section: Section) -> None:
        self.id = TrackId(str(uuid.uuid4()))
        self.publisher = publisher
        self.index = index
        self.kind = section.kind
        self.mid = section.mid
        self.codec = section.codec
        self.encodings: list[int] = []
        self.consumers: list[Consumer] = []
        self.active = False
        """Whether the answer accepted it, so that the native loop knows it."""

    def start(self, loop: Loop, section: AnsweredSection, paused: bool) -> None:
        """The answer accepted the track's section."""
        loop.add_track(
            self.index,
            self.publisher.connection.slot,
            clock_rate=self.codec.clock_rate,
            payload_type=section.payload_type,
            audio_level_extension=section.audio_level_extension,
        )
        self.active = True
        if paused:
            loop.set_paused(self.index, True)
        for ssrc in section.ssrcs:
            self.claim(loop, ssrc)

    def claim(self, loop: Loop, ssrc: int) -> None:
        """Let packets of ``ssrc`` belong to this track."""
        loop.add_encoding(self.index, ssrc)  # also where it is known: the loop says which are unknown, and does nothing if this one is not
        if ssrc not in self.encodings:
            self.encodings = [*self.encodings, ssrc][-MAX_ENCODINGS:]

    def compile(self, loop: Loop) -> None:
        """Give the native loop the pre-resolved list: the consumers whose transport is connected."""
        if self.active:
            loop.set_consumers(self.index, [consumer.index for consumer in self.consumers if consumer.flowing])


class Publisher:
    """A client-to-server connection and its tracks. ``announced``: control was told of them."""

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection = connection
        self.tracks: list[Track] = []
        self.announced = False
        self.created_at = now
        connection.publisher = self

    def track_of(self, payload_type: int, mid: bytes) -> Track | None:
        """Which track a packet of an unknown SSRC belongs to (RFC 8843 9.2): by its MID, or where it has none, by its payload type
        if only one track has that."""
        active = [track for track in self.tracks if track.active]
        if mid:
            return next((track for track in active if track.mid.encode() == mid), None)
        fitting = [track for track in active if track.codec.payload_type == payload_type]
        return fitting[0] if len(fitting) == 1 else None
