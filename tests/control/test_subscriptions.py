"""What the messages about one subscriber connection and about ICE restart mean, without a socket (conftest.World)."""

from __future__ import annotations

from typing import Any

import pytest

from control import messages as m
from control.effects import Refused, Session
from sfu import protocol as p
from tests.control.conftest import OFFER
from tests.control.said import LINE, TIMEOUT, codes, types


def track(consumer: str, user: Session, mid: str = "0") -> p.SubscribedTrack:
    assert user.user_id is not None
    return p.SubscribedTrack(mid=mid, consumer_id=p.ConsumerId(consumer), user_id=user.user_id, track_id=p.TrackId("t1"), kind="audio")


def offer(world: Any, session: Session, revision: int, *tracks: p.SubscribedTrack, candidates: tuple[str, ...] = ()) -> None:
    world.event(p.SubscriptionOffer, session, revision=revision, sdp=f"v=0 {revision}", tracks=list(tracks), candidates=list(candidates))


def subscribed(world: Any) -> tuple[Session, Session]:
    """Ann, who publishes, and Bo, who hears her on a subscription."""
    ann = world.host()
    bo = world.join(ann)
    world.publish(ann)
    world.say(bo, m.Subscribe())
    offer(world, bo, 1, track("c1", ann))
    world.quiet(ann, bo)
    return ann, bo


class TestSubscribing:
    def test_the_flow_from_subscribe_to_close(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        assert world.say(bo, m.Subscribe()) == []
        assert world.sent(p.Subscribe)[0].user_id == bo.user_id
        offer(world, bo, 1, track("c1", ann), candidates=(LINE,))
        said, candidate = world.heard(bo)
        assert (said.revision, said.sdp, said.tracks) == (1, "v=0 1", [track("c1", ann)])
        assert candidate == m.SubscriptionIceCandidate(candidate=LINE)
        assert world.say(bo, m.SubscriptionAnswer(revision=1, sdp="v=0 answer")) == []
        answer = world.sent(p.AnswerSubscription)[0]
        assert (answer.revision, answer.sdp) == (1, "v=0 answer")
        assert world.say(bo, m.SubscriptionIceCandidate(candidate=LINE)) == []
        offer(world, bo, 2)
        assert types(world.heard(bo)) == ["subscription_offer"]
        assert world.say(bo, m.CloseSubscription()) == [m.SubscriptionClosed(reason="closed")]
        assert isinstance(world.commands[-1], p.CloseSubscription)
        assert world.heard(ann) == []

    @pytest.mark.parametrize(
        "message",
        [
            m.SubscriptionAnswer(revision=1, sdp=""),
            m.SubscriptionIceCandidate(candidate=LINE),
            m.SetSubscribed(publisher_user_id=p.UserId("x"), subscribed=False),
            m.CloseSubscription(),
            m.RestartIce(target="subscription"),
        ],
        ids=m.message_type,
    )
    def test_what_needs_a_subscription_is_refused_without_one(self, world: Any, message: m.ClientMessage) -> None:
        assert codes(world.say(world.host(), message)) == [("not_subscribed", m.message_type(message))]

    @pytest.mark.parametrize("outcome", [TIMEOUT, Refused("shard_full", "No.")])
    def test_one_that_cannot_be_made_is_an_error_and_none(self, world: Any, outcome: Any) -> None:
        ann = world.host()
        world.answers[p.Subscribe] = outcome
        expected = "shard_full" if isinstance(outcome, Refused) else "shard_unavailable"
        assert codes(world.say(ann, m.Subscribe())) == [(expected, "subscribe")]
        assert isinstance(world.commands[-1], p.Subscribe if isinstance(outcome, Refused) else p.CloseSubscription)
        assert codes(world.say(ann, m.SubscriptionAnswer(revision=1, sdp=""))) == [("not_subscribed", "subscription_answer")]

    @pytest.mark.parametrize("code", ["invalid_sdp", "already_answered", "not_subscribed"])
    def test_the_shards_refusal_of_an_answer_reaches_the_client(self, world: Any, code: str) -> None:
        _, bo = subscribed(world)
        world.answers[p.AnswerSubscription] = Refused(code, "Because.")
        (error,) = world.say(bo, m.SubscriptionAnswer(revision=1, sdp="x"))
        assert (error.code, error.message, error.request) == (code, "Because.", "subscription_answer")

    def test_a_candidate_that_is_none_is_refused(self, world: Any) -> None:
        _, bo = subscribed(world)
        assert codes(world.say(bo, m.SubscriptionIceCandidate(candidate="x"))) == [("invalid_candidate", "subscription_ice_candidate")]

    def test_one_that_ends_by_itself_is_told_once(self, world: Any) -> None:
        _, bo = subscribed(world)
        for _ in range(2):
            world.event(p.SubscriptionClosed, bo, reason="answer_timeout")
        assert world.heard(bo) == [m.SubscriptionClosed(reason="answer_timeout")]

    def test_one_that_ends_while_the_next_is_asked_for_does_not_end_that(self, world: Any) -> None:
        ann, bo = subscribed(world)
        world.hold = True
        world.say(bo, m.Subscribe())
        world.event(p.SubscriptionClosed, bo, reason="dtls_closed")
        offer(world, bo, 2, track("c2", ann))
        world.answer()
        assert types(world.heard(bo)) == ["subscription_closed", "subscription_offer"]
        world.hold = False
        assert world.say(bo, m.SubscriptionAnswer(revision=2, sdp="x")) == []

    def test_closing_that_is_not_answered_is_said_again(self, world: Any) -> None:
        _, bo = subscribed(world)
        world.answers[p.CloseSubscription] = TIMEOUT
        assert codes(world.say(bo, m.CloseSubscription())) == [("shard_unavailable", "close_subscription")]
        assert [type(command) for command in world.commands[-2:]] == [p.CloseSubscription] * 2

    def test_a_room_that_moves_ends_it_and_the_client_subscribes_again(self, world: Any, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        _, bo = subscribed(world)
        world.run(world.signaling.shard_lost(p.ShardId(world.shard_of[-1]), world.now))
        assert types(world.heard(bo)) == ["room_moved"]
        assert codes(world.say(bo, m.SubscriptionAnswer(revision=1, sdp=""))) == [("not_subscribed", "subscription_answer")]
        assert world.say(bo, m.Subscribe()) == []
        assert world.shard_of[-1] != world.shard_of[0]

    def test_nothing_reaches_one_who_has_left(self, world: Any) -> None:
        ann, bo = subscribed(world)
        participant = bo.participant
        world.say(bo, m.LeaveRoom())
        world.quiet(bo)
        bo.participant = participant
        offer(world, bo, 2, track("c1", ann))
        assert world.heard(bo) == []


class TestHearingSinglePeople:
    def test_the_wish_goes_to_the_shard(self, world: Any) -> None:
        ann, bo = subscribed(world)
        assert world.say(bo, m.SetSubscribed(publisher_user_id=ann.user_id, subscribed=False)) == []
        wish = world.sent(p.SetSubscribed)[-1]
        assert (wish.user_id, wish.publisher_user_id, wish.subscribed) == (bo.user_id, ann.user_id, False)

    def test_on_the_wire_the_person_is_user_id(self) -> None:
        message = m.decode_client('{"type": "set_subscribed", "user_id": "u", "subscribed": true}')
        assert message == m.SetSubscribed(publisher_user_id=p.UserId("u"), subscribed=True)

    def test_a_stranger_and_oneself_are_not_found(self, world: Any) -> None:
        _, bo = subscribed(world)
        for user in (p.UserId("nobody"), bo.user_id):
            (error,) = world.say(bo, m.SetSubscribed(publisher_user_id=user, subscribed=False))
            assert (error.code, error.publisher_user_id) == ("publisher_not_found", user)

    def test_closing_the_consumer_of_a_section_is_not_hearing_that_person(self, world: Any) -> None:
        ann, bo = subscribed(world)
        closed = world.say(bo, m.CloseConsumer(consumer_id=p.ConsumerId("c1")))
        assert closed == [m.ConsumerClosed(consumer_id=p.ConsumerId("c1"), reason="closed")]
        wish = world.sent(p.SetSubscribed)[-1]
        assert (wish.publisher_user_id, wish.subscribed) == (ann.user_id, False)
        assert world.sent(p.CloseConsumer) == []

    def test_both_ways_of_hearing_somebody_work_side_by_side(self, world: Any) -> None:
        ann, bo = subscribed(world)
        consumer = world.consume(bo, ann)
        world.say(bo, m.CloseConsumer(consumer_id=consumer))
        assert world.sent(p.CloseConsumer)[0].consumer_id == consumer
        assert world.sent(p.SetSubscribed) == []


class TestResuming:
    def test_an_offer_that_may_be_lost_is_asked_for_again(self, world: Any) -> None:
        _, bo = subscribed(world)
        world.lose(bo)
        token = world.signaling.sessions.resumes.issue(bo)
        _, joined, *_ = world.resume(bo, token)
        assert joined.resumed.subscribed
        assert isinstance(world.commands[-1], p.RepeatOffer)

    def test_without_a_subscription_there_is_none_to_repeat(self, world: Any) -> None:
        ann = world.host()
        world.lose(ann)
        _, joined, *_ = world.resume(ann, world.signaling.sessions.resumes.issue(ann))
        assert not joined.resumed.subscribed
        assert world.sent(p.RepeatOffer) == []


class TestRestartingIce:
    def test_a_publisher_is_offered_again(self, world: Any) -> None:
        ann = world.host()
        world.publish(ann)
        world.answers[p.RestartIce] = OFFER
        assert world.say(ann, m.RestartIce(target="publisher")) == [m.PublisherCreated(sdp=OFFER.sdp)]
        assert world.sent(p.RestartIce)[0].target == "publisher"

    def test_a_consumer_is_offered_again(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.publish(ann)
        consumer = world.consume(bo, ann)
        world.quiet(bo)
        world.answers[p.RestartIce] = OFFER
        offered = world.say(bo, m.RestartIce(target="consumer", consumer_id=consumer))
        assert offered == [m.ConsumerCreated(consumer_id=consumer, publisher_user_id=ann.user_id, sdp=OFFER.sdp)]

    def test_a_subscription_is_offered_anew_by_the_shard(self, world: Any) -> None:
        _, bo = subscribed(world)
        assert world.say(bo, m.RestartIce(target="subscription")) == []
        assert world.sent(p.RestartIce)[0].target == "subscription"

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            (m.RestartIce(target="publisher"), "publisher_not_found"),
            (m.RestartIce(target="consumer"), "consumer_not_found"),
            (m.RestartIce(target="consumer", consumer_id=p.ConsumerId("x")), "consumer_not_found"),
        ],
    )
    def test_what_is_not_there_is_not_restarted(self, world: Any, message: m.ClientMessage, code: str) -> None:
        assert codes(world.say(world.host(), message)) == [(code, "restart_ice")]
        assert world.sent(p.RestartIce) == []

    def test_another_target_is_no_message(self) -> None:
        with pytest.raises(m.BadMessage):
            m.decode_client('{"type": "restart_ice", "target": "everything"}')
