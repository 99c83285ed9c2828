"""The shards as signaling knows them: which are alive, which are being emptied, and how loaded each is. Sans-IO.

Heartbeats carry totals; what a shard does at the moment is the difference of two of them, smoothed over some seconds so that one late
timer moves nobody.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

import msgspec

from control.placement import Capacity, Choice, Figures, choose
from control.rooms import Rooms
from sfu.protocol import Heartbeat, ShardId

SMOOTHING_S: Final = 2.0
"""Time after which a change shows by 63 %."""


@dataclass(slots=True)
class Load:
    """Rates of one shard out of its heartbeats. ``beat_at``: when the last one came, seconds."""

    beat: Heartbeat
    beat_at: float
    packets_per_s: float = 0.0
    forwarding_cpu: float = 0.0
    signaling_cpu: float = 0.0
    lag_ms: float = 0.0

    def note(self, beat: Heartbeat, now: float) -> None:
        """A further heartbeat. One that came right behind another (control was busy) waits for the next."""
        passed = now - self.beat_at
        if passed < 0.01:
            return
        weight = 1 - math.exp(-passed / SMOOTHING_S)
        last = self.beat
        self.packets_per_s += weight * ((beat.packets_out - last.packets_out) / passed - self.packets_per_s)
        self.forwarding_cpu += weight * ((beat.forwarding_cpu_ns - last.forwarding_cpu_ns) / 1e9 / passed - self.forwarding_cpu)
        self.signaling_cpu += weight * ((beat.signaling_cpu_ns - last.signaling_cpu_ns) / 1e9 / passed - self.signaling_cpu)
        self.lag_ms += weight * (beat.lag_ms - self.lag_ms)
        self.beat, self.beat_at = beat, now


class Fleet:
    """All live shards. ``draining``: those that get no room, and until when theirs go, seconds. ``closing``: the server ends, no rooms."""

    def __init__(self, rooms: Rooms, capacity: Capacity, rng: random.Random | None = None) -> None:
        self.live: set[ShardId] = set()
        self.draining: dict[ShardId, float] = {}
        self.closing = False
        self._rooms = rooms
        self._capacity = capacity
        self._rng = rng or random.Random()
        self._loads: dict[ShardId, Load] = {}

    def up(self, shard: ShardId) -> None:
        self.live.add(shard)

    def lost(self, shard: ShardId) -> None:
        """It is gone with all its load. Whether it is to be emptied stays: it may come back."""
        self.live.discard(shard)
        self._loads.pop(shard, None)

    def beat(self, beat: Heartbeat, now: float) -> None:
        load = self._loads.get(beat.shard_id)
        if load is None or load.beat.instance != beat.instance:
            self._loads[beat.shard_id] = Load(beat, now)
        else:
            load.note(beat, now)

    def figures(self, shard: ShardId, now: float) -> Figures:
        """What is known of a shard now."""
        placed, load = self._rooms.load(shard), self._loads.get(shard)
        draining = shard in self.draining
        if load is None:
            return Figures(shard_id=shard, rooms=placed.rooms, participants=placed.people, draining=draining)
        return Figures(
            shard_id=shard,
            rooms=placed.rooms,
            participants=placed.people,
            consumers=load.beat.tables.consumers,
            packets_per_s=load.packets_per_s,
            forwarding_cpu=load.forwarding_cpu,
            signaling_cpu=load.signaling_cpu,
            lag_ms=load.lag_ms,
            heard_s_ago=now - load.beat_at,
            draining=draining,
        )

    def choose(self, now: float) -> Choice:
        """Where the next room would go, and why."""
        choice = choose([self.figures(shard, now) for shard in self.live], self._capacity, self._rng)
        return msgspec.structs.replace(choice, shard=None) if self.closing else choice

    def why_no_rooms(self) -> str:
        """A sentence for who wanted a room and got none."""
        if self.closing:
            return "The server is about to end and takes no new rooms."
        return "No media server takes rooms at the moment." if self.live else "No media server is running at the moment."

    def is_full(self, shard: ShardId) -> bool:
        """Whether a shard takes no further participant, not even in a room that it has."""
        return self._rooms.load(shard).people >= self._capacity.participants
