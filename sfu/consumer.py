"""One outgoing copy of a track for one participant."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sfu.budget import TokenBucket
from sfu.feedback import Reception
from sfu.indices import Indices
from sfu.negotiation import AUDIO_LEVEL, EXTENSIONS, MID, AnsweredSection
from sfu.protocol import ConsumerId, UserId

if TYPE_CHECKING:
    from sfu.connection import Connection
    from sfu.forwarding._native import Loop
    from sfu.publisher import Track

_RETRANSMISSIONS_PER_S: Final = 12.5
_RETRANSMISSIONS_AT_ONCE: Final = 50
"""How many packets one consumer may have again: a quarter of a voice stream's 50 packets/s. A peer that asks for more would not be helped
by them, and costs others their share. At once: below the 64 that the native loop takes with one command."""
_OFFERED = {uri: number for number, uri in EXTENSIONS.items()}


class Consumer:
    """A copy of ``track`` that rides on ``connection`` in section ``mid``, with an SSRC and sequence of its own.

    ``index`` is its place in the native loop; ``publisher_id`` whose track it is. ``reception`` is what the listener reports.
    ``accepted``: the listener's answer took the section; ``wanted``: the listener wants to hear it at the moment;
    ``first_sequence``: the sequence number of its first packet.
    """

    def __init__(
        self, consumer_id: ConsumerId, index: int, track: Track, publisher_id: UserId, connection: Connection, mid: str, now: float
    ) -> None:
        self.id = consumer_id
        self.index = index
        self.track = track
        self.publisher_id = publisher_id
        self.connection = connection
        self.mid = mid
        self.ssrc = connection.new_ssrc()
        self.reception = Reception()
        self._retransmissions = TokenBucket(_RETRANSMISSIONS_PER_S, _RETRANSMISSIONS_AT_ONCE)
        self.created_at = now
        self.accepted = False
        self.wanted = True
        self.first_sequence = 0
        self._answered = False
        self._extensions = (_OFFERED[AUDIO_LEVEL], _OFFERED[MID])

    @property
    def flowing(self) -> bool:
        """Whether its packets may be sent."""
        return self.accepted and self.wanted and self.connection.up

    def add(self, loop: Loop) -> None:
        """Describe it to the native loop. Nothing flows before its track lists it."""
        audio_level, mid = self._extensions
        self.first_sequence = secrets.randbits(15)
        loop.add_consumer(
            self.index,
            self.connection.slot,
            ssrc=self.ssrc,
            payload_type=self.track.codec.payload_type,
            audio_level_extension=audio_level,
            mid_extension=mid,
            mid=self.mid.encode(),
            sequence=self.first_sequence,
            timestamp=secrets.randbits(32),
        )

    def retransmit(self, loop: Loop, sequences: Sequence[int], now: float) -> int:
        """Send again what the listener misses, as far as its budget goes. Returns how many were refused."""
        if not self.flowing:
            return 0
        granted = self._retransmissions.take(len(sequences), now)
        if granted:
            loop.retransmit(self.index, self.track.index, sequences[:granted])
        return len(sequences) - granted

    def free(self, loop: Loop, indices: Indices, log: Any, reason: str, now: float) -> None:
        """Give back what it has here and in the native loop, which must have it in no list any more."""
        self.accepted = False
        log.info(
            "consumer closed",
            **self.connection.about,
            consumer=self.id,
            publisher=self.publisher_id,
            reason=reason,
            seconds=round(now - self.created_at, 1),
            packets=loop.consumer_counters(self.index).packets,
            lost=self.reception.lost,
        )
        loop.remove_consumer(self.index)
        indices.give_back(self.index)
        del self.connection.consumers[self.ssrc]

    def accept(self, loop: Loop, section: AnsweredSection) -> None:
        """The listener's first answer took the section, perhaps without some of the extensions. Later ones change
        nothing of these."""
        answered = (section.audio_level_extension, section.mid_extension)
        if answered != self._extensions and not self._answered:
            self._extensions = answered
            loop.remove_consumer(self.index)  # nothing was sent yet, so no packet index is used twice
            self.add(loop)
        elif self._answered and not self.accepted:
            loop.resync_consumer(self.index)
        self.accepted = self._answered = True

    def want(self, loop: Loop, wanted: bool) -> bool:
        """Whether the listener wants to hear it. Returns whether that is a change, for which the track's list is to be compiled."""
        if wanted == self.wanted:
            return False
        self.wanted = wanted
        if wanted:
            loop.resync_consumer(self.index)
        return True
