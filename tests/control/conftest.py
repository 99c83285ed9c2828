"""The signaling logic with a shard that a test plays: no socket, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from control import messages as m
from control.effects import Attach, Call, Effect, Outcome, Send, Session, Tell
from control.grants import Gate
from control.sessions import Limits
from control.signaling import Signaling
from sfu import protocol as p

OFFER = p.Offer(sdp="v=0 offer", candidates=["candidate:1 1 udp 2130706431 127.0.0.1 40000 typ host"])


class World:
    """Signaling with live shards whose answers the test decides.

    ``commands``: what shards were sent, in order; ``held``: calls not answered yet, while ``hold`` is true; ``answers``: outcome by
    kind of command, default success.
    """

    def __init__(self, limits: Limits | None = None, shards: tuple[str, ...] = ("0",), gate: Gate | None = None) -> None:
        self.signaling = Signaling(limits or Limits(), gate)
        self.now = 0.0
        self.hold = False
        self.held: list[Call] = []
        self.commands: list[p.Command] = []
        self.shard_of: list[str] = []
        self.answers: dict[type, Outcome] = {}
        self._inboxes: dict[Session, list[m.ServerMessage]] = defaultdict(list)
        for shard in shards:
            self.run(self.signaling.shard_up(p.ShardId(shard), self.now))

    def run(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    for session in to:
                        self._inboxes[session].append(message)
                case Call():
                    self._sent(effect.shard, effect.command)
                    self.held.append(effect)
                    if not self.hold:
                        self.answer()
                case Tell():
                    self._sent(effect.shard, effect.command)
                case Attach():
                    self._inboxes.pop(effect.newcomer, None)

    def _sent(self, shard: str, command: p.Command) -> None:
        self.commands.append(command)
        self.shard_of.append(shard)

    def answer(self, outcome: Outcome | None = None) -> None:
        """Answer the oldest call that waits."""
        call = self.held.pop(0)
        usual: Outcome = OFFER if isinstance(call.command, p.CreatePublisher | p.CreateConsumer) else p.Done()
        self.run(call.then(outcome or self.answers.get(type(call.command)) or usual, self.now))

    def say(self, session: Session, message: m.ClientMessage) -> list[m.ServerMessage]:
        """A client's message; returns what it was sent since the last look."""
        self.run(self.signaling.receive(session, message, self.now))
        return self.heard(session)

    def heard(self, session: Session) -> list[m.ServerMessage]:
        messages, self._inboxes[session] = self._inboxes[session], []
        return messages

    def quiet(self, *sessions: Session) -> None:
        for session in sessions:
            self.heard(session)

    def sent(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]

    # People, ready for what a test is about.

    def guest(self, name: str = "Ann") -> Session:
        session = Session()
        self.say(session, m.Register(username=name))
        return session

    def host(self, name: str = "Ann") -> Session:
        """Registered and in a room of its own."""
        session = self.guest(name)
        self.say(session, m.CreateRoom())
        return session

    def join(self, host: Session, name: str = "Bo") -> Session:
        """Somebody else in the room of ``host``."""
        session = self.guest(name)
        assert host.participant is not None
        self.say(session, m.JoinRoom(room_id=host.participant.room_id))
        self.quiet(host)
        return session

    def publish(self, session: Session, track: str = "t1") -> None:
        self.say(session, m.CreatePublisher())
        self.say(session, m.PublishAudio(sdp="v=0 answer"))
        self.event(p.TrackPublished, session, track_id=p.TrackId(track), kind="audio")
        self.quiet(session)

    def consume(self, session: Session, heard: Session) -> p.ConsumerId:
        assert heard.user_id is not None
        self.quiet(session)
        messages = self.say(session, m.CreateConsumer(publisher_user_id=heard.user_id))
        assert isinstance(messages[0], m.ConsumerCreated)
        return messages[0].consumer_id

    def event(self, said: Callable[..., p.ShardMessage], session: Session, shard: str = "0", **fields: Any) -> None:
        """Something that a shard says about a participant."""
        assert session.participant is not None
        room_id = session.participant.room_id
        event = said(shard_id=p.ShardId(shard), instance="x", room_id=room_id, user_id=session.user_id, **fields)
        self.run(self.signaling.shard_event(event, self.now))

    def lose(self, session: Session) -> None:
        """The socket breaks; what the client would still be told is lost."""
        self.run(self.signaling.lost(session, self.now))
        self.quiet(session)

    def resume(self, session: Session, token: str) -> list[m.ServerMessage]:
        """A new socket registers with ``token``, which is ``session``'s; what is said on it."""
        newcomer = Session()
        message = m.Register(username="Somebody", resume_token=token)
        assert self.signaling.resumable(newcomer, message) is session
        self.run(self.signaling.receive(newcomer, message, self.now))
        return self.heard(session)

    def end(self, session: Session) -> None:
        self.run(self.signaling.closed(session, self.now))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> type[World]:
    return World
