"""Carries out what the signaling logic asks for: messages to sockets, commands to shards. All on one event loop.

Owns the map from sessions to sockets. It must not know what a message means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from control import messages as m
from control.effects import Attach, Call, Effect, Happened, Outcome, Send, Session, Tell
from control.operator import Operator
from control.signaling import Signaling
from sfu.protocol import Command, Heartbeat, ParticipantState, ShardId, ShardMessage

log = structlog.get_logger("antiphon.dispatch")

TAKEN_OVER: Final = 4001
"""Close code for a socket whose session another one has resumed: its client must not come back with the same token."""


class Outbox(Protocol):
    """What a socket's adapter gives: neither method blocks or raises."""

    def deliver(self, text: str, error: str | None) -> None:
        """Queue a frame; ``error``: its code if the frame is an error."""

    def close(self, code: int, reason: str) -> None:
        """Close the socket after what is queued."""

    def attached(self, session: Session) -> None:
        """The socket is that of ``session`` from now on."""


class ShardCalls(Protocol):
    """What control.shards gives."""

    def call(self, shard: ShardId, command: Command, then: Callable[[Outcome], None]) -> None: ...

    def tell(self, shard: ShardId, command: Command) -> None: ...


class _Work:
    """Calls that one client message has set off and that are not answered yet. ``on_done`` is called once, when there are none left."""

    __slots__ = ("on_done", "outstanding")

    def __init__(self) -> None:
        self.outstanding = 0
        self.on_done: Callable[[], None] | None = None

    def finish_one(self) -> None:
        self.outstanding -= 1
        if not self.outstanding and self.on_done is not None:
            self.on_done()


class Dispatcher:
    """``shards`` is set once, before the first effect (the two know each other). ``turned_away``: sockets there was no room for;
    ``foreign``: those of pages that may not connect; ``of_address``: open ones by address; ``on_join`` is told how many seconds a
    join took. ``operator``: what an operator may do; ``hook``: is told what happens in rooms, ``hooked``: what became
    of that."""

    def __init__(self, signaling: Signaling, clock: Callable[[], float]) -> None:
        self.signaling = signaling
        self.shards: ShardCalls | None = None
        self._clock = clock
        self._outboxes: dict[Session, Outbox] = {}
        self._under_way: dict[Session, asyncio.Future[None]] = {}
        self.turned_away = 0
        self.foreign = 0
        self.of_address: Counter[str] = Counter()
        self.on_join: Callable[[float], None] = lambda seconds: None
        self.operator = Operator(signaling)
        self.hooked: Counter[str] = Counter()
        self.hook: Callable[[str, dict[str, str]], None] = lambda kind, fields: None

    @property
    def sockets(self) -> int:
        return len(self._outboxes)

    def now(self) -> float:
        """The clock of everything here, seconds."""
        return self._clock()

    def count(self, address: str, change: int) -> None:
        """One socket more, or less, of an address."""
        self.of_address[address] += change
        if not self.of_address[address]:
            del self.of_address[address]

    def attach(self, session: Session, outbox: Outbox) -> None:
        self._outboxes[session] = outbox

    def has_socket(self, session: Session) -> bool:
        return session in self._outboxes

    def detach(self, session: Session, outbox: Outbox) -> bool:
        """Forget the socket of ``session``. False if that is no longer its socket."""
        if self._outboxes.get(session) is not outbox:
            return False
        del self._outboxes[session]
        return True

    async def receive(self, session: Session, message: m.ClientMessage) -> None:
        """Act on a client's message; returns when every shard that it needed has answered or was given up."""
        while (former := self.signaling.resumable(session, message)) is not None and not self._is_free(former):
            await self._release(former)
        began, was_in_room = self._clock(), session.participant is not None
        await self._carry_out(session, message, began)
        if isinstance(message, m.CreateRoom | m.JoinRoom) and not was_in_room and session.participant is not None:
            self.on_join(self._clock() - began)

    async def _carry_out(self, session: Session, message: m.ClientMessage, now: float) -> None:
        work = _Work()
        self._apply(self.signaling.receive(session, message, now), work)
        if work.outstanding:
            done = self._under_way[session] = asyncio.get_running_loop().create_future()
            work.on_done = lambda: self._under_way.pop(session).set_result(None)
            # Shielded: a socket that ends meanwhile ends the waiting, but whoever resumes its session waits for the same.
            await asyncio.shield(done)

    def _is_free(self, session: Session) -> bool:
        """Whether a session has no socket, and nothing that was said on one is under way any more."""
        return session not in self._outboxes and session not in self._under_way

    async def _release(self, session: Session) -> None:
        """Part a session from its socket, and wait for what was said on that."""
        outbox = self._outboxes.pop(session, None)
        if outbox is not None:
            outbox.close(TAKEN_OVER, "this session goes on on another connection")
            self.apply(self.signaling.lost(session, self._clock()))
        if session in self._under_way:
            await asyncio.shield(self._under_way[session])

    def apply(self, effects: list[Effect]) -> None:
        """Carry out effects that nobody waits for."""
        self._apply(effects, _Work())

    def close_all(self, code: int, reason: str) -> None:
        for outbox in list(self._outboxes.values()):
            outbox.close(code, reason)

    # What control.shards reports, in the order in which it happens.

    def shard_up(self, shard: ShardId, held: list[ParticipantState]) -> None:
        self.apply(self.signaling.shard_up(shard, self._clock(), held))

    def shard_lost(self, shard: ShardId) -> None:
        self.apply(self.signaling.shard_lost(shard, self._clock()))

    def shard_beat(self, beat: Heartbeat) -> None:
        self.apply(self.signaling.shard_beat(beat, self._clock()))

    def shard_event(self, event: ShardMessage) -> None:
        self.apply(self.signaling.shard_event(event, self._clock()))

    def tick(self) -> None:
        self.apply(self.signaling.tick(self._clock()))
        self.apply(self.operator.tick(self._clock()))

    @property
    def in_rooms(self) -> int:
        """Open sockets whose clients are in a room."""
        return sum(session.participant is not None for session in self._outboxes)

    async def ask(self, shard: ShardId, command: Command) -> Outcome:
        """A command of the operator's to a shard, and its outcome."""
        assert self.shards is not None
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.shards.call(shard, command, lambda outcome: None if answered.done() else answered.set_result(outcome))
        return await answered

    def _apply(self, effects: list[Effect], work: _Work) -> None:
        assert self.shards is not None
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._send(to, message)
                case Call(shard, command, _):
                    work.outstanding += 1
                    self.shards.call(shard, command, self._continuation(effect, work))
                case Tell(shard, command):
                    self.shards.tell(shard, command)
                case Happened(kind, fields):
                    self.hook(kind, fields)
                case Attach(session, newcomer):
                    self._attach(session, newcomer)

    def _continuation(self, call: Call, work: _Work) -> Callable[[Outcome], None]:
        def then(outcome: Outcome) -> None:
            try:
                self._apply(call.then(outcome, self._clock()), work)
            finally:
                work.finish_one()

        return then

    def _attach(self, session: Session, newcomer: Session) -> None:
        outbox = self._outboxes.pop(newcomer)
        self._outboxes[session] = outbox
        outbox.attached(session)

    def _send(self, to: tuple[Session, ...], message: m.ServerMessage) -> None:
        if not to:
            return
        text = m.encode(message)
        error = message.code if isinstance(message, m.Error) else None
        for session in to:
            outbox = self._outboxes.get(session)
            if outbox is not None:
                outbox.deliver(text, error)
