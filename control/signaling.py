"""What each message of a client means. Sans-IO: a message and ``now`` go in, effects come out.

Owns the sessions and the rooms. It must not know sockets, ZeroMQ, tasks or the clock. One client's messages are given to it
one at a time (the next one when everything that the last one called has been answered), different clients' in any order.

    socket opened ─▶ Session ── register ──▶ registered ── create_room/join_room ──▶ in a room ── leave_room ──▶ registered
                                                └───────── socket closed in order, or lost and not resumed: closed ───────┘
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import structlog

from control import messages as m
from control.admission import Admission, owners
from control.adoption import Adoption
from control.effects import Call, Effect, Outcome, Refused, Send, Session, Tell, Unanswered
from control.fleet import Fleet
from control.grants import Gate, OpenGate, Unauthorized
from control.happenings import entered, left
from control.media import Media
from control.resume import resumed, room_state
from control.rooms import Participant, Room
from control.sessions import UNSENT, Limits, Sessions
from sfu import protocol as p

log = structlog.get_logger("antiphon.signaling")


class Signaling:
    """``gate``: who is let in; ``messages``: valid client messages, by type; ``sessions.errors``: errors sent, by code.

    ``ice_servers``: those that a client is told, given its user id. ``rng``: for placement.
    """

    def __init__(
        self,
        limits: Limits,
        gate: Gate | None = None,
        ice_servers: Callable[[p.UserId], list[m.IceServer]] = lambda user_id: [],
        rng: random.Random | None = None,
    ) -> None:
        self.limits = limits
        self.gate: Gate = gate or OpenGate()
        self._ice_servers = ice_servers
        self.sessions = Sessions(limits)
        self.rooms = self.sessions.rooms
        self.media = Media(self.sessions)
        self.messages: Counter[str] = Counter()
        self.fleet = Fleet(self.rooms, limits.capacity, rng)
        self.admission = Admission(limits, self.rooms, self.fleet)

    # ------------------------------------------------------------------------------------------ from the sockets

    def receive(self, session: Session, message: m.ClientMessage, now: float) -> list[Effect]:
        """Act on one message of a client."""
        kind = m.message_type(message)
        self.messages[kind] += 1
        match message:
            case m.Ping():
                return [Send((session,), m.Pong())]
            case m.Register():
                former = self.resumable(session, message)
                return self._register(session, message) if former is None else self._resume(session, message, former)
        if session.user_id is None:
            return self.sessions.error(session, "not_registered", message)
        refusal = self.gate.refusal(session.grants, kind, getattr(message, "room_id", None))
        if refusal is not None:
            return self.sessions.error(session, "unauthorized", message, refusal)
        match message:
            case m.CreateRoom():
                return self._create_room(session, now)
            case m.JoinRoom():
                return self._join_room(session, message, now)
        participant = session.participant
        if participant is None:
            return self.sessions.error(session, "not_in_room", message)
        match message:
            case m.LeaveRoom():
                return [*self.leave(session, participant, now), Send((session,), m.RoomLeft())]
            case m.SetMuted():
                return self._set_muted(session, participant, message)
        return self.media.receive(session, participant, message)

    def bad_message(self, session: Session, error: m.BadMessage) -> list[Effect]:
        """Answer a frame that is no message."""
        return self.sessions.error(session, error.code, error.request, error.message)

    def rate_limited(self, session: Session) -> list[Effect]:
        return self.sessions.error(session, "rate_limited", None)

    def closed(self, session: Session, now: float) -> list[Effect]:
        """The client closed its socket in order: it leaves."""
        participant = session.participant
        self.sessions.unregister(session)
        return self.leave(session, participant, now) if participant is not None else []

    def lost(self, session: Session, now: float) -> list[Effect]:
        """The socket broke without a goodbye. A client that has registered may come back for a while (control/resume.py)."""
        if session.user_id is None or session.closed or not self.sessions.resumes.wait(session, now):
            return self.closed(session, now)
        log.info("socket lost", **self.sessions.about(session))
        return []

    def resumable(self, session: Session, message: m.ClientMessage) -> Session | None:
        """Whose session ``message`` on the socket of ``session`` is about to take over."""
        if not isinstance(message, m.Register) or session.user_id is not None:
            return None
        return self.sessions.resumes.find(message.resume_token)

    # ------------------------------------------------------------------------------------------ from the shards

    def shard_up(self, shard: p.ShardId, now: float, held: list[p.ParticipantState] | None = None) -> list[Effect]:
        """A shard takes rooms, and this is what it holds. Rooms that lost theirs and found no other are placed now."""
        self.fleet.up(shard)
        effects = Adoption(self.sessions, shard, held or []).run(now)
        homeless = [room for room in self.rooms if room.shard is None and room.participants]
        return [*effects, *(effect for room in homeless for effect in self.move(room, "shard_lost", now))]

    def shard_lost(self, shard: p.ShardId, now: float) -> list[Effect]:
        """A shard is gone with all that it held: its rooms are placed again, people stay in them."""
        self.fleet.lost(shard)
        effects: list[Effect] = []
        for room in self.rooms.on_shard(shard):
            log.warning("room lost its shard", room=room.room_id, shard=shard, participants=len(room.participants))
            self.rooms.place(room, None)
            effects += self.move(room, "shard_lost", now)
        return effects

    def shard_event(self, event: p.ShardMessage, now: float) -> list[Effect]:
        """Something that a shard said unasked about one of its rooms."""
        return self.media.shard_event(event)

    def shard_beat(self, beat: p.Heartbeat, now: float) -> list[Effect]:
        """A shard says how it is."""
        self.fleet.beat(beat, now)
        return []

    def tick(self, now: float) -> list[Effect]:
        """Let go of who was waited for in vain, and of rooms that were idle for too long. To be called about once a second."""
        effects: list[Effect] = []
        for session in self.sessions.resumes.overdue(now):
            log.info("not resumed in time", **self.sessions.about(session))
            effects += self.closed(session, now)
        for room in self.rooms.idle_longer_than(self.limits.room_grace_s, now):
            self.rooms.delete(room)
            log.info("idle room removed", room=room.room_id)
        self.admission.tick(now)
        return effects

    # ------------------------------------------------------------------------------------------ registering, rooms

    def _register(self, session: Session, message: m.Register) -> list[Effect]:
        if session.user_id is not None:
            return self.sessions.error(session, "already_registered", "register")
        try:
            grants = self.gate.admit(message.token)
        except Unauthorized as error:
            return self.sessions.error(session, "unauthorized", "register", str(error))
        username = m.clean_username(grants.name or message.username, self.limits.username_chars)
        if username is None:
            text = f"A name has 1 to {self.limits.username_chars} characters and no control characters."
            return self.sessions.error(session, "invalid_username", "register", text)
        user_id = self.sessions.register(session, username)
        session.grants = grants
        token = self.sessions.resumes.issue(session)
        return [Send((session,), self._registered(user_id, token))]

    def _registered(self, user_id: p.UserId, token: str, *, resumed: bool = False) -> m.Registered:
        servers = self._ice_servers(user_id)
        return m.Registered(user_id=user_id, protocol=m.PROTOCOL_VERSIONS, ice_servers=servers, resume_token=token, resumed=resumed)

    def _resume(self, session: Session, message: m.Register, former: Session) -> list[Effect]:
        """The client of ``former`` has come back on the socket of ``session``. Nothing of it is under way (control/dispatch.py)."""
        self.sessions.resumes.take_back(former)
        former.address = session.address
        session.closed = True
        token = self.sessions.resumes.issue(former, used=message.resume_token)
        log.info("resumed", **self.sessions.about(former))
        participant = former.participant
        assert former.user_id is not None
        registered = self._registered(former.user_id, token, resumed=True)
        if participant is None:
            return resumed(former, session, registered, None)
        room = self.sessions.room_of(participant)
        told = [*resumed(former, session, registered, room), *self.media.subscriptions.resumed(participant, room.shard)]
        # The shard learns the new token first: control may die as soon as it has been told to the client.
        return [*self.sessions.rejoin(participant), *told]

    def _create_room(self, session: Session, now: float) -> list[Effect]:
        if session.participant is not None:
            return self.sessions.error(session, "already_in_room", "create_room")
        refusal = self.admission.refuses_room(session, now)
        if refusal is not None:
            return self.sessions.error(session, refusal[0], "create_room", refusal[1])
        room = self.rooms.create(now, owners=owners(session))

        def undo() -> None:
            if not room.people:
                self.rooms.delete(room)  # nobody was told its id

        return self._enter(session, room, "create_room", undo, now)

    def _join_room(self, session: Session, message: m.JoinRoom, now: float) -> list[Effect]:
        if session.participant is not None:
            return self.sessions.error(session, "already_in_room", "join_room")
        room = self.rooms.get(message.room_id)
        if room is None or room.closed:
            return self.sessions.error(session, "room_not_found", "join_room")
        refusal = self.admission.refuses_entry(session, room, now)
        if refusal is not None:
            return self.sessions.error(session, refusal[0], "join_room", refusal[1])
        return self._enter(session, room, "join_room", lambda: None, now)

    def _enter(self, session: Session, room: Room, request: str, undo: Callable[[], None], now: float) -> list[Effect]:
        """Ask the room's shard to take ``session`` in; a room without one is placed first."""
        user_id = session.user_id
        assert user_id is not None
        if room.shard is None:
            self.rooms.place(room, self.fleet.choose(now).shard)
        shard = room.shard
        if shard is None:
            undo()
            return self.sessions.error(session, "shard_unavailable", request, self.fleet.why_no_rooms())
        self.rooms.begin_join(room)

        def then(outcome: Outcome, now: float) -> list[Effect]:
            effects = self._entered(session, room, shard, outcome, request, now)
            if session.participant is None:
                undo()
            return effects

        return [Call(shard, self.sessions.join(session, room.room_id), then)]

    def _entered(self, session: Session, room: Room, shard: p.ShardId, outcome: Outcome, request: str, now: float) -> list[Effect]:
        user_id = session.user_id
        assert user_id is not None
        if session.closed or room.closed or isinstance(outcome, Refused | Unanswered):
            self.rooms.end_join(room, None, now)
            # It may have come in all the same, or will: what it holds there is freed behind it.
            undo_join = Tell(shard, p.LeaveRoom(**UNSENT, room_id=room.room_id, user_id=user_id))
            if session.closed:
                return [undo_join]
            if room.closed:
                return [undo_join, *self.sessions.error(session, "room_not_found", request)]
            assert isinstance(outcome, Refused | Unanswered)
            return [undo_join, *self.sessions.failed(session, outcome, request)]
        participant = Participant(user_id, session.username, room.room_id)
        self.rooms.end_join(room, participant, now)
        session.participant = participant
        log.info("joined", room=room.room_id, user=user_id, shard=shard, people=len(room.participants))
        notice = self.sessions.to_others(participant, m.UserJoined(user_id=user_id, username=session.username))
        effects: list[Effect] = [*(Send((session,), message) for message in room_state(participant, room, resumed=False)), notice]
        if room.shard != shard:  # the room has moved on while the first one answered
            left_behind = Tell(shard, p.LeaveRoom(**UNSENT, room_id=room.room_id, user_id=user_id))
            effects += [left_behind, *self.sessions.rejoin(participant)]
        return [*effects, *entered(room, participant, session.grants.identity)]

    def leave(self, session: Session, participant: Participant, now: float) -> list[Effect]:
        """Take a participant out of its room, here at once and on the shard behind all that it has asked for."""
        session.participant = None
        notice = self.sessions.to_others(participant, m.UserLeft(user_id=participant.user_id, username=participant.username))
        shard = self.sessions.room_of(participant).shard
        room = self.rooms.remove(participant, now)
        log.info("left", room=room.room_id, user=participant.user_id, shard=shard, people=len(room.participants))
        happened = left(room, participant, session.grants.identity)
        if shard is None:
            return [notice, *happened]
        return [notice, *happened, Tell(shard, p.LeaveRoom(**UNSENT, room_id=room.room_id, user_id=participant.user_id))]

    def _set_muted(self, session: Session, participant: Participant, message: m.SetMuted) -> list[Effect]:
        shard = self.sessions.room_of(participant).shard
        if shard is None:
            return self.sessions.error(session, "shard_unavailable", "set_muted")
        room_id, user_id, muted = participant.room_id, participant.user_id, message.muted

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self.sessions.settled(session, participant, shard, outcome, "set_muted")
            if instead is not None:
                if isinstance(outcome, Unanswered) and session.participant is participant:
                    # Muted or not over there: put it back to what everyone believes.
                    back = p.SetMuted(**UNSENT, room_id=room_id, user_id=user_id, muted=participant.muted)
                    return [Tell(shard, back), *instead]
                return instead
            participant.muted = muted
            return [self.sessions.to_others(participant, m.UserMuted(user_id=user_id, muted=muted))]

        return [Call(shard, p.SetMuted(**UNSENT, room_id=room_id, user_id=user_id, muted=muted), then)]

    def move(self, room: Room, reason: str, now: float) -> list[Effect]:
        """Place a room that lost its shard, and tell its people. Without a live shard it waits for one, and they with it."""
        if not room.participants:
            return []
        self.rooms.place(room, self.fleet.choose(now).shard)
        if room.shard is None:
            return []
        for participant in room.participants.values():
            participant.forget_media()  # not before: without a live shard the lost one may come back with everything
        log.info("room placed again", room=room.room_id, shard=room.shard, participants=len(room.participants))
        joins = [effect for participant in room.participants.values() for effect in self.sessions.rejoin(participant)]
        return [*joins, self.sessions.to_room(room, m.RoomMoved(reason=reason))]
