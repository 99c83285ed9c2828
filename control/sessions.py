"""What the signaling logic shares: sessions, rooms, limits, counters, and the few ways in which a client is addressed."""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypedDict

import msgspec
import structlog

from control import kept
from control import messages as m
from control.effects import Effect, Outcome, Refused, Send, Session, Tell, Unanswered
from control.happenings import published
from control.placement import Capacity
from control.resume import Resumes
from control.rooms import Participant, Room, Rooms
from sfu import protocol as p

log = structlog.get_logger("antiphon.signaling")


class _Unsent(TypedDict):
    request_id: p.RequestId
    deadline_unix_ms: int


UNSENT: Final[_Unsent] = {"request_id": p.RequestId(0), "deadline_unix_ms": 0}
"""Fields of a command that control.shards has not yet numbered and dated."""


Request = str | m.ClientMessage
"""What an error is about: the message, whose ids the error repeats, or its ``type`` where it has none."""


def request_type(request: Request) -> str:
    return request if isinstance(request, str) else m.message_type(request)


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's bounds (control/config.py describes each)."""

    username_chars: int = 64
    room_participants: int = 1000
    rooms: int = 10_000
    rooms_per_minute: float = 10.0
    room_burst: int = 20
    room_grace_s: float = 300.0
    user_rooms: int = 100
    address_rooms: int = 1000
    user_consumers: int = 1000
    joins_per_s: float = 500.0
    join_burst: int = 5000
    address_joins_per_s: float = 100.0
    address_join_burst: int = 4000
    shard_participants: int = 10_000
    shard_rooms: int = 10_000
    shard_capacity_pps: float = 250_000.0
    heartbeat_timeout_ms: int = 5000
    resume_grace_s: float = 30.0
    sockets: int = 10_000

    @property
    def capacity(self) -> Capacity:
        """Of one shard. A silent one gets no room long before it counts as lost."""
        return Capacity(
            packets_per_s=self.shard_capacity_pps,
            participants=self.shard_participants,
            rooms=self.shard_rooms,
            silent_s=self.heartbeat_timeout_ms / 2000,
        )


class Sessions:
    """The state of all signaling. ``errors``: errors sent, by code; ``instance``: tells this control process from earlier ones."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rooms = Rooms()
        self.resumes = Resumes(limits.resume_grace_s, limits.sockets)
        self.errors: Counter[str] = Counter()
        self.instance = secrets.token_hex(8)
        self._by_user: dict[p.UserId, Session] = {}

    def register(self, session: Session, username: str) -> p.UserId:
        session.user_id = p.UserId(str(uuid.uuid4()))
        session.username = username
        self._by_user[session.user_id] = session
        return session.user_id

    def take_in(self, session: Session, known: kept.Kept, now: float) -> None:
        """A session of an earlier control, which has lost its socket with that."""
        assert session.user_id is not None
        self._by_user[session.user_id] = session
        self.resumes.adopt(session, list(known.tokens))
        self.resumes.wait(session, now, always=True)

    def join(self, session: Session, room_id: p.RoomId) -> p.JoinRoom:
        """The command that makes a registered client known on its room's shard, or renews what that keeps of it."""
        assert session.user_id is not None
        known = kept.encode(kept.Kept(control=self.instance, grants=session.grants, tokens=session.tokens))
        return p.JoinRoom(**UNSENT, room_id=room_id, user_id=session.user_id, username=session.username, session=known)

    @property
    def everyone(self) -> tuple[Session, ...]:
        """All who have registered."""
        return tuple(self._by_user.values())

    def unregister(self, session: Session) -> None:
        session.closed = True
        self.resumes.forget(session)
        if session.user_id is not None:
            self._by_user.pop(session.user_id, None)

    def __len__(self) -> int:
        return len(self._by_user)

    def of(self, people: Iterable[Participant]) -> tuple[Session, ...]:
        """The sessions of ``people``, those that have one."""
        return tuple(session for person in people if (session := self._by_user.get(person.user_id)) is not None)

    def about(self, session: Session) -> dict[str, str]:
        """What a session is called on lines of the log: its user, and room and shard where it is in one."""
        found = {"user": session.user_id} if session.user_id is not None else {}
        participant = session.participant
        room = self.rooms.get(participant.room_id) if participant is not None else None
        if room is None:
            return {**found}
        return {**found, "room": room.room_id, **({"shard": room.shard} if room.shard is not None else {})}

    def room_of(self, participant: Participant) -> Room:
        """The room that a participant is in. Raises KeyError when it is in none: ask only for those that are."""
        room = self.rooms.get(participant.room_id)
        if room is None:
            raise KeyError(participant.room_id)
        return room

    def to_others(self, participant: Participant, message: m.ServerMessage) -> Send:
        """To everyone else in the participant's room."""
        people = self.room_of(participant).participants.values()
        return Send(self.of(person for person in people if person is not participant), message)

    def to_room(self, room: Room, message: m.ServerMessage) -> Send:
        return Send(self.of(room.participants.values()), message)

    def error(self, session: Session, code: str, request: Request | None, message: str | None = None) -> list[Effect]:
        """An ``error`` to one client. ``message``: default is the sentence of the code."""
        self.errors[code] += 1
        error = m.Error(
            message=message or m.ERROR_CODES[code],
            code=code,
            request=None if request is None else request_type(request),
            consumer_id=getattr(request, "consumer_id", msgspec.UNSET),
            publisher_user_id=getattr(request, "publisher_user_id", msgspec.UNSET),
        )
        return [Send((session,), error)]

    def failed(self, session: Session, outcome: Refused | Unanswered, request: Request) -> list[Effect]:
        """What a client is told when the shard refused or did not answer; repairs what can be repaired."""
        if isinstance(outcome, Unanswered):
            return self.error(session, "shard_unavailable", request, f"The room's media server does not answer: {outcome.reason}.")
        participant = session.participant
        if outcome.code == "not_in_room" and participant is not None:
            # Control knows better: the shard has lost a join. Say it again, so that the client's next try succeeds.
            return [*self.rejoin(participant), *self.error(session, "shard_unavailable", request)]
        if outcome.code not in m.ERROR_CODES:
            log.error(
                "shard refused with an unknown code",
                **self.about(session),
                code=outcome.code,
                message=outcome.message,
                request=request_type(request),
            )
            return self.error(session, "shard_unavailable", request)
        return self.error(session, outcome.code, request, outcome.message)

    def rejoin(self, participant: Participant) -> list[Effect]:
        """Make a participant known on its room's shard again, muted or not as it was. Repeating it is harmless."""
        shard = self.room_of(participant).shard
        if shard is None:
            return []
        room_id, user_id = participant.room_id, participant.user_id
        effects: list[Effect] = [Tell(shard, self.join(session, room_id)) for session in self.of([participant])]
        if participant.muted:
            effects.append(Tell(shard, p.SetMuted(**UNSENT, room_id=room_id, user_id=user_id, muted=True)))
        return effects

    def track_up(self, participant: Participant, track_id: p.TrackId) -> list[Effect]:
        """What is told when a participant's track can be heard."""
        announcement = m.NewPublisher(user_id=participant.user_id, username=participant.username)
        sessions = self.of([participant])
        identity = sessions[0].grants.identity if sessions else ""
        return [
            Send(sessions, m.AudioPublished(track_id=track_id)),
            self.to_others(participant, announcement),
            *published(participant, identity, track_id),
        ]

    def settled(
        self, session: Session, participant: Participant, shard: p.ShardId, outcome: Outcome, request: Request
    ) -> list[Effect] | None:
        """What to do instead of going on with ``outcome``; None if it is a result for somebody who is still there."""
        if session.participant is not participant:
            return []  # left meanwhile: LeaveRoom was sent behind this command and frees what it made
        if isinstance(outcome, Refused | Unanswered):
            return self.failed(session, outcome, request)
        if self.room_of(participant).shard != shard:
            return self.error(session, "shard_unavailable", request)
        return None
