"""The registry keeps the load of shards true through every change, and placement is by that load."""

from __future__ import annotations

import pytest

from control.rooms import Participant, Room, Rooms, ShardLoad
from sfu.protocol import ConsumerId, ShardId, UserId

A, B = ShardId("a"), ShardId("b")


def enter(rooms: Rooms, room: Room, name: str) -> Participant:
    participant = Participant(UserId(name), name, room.room_id)
    rooms.begin_join(room)
    rooms.end_join(room, participant, 0.0)
    return participant


class TestLoad:
    def test_counts_people_and_those_on_the_way(self) -> None:
        rooms = Rooms()
        room = rooms.create(0.0)
        rooms.place(room, A)
        enter(rooms, room, "ann")
        rooms.begin_join(room)
        assert rooms.load(A) == ShardLoad(rooms=1, people=2)

    def test_moves_with_the_room(self) -> None:
        rooms = Rooms()
        room = rooms.create(0.0)
        rooms.place(room, A)
        enter(rooms, room, "ann")
        rooms.place(room, None)
        enter(rooms, room, "bo")
        rooms.place(room, B)
        assert rooms.load(A) == ShardLoad()
        assert rooms.load(B) == ShardLoad(rooms=1, people=2)
        assert rooms.on_shard(B) == [room]

    def test_returns_to_zero_when_everyone_has_left(self) -> None:
        rooms = Rooms()
        room = rooms.create(0.0)
        rooms.place(room, A)
        people = [enter(rooms, room, name) for name in "xyz"]
        rooms.begin_join(room)
        rooms.end_join(room, None, 1.0)
        for participant in people:
            rooms.remove(participant, 5.0)
        assert rooms.load(A) == ShardLoad()
        assert (room.shard, room.idle_since) == (None, 5.0)


class TestIdleRooms:
    def test_are_those_without_people_for_long_enough(self) -> None:
        rooms = Rooms()
        idle, used = rooms.create(0.0), rooms.create(0.0)
        enter(rooms, used, "ann")
        assert rooms.idle_longer_than(10, 9.0) == []
        assert rooms.idle_longer_than(10, 10.0) == [idle]

    def test_only_they_can_be_deleted(self) -> None:
        rooms = Rooms()
        room = rooms.create(0.0)
        participant = enter(rooms, room, "ann")
        with pytest.raises(ValueError, match="in use"):
            rooms.delete(room)
        rooms.remove(participant, 1.0)
        rooms.delete(room)
        assert len(rooms) == 0
        assert rooms.get(room.room_id) is None


def test_one_who_leaves_takes_along_everyones_consumers_of_them() -> None:
    rooms = Rooms()
    room = rooms.create(0.0)
    ann, bo = enter(rooms, room, "ann"), enter(rooms, room, "bo")
    bo.consumers = {ConsumerId("1"): ann.user_id, ConsumerId("2"): UserId("cy")}
    rooms.remove(ann, 0.0)
    assert bo.consumers == {ConsumerId("2"): UserId("cy")}
