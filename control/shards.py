"""ZeroMQ to the shards: a ROUTER socket, request ids and deadlines, and who of them is alive.

Owns the socket and one :class:`ShardLink` per shard id. It must not know rooms or clients: what shards say about those goes to
the :class:`Listener`. A link is

    unknown ── Hello ──▶ asked ── its account is here ──▶ up ── silent, Goodbye, process dead ──▶ lost ── heard again ──▶ asked
                         ▲ │                              │
                         │ └─ gives none ─▶ resetting ─▶ up (empty)
                         └── Hello again, a command that frees something cannot be sent ──┘

The shards own the truth of what is in rooms, so each is asked for its account (:class:`sfu.protocol.State`) before it is used: a control
that has just started finds the rooms of the one before it. A shard says Hello once for each connection that it makes, so a second Hello of
one instance means that its connection broke, and with it went, without a trace, whatever was under way in either direction: it is asked
again, and the listener compares. What a shard says before it has given its account is part of that, and is discarded.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import msgspec
import structlog
import zmq
import zmq.asyncio

from control.curve import CurveDoor
from control.effects import Outcome, Refused, Unanswered
from sfu import protocol as p

log = structlog.get_logger("antiphon.shards")

TELL_DEADLINE_S: Final = 600.0
"""Deadline of commands that free things: the shard shall carry them out however late it reads them."""
MAX_SHARDS: Final = 1024
"""Links that are kept; a stranger who says Hello under ever new names gets no further than this."""
SEND_HIGH_WATER: Final = 100_000
"""Commands that ZeroMQ keeps for a shard that does not read them at once. Its default of 1000 is less than one room of 1000 people
that is placed again, and beyond it a healthy shard would be given up. A shard that has so many before it is silent long before."""
WATCH_S: Final = 0.15
SUSPECT_S: Final = 0.6
"""After a silence of two heartbeats, at the default of 250 ms, a local shard's process is looked at. With :data:`WATCH_S` that notices one
that was stopped within 0.75 s of its last word."""
DISCARD_REASONS: Final = ("frames", "undecodable", "impostor", "protocol", "too_many", "stale", "late")
"""Why a message was not acted on; :class:`Shards` says what each means."""


class Listener(Protocol):
    """Who is told, in the order in which it happens."""

    def shard_up(self, shard: p.ShardId, held: list[p.ParticipantState]) -> None:
        """The shard takes commands. ``held``: all that it has in its rooms. Told again whenever control may have missed something."""

    def shard_lost(self, shard: p.ShardId) -> None: ...

    def shard_beat(self, beat: p.Heartbeat) -> None: ...

    def shard_event(self, event: p.ShardMessage) -> None: ...


@dataclass(slots=True)
class _Pending:
    then: Callable[[Outcome], None]
    timer: asyncio.TimerHandle
    command: p.Command


@dataclass(slots=True)
class ShardLink:
    """What is known of one shard.

    ``heard_at``: event loop clock, seconds; ``gone``: this instance has ended for certain, later words of it were under way;
    ``known_up``: the listener takes it for alive; ``account``: what has come so far of the answer to the request ``asked``.
    """

    shard_id: p.ShardId
    hello: p.Hello
    state: Literal["asked", "resetting", "up", "lost"]
    heard_at: float
    gone: bool = False
    known_up: bool = False
    account: list[p.ParticipantState] = field(default_factory=list)
    asked: p.RequestId | None = None
    heartbeat: p.Heartbeat | None = None
    pending: dict[p.RequestId, _Pending] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardTimes:
    """``command_s``: how long a command may take; ``silence_s``: a shard that says nothing for so long is lost."""

    command_s: float = 3.0
    silence_s: float = 3.0


class Shards:
    """All shards of this control.

    ``discarded``: messages that were not acted on, by reason: ``frames`` (not [id, body]), ``undecodable``, ``impostor`` (the
    body names another shard than the socket), ``protocol``, ``too_many``, ``stale`` (an instance that is not the known one, or
    said before its account was complete), ``late`` (an answer after its deadline). ``unanswered``: commands given up at their deadline.
    ``times`` may be replaced at any time. ``stopping``: control ends, and so do the shards: no loss. ``admits``: whether a shard that says
    Hello is to be used; one that is not is told to end. ``is_stopped``: whether a silent shard is known to be stopped (SIGSTOP);
    ``on_silent`` is told of each that is given up for its silence.
    """

    def __init__(self, listener: Listener, times: ShardTimes) -> None:
        self.links: dict[p.ShardId, ShardLink] = {}
        self.discarded: Counter[str] = Counter()
        self.unanswered = 0
        self.stopping = False
        self.admits: Callable[[p.Hello], bool] = lambda hello: True
        self.is_stopped: Callable[[p.ShardId], bool] = lambda shard: False
        self.on_silent: Callable[[p.ShardId], None] = lambda shard: None
        self._listener = listener
        self.times = times
        self._context: zmq.asyncio.Context = zmq.asyncio.Context()
        self._socket: zmq.asyncio.Socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._last_request = 0
        self._changed = asyncio.Event()
        self._door: CurveDoor | None = None

    # ------------------------------------------------------------------------------------------ life

    def start(self, endpoint: str) -> str:
        """Bind and listen; returns the endpoint in use (with its port, for tcp). Raises :class:`zmq.ZMQError`."""
        socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, p.MAX_MESSAGE_BYTES)
        socket.setsockopt(zmq.SNDHWM, SEND_HIGH_WATER)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an unknown shard is an error at once, not a silence
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a shard that is started again takes over its name
        socket.bind(endpoint)
        self._socket = socket
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._watch())]
        return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))

    def listen(self, endpoint: str, door: CurveDoor | None) -> str:
        """Bind one more endpoint, guarded by ``door``; returns it with its port. Raises :class:`zmq.ZMQError`."""
        assert self._socket is not None
        if door is None:
            self._socket.bind(endpoint)
        else:
            self._door = door
            door.bind(self._context, self._socket, endpoint)
        return str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._door is not None:
            await self._door.stop()
        for link in self.links.values():
            self._fail_all(link, "the server stops")
        if self._socket is not None:
            self._socket.close()
        self._context.destroy(linger=0)

    @property
    def up(self) -> list[ShardLink]:
        return [link for link in self.links.values() if link.state == "up"]

    def wait_for_change(self) -> Coroutine[Any, Any, Literal[True]]:
        """Ends when some shard has come up or was lost since this was called, however late it is awaited."""
        self._changed.clear()
        return self._changed.wait()

    # ------------------------------------------------------------------------------------------ to the shards

    def call(self, shard: p.ShardId, command: p.Command, then: Callable[[Outcome], None]) -> None:
        """Send a command. ``then`` is called once: with the answer, or with :class:`Unanswered` at its deadline at the latest."""
        link = self.links.get(shard)
        if link is None or link.state != "up":
            then(Unanswered("it is not running"))
        else:
            self._call(link, command, then)

    def tell(self, shard: p.ShardId, command: p.Command) -> None:
        """Send a command whose answer changes nothing; a shard that is not up holds nothing that it could be about.

        One that cannot be sent would leave things behind on the shard for ever: it is asked what it holds as soon as it is heard.
        """
        link = self.links.get(shard)
        if link is not None and link.state == "up":
            sent = self._call(link, command, lambda outcome: self._told(shard, command, outcome), TELL_DEADLINE_S)
            if not sent:  # later: who tells is in the midst of changing rooms
                asyncio.get_running_loop().call_soon(self._lost_touch, link, "a command could not be sent")

    def lost(self, shard: p.ShardId, reason: str, *, gone: bool) -> None:
        """The shard is given up with all that it held. ``gone``: its process has ended, it will not be heard again."""
        link = self.links.get(shard)
        if link is None:
            return
        link.gone = link.gone or gone
        if link.state == "lost":
            return
        was_up, link.known_up = link.known_up, False
        link.state = "lost"
        if not self.stopping:
            log.warning("shard lost", shard=shard, reason=reason)
        self._fail_all(link, "it has stopped")
        if was_up and not self.stopping:
            self._listener.shard_lost(shard)
        self._changed.set()

    def _lost_touch(self, link: ShardLink, reason: str) -> None:
        """What this shard holds is no longer known for certain, though it lives."""
        if link.state == "up" and self.links.get(link.shard_id) is link:
            log.warning("shard is asked what it holds", shard=link.shard_id, reason=reason)
            self._ask(link)

    def _call(self, link: ShardLink, command: p.Command, then: Callable[[Outcome], None], seconds: float | None = None) -> bool:
        """Whether it was sent; if not, ``then`` has been called."""
        seconds = self.times.command_s if seconds is None else seconds
        self._last_request += 1
        request_id = p.RequestId(self._last_request)
        deadline = int((time.time() + seconds) * 1000)
        body = p.encode(msgspec.structs.replace(command, request_id=request_id, deadline_unix_ms=deadline))
        problem = self._send(link.shard_id, body)
        if problem is not None:
            log.warning("command not sent", shard=link.shard_id, problem=problem, command=_kind(command), **p.about(command))
            then(Unanswered("it cannot be reached"))
            return False
        timer = asyncio.get_running_loop().call_later(seconds, self._expire, link, request_id)
        link.pending[request_id] = _Pending(then, timer, command)
        return True

    def _send(self, shard: p.ShardId, body: bytes) -> str | None:
        """Hand one message to ZeroMQ without waiting; returns what went wrong."""
        assert self._socket is not None
        if len(body) > p.MAX_MESSAGE_BYTES:
            return "too long"
        sent = self._socket.send_multipart([shard.encode(), body], flags=zmq.NOBLOCK)
        assert isinstance(sent, asyncio.Future)
        error = sent.exception()  # with NOBLOCK the future is finished already
        return str(error) if error is not None else None

    def _expire(self, link: ShardLink, request_id: p.RequestId) -> None:
        pending = link.pending.pop(request_id, None)
        if pending is not None:
            self.unanswered += 1
            log.warning("command not answered", shard=link.shard_id, command=_kind(pending.command), **p.about(pending.command))
            self._settle(pending, Unanswered("no answer in time"))

    def _fail_all(self, link: ShardLink, reason: str) -> None:
        pending, link.pending = link.pending, {}
        for call in pending.values():
            self._settle(call, Unanswered(reason))

    @staticmethod
    def _settle(pending: _Pending, outcome: Outcome) -> None:
        pending.timer.cancel()
        try:
            pending.then(outcome)
        except Exception:  # a fault in one continuation must not keep the others waiting
            log.exception("the outcome of a command could not be handled", command=_kind(pending.command), **p.about(pending.command))

    @staticmethod
    def _told(shard: p.ShardId, command: p.Command, outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            log.warning("clean-up refused", shard=shard, command=_kind(command), code=outcome.code, **p.about(command))

    # ------------------------------------------------------------------------------------------ from the shards

    async def _receive(self) -> None:
        assert self._socket is not None
        while True:
            frames = await self._socket.recv_multipart()
            try:
                self._handle(frames)
            except Exception:  # a fault in handling one message must not make control deaf
                log.exception("a shard's message could not be handled", shard=frames[0].decode(errors="replace")[:64])

    def _handle(self, frames: list[bytes]) -> None:
        if len(frames) != 2:
            self.discarded["frames"] += 1
            return
        try:
            shard = p.ShardId(frames[0].decode())
            message = p.decode_shard_message(frames[1])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.discarded["undecodable"] += 1
            return
        if isinstance(message, p.Reply | p.Failed):
            self._answered(shard, message)
        elif message.shard_id != shard:
            self.discarded["impostor"] += 1
        elif isinstance(message, p.Hello):
            self._hello(message)
        else:
            self._said(shard, message)

    def _answered(self, shard: p.ShardId, message: p.Reply | p.Failed) -> None:
        link = self.links.get(shard)
        pending = link.pending.pop(message.request_id, None) if link is not None else None
        if link is None or pending is None:
            self.discarded["late"] += 1
            return
        link.heard_at = asyncio.get_running_loop().time()
        self._settle(pending, message.result if isinstance(message, p.Reply) else Refused(message.code, message.message))

    def _end(self, hello: p.Hello) -> None:
        self._last_request += 1
        deadline = int((time.time() + self.times.command_s) * 1000)
        shutdown = p.Shutdown(request_id=p.RequestId(self._last_request), deadline_unix_ms=deadline)
        problem = self._send(hello.shard_id, p.encode(shutdown))
        log.warning("shard is of no use here and told to end", shard=hello.shard_id, pid=hello.pid, host=hello.host, problem=problem)

    def _hello(self, hello: p.Hello) -> None:
        if not self.admits(hello):
            self._end(hello)
            return
        if hello.protocol != p.PROTOCOL_VERSION:
            self.discarded["protocol"] += 1
            log.error("shard refused: another protocol version", shard=hello.shard_id, theirs=hello.protocol, ours=p.PROTOCOL_VERSION)
            return
        link = self.links.get(hello.shard_id)
        if link is None and len(self.links) >= MAX_SHARDS:
            self.discarded["too_many"] += 1
            return
        now = asyncio.get_running_loop().time()
        if link is not None and link.hello.instance == hello.instance:
            if not link.gone:
                link.heard_at = now
                self._ask(link)  # its connection broke
            return
        if link is not None:
            self.lost(hello.shard_id, "it was started again", gone=True)
        self.links[hello.shard_id] = link = ShardLink(hello.shard_id, hello, "asked", now)
        self._ask(link)

    def _said(self, shard: p.ShardId, message: p.ShardMessage) -> None:
        """A heartbeat, an event, a part of an account, or a goodbye."""
        assert not isinstance(message, p.Hello | p.Reply | p.Failed)
        link = self.links.get(shard)
        if link is None or link.gone or link.hello.instance != message.instance:
            self.discarded["stale"] += 1
            return
        match message:
            case p.Goodbye():
                self.lost(shard, "it said goodbye", gone=True)
            case p.Heartbeat():
                link.heartbeat = message
                self._heard(link, asyncio.get_running_loop().time())
                if link.state == "up":
                    self._listener.shard_beat(message)
            case p.State() if link.state == "asked" and message.request_id == link.asked:
                link.account += message.participants
            case _ if link.state == "up" and not isinstance(message, p.State):
                link.heard_at = asyncio.get_running_loop().time()
                self._listener.shard_event(message)
            case _:
                self.discarded["stale"] += 1

    def _heard(self, link: ShardLink, now: float) -> None:
        """A sign of life. One that was given up, or whose answer did not come, is asked (again)."""
        link.heard_at = now
        if link.state == "lost" or (link.state != "up" and not link.pending):
            self._ask(link)

    def _ask(self, link: ShardLink) -> None:
        """Let the shard say what it holds. Until it has, it is told nothing else, and what was under way is settled by its account."""
        link.state = "asked"
        self._fail_all(link, "its connection was interrupted")
        link.account = []

        def then(outcome: Outcome) -> None:
            if link.state != "asked" or self.links.get(link.shard_id) is not link:
                return
            if isinstance(outcome, p.Reported) and outcome.entries == len(link.account):
                self._up(link)
            elif not isinstance(outcome, Unanswered):
                log.error("shard gives no account of its rooms: it is emptied", shard=link.shard_id, outcome=outcome)
                self._reset(link)

        # Its number is known before the call: the first part of the account may be here with the answer.
        link.asked = p.RequestId(self._last_request + 1)
        self._call(link, p.ReportState(request_id=p.RequestId(0), deadline_unix_ms=0), then)

    def _reset(self, link: ShardLink) -> None:
        link.state = "resetting"
        link.account = []

        def then(outcome: Outcome) -> None:
            if isinstance(outcome, p.Done) and link.state == "resetting" and self.links.get(link.shard_id) is link:
                self._up(link)

        self._call(link, p.Reset(request_id=p.RequestId(0), deadline_unix_ms=0), then)

    def _up(self, link: ShardLink) -> None:
        held, link.account = link.account, []
        link.state = "up"
        link.known_up = True
        log.info("shard up", shard=link.shard_id, pid=link.hello.pid, udp_port=link.hello.udp_port, entries=len(held))
        self._listener.shard_up(link.shard_id, held)
        self._changed.set()

    async def _watch(self) -> None:
        """Give up shards that say nothing. A control that was itself held up gives them time to be heard first.

        What is silent for a moment may wait for a core: on a busy machine that is no reason to end its calls. So it is only looked at,
        and given up where it is known to be stopped.
        """
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(min(WATCH_S, self.times.silence_s / 4))
            held_up = loop.time() - before > self.times.silence_s / 2
            for link in [link for link in self.links.values() if link.state != "lost"]:
                silent_s = loop.time() - link.heard_at
                if silent_s > SUSPECT_S and self.is_stopped(link.shard_id):
                    self._give_up(link, "it is stopped")
                elif silent_s > self.times.silence_s and not held_up:
                    self._give_up(link, "it is silent")

    def _give_up(self, link: ShardLink, reason: str) -> None:
        self.lost(link.shard_id, reason, gone=False)
        self.on_silent(link.shard_id)


def _kind(command: p.Command) -> str:
    return str(command.__struct_config__.tag)
