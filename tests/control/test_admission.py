"""The operator's limits on rooms, people, shards and addresses, as clients meet them: each is a clear error, and passes again later."""

from __future__ import annotations

from control import messages as m
from control.effects import Session
from control.sessions import Limits
from sfu import protocol as p
from tests.control.conftest import World
from tests.control.said import beat, codes, types


def guest(world: World, address: str = "192.0.2.1") -> Session:
    session = Session(address=address)
    world.say(session, m.Register(username="Ann"))
    return session


def make_room(world: World, session: Session) -> list[tuple[str, str | None]]:
    """Errors of making a room and leaving it again."""
    answers = world.say(session, m.CreateRoom())
    if session.participant is not None:
        world.say(session, m.LeaveRoom())
    return codes(answers)


class TestJoins:
    LIMITS = Limits(address_joins_per_s=1, address_join_burst=3, joins_per_s=1, join_burst=5)

    def test_one_address_is_held_back_and_others_are_not(self) -> None:
        world = World(self.LIMITS)
        people = [guest(world) for _ in range(4)]
        assert [make_room(world, person) for person in people] == [[], [], [], [("rate_limited", "create_room")]]
        assert make_room(world, guest(world, "192.0.2.2")) == []
        world.now += 1.5
        assert make_room(world, people[3]) == []

    def test_joining_counts_as_making_does(self) -> None:
        world = World(self.LIMITS)
        host = guest(world, "192.0.2.9")
        world.say(host, m.CreateRoom())
        assert host.participant is not None
        join = m.JoinRoom(room_id=host.participant.room_id)
        answers = [codes(world.say(guest(world), join)) for _ in range(4)]
        assert answers == [[], [], [], [("rate_limited", "join_room")]]

    def test_all_together_are_held_back(self) -> None:
        world = World(self.LIMITS)
        answers = [make_room(world, guest(world, f"192.0.2.{i}")) for i in range(6)]
        assert answers == [*[[]] * 5, [("rate_limited", "create_room")]]

    def test_who_comes_back_from_another_address_is_counted_there(self) -> None:
        world = World()
        session = guest(world, "192.0.2.1")
        again = Session(address="192.0.2.2")
        world.run(world.signaling.lost(session, world.now))
        registered = world.signaling.sessions.resumes.issue(session)
        world.say(again, m.Register(username="x", resume_token=registered))
        assert session.address == "192.0.2.2"


class TestRooms:
    def test_a_person_has_only_so_many_until_some_are_gone(self) -> None:
        world = World(Limits(user_rooms=2, room_grace_s=10))
        ann = guest(world)
        assert [make_room(world, ann) for _ in range(3)] == [[], [], [("too_many_rooms", "create_room")]]
        assert make_room(world, guest(world)) == []  # another socket is another person, in open mode
        world.now += 11
        world.run(world.signaling.tick(world.now))
        assert make_room(world, ann) == []

    def test_an_address_has_only_so_many(self) -> None:
        world = World(Limits(address_rooms=2))
        answers = [make_room(world, guest(world)) for _ in range(3)]
        assert answers == [[], [], [("too_many_rooms", "create_room")]]
        assert make_room(world, guest(world, "192.0.2.2")) == []

    def test_a_room_that_was_not_made_counts_for_nobody(self) -> None:
        world = World(Limits(user_rooms=1), shards=())
        ann = guest(world)
        assert [make_room(world, ann) for _ in range(2)] == [[("shard_unavailable", "create_room")]] * 2


class TestShards:
    def test_a_full_shard_takes_nobody_into_a_room_that_it_has(self) -> None:
        world = World(Limits(shard_participants=2))
        host = world.host()
        world.join(host)
        assert host.participant is not None
        late = guest(world)
        answers = world.say(late, m.JoinRoom(room_id=host.participant.room_id))
        assert codes(answers) == [("shard_full", "join_room")]
        world.end(host)
        assert types(world.say(late, m.JoinRoom(room_id=host.participant.room_id if host.participant else p.RoomId("")))) == ["error"]

    def test_rooms_go_where_there_is_still_room(self) -> None:
        world = World(Limits(shard_rooms=1), shards=("0", "1"))
        world.host()
        world.host()
        assert sorted(world.shard_of) == ["0", "1"]
        assert codes(world.say(guest(world), m.CreateRoom())) == [("shard_unavailable", "create_room")]

    def test_a_silent_shard_gets_no_room_although_it_is_not_lost_yet(self) -> None:
        world = World(shards=("0", "1"))
        for name in ("0", "1"):
            world.run(world.signaling.shard_beat(beat(name), 0.0))
        world.now = 3.0
        world.run(world.signaling.shard_beat(beat("1"), 3.0))
        for _ in range(4):
            world.host()
        assert set(world.shard_of) == {"1"}

    def test_a_loaded_shard_gets_the_next_room_only_when_the_other_has_caught_up(self) -> None:
        world = World(shards=("0", "1"))
        for i in range(40):
            world.run(world.signaling.shard_beat(beat("0", packets_out=i * 20_000), i / 4))
            world.run(world.signaling.shard_beat(beat("1"), i / 4))
        world.now = 10.0
        for _ in range(5):
            world.host()
        assert set(world.shard_of) == {"1"}


def test_a_client_hears_only_so_many_people() -> None:
    world = World(Limits(user_consumers=1))
    ann = world.host()
    bo, cy = world.join(ann, "Bo"), world.join(ann, "Cy")
    for person in (bo, cy):
        world.publish(person)
    consumer = world.consume(ann, bo)
    assert cy.user_id is not None
    assert bo.user_id is not None
    assert codes(world.say(ann, m.CreateConsumer(publisher_user_id=cy.user_id))) == [("too_many_consumers", "create_consumer")]
    assert types(world.say(ann, m.CreateConsumer(publisher_user_id=bo.user_id)))[0] == "consumer_created"  # replaces the first
    world.say(ann, m.CloseConsumer(consumer_id=consumer))
