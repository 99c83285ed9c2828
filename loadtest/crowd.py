"""The people of a run: which rooms there are, who is in them, and how each of them came in, left and came back."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final

from loadtest.light import Hub
from loadtest.participant import PROBLEMS, Directory, Kind, Pair, Participant, Setup, Target
from loadtest.scenario import Scenario

HUSH_S: Final = 0.3
"""How long what somebody has said may be on its way when that person leaves."""


@dataclass
class Room:
    """``index``: of all rooms of the run; ``id``: once the first member has made it."""

    index: int
    target: Target
    id: asyncio.Future[str]
    members: list[Member] = field(default_factory=list)
    opened: bool = False


@dataclass
class Entry:
    """One coming in. ``failure``: empty where it worked; ``setup``: its moments."""

    setup: Setup
    kind: Kind
    again: bool
    failure: str = ""
    done: bool = False
    pairs: dict[str, Pair] = field(default_factory=dict)

    @property
    def first_heard(self) -> float | None:
        """When somebody's first packet arrived, by ``time.monotonic()``."""
        heard = [pair.asked + pair.heard_after_s for pair in self.pairs.values() if pair.heard_after_s is not None]
        return min(heard, default=None)

    @property
    def ready_after_s(self) -> float:
        """How long the way in was (see report.SetupFigures)."""
        on_air = max(self.setup.joined, self.setup.published)
        ready = self.first_heard if self.kind == "listener" else on_air
        return (ready or on_air) - self.setup.started


class Member:
    """One person of a room: the same talker and ears each time it comes."""

    def __init__(self, crowd: Crowd, room: Room, number: int, kind: Kind, name: str) -> None:
        self.room = room
        self.number = number
        self.kind = kind
        self.name = name
        self.ready = False
        self.entries: list[Entry] = []
        self.participant: Participant | None = None
        self.past: list[Participant] = []
        """Earlier comings, for their figures."""
        self._crowd = crowd
        talk = crowd.scenario.talk
        pause_frames = round(talk.pause_s * 50)
        self.talker: int | None = None
        if kind != "listener":
            self.talker = crowd.hub.traffic.open_talker(
                crowd.random.randrange(1 << 16),
                talk_frames=round(talk.talk_s * 50) if pause_frames else 0,
                pause_frames=pause_frames,
                always=talk.always,
                slot=number,
                native=kind == "light",
            )

    def make(self) -> Participant:
        """A new participant for a new coming in."""
        crowd = self._crowd
        if self.participant is not None:
            self.past.append(self.participant)
        self.participant = Participant(
            crowd.hub,
            self.room.target,
            crowd.directory,
            self.name,
            number=self.number,
            group=self.room.index,
            kind=self.kind,
            talker=self.talker,
            hearing=crowd.scenario.hearing,
        )
        return self.participant

    async def enter(self) -> None:
        """WebSocket, join, and for who publishes the track. What goes wrong is in the entry."""
        participant = self.make()
        entry = Entry(participant.setup, self.kind, again=bool(self.entries), pairs=participant.pairs)
        self.entries.append(entry)
        opens = not self.room.opened
        self.room.opened = True
        try:
            room_id = "" if opens else await asyncio.shield(self.room.id)
            await participant.connect(room_id)
            if opens:
                self.room.id.set_result(await participant.create_room())
            else:
                await participant.join_room(room_id)
            if self.talker is not None:
                await participant.publish()
        except PROBLEMS as problem:
            entry.failure = f"{self.name}: {problem or type(problem).__name__}"
            if not self.room.id.done():
                self.room.id.set_exception(ConnectionError("the room could not be created"))
                self.room.id.exception()  # seen: perhaps nobody waits for it
            return
        finally:
            entry.done = True
        self.ready = True

    async def leave(self) -> None:
        """Stop talking, wait until that has arrived, and go."""
        participant = self.participant
        self.ready = False
        if participant is None:
            return
        participant.hush()
        participant.finish_hearing()
        for other in self.room.members:
            if other.participant is not None and other is not self:
                other.participant.finish_hearing(participant.user_id)
        await asyncio.sleep(HUSH_S)
        participant.note_heard()
        await participant.leave()

    def should_hear(self) -> set[str]:
        """User ids of everybody else in the room whose track is up."""
        members = self.room.members
        return {m.participant.user_id for m in members if m.ready and m.talker is not None and m is not self and m.participant is not None}

    def hears(self) -> set[str]:
        """Of those whom it has heard."""
        if self.participant is None:
            return set()
        return {user_id for user_id, pair in self.participant.pairs.items() if pair.heard_after_s is not None}


class Crowd:
    """Everybody. ``directory`` knows whose voice is whose, over all rooms."""

    def __init__(self, scenario: Scenario, targets: list[Target], hub: Hub, seed: int = 0) -> None:
        self.scenario = scenario
        self.hub = hub
        self.directory = Directory()
        self.random = random.Random(seed)
        self.rooms = [Room(i, targets[i % len(targets)], asyncio.get_running_loop().create_future()) for i in range(scenario.rooms)]
        self.members: list[Member] = []
        kinds: list[Kind] = ["aiortc"] * scenario.aiortc_publishers
        kinds += ["light"] * scenario.publishers
        kinds += ["listener"] * scenario.listeners
        for seat, kind in enumerate(kinds):
            for room in self.rooms:
                name = f"room {room.index + 1} {'listener' if kind == 'listener' else 'talker'} {seat + 1}"
                member = Member(self, room, len(self.members), kind, name)
                room.members.append(member)
                self.members.append(member)

    @property
    def ready(self) -> list[Member]:
        return [member for member in self.members if member.ready]

    def note_heard(self) -> int:
        """How many streams are heard by those who are there."""
        heard = 0
        for member in self.members:
            if member.participant is not None and member.ready:
                member.participant.note_heard()
                heard += len(member.hears() & member.should_hear())
        return heard

    def everybody_hears(self) -> bool:
        return all(member.hears() >= member.should_hear() for member in self.ready)

    def participants(self) -> list[Participant]:
        """All that there were, those who have left and come back once for each time."""
        return [participant for member in self.members for participant in [*member.past, member.participant] if participant is not None]

    async def close(self) -> None:
        """Everybody leaves."""
        for member in self.members:
            if member.participant is not None:
                member.participant.hush()
        present = [member.participant.leave() for member in self.members if member.participant is not None]
        await asyncio.gather(*present, return_exceptions=True)
