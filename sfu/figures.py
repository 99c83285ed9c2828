"""What comes in from the people of one room, as control may ask for it at any time. Reads counters, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sfu.protocol import RoomFigures, TrackFigures, UserId
from sfu.publisher import Track

if TYPE_CHECKING:
    from sfu.forwarding._native import Loop
    from sfu.room import Room

MAX_TRACKS: Final = 1000
"""Of one answer: so many take about 130 KB."""


def room_figures(room: Room, loop: Loop, now: float) -> RoomFigures:
    """Every track of ``room`` that can come in, the first :data:`MAX_TRACKS` of them."""
    tracks = [
        (participant.user_id, track)
        for participant in room.participants.values()
        if participant.publisher is not None
        for track in participant.publisher.tracks
        if track.active
    ]
    shown = [_figures(user_id, track, loop) for user_id, track in tracks[:MAX_TRACKS]]
    return RoomFigures(at_ms=int(1000 * now), tracks=shown, more=len(tracks) - len(shown))


def _figures(user_id: UserId, track: Track, loop: Loop) -> TrackFigures:
    counters = loop.track_counters(track.index)
    return TrackFigures(
        user_id=user_id,
        track_id=track.id,
        packets=counters.packets,
        payload_bytes=counters.payload_bytes,
        lost=counters.lost,
        jitter_ms=1000 * counters.jitter / track.codec.clock_rate,
        level_dbov=-counters.audio_level,
    )
