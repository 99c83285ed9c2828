"""What is offered when on a subscriber connection, and what flows on it: a shard in virtual time (stage.Stage)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sfu import protocol as p
from sfu.subscription import most_sections
from tests.sfu.stage import Stage, answer_to, heard_in


@pytest.fixture
def make_stage() -> Iterator[Callable[..., Stage]]:
    """Shards with options of the test's own."""
    stages: list[Stage] = []

    def make(**options: Any) -> Stage:
        stages.append(Stage(**options))
        return stages[-1]

    yield make
    for stage in stages:
        stage.__exit__(None, None, None)


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


class TestOffers:
    def test_an_empty_room_is_offered_with_one_inactive_section(self, stage: Stage) -> None:
        assert heard_in(stage.subscribe("me")) == ["-"]

    def test_a_newcomer_gets_everybody_in_the_first_offer_and_never_itself(self, stage: Stage) -> None:
        stage.publish("ann", "bo", "me")
        assert heard_in(stage.subscribe("me")) == ["ann", "bo"]
        assert stage.heard("me") == ["ann", "bo"]

    def test_who_begins_to_publish_is_in_the_next_offer_soon(self, stage: Stage) -> None:
        stage.subscribe("me")
        stage.publish("ann")
        stage.wait(0.06)
        assert [heard_in(offer) for offer in stage.offers("me")] == [["-"], ["ann"]]
        assert stage.heard("me") == []  # the browser does not know yet whose packets those would be
        stage.answer("me")
        assert stage.heard("me") == ["ann"]

    def test_a_storm_of_fifty_costs_two_offers(self, stage: Stage) -> None:
        stage.subscribe("me")
        for number in range(50):
            stage.publish(f"p{number}")
            stage.wait(0.012)
        stage.answer("me")
        stage.wait(1)
        stage.answer("me")
        stage.wait(10)
        assert len(stage.offers("me")) == 3
        assert len(stage.heard("me")) == 50

    def test_one_join_costs_everybody_one_offer(self, stage: Stage) -> None:
        people = [f"p{number}" for number in range(20)]
        stage.publish(*people)
        for person in people:
            stage.subscribe(person)
        before = len(stage.told)
        stage.subscribe("new")
        stage.publish("new")
        for _ in range(20):
            stage.wait(0.5)
            for person in people:
                if stage.person(person).subscription.offer is not None:
                    stage.answer(person)
        offers = [event.user_id for event in stage.told[before:] if isinstance(event, p.SubscriptionOffer)]
        assert sorted(offers) == sorted([*people, "new"])
        assert all("new" in stage.heard(person) for person in people)

    def test_while_one_is_outstanding_there_is_no_other_and_the_next_holds_all_that_changed(self, stage: Stage) -> None:
        stage.publish("ann")
        stage.subscribe("me")
        stage.publish("bo")
        stage.wait(1)
        stage.publish("cy")
        stage.leave("ann")
        stage.wait(5)
        assert len(stage.offers("me")) == 2
        stage.answer("me")
        assert [heard_in(offer) for offer in stage.offers("me")] == [["ann"], ["ann", "bo"], ["-", "bo", "cy"]]

    def test_revisions_rise_by_one_and_the_session_stays(self, stage: Stage) -> None:
        first = stage.subscribe("me")
        stage.publish("ann")
        stage.wait(1)
        second = stage.answer("me")
        assert (first.revision, second.revision) == (1, 2)
        origins = [offer.sdp.splitlines()[1].split() for offer in (first, second)]
        assert [(origin[1], origin[2]) for origin in origins] == [(origins[0][1], "1"), (origins[0][1], "2")]

    def test_candidates_are_told_with_a_new_transport_only(self, stage: Stage) -> None:
        first = stage.subscribe("me")
        stage.publish("ann")
        stage.wait(1)
        assert (len(first.candidates), len(stage.offers("me")[-1].candidates)) == (1, 0)

    def test_rooms_do_not_hear_each_other(self, stage: Stage) -> None:
        stage.subscribe("me")
        elsewhere = {"request_id": p.RequestId(1), "deadline_unix_ms": 0, "room_id": p.RoomId("other"), "user_id": p.UserId("ann")}
        stage.shard.execute(p.JoinRoom(username="ann", **elsewhere), 0.0)
        offer = stage.shard.execute(p.CreatePublisher(**elsewhere), 0.0)
        stage.shard.execute(p.AnswerPublisher(sdp=answer_to(offer.result.sdp), **elsewhere), 0.0)  # type: ignore[union-attr]
        publisher = stage.shard.rooms[p.RoomId("other")].participants[p.UserId("ann")].publisher
        assert publisher is not None
        stage.connect(publisher.connection)
        stage.wait(5)
        assert len(stage.offers("me")) == 1


class TestSections:
    def test_one_whose_track_is_gone_becomes_inactive_and_nothing_flows_at_once(self, stage: Stage) -> None:
        stage.publish("ann", "bo")
        stage.subscribe("me")
        stage.leave("ann")
        assert stage.heard("me") == ["bo"]
        stage.wait(2.1)
        assert heard_in(stage.answer("me")) == ["-", "bo"]

    def test_the_next_person_gets_the_free_section_with_a_new_ssrc(self, stage: Stage) -> None:
        stage.publish("ann", "bo")
        first = stage.subscribe("me")
        stage.leave("ann")
        stage.publish("cy")
        stage.wait(1)
        second = stage.answer("me")
        assert (heard_in(first), heard_in(second)) == (["ann", "bo"], ["cy", "bo"])
        ssrcs = [[line for line in offer.sdp.splitlines() if line.startswith("a=ssrc")] for offer in (first, second)]
        assert ssrcs[0][0] != ssrcs[1][0]
        assert ssrcs[0][1] == ssrcs[1][1]

    def test_the_sdp_does_not_grow_over_200_joins_and_leaves(self, stage: Stage) -> None:
        stage.publish(*(f"p{number}" for number in range(5)))
        longest = len(stage.subscribe("me").sdp)
        for number in range(5, 205):
            stage.leave(f"p{number - 5}")
            stage.publish(f"p{number}")
            stage.wait(0.5)
            offer = stage.answer("me")
            assert len(heard_in(offer)) == 5
            longest = max(longest, len(offer.sdp))
        assert longest < 1.02 * len(stage.offers("me")[0].sdp)  # ids and SSRCs vary by some digits
        assert len(stage.offers("me")) == 201  # leaving and joining together cost one
        assert len(stage.heard("me")) == 5

    def test_no_ssrc_ever_comes_again_on_one_transport(self, stage: Stage) -> None:
        stage.subscribe("me")
        connection = stage.connection("me")
        assert len({connection.new_ssrc() for _ in range(100_000)}) == 100_000

    def test_beyond_the_limit_people_wait_for_a_section(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(max_sections=2)
        stage.publish("ann", "bo", "cy", "di")
        assert heard_in(stage.subscribe("me")) == ["ann", "bo"]
        stage.leave("cy")  # who waits may leave too
        stage.leave("ann")
        stage.wait(1)
        assert heard_in(stage.answer("me")) == ["di", "bo"]
        assert stage.heard("me") == ["bo", "di"]

    def test_a_shard_that_is_full_leaves_people_waiting_as_well(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(max_consumers=1)
        stage.publish("ann", "bo")
        assert heard_in(stage.subscribe("me")) == ["ann"]
        stage.leave("ann")
        stage.wait(1)
        assert heard_in(stage.answer("me")) == ["bo"]

    def test_offers_of_the_most_sections_fit_into_a_message(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(max_sections=1000)
        limit = most_sections(1)
        assert stage.shard._context.subscription_limits.sections == limit
        stage.publish(*(f"{number:036}" for number in range(limit)))
        offer = stage.subscribe("me")
        assert len(offer.tracks) == limit
        assert len(p.encode(offer)) < p.MAX_MESSAGE_BYTES


class TestAnswers:
    def test_to_an_earlier_revision_are_ignored(self, stage: Stage) -> None:
        first = stage.subscribe("me")
        stage.publish("ann")
        stage.wait(1)
        stage.do(p.AnswerSubscription, "me", revision=first.revision, sdp="nonsense")
        stage.answer("me")
        assert stage.heard("me") == ["ann"]

    def test_of_one_who_left_its_section_meanwhile_let_nothing_flow(self, stage: Stage) -> None:
        stage.subscribe("me")
        stage.publish("ann")
        stage.wait(1)
        stage.leave("ann")
        stage.publish("bo")
        stage.answer("me")
        assert stage.heard("me") == []
        stage.wait(1)
        stage.answer("me")
        assert stage.heard("me") == ["bo"]

    @pytest.mark.parametrize(
        ("revision", "sdp", "code"),
        [(2, "nonsense", "invalid_sdp"), (3, "", "invalid_sdp"), (2, "rejected", "invalid_sdp"), (2, "moved", "invalid_sdp")],
    )
    def test_that_are_wrong_are_refused_and_the_right_one_is_taken_later(self, stage: Stage, revision: int, sdp: str, code: str) -> None:
        stage.subscribe("me")
        stage.publish("ann", "bo")
        stage.wait(1)
        offered = stage.offers("me")[-1].sdp
        if sdp == "rejected":
            sdp = answer_to(offered)
            last = sdp.rindex("m=audio 9")
            sdp = sdp[:last] + sdp[last:].replace("m=audio 9", "m=audio 0")
        elif sdp == "moved":  # another ICE session, for which nobody has asked
            sdp = answer_to(offered, ufrag="other")
        assert stage.refused(p.AnswerSubscription, "me", revision=revision, sdp=sdp) == code
        assert stage.heard("me") == []
        stage.answer("me")
        assert stage.heard("me") == ["ann", "bo"]

    def test_with_another_fingerprint_are_refused(self, stage: Stage) -> None:
        stage.subscribe("me")
        stage.publish("ann")
        stage.wait(1)
        sdp = answer_to(stage.offers("me")[-1].sdp, fingerprint=":".join(["AB"] * 32))
        assert stage.refused(p.AnswerSubscription, "me", revision=2, sdp=sdp) == "invalid_sdp"

    def test_twice_are_refused(self, stage: Stage) -> None:
        offer = stage.subscribe("me")
        sdp = answer_to(offer.sdp)
        assert stage.refused(p.AnswerSubscription, "me", revision=1, sdp=sdp) == "already_answered"

    def test_that_leave_out_one_section_hear_the_others_and_may_take_it_later(self, stage: Stage) -> None:
        stage.publish("ann", "bo")
        stage.join("me")
        stage.do(p.Subscribe, "me")
        stage.answer("me", refused=("0",))
        stage.connect(stage.connection("me"))
        assert stage.heard("me") == ["bo"]
        stage.publish("cy")
        stage.wait(1)
        stage.answer("me")
        assert stage.heard("me") == ["ann", "bo", "cy"]
        stage.publish("di")
        stage.wait(1)
        stage.answer("me", refused=("1",))
        assert stage.heard("me") == ["ann", "cy", "di"]

    def test_that_never_come_end_the_subscription(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(answer_timeout_s=5)
        stage.subscribe("me")
        stage.publish("ann")
        stage.wait(4)
        assert stage.closed("me") == []
        stage.wait(2)
        assert stage.closed("me") == ["answer_timeout"]
        assert stage.refused(p.AnswerSubscription, "me", revision=2, sdp="") == "not_subscribed"
        assert stage.shard.tables().consumers == 0

    def test_to_the_first_offer_that_never_come_end_it_too(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(answer_timeout_s=5)
        stage.join("me")
        stage.do(p.Subscribe, "me")
        stage.wait(6)
        assert stage.closed("me") == ["handshake_timeout"]

    def test_are_asked_for_again_by_the_same_offer(self, stage: Stage) -> None:
        stage.subscribe("me")
        stage.do(p.RepeatOffer, "me")
        assert len(stage.offers("me")) == 1  # it was answered
        stage.publish("ann")
        stage.wait(1)
        stage.do(p.RepeatOffer, "me")
        _, offer, again = stage.offers("me")
        assert offer == again


class TestHearingSinglePeople:
    def test_nothing_flows_of_one_who_is_not_wanted_until_they_are_again(self, stage: Stage) -> None:
        stage.publish("ann", "bo")
        stage.subscribe("me")
        stage.do(p.SetSubscribed, "me", publisher_user_id="ann", subscribed=False)
        assert stage.heard("me") == ["bo"]
        stage.do(p.SetSubscribed, "me", publisher_user_id="ann", subscribed=True)
        assert stage.heard("me") == ["ann", "bo"]
        stage.wait(5)
        assert len(stage.offers("me")) == 1

    def test_it_outlives_their_publisher_and_their_silence(self, stage: Stage) -> None:
        stage.join("ann")
        stage.subscribe("me")
        stage.do(p.SetSubscribed, "me", publisher_user_id="ann", subscribed=False)
        for _ in range(2):
            stage.publish("ann")
            stage.wait(1)
            stage.answer("me")
            assert stage.heard("me") == []
        stage.do(p.SetSubscribed, "me", publisher_user_id="ann", subscribed=True)
        assert stage.heard("me") == ["ann"]

    def test_but_not_their_leaving(self, stage: Stage) -> None:
        stage.publish("ann")
        stage.subscribe("me")
        stage.do(p.SetSubscribed, "me", publisher_user_id="ann", subscribed=False)
        stage.leave("ann")
        assert stage.person("me").unwanted == set()

    def test_others_hear_them_all_the_same(self, stage: Stage) -> None:
        stage.publish("ann")
        stage.subscribe("me")
        stage.subscribe("you")
        stage.do(p.SetSubscribed, "me", publisher_user_id="ann", subscribed=False)
        assert (stage.heard("me"), stage.heard("you")) == ([], ["ann"])

    def test_a_stranger_oneself_and_no_subscription_are_errors(self, stage: Stage) -> None:
        stage.publish("ann")
        assert stage.refused(p.SetSubscribed, "ann", publisher_user_id="ann", subscribed=False) == "not_subscribed"
        stage.subscribe("me")
        for user in ("nobody", "me"):
            assert stage.refused(p.SetSubscribed, "me", publisher_user_id=user, subscribed=False) == "publisher_not_found"


class TestLife:
    def test_subscribing_again_replaces_the_connection_and_goes_on_counting(self, stage: Stage) -> None:
        stage.publish("ann")
        first = stage.subscribe("me")
        second = stage.subscribe("me")
        assert second.revision == first.revision + 1
        assert first.sdp.splitlines()[1].split()[1] != second.sdp.splitlines()[1].split()[1]
        assert stage.closed("me") == []
        assert (stage.shard.tables().transports, stage.shard.tables().consumers) == (2, 1)

    def test_a_consumer_of_the_same_person_works_beside_it(self, stage: Stage) -> None:
        stage.publish("ann")
        stage.subscribe("me")
        offer = stage.do(p.CreateConsumer, "me", publisher_user_id="ann", consumer_id="c")
        stage.do(p.AnswerConsumer, "me", consumer_id="c", sdp=answer_to(offer.sdp))
        assert stage.shard.tables().consumers == 2
        stage.subscribe("me")
        stage.do(p.CloseConsumer, "me", consumer_id="c")
        assert stage.heard("me") == ["ann"]

    @pytest.mark.parametrize("how", ["close", "leave", "lost"])
    def test_its_end_frees_everything(self, stage: Stage, how: str) -> None:
        stage.publish("ann", "bo")
        stage.subscribe("me")
        connection = stage.connection("me")
        if how == "close":
            stage.do(p.CloseSubscription, "me")
            stage.do(p.CloseSubscription, "me")
        elif how == "leave":
            stage.leave("me")
        else:
            connection.owner.connection_over(connection, "consent_lost", 0.0)
        assert stage.closed("me") == (["consent_lost"] if how == "lost" else [])
        assert (stage.shard.tables().transports, stage.shard.tables().consumers) == (2, 0)
        stage.wait(60)
        assert len(stage.offers("me")) == 1

    def test_a_shard_that_is_full_refuses_it_and_keeps_the_former(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(max_transports=2)
        stage.publish("ann")
        stage.subscribe("me")
        assert stage.refused(p.Subscribe, "me") == "shard_full"
        assert stage.heard("me") == ["ann"]
        stage.join("you")
        assert stage.refused(p.Subscribe, "you") == "shard_full"

    def test_what_needs_one_is_refused_without(self, stage: Stage) -> None:
        stage.join("me")
        assert stage.refused(p.AnswerSubscription, "me", revision=1, sdp="") == "not_subscribed"
        assert stage.refused(p.RepeatOffer, "me") == "not_subscribed"
        assert stage.refused(p.RestartIce, "me", target="subscription") == "not_subscribed"
        assert stage.refused(p.Subscribe, "stranger") == "not_in_room"


class TestRestartingIce:
    @staticmethod
    def ufrag(sdp: str) -> str:
        return next(line for line in sdp.splitlines() if line.startswith("a=ice-ufrag:"))

    def test_a_subscription_is_offered_anew_with_new_credentials_and_goes_on(self, stage: Stage) -> None:
        stage.publish("ann")
        first = stage.subscribe("me")
        stage.do(p.RestartIce, "me", target="subscription")
        second = stage.answer("me", ufrag="moved")
        assert self.ufrag(first.sdp) != self.ufrag(second.sdp)
        assert len(second.candidates) == 1
        assert stage.connection("me").association.ice.remote_ufrag == "moved"
        assert stage.heard("me") == ["ann"]
        stage.publish("bo")
        stage.wait(1)
        assert self.ufrag(stage.answer("me", ufrag="moved").sdp) == self.ufrag(second.sdp)

    def test_while_an_offer_is_outstanding_it_waits_for_the_next(self, stage: Stage) -> None:
        stage.subscribe("me")
        stage.publish("ann")
        stage.wait(1)
        stage.do(p.RestartIce, "me", target="subscription")
        assert len(stage.offers("me")) == 2
        stage.answer("me")
        first, second, third = (self.ufrag(offer.sdp) for offer in stage.offers("me"))
        assert first == second != third

    def test_a_publisher_is_offered_anew_and_answered_once_more(self, stage: Stage) -> None:
        stage.publish("ann")
        stage.subscribe("me")
        offer = stage.do(p.RestartIce, "ann", target="publisher")
        assert stage.heard("me") == ["ann"]
        stage.do(p.AnswerPublisher, "ann", sdp=answer_to(offer.sdp, ufrag="moved"))
        assert stage.person("ann").publisher.connection.association.ice.remote_ufrag == "moved"
        assert stage.refused(p.AnswerPublisher, "ann", sdp=answer_to(offer.sdp)) == "already_answered"
        assert stage.heard("me") == ["ann"]
        assert [event for event in stage.told if isinstance(event, p.TrackPublished | p.PublisherClosed)] == stage.told[:1]

    def test_a_consumer_is_offered_anew_and_answered_once_more(self, stage: Stage) -> None:
        stage.publish("ann")
        stage.join("me")
        offer = stage.do(p.CreateConsumer, "me", publisher_user_id="ann", consumer_id="c")
        again = stage.do(p.RestartIce, "me", target="consumer", consumer_id="c")
        assert self.ufrag(again.sdp) == self.ufrag(offer.sdp)  # it was not answered: the same offer says as much
        stage.do(p.AnswerConsumer, "me", consumer_id="c", sdp=answer_to(again.sdp))
        restarted = stage.do(p.RestartIce, "me", target="consumer", consumer_id="c")
        assert self.ufrag(restarted.sdp) != self.ufrag(offer.sdp)
        stage.do(p.AnswerConsumer, "me", consumer_id="c", sdp=answer_to(restarted.sdp, ufrag="moved"))

    def test_of_what_is_not_there_is_refused(self, stage: Stage) -> None:
        stage.join("me")
        assert stage.refused(p.RestartIce, "me", target="publisher") == "publisher_not_found"
        assert stage.refused(p.RestartIce, "me", target="consumer", consumer_id="c") == "consumer_not_found"
        assert stage.refused(p.RestartIce, "me", target="consumer") == "consumer_not_found"
