"""Placement: the less loaded of two drawn shards, never one that is draining, silent or full; and the figures that it goes by."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from control.fleet import Fleet
from control.placement import PEOPLE_FULL, Capacity, Figures, choose
from control.rooms import Rooms
from sfu import protocol as p
from tests.control.said import beat

CAPACITY = Capacity(packets_per_s=1000, consumers=100, participants=50, rooms=10, silent_s=2.5)


def shard(name: str, **figures: Any) -> Figures:
    return Figures(shard_id=p.ShardId(name), **figures)


def chosen(*shards: Figures, seed: int = 1) -> str | None:
    return choose(shards, CAPACITY, random.Random(seed)).shard


class TestChoice:
    @pytest.mark.parametrize(
        "busy",
        [
            {"packets_per_s": 500.0},
            {"forwarding_cpu": 0.5},
            {"signaling_cpu": 0.5},
            {"lag_ms": 100.0},
            {"consumers": 50},
            {"participants": 40},
            {"rooms": 5},
        ],
    )
    def test_whatever_it_runs_out_of_makes_a_shard_the_worse_one(self, busy: dict[str, Any]) -> None:
        assert chosen(shard("a", **busy), shard("b")) == "b"
        assert chosen(shard("a"), shard("b", **busy)) == "a"

    @pytest.mark.parametrize(
        ("state", "reason"),
        [
            ({"draining": True}, "it is draining"),
            ({"heard_s_ago": 3.0}, "it has been silent for 3.0 s"),
            ({"participants": 50}, "it has 50 participants, as many as it takes"),
            ({"rooms": 10}, "it has 10 rooms, as many as it takes"),
        ],
    )
    def test_a_shard_that_takes_no_rooms_gets_none_however_idle_it_is(self, state: dict[str, Any], reason: str) -> None:
        loaded = shard("b", forwarding_cpu=0.99, heard_s_ago=2.4)
        for seed in range(20):
            assert chosen(shard("a", **state), loaded, seed=seed) == "b"
        choice = choose([shard("a", **state)], CAPACITY, random.Random(1))
        assert (choice.shard, choice.candidates[0].excluded) == (None, reason)

    def test_without_shards_there_is_no_choice(self) -> None:
        assert choose([], CAPACITY, random.Random(1)).shard is None

    @pytest.mark.parametrize("noise", [{"packets_per_s": 200.0}, {"signaling_cpu": 0.2}, {"lag_ms": 40.0}, {"consumers": 20}])
    def test_among_shards_at_ease_people_decide(self, noise: dict[str, Any]) -> None:
        assert chosen(shard("a", participants=1), shard("b", **noise)) == "b"
        assert chosen(shard("a", rooms=1), shard("b", **noise)) == "b"

    def test_equals_are_told_apart_by_name(self) -> None:
        assert chosen(shard("b"), shard("a")) == "a"

    def test_two_are_drawn_and_only_the_better_of_those_is_chosen(self) -> None:
        shards = [shard(str(i), participants=i) for i in range(8)]
        rng = random.Random(7)
        counts = dict.fromkeys(range(8), 0)
        for _ in range(2000):
            choice = choose(shards, CAPACITY, rng)
            assert choice.shard is not None
            assert len(choice.drawn) == 2
            assert choice.shard == min(choice.drawn)
            counts[int(choice.shard)] += 1
        assert counts[7] == 0  # never the better one of two
        assert all(counts[i] > counts[i + 1] for i in range(7))  # the less loaded, the likelier; but no stampede
        assert counts[0] < 0.4 * 2000

    def test_the_explanation_adds_up(self) -> None:
        figures = shard("a", packets_per_s=200.0, forwarding_cpu=0.1, signaling_cpu=0.3, lag_ms=10.0, consumers=10, participants=5)
        (candidate,) = choose([figures], CAPACITY, random.Random(1)).candidates
        assert (candidate.forwarding, candidate.signaling, candidate.consumers) == (0.2, 0.3, 0.1)
        assert candidate.load == pytest.approx(0.3 + 5 / PEOPLE_FULL)


class TestFleet:
    """Heartbeats become rates; what control places shows at once."""

    def fleet(self, *shards: str) -> tuple[Fleet, Rooms]:
        rooms = Rooms()
        fleet = Fleet(rooms, CAPACITY, random.Random(1))
        for name in shards:
            fleet.up(p.ShardId(name))
        return fleet, rooms

    def test_rates_are_the_difference_of_heartbeats(self) -> None:
        fleet, _ = self.fleet("a")
        for i in range(80):  # 20 s
            cpu = {"forwarding_cpu_ns": i * 50_000_000, "signaling_cpu_ns": i * 25_000_000}
            fleet.beat(beat("a", packets_out=i * 100, lag_ms=4.0, **cpu), i / 4)
        figures = fleet.figures(p.ShardId("a"), 20.0)
        assert figures.packets_per_s == pytest.approx(400, rel=0.01)
        assert figures.forwarding_cpu == pytest.approx(0.2, rel=0.01)
        assert figures.signaling_cpu == pytest.approx(0.1, rel=0.01)
        assert figures.lag_ms == pytest.approx(4.0, rel=0.01)
        assert figures.heard_s_ago == pytest.approx(0.25)

    def test_one_late_timer_does_not_make_a_shard_the_worse_one_for_long(self) -> None:
        fleet, _ = self.fleet("a", "b")
        for i in range(8):
            fleet.beat(beat("a", lag_ms=100.0 if i == 4 else 0.0), i / 4)
        assert fleet.figures(p.ShardId("a"), 2.0).lag_ms < 12

    def test_a_shard_that_was_started_again_starts_from_nothing(self) -> None:
        fleet, _ = self.fleet("a")
        fleet.beat(beat("a", packets_out=1000), 0.0)
        fleet.beat(beat("a", packets_out=2000), 1.0)
        fleet.beat(beat("a", packets_out=5, instance="new"), 2.0)
        assert fleet.figures(p.ShardId("a"), 2.0).packets_per_s == 0.0

    def test_rooms_that_come_between_two_heartbeats_are_spread(self) -> None:
        fleet, rooms = self.fleet("a", "b", "c", "d")
        for _ in range(40):
            room = rooms.create(0.0)
            rooms.place(room, fleet.choose(0.0).shard)
            rooms.begin_join(room)
        loads = [rooms.load(p.ShardId(name)).people for name in "abcd"]
        assert sum(loads) == 40
        assert min(loads) >= 8

    def test_a_lost_shard_keeps_that_it_is_to_be_emptied(self) -> None:
        fleet, _ = self.fleet("a", "b")
        fleet.draining[p.ShardId("a")] = 60.0
        fleet.lost(p.ShardId("a"))
        fleet.up(p.ShardId("a"))
        assert fleet.choose(0.0).shard == "b"

    def test_the_choice_can_be_written_as_json(self) -> None:
        fleet, _ = self.fleet("a")
        assert msgspec.json.decode(msgspec.json.encode(fleet.choose(0.0)))["shard"] == "a"
