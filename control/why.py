"""Looks at a path twice, a moment apart, and lets control/path.py judge: the I/O behind ``GET /api/rooms/{room_id}/path``."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from control.api import ApiError, Asked
from control.dispatch import Dispatcher
from control.effects import Outcome
from control.path import Looks, PathReport, Signaling, report
from control.rooms import Participant, Room
from control.sessions import UNSENT
from control.shards import Shards
from sfu import protocol as p

APART_S: Final = 1.0
"""Between the looks: 50 packets of voice, and two of a browser that sends silence (DTX: one each 400 ms)."""


class Paths:
    """Paths between people of live rooms."""

    def __init__(self, dispatcher: Dispatcher, shards: Shards) -> None:
        self._dispatcher = dispatcher
        self._sessions = dispatcher.signaling.sessions
        self._shards = shards

    async def show(self, asked: Asked) -> PathReport:
        """Answer a request with the parameters ``from`` and ``to``: user ids, or usernames that only one in the room has."""
        room = self._sessions.rooms.get(p.RoomId(asked.path["room_id"]))
        if room is None:
            raise ApiError("room_not_found")
        speaker, listener = _find(room, asked.query.get("from", "")), _find(room, asked.query.get("to", ""))
        if speaker is listener:
            raise ApiError("invalid_request", "A path has two ends: from and to are the same person.")
        first = await self._look(room, speaker, listener)
        began = time.monotonic()
        await asyncio.sleep(APART_S if first is not None else 0.0)
        apart_s = time.monotonic() - began
        second = await self._look(room, speaker, listener)
        return report(Looks(room.room_id, self._signaling(speaker), self._signaling(listener), room.shard, first, second, apart_s))

    async def _look(self, room: Room, speaker: Participant, listener: Participant) -> p.PathFigures | None:
        """What the shard says; None where it says nothing."""
        if room.shard is None:
            return None
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        inspect = p.InspectPath(**UNSENT, room_id=room.room_id, user_id=listener.user_id, publisher_user_id=speaker.user_id)
        self._shards.call(room.shard, inspect, lambda outcome: None if answered.done() else answered.set_result(outcome))
        outcome = await answered
        return outcome if isinstance(outcome, p.PathFigures) else None

    def _signaling(self, participant: Participant) -> Signaling:
        session = next(iter(self._sessions.of([participant])), None)
        attached = session is not None and self._dispatcher.has_socket(session)
        since = self._sessions.resumes.waiting_since(session) if session is not None else None
        lost_s = self._dispatcher.now() - since if since is not None and not attached else None
        return Signaling(participant.user_id, participant.username, attached, lost_s)


def _find(room: Room, name: str) -> Participant:
    """Whoever ``name`` means. Raises :class:`ApiError`."""
    found = room.participants.get(p.UserId(name))
    if found is not None:
        return found
    called = [participant for participant in room.participants.values() if participant.username == name]
    if len(called) > 1:
        ids = ", ".join(participant.user_id for participant in called[:8])
        raise ApiError("invalid_request", f"{len(called)} people in the room are called {name[:64]}; say which by the user id: {ids}.")
    if not called:
        raise ApiError("participant_not_found", f"Nobody in the room is {name[:64]!r}, by user id or by name.")
    return called[0]
