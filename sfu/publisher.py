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

MAX_ENCODINGS: Final = 16
"""SSRCs that one track may use during its life. Browsers change it on few occasions (RFC 3550 8.2 collisions, a new sender)."""


class Track:
    """One published source. ``index`` is its place in the native loop; ``consumers`` are all its copies, connected or not."""

    def __init__(self, publisher: Publisher, index: int, section: Section) -> None:
        self.id = TrackId(str(uuid.uuid4()))
        self.publisher = publisher
        self.index = index
        self.kind = section.kind
        self.mid = section.mid
        self.codec = section.codec
        self.encodings: set[int] = set()
        self.consumers: list[Consumer] = []
        self.active = False
        """Whether the answer accepted it, so that the native loop knows it."""
        self.said_bye = False
        """Whether the peer announced the end of what it sent last (RFC 3550 6.6)."""

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

    def claim(self, loop: Loop, ssrc: int) -> bool:
        """Let packets of ``ssrc`` belong to this track. False if it has too many already."""
        if ssrc in self.encodings:
            return True
        if len(self.encodings) >= MAX_ENCODINGS:
            return False
        self.encodings.add(ssrc)
        loop.add_encoding(self.index, ssrc)
        return True

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

    def note_bye(self, ssrc: int) -> None:
        """The peer stopped sending ``ssrc``. The track stays: browsers say BYE also when a microphone is exchanged."""
        for track in self.tracks:
            if ssrc in track.encodings:
                track.said_bye = True
