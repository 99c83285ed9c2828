"""What an operator does to a running server: empty a shard, end a room, remove or mute somebody, tell something. Sans-IO.

    shard:  taking rooms ── drain ──▶ draining ── all rooms moved, or ended at the deadline ──▶ empty ── undrain ──▶ taking rooms

While a shard drains its rooms are moved to others, evenly over the time that there is, so that not everybody connects anew at once. A
room that finds no other shard goes on where it is, and ends at the deadline.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

from control import messages as m
from control.effects import Call, Effect, Outcome, Refused, Send, Tell, Unanswered
from control.rooms import Participant, Room
from control.sessions import UNSENT
from control.signaling import Signaling
from sfu import protocol as p

log = structlog.get_logger("antiphon.operator")

REMOVED = "removed"
ROOM_CLOSED = "room_closed"
DRAINED = "server_draining"
"""Reasons of ``room_left``; SIGNALING.md says what each means."""


class Operator:
    """Acts on the state of ``signaling``; effects are carried out as its own are."""

    def __init__(self, signaling: Signaling) -> None:
        self._signaling = signaling
        self._sessions = signaling.sessions
        self._rooms = signaling.rooms
        self._fleet = signaling.fleet

    # ------------------------------------------------------------------------------------------ emptying shards

    def drain(self, shard: p.ShardId, seconds: float, now: float) -> list[Effect]:
        """No new rooms for a shard, and none left there ``seconds`` from now. Repeating it sets another deadline."""
        self._fleet.draining[shard] = now + seconds
        rooms = self._rooms.on_shard(shard)
        log.info("shard drains", shard=shard, rooms=len(rooms), deadline_s=seconds)
        told: list[Effect] = [self._sessions.to_room(room, m.ServerDraining(deadline_s=seconds)) for room in rooms]
        return [*told, *self._drain_on(shard, now)]

    def undrain(self, shard: p.ShardId) -> None:
        """It takes rooms again; those that have moved stay where they are."""
        if self._fleet.draining.pop(shard, None) is not None:
            log.info("shard takes rooms again", shard=shard)

    def close(self, seconds: float) -> list[Effect]:
        """The whole server is to end: no new rooms, and everybody is told."""
        self._fleet.closing = True
        return [Send(self._sessions.everyone, m.ServerDraining(deadline_s=seconds))]

    def tick(self, now: float) -> list[Effect]:
        """Go on with what is being emptied. To be called about once a second."""
        return [effect for shard in list(self._fleet.draining) for effect in self._drain_on(shard, now)]

    def _drain_on(self, shard: p.ShardId, now: float) -> list[Effect]:
        rooms = sorted((room for room in self._rooms.on_shard(shard) if room.participants), key=lambda room: len(room.participants))
        left_s = self._fleet.draining[shard] - now
        effects: list[Effect] = []
        for room in rooms[: math.ceil(len(rooms) / max(1.0, left_s))]:  # so many at each tick that none is left at the deadline
            if self._fleet.choose(now).shard is not None:
                effects += self._move(room, shard, now)
            elif left_s <= 0:
                effects += self.end(room, DRAINED, now)
        if rooms and not self._rooms.on_shard(shard):
            log.info("shard drained", shard=shard)
        return effects

    def _move(self, room: Room, shard: p.ShardId, now: float) -> list[Effect]:
        """From a live shard to another one."""
        freed: list[Effect] = [Tell(shard, _leave(participant)) for participant in room.participants.values()]
        self._rooms.place(room, None)
        return [*freed, *self._signaling.move(room, "draining", now)]

    # ------------------------------------------------------------------------------------------ rooms and people

    def create_room(self, now: float) -> Room | None:
        """An empty room, to be joined by its id; None if there are as many as there may be."""
        return self._rooms.create(now) if len(self._rooms) < self._signaling.limits.rooms else None

    def close_room(self, room: Room, now: float) -> list[Effect]:
        """End a room and forget it: it cannot be joined any more. Somebody who is just coming in finds it gone."""
        room.closed = True
        effects = self.end(room, ROOM_CLOSED, now)
        if not room.people:
            self._rooms.delete(room)
        return effects

    def end(self, room: Room, reason: str, now: float) -> list[Effect]:
        """Everybody leaves, each with ``reason``."""
        return [effect for participant in list(room.participants.values()) for effect in self.remove(participant, reason, now)]

    def remove(self, participant: Participant, reason: str, now: float) -> list[Effect]:
        """Take somebody out of its room; it stays connected to the server."""
        log.info("taken out", room=participant.room_id, user=participant.user_id, reason=reason)
        effects: list[Effect] = []
        for session in self._sessions.of([participant]):
            effects += self._signaling.leave(session, participant, now)
            effects.append(Send((session,), m.RoomLeft(reason=reason)))
        return effects

    def mute(self, participant: Participant, muted: bool, settled: Callable[[Outcome], None]) -> list[Effect]:
        """Mute somebody on the server, or take it back. ``settled`` hears the outcome. The person may take it back, too."""
        room = self._sessions.room_of(participant)
        if room.shard is None:
            settled(Unanswered("the room has none at the moment"))
            return []

        def then(outcome: Outcome, now: float) -> list[Effect]:
            settled(outcome)
            if isinstance(outcome, Refused | Unanswered) or room.participants.get(participant.user_id) is not participant:
                return []
            participant.muted = muted
            return [self._sessions.to_room(room, m.UserMuted(user_id=participant.user_id, muted=muted))]

        command = p.SetMuted(**UNSENT, room_id=room.room_id, user_id=participant.user_id, muted=muted)
        return [Call(room.shard, command, then)]

    def announce(self, text: str, room: Room | None) -> tuple[int, list[Effect]]:
        """Tell the people of a room, or everybody on the server; how many they are."""
        to = self._sessions.everyone if room is None else self._sessions.of(room.participants.values())
        return len(to), [Send(to, m.Announcement(message=text))]


def _leave(participant: Participant) -> p.LeaveRoom:
    return p.LeaveRoom(**UNSENT, room_id=participant.room_id, user_id=participant.user_id)
