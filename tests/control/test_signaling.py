"""What each message means, without a socket: the shard is played by the test (conftest.World)."""

from __future__ import annotations

from typing import Any

import pytest

from control import messages as m
from control.effects import Refused, Session
from control.sessions import Limits
from sfu import protocol as p
from tests.control.said import TIMEOUT, codes, types


class TestRegister:
    def test_answers_with_an_id_and_the_protocol_versions(self, world: Any) -> None:
        (answer,) = world.say(Session(), m.Register(username="  Ann  "))
        assert isinstance(answer, m.Registered)
        assert answer.protocol == [1]
        assert answer.user_id

    def test_twice_on_one_socket_is_refused_and_changes_nothing(self, world: Any) -> None:
        ann = world.guest()
        before = ann.user_id
        assert codes(world.say(ann, m.Register(username="Other"))) == [("already_registered", "register")]
        assert (ann.user_id, ann.username) == (before, "Ann")

    @pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\nb", "a\x00", "\u200d\u200d", "a\u2028b"])
    def test_refuses_a_bad_name(self, world: Any, name: str) -> None:
        assert codes(world.say(Session(), m.Register(username=name))) == [("invalid_username", "register")]

    @pytest.mark.parametrize("name", ["x" * 64, "  Ann ", "עַנָּה", "👩‍👩‍👧", "Zoë"])
    def test_takes_a_good_name(self, world: Any, name: str) -> None:
        assert types(world.say(Session(), m.Register(username=name))) == ["registered"]


BEFORE_REGISTER = [
    m.CreateRoom(),
    m.JoinRoom(room_id=p.RoomId("x")),
    m.LeaveRoom(),
    m.CreatePublisher(),
    m.PublishAudio(sdp=""),
    m.ClosePublisher(),
    m.CreateConsumer(publisher_user_id=p.UserId("x")),
    m.ConsumerAnswer(consumer_id=p.ConsumerId("x"), sdp=""),
    m.CloseConsumer(consumer_id=p.ConsumerId("x")),
    m.PublisherIceCandidate(candidate=""),
    m.ConsumerIceCandidate(consumer_id=p.ConsumerId("x"), candidate=""),
    m.SetMuted(muted=True),
    m.Subscribe(),
    m.SubscriptionAnswer(revision=1, sdp=""),
    m.SubscriptionIceCandidate(candidate=""),
    m.SetSubscribed(publisher_user_id=p.UserId("x"), subscribed=True),
    m.CloseSubscription(),
    m.RestartIce(target="publisher"),
]


class TestOrder:
    @pytest.mark.parametrize("message", BEFORE_REGISTER, ids=m.message_type)
    def test_everything_but_ping_needs_register_first(self, world: Any, message: m.ClientMessage) -> None:
        assert codes(world.say(Session(), message)) == [("not_registered", m.message_type(message))]

    @pytest.mark.parametrize("message", BEFORE_REGISTER[2:], ids=m.message_type)
    def test_what_is_about_a_room_needs_a_room(self, world: Any, message: m.ClientMessage) -> None:
        assert codes(world.say(world.guest(), message)) == [("not_in_room", m.message_type(message))]
        assert world.commands == []

    def test_ping_is_answered_at_any_time(self, world: Any) -> None:
        assert types(world.say(Session(), m.Ping())) == ["pong"]

    def test_every_client_message_has_a_handler(self) -> None:
        assert {m.message_type(message) for message in BEFORE_REGISTER} | {"register", "ping"} == set(m.CLIENT_TYPES)


class TestRooms:
    def test_creating_one_joins_it_on_a_shard(self, world: Any) -> None:
        ann = world.guest()
        (joined,) = world.say(ann, m.CreateRoom())
        assert joined.participants == [m.Person(user_id=ann.user_id, username="Ann")]
        assert [type(command) for command in world.commands] == [p.JoinRoom]
        assert world.commands[0].username == "Ann"

    def test_the_joiner_sees_everyone_and_the_others_see_the_joiner(self, world: Any) -> None:
        ann = world.host()
        bo = world.guest("Bo")
        (joined,) = world.say(bo, m.JoinRoom(room_id=ann.participant.room_id))
        assert [person.username for person in joined.participants] == ["Ann", "Bo"]
        assert world.heard(ann)[-1] == m.UserJoined(user_id=bo.user_id, username="Bo")

    def test_the_joiner_is_told_of_publishers_and_then_of_the_muted(self, world: Any) -> None:
        ann = world.host()
        world.publish(ann)
        world.say(ann, m.SetMuted(muted=True))
        world.join(ann, "Cy")
        bo = world.guest("Bo")
        messages = world.say(bo, m.JoinRoom(room_id=ann.participant.room_id))
        assert types(messages) == ["room_joined", "new_publisher", "user_muted"]
        assert messages[1] == m.NewPublisher(user_id=ann.user_id, username="Ann")
        assert messages[2] == m.UserMuted(user_id=ann.user_id, muted=True)

    @pytest.mark.parametrize("message", [m.CreateRoom(), m.JoinRoom(room_id=p.RoomId("x"))], ids=m.message_type)
    def test_nobody_is_in_two_rooms(self, world: Any, message: m.ClientMessage) -> None:
        assert codes(world.say(world.host(), message)) == [("already_in_room", m.message_type(message))]

    def test_an_unknown_room_is_not_found(self, world: Any) -> None:
        assert codes(world.say(world.guest(), m.JoinRoom(room_id=p.RoomId("nope")))) == [("room_not_found", "join_room")]

    def test_a_full_room_takes_nobody_not_even_beside_a_join_under_way(self, make_world: Any) -> None:
        world = make_world(Limits(room_participants=2))
        ann = world.host()
        bo, cy = world.guest("Bo"), world.guest("Cy")
        join = m.JoinRoom(room_id=ann.participant.room_id)
        world.hold = True
        world.say(bo, join)
        assert codes(world.say(cy, join)) == [("room_full", "join_room")]
        world.answer(TIMEOUT)
        world.hold = False
        assert types(world.say(cy, join)) == ["room_joined"]

    def test_leaving_tells_everyone_and_the_shard(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        assert types(world.say(bo, m.LeaveRoom())) == ["room_left"]
        assert world.heard(ann) == [m.UserLeft(user_id=bo.user_id, username="Bo")]
        assert world.commands[-1].user_id == bo.user_id
        assert isinstance(world.commands[-1], p.LeaveRoom)

    def test_a_closed_socket_is_a_leave(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.end(bo)
        assert types(world.heard(ann)) == ["user_left"]
        assert isinstance(world.commands[-1], p.LeaveRoom)
        assert len(world.signaling.sessions) == 1

    def test_one_who_left_may_come_back(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        room = ann.participant.room_id
        world.say(bo, m.LeaveRoom())
        assert types(world.say(bo, m.JoinRoom(room_id=room))) == ["room_joined"]

    def test_an_idle_room_stays_joinable_for_the_grace_period_and_is_then_gone(self, make_world: Any) -> None:
        world = make_world(Limits(room_grace_s=10))
        ann = world.host()
        room = m.JoinRoom(room_id=ann.participant.room_id)
        world.say(ann, m.LeaveRoom())
        world.now = 9.9
        world.run(world.signaling.tick(world.now))
        assert types(world.say(ann, room)) == ["room_joined"]
        world.now = 100.0
        world.run(world.signaling.tick(world.now))
        world.say(ann, m.LeaveRoom())
        world.now = 110.0
        world.run(world.signaling.tick(world.now))
        assert codes(world.say(ann, room)) == [("room_not_found", "join_room")]

    def test_a_full_server_takes_no_new_room_and_idle_ones_keep_their_grace(self, make_world: Any) -> None:
        world = make_world(Limits(rooms=1, room_grace_s=10))
        ann, bo = world.host(), world.guest("Bo")
        room = m.JoinRoom(room_id=ann.participant.room_id)
        assert codes(world.say(bo, m.CreateRoom())) == [("too_many_rooms", "create_room")]
        world.say(ann, m.LeaveRoom())
        assert codes(world.say(bo, m.CreateRoom())) == [("too_many_rooms", "create_room")]
        assert types(world.say(ann, room)) == ["room_joined"]
        world.say(ann, m.LeaveRoom())
        world.now = 10.0
        world.run(world.signaling.tick(world.now))
        assert types(world.say(bo, m.CreateRoom())) == ["room_joined"]

    def test_one_client_makes_rooms_no_faster_than_allowed(self, make_world: Any) -> None:
        world = make_world(Limits(rooms_per_minute=10, room_burst=3))
        ann, bo = world.guest(), world.guest("Bo")
        for _ in range(3):
            assert types(world.say(ann, m.CreateRoom())) == ["room_joined"]
            world.say(ann, m.LeaveRoom())
        assert codes(world.say(ann, m.CreateRoom())) == [("rate_limited", "create_room")]
        assert types(world.say(bo, m.CreateRoom())) == ["room_joined"]
        world.now = 5.9
        assert codes(world.say(ann, m.CreateRoom())) == [("rate_limited", "create_room")]
        world.now = 6.1
        assert types(world.say(ann, m.CreateRoom())) == ["room_joined"]
        assert len(world.signaling.rooms) == 5


class TestJoinGoesWrong:
    @pytest.mark.parametrize("outcome", [TIMEOUT, Refused("shard_full", "No.")])
    def test_the_shard_is_told_to_forget_and_no_room_is_left_behind(self, world: Any, outcome: Any) -> None:
        world.answers[p.JoinRoom] = outcome
        ann = world.guest()
        expected = "shard_unavailable" if outcome is TIMEOUT else "shard_full"
        assert codes(world.say(ann, m.CreateRoom())) == [(expected, "create_room")]
        assert isinstance(world.commands[-1], p.LeaveRoom)
        assert len(world.signaling.rooms) == 0
        assert ann.participant is None

    def test_without_a_shard_nobody_gets_in(self, make_world: Any) -> None:
        world = make_world(shards=())
        assert codes(world.say(world.guest(), m.CreateRoom())) == [("shard_unavailable", "create_room")]
        assert len(world.signaling.rooms) == 0

    def test_a_socket_that_ends_during_the_join_leaves_nothing_on_the_shard(self, world: Any) -> None:
        ann, bo = world.host(), world.guest("Bo")
        world.hold = True
        world.say(bo, m.JoinRoom(room_id=ann.participant.room_id))
        world.end(bo)
        world.answer()
        assert isinstance(world.commands[-1], p.LeaveRoom)
        assert world.commands[-1].user_id == bo.user_id
        assert types(world.heard(ann)) == []
        assert world.signaling.rooms.load(p.ShardId("0")).people == 1


class TestShardLost:
    def test_the_room_moves_and_its_people_stay(self, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        world.consume(bo, ann)
        world.say(bo, m.SetMuted(muted=True))
        world.quiet(ann, bo)
        world.commands.clear()
        world.run(world.signaling.shard_lost(p.ShardId("0"), 0.0))
        assert [type(command) for command in world.commands] == [p.JoinRoom, p.JoinRoom, p.SetMuted]
        assert set(world.shard_of[-3:]) == {"1"}
        assert world.heard(ann) == world.heard(bo) == [m.RoomMoved(reason="shard_lost")]
        assert codes(world.say(bo, m.CreateConsumer(publisher_user_id=ann.user_id))) == [("not_publishing", "create_consumer")]
        assert types(world.say(ann, m.CreatePublisher())) == ["publisher_created", "publisher_ice_candidate"]
        assert world.shard_of[-1] == "1"

    def test_without_another_shard_the_room_waits_for_one(self, world: Any) -> None:
        ann = world.host()
        world.quiet(ann)
        world.run(world.signaling.shard_lost(p.ShardId("0"), 0.0))
        assert world.heard(ann) == []
        for message in (m.CreatePublisher(), m.SetMuted(muted=True)):
            assert codes(world.say(ann, message)) == [("shard_unavailable", m.message_type(message))]
        world.run(world.signaling.shard_up(p.ShardId("0"), 0.0))
        assert types(world.heard(ann)) == ["room_moved"]
        assert types(world.say(ann, m.CreatePublisher()))[0] == "publisher_created"

    def test_leaving_a_room_that_waits_is_possible(self, world: Any) -> None:
        ann = world.host()
        world.quiet(ann)
        world.run(world.signaling.shard_lost(p.ShardId("0"), 0.0))
        assert types(world.say(ann, m.LeaveRoom())) == ["room_left"]

    def test_what_the_lost_shard_still_says_is_ignored(self, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        ann = world.host()
        world.run(world.signaling.shard_lost(p.ShardId("0"), 0.0))
        world.quiet(ann)
        world.event(p.TrackPublished, ann, shard="0", track_id="t", kind="audio")
        assert world.heard(ann) == []

    def test_an_outcome_from_before_the_move_is_not_believed(self, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        ann = world.host()
        world.quiet(ann)
        world.hold = True
        world.say(ann, m.CreatePublisher())
        world.run(world.signaling.shard_lost(p.ShardId("0"), 0.0))
        world.answer()
        assert types(world.heard(ann)) == ["room_moved", "error"]
        assert not ann.participant.has_publisher


class TestPlacement:
    def test_rooms_spread_over_the_shards_and_stay_where_they_are(self, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        hosts = [world.host(f"H{i}") for i in range(4)]
        assert world.shard_of == ["0", "1", "0", "1"]
        world.join(hosts[1])
        assert world.shard_of[-1] == "1"

    def test_an_emptied_room_is_placed_afresh(self, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        ann = world.host()
        room = ann.participant.room_id
        world.say(ann, m.LeaveRoom())
        world.host("Other")
        world.say(ann, m.JoinRoom(room_id=room))
        assert world.shard_of[-1] == "1"


def test_unknown_events_change_nothing(world: Any) -> None:
    ann = world.host()
    world.quiet(ann)
    for room, user in (("nope", ann.user_id), (ann.participant.room_id, "nobody")):
        event = p.TrackPublished(shard_id=p.ShardId("0"), instance="x", room_id=room, user_id=user, track_id=p.TrackId("t"), kind="audio")
        world.run(world.signaling.shard_event(event, 0.0))
    assert world.heard(ann) == []


def test_messages_and_errors_are_counted(world: Any) -> None:
    ann = world.guest()
    world.say(ann, m.LeaveRoom())
    world.run(world.signaling.bad_message(ann, m.BadMessage("unknown_type", "What?", "dance")))
    assert world.signaling.messages == {"register": 1, "leave_room": 1}
    assert world.signaling.sessions.errors == {"not_in_room": 1, "unknown_type": 1}
