"""Which shard a room gets: a pure function of what is known of the shards, and why it chose as it did.

A shard's load is the fullest of what it can run out of, each as a share (1 is full):

* ``forwarding``: the CPU of its forwarding thread, or its outgoing packets/s against what one shard was measured to carry;
* ``signaling``: the CPU of its signaling thread, or how late that thread runs its timers;
* ``consumers``: of those that it may have;

but at least :data:`AT_EASE`, below which figures of a moment say more about the machine's noise than about the shard;

plus ``people``: everyone whom control has placed there. That part moves at once, while the others follow with the heartbeats: without it
everything that comes between two heartbeats would go to the same shard.

Of all shards that take rooms two are drawn at random, and the less loaded one is chosen (M. Mitzenmacher, The Power of Two Choices in
Randomized Load Balancing, 2001): as good as comparing all, and an outdated figure does not draw everybody to one shard.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sfu.protocol import ShardId

LAG_FULL_MS: Final = 200.0
"""A signaling thread that is this late has no time left; joins take noticeably longer."""
AT_EASE: Final = 0.25
"""Shards less than a quarter full are alike: joins and a busy machine move their figures more than rooms do, and people decide."""
PEOPLE_FULL: Final = 5000
"""People of one shard that count as a full one, though nothing that was measured says so yet."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one shard carries. ``packets_per_s``: outgoing, as measured (tests/bench); the others are the operator's bounds."""

    packets_per_s: float = 250_000.0
    consumers: int = 65_536
    participants: int = 10_000
    rooms: int = 10_000
    silent_s: float = 2.5


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one shard. ``rooms``, ``participants``: placed by control; all else from heartbeats.

    ``packets_per_s``: outgoing; ``*_cpu``: share of one core; ``heard_s_ago``: since the last heartbeat, null before the first.
    """

    shard_id: ShardId
    rooms: int = 0
    participants: int = 0
    consumers: int = 0
    packets_per_s: float = 0.0
    forwarding_cpu: float = 0.0
    signaling_cpu: float = 0.0
    lag_ms: float = 0.0
    heard_s_ago: float | None = None
    draining: bool = False


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One shard as placement sees it. ``load``: the sum that is compared; its parts beside it; ``excluded``: why it gets no room."""

    figures: Figures
    load: float
    forwarding: float
    signaling: float
    consumers: float
    people: float
    excluded: str | None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """``shard``: the chosen one, null where there is none; ``drawn``: those that were compared; ``candidates``: all shards by name."""

    shard: ShardId | None
    drawn: list[ShardId]
    candidates: list[Candidate]


def choose(shards: Sequence[Figures], capacity: Capacity, rng: random.Random) -> Choice:
    """The shard for a room. ``shards``: those that are alive."""
    candidates = [_candidate(figures, capacity) for figures in sorted(shards, key=lambda figures: figures.shard_id)]
    able = [candidate for candidate in candidates if candidate.excluded is None]
    drawn = rng.sample(able, 2) if len(able) > 2 else able
    best = min(drawn, key=_order, default=None)
    return Choice(
        shard=best.figures.shard_id if best is not None else None,
        drawn=[candidate.figures.shard_id for candidate in drawn],
        candidates=candidates,
    )


def _order(candidate: Candidate) -> tuple[float, int, ShardId]:
    return candidate.load, candidate.figures.rooms, candidate.figures.shard_id


def _candidate(figures: Figures, capacity: Capacity) -> Candidate:
    forwarding = max(figures.forwarding_cpu, figures.packets_per_s / capacity.packets_per_s)
    signaling = max(figures.signaling_cpu, figures.lag_ms / LAG_FULL_MS)
    consumers = figures.consumers / capacity.consumers
    people = figures.participants / PEOPLE_FULL
    return Candidate(
        figures=figures,
        load=max(forwarding, signaling, consumers, AT_EASE) + people,
        forwarding=forwarding,
        signaling=signaling,
        consumers=consumers,
        people=people,
        excluded=_why_not(figures, capacity),
    )


def _why_not(figures: Figures, capacity: Capacity) -> str | None:
    if figures.draining:
        return "it is draining"
    if figures.heard_s_ago is not None and figures.heard_s_ago > capacity.silent_s:
        return f"it has been silent for {figures.heard_s_ago:.1f} s"
    if figures.participants >= capacity.participants:
        return f"it has {figures.participants} participants, as many as it takes"
    if figures.rooms >= capacity.rooms:
        return f"it has {figures.rooms} rooms, as many as it takes"
    return None
