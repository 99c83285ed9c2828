"""Who may make a room and who may come into one, as far as the operator's limits go. Sans-IO; grants are control/grants.py's."""

from __future__ import annotations

from control.effects import Session
from control.fleet import Fleet
from control.limits import KeyedRate
from control.rooms import Room, Rooms
from control.sessions import Limits

Refusal = tuple[str, str | None]
"""Code of the error, and its sentence where the usual one says too little."""


class Admission:
    """Counts joins by address and asks the limits on rooms, people and shards."""

    def __init__(self, limits: Limits, rooms: Rooms, fleet: Fleet) -> None:
        self._limits = limits
        self._rooms = rooms
        self._fleet = fleet
        self._joins = KeyedRate(limits.address_joins_per_s, limits.address_join_burst, limits.joins_per_s, limits.join_burst)

    def refuses_room(self, session: Session, now: float) -> Refusal | None:
        """Why ``session`` may not make a room now; None if it may."""
        limits = self._limits
        session.new_rooms.fill(now, limits.rooms_per_minute / 60, limits.room_burst)
        if not session.new_rooms.take():
            return "rate_limited", f"You may make {limits.rooms_per_minute:g} rooms a minute; wait a little, or join one."
        if len(self._rooms) >= limits.rooms:
            # Idle ones are somebody's too, until their grace is over: a stranger's wish for a room must not end them.
            return "too_many_rooms", None
        user, address = owners(session)
        if self._rooms.made_by(user) >= limits.user_rooms:
            return "too_many_rooms", f"You have made {limits.user_rooms} rooms that still exist, as many as you may; join one of them."
        if self._rooms.made_by(address) >= limits.address_rooms:
            return "too_many_rooms", "Your address has made as many rooms as it may; empty ones end by themselves after a while."
        return self._refuses_join(session, now)

    def refuses_entry(self, session: Session, room: Room, now: float) -> Refusal | None:
        """Why ``session`` may not come into ``room`` now; None if it may."""
        if room.people >= self._limits.room_participants:
            return "room_full", None
        if room.shard is not None and self._fleet.is_full(room.shard):
            return "shard_full", "The media server of this room has as many participants as it takes."
        return self._refuses_join(session, now)

    def tick(self, now: float) -> None:
        self._joins.forget_idle(now)

    def _refuses_join(self, session: Session, now: float) -> Refusal | None:
        match self._joins.take(session.address, now):
            case "key":
                return "rate_limited", "Too many people come in from your address at the moment; try again in some seconds."
            case "total":
                return "rate_limited", "Too many people come in at the moment; try again in some seconds."
        return None


def owners(session: Session) -> tuple[str, str]:
    """Under which names the rooms of a session are counted: as a person's (who may have several sessions) and as an address's."""
    return f"user {session.grants.identity or session.user_id}", f"address {session.address}"
