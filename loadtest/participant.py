"""One participant of a run: real signaling, and media that the native traffic measures.

It publishes over a light connection or over a whole aiortc peer connection, and listens over light connections, one for each publisher
(``consumers``) or one for all (``subscription``). Who speaks is known by the stamps in the packets, so figures of a pair of people go on
when one of them has to connect again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from loadtest.light import Hub, LightConnection, Steps
from loadtest.native import _traffic
from loadtest.sdp import OfferError
from loadtest.signaling import PROTOCOL_VERSION, Closed, Message, Refused, Signaling, TargetError
from loadtest.stamped import StampedPublishing

Kind = Literal["light", "aiortc", "listener"]
Hearing = Literal["consumers", "subscription"]

UNHEEDED = frozenset(
    {"user_joined", "user_left", "user_muted", "publisher_ice_candidate", "consumer_ice_candidate", "subscription_ice_candidate"}
)
"""What nobody waits for is not kept: in a room of a thousand there are a million of these."""
RESUME_S = 30.0
"""How long a server keeps the session of a socket that broke, and so how long it is tried to get it back."""
CONSUMERS_PER_S = 20.0
CONSUMERS_AT_ONCE = 40
"""What a server lets one socket ask for (two messages each, of 50 a second and 100 at once)."""
UNSURE_S = 0.5
"""How long after (un)muting it may be unclear what the server forwards."""
GONE = frozenset({"publisher_not_found", "not_publishing", "not_in_room"})
"""Errors of ``create_consumer`` about somebody who has left or stopped since the announcement: no failure."""
PROBLEMS = (TargetError, Refused, Closed, ConnectionError, TimeoutError, OfferError)


@dataclass(frozen=True)
class Target:
    """A server. ``token``: gives the token for a participant of a name in a room, or None where none is needed."""

    url: str
    tls: ssl.SSLContext | None = None
    token: Callable[[str, str], str | None] = lambda name, room: None


class Directory:
    """Which talker in the native traffic each user id is: how a listener knows whom a ``new_publisher`` is about."""

    def __init__(self) -> None:
        self.talkers: dict[str, int] = {}


@dataclass
class Setup:
    """Moments of a participant's way in, by ``time.monotonic()``; 0.0: not yet. ``media``: of its publisher."""

    started: float = 0.0
    open: float = 0.0
    registered: float = 0.0
    joined: float = 0.0
    offer_asked: float = 0.0
    published: float = 0.0
    media: Steps = field(default_factory=Steps)


@dataclass
class Pair:
    """What this participant hears of one other. ``meter``: its number in the native traffic; ``connection``: None in a subscription."""

    user_id: str
    meter: int
    asked: float
    consumer_id: str = ""
    connection: LightConnection | None = None
    steps: Steps = field(default_factory=Steps)
    heard_after_s: float | None = None
    """From asking until the first packet."""


class Participant:
    """:meth:`connect`, then :meth:`create_room` or :meth:`join_room`, then :meth:`publish` if it is to talk.

    ``number``: of its ears in the native traffic; ``group``: whose figures are summed up, which is a room. What goes wrong after that is
    in :attr:`failures`.
    """

    def __init__(
        self,
        hub: Hub,
        target: Target,
        directory: Directory,
        name: str,
        *,
        number: int,
        group: int,
        kind: Kind = "light",
        talker: int | None = None,
        hearing: Hearing = "consumers",
    ) -> None:
        if (talker is None) != (kind == "listener"):
            raise ValueError("who publishes is a talker, and a listener is none")
        self.name = name
        self.kind = kind
        self.number = number
        self.group = group
        self.talker = talker
        self.user_id = ""
        self.room_id = ""
        self.setup = Setup()
        self.pairs: dict[str, Pair] = {}
        self.ended_pairs: list[Pair] = []
        self.failures: list[str] = []
        self.interruptions: list[str] = []
        """What the server said of media that it cut off."""
        self._hub = hub
        self._target = target
        self._directory = directory
        self._hearing = hearing
        self._signaling: Signaling | None = None
        self._publishing: LightConnection | StampedPublishing | None = None
        self.reconnected_after_s: list[float] = []
        """For each signaling connection that broke, the seconds until there was another."""
        self._subscription: LightConnection | None = None
        self._is_publishing = False
        self._resume_token = ""
        self._held: frozenset[str] = frozenset()
        self._consume_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def signaling(self) -> Signaling:
        if self._signaling is None:
            raise RuntimeError(f"{self.name} is not connected")
        return self._signaling

    # ------------------------------------------------------------------------------------------------ coming

    async def connect(self, room_id: str = "") -> None:
        """Open the WebSocket and register. Raises one of :data:`PROBLEMS`."""
        self.setup.started = time.monotonic()
        self._signaling = await Signaling.open(self._target.url, tls=self._target.tls, forget=UNHEEDED)
        self.setup.open = time.monotonic()
        self._signaling.on_message = self._take
        await self._register(self._signaling, room_id)
        self.setup.registered = time.monotonic()
        self._start(self._keep_signaling())

    async def _register(self, signaling: Signaling, room_id: str, **fields: Any) -> bool:
        """Whether this resumes the session of ``resume_token``."""
        if (token := self._target.token(self.name, room_id)) is not None:
            fields["token"] = token
        registered = await signaling.request("register", "registered", username=self.name, **fields)
        check_protocol(self._target.url, registered)
        self._resume_token = registered.get("resume_token") or ""
        self.user_id = registered["user_id"]
        if self.talker is not None:
            self._directory.talkers[self.user_id] = self.talker
        return bool(registered.get("resumed"))

    async def create_room(self) -> str:
        joined = await self.signaling.request("create_room", "room_joined")
        return await self._entered(joined)

    async def join_room(self, room_id: str) -> None:
        await self._entered(await self.signaling.request("join_room", "room_joined", room_id=room_id))

    async def _entered(self, joined: Message) -> str:
        self.room_id = joined["room_id"]
        self.setup.joined = time.monotonic()
        if self._hearing == "subscription":
            await self.signaling.send("subscribe")
        return self.room_id

    async def publish(self) -> None:
        """Speak. Returns when the server has announced the track and media flow."""
        assert self.talker is not None
        self._is_publishing = True
        try:
            self.setup.offer_asked = time.monotonic()
            offer = (await self.signaling.request("create_publisher", "publisher_created"))["sdp"]
            old, self._publishing = self._publishing, await self._make_publishing(offer)
        finally:
            self._is_publishing = False
        if old is not None:
            await _closed(old)

    async def _make_publishing(self, offer: str) -> LightConnection | StampedPublishing:
        assert self.talker is not None
        self._hub.traffic.set_speaking(self.talker, True)
        made: LightConnection | StampedPublishing
        if self.kind == "aiortc":
            made = StampedPublishing(self._hub.traffic, self.talker)
            answer = await made.answer(offer)
        else:
            made = LightConnection(self._hub, talker=self.talker)
            answer = made.answer(offer)
        self.setup.media = made.steps
        try:
            await self.signaling.request("publish_audio", "audio_published", sdp=answer)
            await made.connected()
        except BaseException:
            await _closed(made)
            raise
        self.setup.published = time.monotonic()
        return made

    # ------------------------------------------------------------------------------------------------ being there

    async def set_muted(self, muted: bool) -> None:
        """(Un)mute, and say to the listeners' meters what is to be expected of it. Takes :data:`UNSURE_S`."""
        assert self.talker is not None
        self._hub.traffic.set_flag(self.talker, _traffic.UNSURE)
        await self.signaling.send("set_muted", muted=muted)
        await asyncio.sleep(UNSURE_S)
        self._hub.traffic.set_flag(self.talker, _traffic.MUTED if muted else _traffic.COUNTED)

    def hush(self) -> None:
        """Say nothing more, before leaving: what is on its way then still arrives."""
        if self.talker is not None:
            self._hub.traffic.set_speaking(self.talker, False)
        if isinstance(self._publishing, StampedPublishing):
            self._publishing.hush()

    def finish_hearing(self, user_id: str | None = None) -> None:
        """What is spoken from now on (by one, or by all) is not expected to arrive here any more."""
        for pair in [self.pairs[user_id]] if user_id in self.pairs else list(self.pairs.values()) if user_id is None else []:
            self._hub.traffic.finish_meter(pair.meter)

    def connections(self) -> list[LightConnection]:
        """Those that bring sound."""
        found = [pair.connection for pair in self.pairs.values() if pair.connection is not None]
        return [*found, self._subscription] if self._subscription is not None else found

    def cut_off(self) -> None:
        """Lose every listening connection without a word, as by a cable pulled out, and ask for them again."""
        for connection in self.connections():
            connection.abort()
        if self._hearing == "subscription":
            self._subscription = None
            self._start(self.signaling.send("subscribe"))
        for pair in list(self.pairs.values()):
            if pair.connection is not None:
                self._start(self._consume(pair.user_id))

    def note_heard(self) -> int:
        """How many others this one hears; remembers after what time."""
        heard = 0
        for pair in self.pairs.values():
            if pair.heard_after_s is None and (after_ns := self._hub.traffic.meter(pair.meter).resumed_after_ns) >= 0:
                pair.heard_after_s = after_ns / 1e9
            heard += pair.heard_after_s is not None
        return heard

    # ------------------------------------------------------------------------------------------------ going

    async def leave(self) -> None:
        """Leave in order."""
        if self._signaling is not None and self._signaling.closed is None and self.room_id:
            with contextlib.suppress(*PROBLEMS):
                await self._signaling.request("leave_room", "room_left", timeout_s=3)
        await self.close()

    async def close(self) -> None:
        """End everything. Harmless when repeated."""
        if self._signaling is not None:
            self._signaling.on_message = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop_media(silently=False)
        if self._signaling is not None:
            await self._signaling.close()

    async def _drop_media(self, *, silently: bool) -> None:
        for connection in self.connections():
            connection.abort() if silently else connection.close()
        self._subscription = None
        for pair in self.pairs.values():
            pair.connection = None
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            await _closed(publishing)

    # ------------------------------------------------------------------------------------------------ what the server says

    def _take(self, message: Message) -> None:
        match message["type"]:
            case "new_publisher" if self._hearing == "consumers" and not self._still_hears(message["user_id"]):
                self._start(self._consume(message["user_id"]))
            case "publisher_closed" if message["user_id"] == self.user_id:
                self._lost_publisher()
            case "publisher_closed" | "user_left":
                self._forget(message["user_id"])
            case "consumer_closed" if message.get("reason") not in ("closed", "replaced"):
                self._lost_consumer(message)
            case "subscription_offer":
                self._start(self._answer_subscription(message))
            case "subscription_closed" if message.get("reason") not in ("closed", "replaced"):
                self.interruptions.append(f"subscription_closed ({message.get('reason')})")
                self._start(self.signaling.send("subscribe"))
            case "room_moved":
                self.interruptions.append(f"room_moved ({message.get('reason')})")
                self._start(self._begin_again())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PROBLEMS as problem:
            if not (isinstance(problem, Refused) and problem.code in GONE):
                self.failures.append(f"{self.name}: {problem or type(problem).__name__}")

    def _pair(self, user_id: str) -> Pair | None:
        """The pair with somebody of this run; None for strangers, who cannot be measured."""
        talker = self._directory.talkers.get(user_id)
        if talker is None or talker == self.talker:
            return None
        if user_id not in self.pairs:
            meter = self._hub.traffic.open_meter(self.number, talker, self.group)
            self.pairs[user_id] = Pair(user_id, meter, time.monotonic())
            self._hub.traffic.mark_meter(meter)
        return self.pairs[user_id]

    def _still_hears(self, user_id: str) -> bool:
        """Whether the server has kept this consumer over a resume."""
        pair = self.pairs.get(user_id)
        return pair is not None and pair.consumer_id in self._held and pair.connection is not None

    async def _pace(self) -> None:
        """Ask for consumers no faster than the server lets one socket."""
        now = time.monotonic()
        self._consume_at = max(self._consume_at + 1 / CONSUMERS_PER_S, now - CONSUMERS_AT_ONCE / CONSUMERS_PER_S)
        await asyncio.sleep(max(0.0, self._consume_at - now))

    async def _consume(self, user_id: str) -> None:
        pair = self._pair(user_id)
        if pair is None:
            return
        pair.asked = time.monotonic()
        await self._pace()
        if pair.connection is not None:
            pair.connection.abort()
        created = await self.signaling.request("create_consumer", "consumer_created", publisher_user_id=user_id)
        connection = LightConnection(self._hub, listener=self.number)
        pair.consumer_id, pair.connection, pair.steps = created["consumer_id"], connection, connection.steps
        await self.signaling.send("consumer_answer", consumer_id=pair.consumer_id, sdp=connection.answer(created["sdp"]))
        await connection.connected()

    async def _answer_subscription(self, message: Message) -> None:
        for track in message["tracks"]:
            pair = self._pair(track["user_id"])
            if pair is not None:
                pair.consumer_id = track["consumer_id"]
        known = self._subscription
        if known is None or not known.continues(message["sdp"]):
            if known is not None:
                known.abort()
            self._subscription = LightConnection(self._hub, listener=self.number)
        assert self._subscription is not None
        answer = self._subscription.answer(message["sdp"])
        await self.signaling.send("subscription_answer", revision=message["revision"], sdp=answer)
        for pair in self.pairs.values():
            pair.steps = self._subscription.steps
        await self._subscription.connected()

    def _lost_publisher(self) -> None:
        """The server has given up our own connection; nobody asked for that."""
        if self._publishing is not None and not self._is_publishing:
            self.interruptions.append("publisher_closed")
            self._start(self.publish())

    def _lost_consumer(self, message: Message) -> None:
        pair = next((pair for pair in self.pairs.values() if pair.consumer_id == message["consumer_id"]), None)
        self.interruptions.append(f"consumer_closed ({message.get('reason')})")
        if pair is not None and self._hearing == "consumers":
            self._start(self._consume(pair.user_id))

    def _forget(self, user_id: str) -> None:
        pair = self.pairs.pop(user_id, None)
        if pair is None:
            return
        self._hub.traffic.finish_meter(pair.meter)
        self.ended_pairs.append(pair)
        if pair.connection is not None:
            pair.connection.close()
            pair.connection = None

    async def _begin_again(self) -> None:
        """The room has moved to another shard: publish anew; the others' announcements bring the consumers back."""
        await self._drop_media(silently=True)
        if self._hearing == "subscription":
            await self.signaling.send("subscribe")
        if self.talker is not None:
            await self.publish()

    # ------------------------------------------------------------------------------------------------ a socket that breaks

    async def _keep_signaling(self) -> None:
        """Get the session back whenever the WebSocket breaks, as the browser client does."""
        while True:
            closed = await self.signaling.wait_closed(timeout_s=None)
            self.interruptions.append(f"WebSocket closed ({closed.code} {closed.reason})")
            broke = time.monotonic()
            await self._resume(broke)
            self.reconnected_after_s.append(time.monotonic() - broke)

    async def _resume(self, broke: float) -> None:
        wait_s = 0.1
        while True:
            try:
                await self._try_to_resume()
                return
            except (TargetError, Closed, TimeoutError):
                if time.monotonic() - broke > RESUME_S:
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(1.0, 2 * wait_s)

    async def _try_to_resume(self) -> None:
        signaling = await Signaling.open(self._target.url, tls=self._target.tls, forget=UNHEEDED)
        self._held = frozenset(pair.consumer_id for pair in self.pairs.values())
        signaling.on_message = self._take
        if await self._register(signaling, self.room_id, resume_token=self._resume_token):
            state = (await signaling.expect("room_joined")).get("resumed") or {}
            self._signaling = signaling
            self._held = frozenset(consumer["consumer_id"] for consumer in state.get("consumers", ()))
            await self._repair(publishing=bool(state.get("publishing")), subscribed=bool(state.get("subscribed")))
        else:
            self._signaling = signaling
            await self._drop_media(silently=True)
            await self.join_room(self.room_id)
            if self.talker is not None:
                await self.publish()

    async def _repair(self, *, publishing: bool, subscribed: bool) -> None:
        """Make again what the server no longer holds."""
        if self._hearing == "subscription" and not subscribed:
            await self.signaling.send("subscribe")
        if self.talker is not None and not publishing:
            await self.publish()


def check_protocol(url: str, registered: Message) -> None:
    """Raises :class:`TargetError` unless the server speaks our version of the protocol."""
    spoken = registered.get("protocol", [PROTOCOL_VERSION])
    if PROTOCOL_VERSION not in spoken:
        raise TargetError(
            f"{url} speaks version {', '.join(map(str, spoken))} of the signaling protocol, this load tester version {PROTOCOL_VERSION}"
        )


async def _closed(connection: LightConnection | StampedPublishing) -> None:
    if isinstance(connection, LightConnection):
        connection.close()
    else:
        await connection.close()
