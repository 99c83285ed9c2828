"""What the messages about publishers, consumers, candidates and muting mean, without a socket (conftest.World)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from control import messages as m
from control.effects import Refused
from sfu import protocol as p
from tests.control.said import LINE, TIMEOUT, codes, types


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
