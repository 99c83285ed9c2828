"""What happens in rooms, as webhooks tell it: effects for each event, made where signaling decides. Sans-IO.

``room_started`` and ``room_ended`` stand round everything else of a room in use: before its first person and behind its last one.
"""

from __future__ import annotations

from typing import Final

from control.effects import Effect, Happened
from control.rooms import Participant, Room
from sfu.protocol import TrackId

KINDS: Final = ("room_started", "room_ended", "participant_joined", "participant_left", "track_published")


def entered(room: Room, participant: Participant, identity: str) -> list[Effect]:
    """Somebody has come in."""
    started: list[Effect] = [Happened("room_started", {"room_id": room.room_id})] if len(room.participants) == 1 else []
    return [*started, Happened("participant_joined", _person(participant, identity))]


def left(room: Room, participant: Participant, identity: str) -> list[Effect]:
    """Somebody is out of ``room``."""
    ended: list[Effect] = [] if room.participants else [Happened("room_ended", {"room_id": room.room_id})]
    return [Happened("participant_left", _person(participant, identity)), *ended]


def published(participant: Participant, identity: str, track_id: TrackId) -> list[Effect]:
    """Somebody can be heard."""
    return [Happened("track_published", {**_person(participant, identity), "track_id": track_id})]


def _person(participant: Participant, identity: str) -> dict[str, str]:
    person = {"room_id": participant.room_id, "user_id": participant.user_id, "username": participant.username}
    return person | ({"identity": identity} if identity else {})
