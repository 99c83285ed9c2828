"""Who joins which room and when; runs that against a server and gathers what every listener experienced."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtest.audio import tone_of
from loadtest.peer import Consumer, Peer
from loadtest.report import Durations, Figures, Media, Setup
from loadtest.signaling import Closed, Refused, Signaling, TargetError

SETTLE_S = 10.0
"""How long after the last join everybody may take to hear everybody."""
PROGRESS_EVERY_S = 0.25


@dataclass(frozen=True)
class Scenario:
    """What is asked of the server.

    ``publishers`` and ``listeners`` are per room; publishers hear each other, listeners only listen. The participants of all rooms
    join evenly spread over ``ramp_s`` seconds, rooms in turn. ``duration_s`` counts from when everybody hears everybody.
    """

    url: str
    rooms: int = 1
    publishers: int = 2
    listeners: int = 0
    duration_s: float = 10.0
    ramp_s: float = 0.0

    @property
    def participants(self) -> int:
        return self.rooms * (self.publishers + self.listeners)

    @property
    def streams(self) -> int:
        """Consumers that exist when everybody hears everybody else who talks."""
        return self.rooms * self.publishers * (self.publishers - 1 + self.listeners)


@dataclass(frozen=True)
class Progress:
    """Where a run stands. ``phase`` is ``joining``, ``settling``, ``talking`` or ``leaving``."""

    phase: str
    elapsed_s: float
    joined: int
    talking: int
    hearing: int


class _Room:
    """One room of the run: its first participant creates it, the others wait for its id."""

    def __init__(self) -> None:
        self.id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.opened = False
        self.members: list[_Member] = []


@dataclass
class _Member:
    """One participant of the run and how its setup went."""

    peer: Peer
    room: _Room
    publishes: bool
    attempted: bool = False
    ready: bool = False
    setup_ms: float = 0.0
    failure: str = ""
    heard: set[str] = field(default_factory=set)
    """Publishers that were heard at least once, by user id."""
    first_sound_ms: dict[str, float] = field(default_factory=dict)

    async def set_up(self) -> None:
        """WebSocket, join, and for a publisher the track: what a person waits for before being in the call."""
        self.attempted = True
        start = time.monotonic()
        try:
            await self.peer.connect()
            if self.room.opened:
                await self.peer.join_room(await self.room.id)
            else:
                self.room.opened = True
                self.room.id.set_result(await self.peer.create_room())
            if self.publishes:
                await self.peer.publish()
        except (TargetError, Refused, Closed, ConnectionError, TimeoutError) as error:
            self.failure = f"{self.peer.username}: {error or type(error).__name__}"
            if not self.room.id.done():
                self.room.id.set_exception(ConnectionError("the room could not be created"))
                self.room.id.exception()  # seen: those who wait for it report it, and perhaps nobody does
            return
        self.setup_ms = (time.monotonic() - start) * 1000
        self.ready = True

    def note_hearing(self) -> None:
        """Remember whose sound has arrived and after how long."""
        for user_id, consumer in self.peer.consumers.items():
            if consumer.first_frame_at is not None and user_id not in self.heard:
                self.heard.add(user_id)
                self.first_sound_ms[user_id] = (consumer.first_frame_at - consumer.asked_at) * 1000

    def interruptions(self) -> list[str]:
        """What the server told this participant of media that it cut off; the streams that came after say nothing of the gap."""
        cuts = [m for m in self.peer.signaling.received if m["type"] in ("room_moved", "consumer_closed")]
        return [f"{m['type']} ({m.get('reason')})" for m in cuts]

    def should_hear(self) -> set[str]:
        """User ids of everybody else in the room whose track is up."""
        return {m.peer.user_id for m in self.room.members if m.publishes and m.ready and m is not self}


class Run:
    """One execution of a scenario. :attr:`stop` ends it early, and the figures are then those so far."""

    def __init__(self, scenario: Scenario, on_progress: Callable[[Progress], None] = lambda progress: None) -> None:
        self.scenario = scenario
        self.stop = asyncio.Event()
        self._on_progress = on_progress
        self._members: list[_Member] = []
        self._started_at = time.monotonic()

    async def execute(self) -> Figures:
        """Run it and return the figures. Raises :class:`TargetError` when the server cannot be used at all; then nothing was measured."""
        await (await Signaling.open(self.scenario.url)).close()
        self._started_at = time.monotonic()
        try:
            await self._join()
            await self._until("settling", SETTLE_S, self._everybody_hears)
            await self._until("talking", self.scenario.duration_s)
            return await self._figures()
        finally:
            self._report("leaving")
            await asyncio.gather(*(member.peer.close() for member in self._members), return_exceptions=True)

    async def _join(self) -> None:
        rooms = [_Room() for _ in range(self.scenario.rooms)]
        for number in range(self.scenario.publishers + self.scenario.listeners):
            for index, room in enumerate(rooms):
                name = f"room {index + 1} person {number + 1}"
                peer = Peer(self.scenario.url, name, frequency_hz=tone_of(number))
                room.members.append(_Member(peer, room, publishes=number < self.scenario.publishers))
                self._members.append(room.members[-1])
        pause_s = self.scenario.ramp_s / max(1, len(self._members))
        setups: list[asyncio.Task[None]] = []
        for number, member in enumerate(self._members):
            await self._until("joining", self._started_at + number * pause_s - time.monotonic())
            if self.stop.is_set():
                break
            setups.append(asyncio.create_task(member.set_up()))
            await asyncio.sleep(0)  # so that the first of a room is the one that creates it
        await self._until("joining", float("inf"), lambda: all(task.done() for task in setups))
        for task in setups:
            if not task.done():  # only after stop: what was under way then is neither a success nor a failure
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _until(self, phase: str, seconds: float, condition: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until ``condition`` holds, ``seconds`` are over or the run is stopped, and report progress meanwhile."""
        end = time.monotonic() + seconds
        while not self.stop.is_set() and not condition() and (left_s := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), min(left_s, PROGRESS_EVERY_S))
            self._report(phase)

    def _everybody_hears(self) -> bool:
        return all(member.heard >= member.should_hear() for member in self._members if member.ready)

    def _report(self, phase: str) -> None:
        for member in self._members:
            member.note_hearing()
        ready = [member for member in self._members if member.ready]
        talking, hearing = sum(member.publishes for member in ready), sum(len(member.heard) for member in ready)
        self._on_progress(Progress(phase, time.monotonic() - self._started_at, len(ready), talking, hearing))

    async def _figures(self) -> Figures:
        ready = [member for member in self._members if member.ready]
        attempted = [member for member in self._members if member.ready or member.failure]
        streams = [self._consumer(member, user_id) for member in ready for user_id in sorted(member.should_hear())]
        receptions = [await c.reception(stopped_is_loss=not self.stop.is_set()) for c in streams if c is not None]
        failures = [member.failure for member in attempted if member.failure]
        failures += [failure for member in ready for failure in member.peer.failures]
        failures += [f"{member.peer.username}: {member.peer.signaling.closed}" for member in ready if member.peer.signaling.closed]
        failures += [f"{member.peer.username}: {cut}" for member in ready for cut in member.interruptions()]
        # A consumer that does not exist, or never made a sound, is a failed one; when stopped early it may only be late.
        hearing = sum(len(member.heard & member.should_hear()) for member in ready)
        due = hearing if self.stop.is_set() else len(streams)
        return Figures(
            setup=Setup(len(attempted), len(ready), Durations.of(member.setup_ms for member in ready)),
            hearing=Setup(due, hearing, Durations.of(ms for member in ready for ms in member.first_sound_ms.values())),
            media=Media.of(receptions),
            failures=failures,
            interrupted=self.stop.is_set(),
        )

    @staticmethod
    def _consumer(member: _Member, user_id: str) -> Consumer | None:
        return member.peer.consumers.get(user_id)
