"""What each message means, without a socket: the shard is played by the test (conftest.World)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from control import messages as m
from control.effects import Refused, Session, Unanswered
from control.sessions import Limits
from sfu import protocol as p

TIMEOUT = Unanswered("no answer in time")
LINE = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"


def codes(messages: list[m.ServerMessage]) -> list[tuple[str, str | None]]:
    return [(message.code, message.request) for message in messages if isinstance(message, m.Error)]


def types(messages: list[m.ServerMessage]) -> list[str]:
    return [m.message_type(message) for message in messages]


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


class TestPublisher:
    def test_the_flow_from_offer_to_announcement(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        assert types(world.say(ann, m.CreatePublisher())) == ["publisher_created", "publisher_ice_candidate"]
        assert world.say(ann, m.PublishAudio(sdp="v=0 answer")) == []
        assert world.sent(p.AnswerPublisher)[0].sdp == "v=0 answer"
        world.event(p.TrackPublished, ann, track_id="t1", kind="audio")
        assert world.heard(ann) == [m.AudioPublished(track_id=p.TrackId("t1"))]
        assert world.heard(bo) == [m.NewPublisher(user_id=ann.user_id, username="Ann")]

    @pytest.mark.parametrize(
        "message", [m.PublishAudio(sdp=""), m.ClosePublisher(), m.PublisherIceCandidate(candidate=LINE)], ids=m.message_type
    )
    def test_what_needs_a_publisher_is_refused_without_one(self, world: Any, message: m.ClientMessage) -> None:
        assert codes(world.say(world.host(), message)) == [("publisher_not_found", m.message_type(message))]

    @pytest.mark.parametrize("code", ["invalid_sdp", "already_answered"])
    def test_the_shards_refusal_reaches_the_client(self, world: Any, code: str) -> None:
        ann = world.host()
        world.say(ann, m.CreatePublisher())
        world.answers[p.AnswerPublisher] = Refused(code, "Because.")
        (error,) = world.say(ann, m.PublishAudio(sdp="x"))
        assert (error.code, error.message, error.request) == (code, "Because.", "publish_audio")

    def test_a_creation_that_is_not_answered_is_undone(self, world: Any) -> None:
        ann = world.host()
        world.answers[p.CreatePublisher] = TIMEOUT
        assert codes(world.say(ann, m.CreatePublisher())) == [("shard_unavailable", "create_publisher")]
        assert isinstance(world.commands[-1], p.ClosePublisher)

    def test_replacing_tells_the_others_only(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        consumer = world.consume(bo, ann)
        world.quiet(ann, bo)
        world.event(p.PublisherClosed, ann, reason="replaced")
        world.say(ann, m.CreatePublisher())
        assert world.heard(bo) == [m.PublisherClosed(user_id=ann.user_id)]
        assert consumer not in bo.participant.consumers
        assert world.say(ann, m.PublishAudio(sdp="x")) == []

    def test_closing_is_told_to_everyone(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        world.quiet(bo)
        assert world.say(ann, m.ClosePublisher()) == []
        world.event(p.PublisherClosed, ann, reason="closed")
        assert world.heard(ann) == world.heard(bo) == [m.PublisherClosed(user_id=ann.user_id)]
        assert codes(world.say(ann, m.ClosePublisher())) == [("publisher_not_found", "close_publisher")]

    def test_closing_one_that_was_never_announced_is_told_to_its_owner_only(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.say(ann, m.CreatePublisher())
        assert types(world.say(ann, m.ClosePublisher())) == ["publisher_closed"]
        assert world.heard(bo) == []

    def test_a_lost_connection_is_told_to_everyone_its_owner_included(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        world.quiet(bo)
        world.event(p.PublisherClosed, ann, reason="consent_lost")
        assert types(world.heard(ann)) == types(world.heard(bo)) == ["publisher_closed"]

    def test_one_that_does_not_come_up_is_an_error_to_its_owner(self, world: Any) -> None:
        ann = world.host()
        world.say(ann, m.CreatePublisher())
        world.event(p.PublisherFailed, ann, reason="fingerprint_mismatch")
        assert codes(world.heard(ann)) == [("connection_failed", "publish_audio")]
        assert codes(world.say(ann, m.PublishAudio(sdp=""))) == [("publisher_not_found", "publish_audio")]

    def test_a_shard_that_lost_the_participant_is_told_again(self, world: Any) -> None:
        ann = world.host()
        world.say(ann, m.SetMuted(muted=True))
        world.answers[p.CreatePublisher] = Refused("not_in_room", "Who?")
        assert codes(world.say(ann, m.CreatePublisher())) == [("shard_unavailable", "create_publisher")]
        assert [type(command) for command in world.commands[-2:]] == [p.JoinRoom, p.SetMuted]

    def test_a_result_of_the_wrong_kind_is_not_passed_on(self, world: Any) -> None:
        ann = world.host()
        world.answers[p.CreatePublisher] = p.Done()
        assert codes(world.say(ann, m.CreatePublisher())) == [("shard_unavailable", "create_publisher")]


class TestConsumer:
    def test_the_flow_from_offer_to_close(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        world.quiet(bo)
        created, candidate = world.say(bo, m.CreateConsumer(publisher_user_id=ann.user_id))
        assert created.publisher_user_id == ann.user_id
        assert candidate.consumer_id == created.consumer_id == world.sent(p.CreateConsumer)[0].consumer_id
        assert world.say(bo, m.ConsumerAnswer(consumer_id=created.consumer_id, sdp="x")) == []
        assert world.say(bo, m.ConsumerIceCandidate(consumer_id=created.consumer_id, candidate=LINE)) == []
        closed = world.say(bo, m.CloseConsumer(consumer_id=created.consumer_id))
        assert closed == [m.ConsumerClosed(consumer_id=created.consumer_id, reason="closed")]
        assert isinstance(world.commands[-1], p.CloseConsumer)

    def test_a_stranger_is_not_found(self, world: Any) -> None:
        ann, other = world.host(), world.host("Other")
        world.publish(other)
        for user in (other.user_id, p.UserId("nobody")):
            assert codes(world.say(ann, m.CreateConsumer(publisher_user_id=user))) == [("publisher_not_found", "create_consumer")]

    def test_one_who_does_not_publish_cannot_be_heard(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        assert codes(world.say(bo, m.CreateConsumer(publisher_user_id=ann.user_id))) == [("not_publishing", "create_consumer")]

    @pytest.mark.parametrize(
        "message",
        [
            m.ConsumerAnswer(consumer_id=p.ConsumerId("x"), sdp=""),
            m.CloseConsumer(consumer_id=p.ConsumerId("x")),
            m.ConsumerIceCandidate(consumer_id=p.ConsumerId("x"), candidate=LINE),
        ],
        ids=m.message_type,
    )
    def test_what_needs_a_consumer_is_refused_without_one(self, world: Any, message: m.ClientMessage) -> None:
        assert codes(world.say(world.host(), message)) == [("consumer_not_found", m.message_type(message))]

    def test_nobody_reaches_anothers_consumer(self, world: Any) -> None:
        ann = world.host()
        bo, cy = world.join(ann), world.join(ann, "Cy")
        world.publish(ann)
        consumer = world.consume(bo, ann)
        world.quiet(cy)
        assert codes(world.say(cy, m.CloseConsumer(consumer_id=consumer))) == [("consumer_not_found", "close_consumer")]

    def test_a_creation_that_is_not_answered_is_undone(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        world.quiet(bo)
        world.answers[p.CreateConsumer] = TIMEOUT
        assert codes(world.say(bo, m.CreateConsumer(publisher_user_id=ann.user_id))) == [("shard_unavailable", "create_consumer")]
        assert world.commands[-1].consumer_id == world.sent(p.CreateConsumer)[0].consumer_id
        assert isinstance(world.commands[-1], p.CloseConsumer)

    def test_leaving_while_it_is_made_shows_nothing_to_the_client_and_frees_it_behind(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        world.quiet(bo)
        world.hold = True
        world.say(bo, m.CreateConsumer(publisher_user_id=ann.user_id))
        world.end(bo)
        world.answer()
        assert world.heard(bo) == []
        assert [type(command) for command in world.commands[-2:]] == [p.CreateConsumer, p.LeaveRoom]

    def test_a_publisher_who_leaves_while_it_is_made_is_not_found(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        world.quiet(bo)
        world.hold = True
        world.say(bo, m.CreateConsumer(publisher_user_id=ann.user_id))
        world.end(ann)
        world.answer()
        assert types(world.heard(bo)) == ["user_left", "error"]
        assert bo.participant.consumers == {}

    def test_one_that_ends_by_itself_is_told_once(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        consumer = world.consume(bo, ann)
        world.quiet(bo)
        for _ in range(2):
            world.event(p.ConsumerClosed, bo, consumer_id=consumer, reason="consent_lost")
        assert world.heard(bo) == [m.ConsumerClosed(consumer_id=consumer, reason="consent_lost")]

    def test_those_of_one_who_leaves_are_forgotten(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        consumer = world.consume(bo, ann)
        world.say(ann, m.LeaveRoom())
        world.quiet(bo)
        assert codes(world.say(bo, m.CloseConsumer(consumer_id=consumer))) == [("consumer_not_found", "close_consumer")]


class TestErrorsNameWhatTheyAreAbout:
    """Of several consumers under way, a client knows which one an error is about."""

    @pytest.mark.parametrize(
        "request_",
        [
            m.ConsumerAnswer(consumer_id=p.ConsumerId("c"), sdp="v=0"),
            m.CloseConsumer(consumer_id=p.ConsumerId("c")),
            m.ConsumerIceCandidate(consumer_id=p.ConsumerId("c"), candidate=""),
        ],
    )
    def test_the_consumer(self, world: Any, request_: m.ClientMessage) -> None:
        (error,) = world.say(world.host(), request_)
        assert (error.consumer_id, error.publisher_user_id) == ("c", msgspec.UNSET)

    @pytest.mark.parametrize("outcome", [TIMEOUT, Refused("invalid_sdp", "No.")])
    def test_the_consumer_whose_answer_the_shard_did_not_take(self, world: Any, outcome: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        consumer = world.consume(bo, ann)
        world.quiet(bo)
        world.answers[p.AnswerConsumer] = outcome
        (error,) = world.say(bo, m.ConsumerAnswer(consumer_id=consumer, sdp="v=0"))
        assert (error.request, error.consumer_id) == ("consumer_answer", consumer)

    def test_the_person_to_be_heard(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        request = m.CreateConsumer(publisher_user_id=ann.user_id)
        world.quiet(bo)
        (error,) = world.say(bo, request)
        assert (error.code, error.publisher_user_id, error.consumer_id) == ("not_publishing", ann.user_id, msgspec.UNSET)
        world.publish(ann)
        world.quiet(bo)
        world.answers[p.CreateConsumer] = Refused("shard_full", "No.")
        (error,) = world.say(bo, request)
        assert (error.code, error.publisher_user_id) == ("shard_full", ann.user_id)

    def test_nothing_where_nothing_was_named(self, world: Any) -> None:
        (error,) = world.say(world.host(), m.ClosePublisher())
        assert "_id" not in m.encode(error)


class TestCandidates:
    @pytest.mark.parametrize(
        "line",
        [
            "",
            LINE,
            "a=" + LINE,
            "candidate:842163049 1 tcp 1518280447 2c1d.local 9 typ host tcptype active generation 0 ufrag ab network-cost 999",
            "candidate:1 1 UDP 1 2001:db8::1 65535 typ srflx raddr 0.0.0.0 rport 0",
        ],
    )
    def test_takes_what_browsers_write(self, world: Any, line: str) -> None:
        ann = world.host()
        world.say(ann, m.CreatePublisher())
        assert world.say(ann, m.PublisherIceCandidate(candidate=line)) == []

    @pytest.mark.parametrize(
        "line",
        [
            "x",
            "candidate:",
            LINE.replace("5000", "70000"),
            LINE.replace("5000", "-1"),
            LINE.replace("typ", "top"),
            LINE + " " * 1024,
            LINE + " rport x",
            "candidate:1 one udp 1 192.0.2.1 5 typ host",
            "\x00" * 8,
        ],
    )
    def test_refuses_everything_else(self, world: Any, line: str) -> None:
        ann = world.host()
        world.say(ann, m.CreatePublisher())
        assert codes(world.say(ann, m.PublisherIceCandidate(candidate=line))) == [("invalid_candidate", "publisher_ice_candidate")]


class TestMute:
    def test_is_told_to_the_others_when_the_shard_has_done_it(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.hold = True
        world.say(ann, m.SetMuted(muted=True))
        assert world.heard(bo) == []
        world.answer()
        assert world.heard(bo) == [m.UserMuted(user_id=ann.user_id, muted=True)]
        assert world.heard(ann) == []

    def test_is_put_back_on_a_shard_that_does_not_answer(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.answers[p.SetMuted] = TIMEOUT
        assert codes(world.say(ann, m.SetMuted(muted=True))) == [("shard_unavailable", "set_muted")]
        assert world.commands[-1].muted is False
        assert world.heard(bo) == []


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
