"""Whoever comes, goes, publishes, subscribes and answers in whatever order: what is offered is true, and what flows was answered.

Invariants after every step: a section carries one person at most, and a person has one section at most; sections never shrink and are never
more than there were people to hear at one time; nobody hears themselves; what flows is in the section in which it was answered, is
published, and is wanted. In the end, once every offer was answered, everybody hears exactly whom they want and did not refuse in the last
answer; and when all have left nothing is left of them, here and in the native loop (stage.Stage).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sfu import protocol as p
from tests.sfu.stage import ROOM, Stage, heard_in

PEOPLE = ("ann", "bo", "cy", "di")
STEPS = st.one_of(
    st.tuples(st.sampled_from(["publish", "close_publisher", "leave", "subscribe", "answer", "restart", "close"]), st.sampled_from(PEOPLE)),
    st.tuples(st.just("refuse"), st.sampled_from(PEOPLE)),
    st.tuples(st.sampled_from(["want", "unwant"]), st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PEOPLE))),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 0.5, 3.0])),
)


class Play:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.most: dict[str, int] = defaultdict(int)
        self.refused: dict[str, set[str]] = defaultdict(set)

    def people(self) -> dict[str, Any]:
        room = self.stage.shard.rooms.get(ROOM)
        return dict(room.participants) if room is not None else {}

    def step(self, what: str, who: Any) -> None:
        stage, people = self.stage, self.people()
        match what:
            case "wait":
                stage.wait(who)
            case "publish":
                stage.publish(who)
            case "subscribe":
                stage.join(who)
                stage.do(p.Subscribe, who)
                self.most[who] = 1
            case "want" | "unwant":
                stage.ask(p.SetSubscribed, who[0], publisher_user_id=who[1], subscribed=what == "want")
            case _ if who not in people:
                pass
            case "leave":
                stage.leave(who)
            case "close_publisher":
                stage.do(p.ClosePublisher, who)
            case "close":
                stage.do(p.CloseSubscription, who)
            case "restart":
                stage.ask(p.RestartIce, who, target="subscription")
            case "answer" | "refuse":
                self.answer(who, refused=("0",) if what == "refuse" else ())
        self.check()

    def answer(self, who: str, refused: tuple[str, ...] = ()) -> None:
        subscription = self.stage.person(who).subscription
        if subscription is None or subscription.offer is None:
            return
        offered = subscription.offered[0]
        self.refused[who] = {offered.publisher_id} if refused and offered is not None else set()
        self.stage.answer(who, refused=refused)
        if not subscription.connection.up:
            self.stage.connect(subscription.connection)

    def check(self) -> None:
        publishing = {user: one.publisher for user, one in self.people().items() if one.publisher is not None and one.publisher.announced}
        for user, participant in self.people().items():
            subscription = participant.subscription
            if subscription is None:
                continue
            lines = [line for line in subscription.lines if line is not None]
            assert all(line.mid == str(number) for number, line in enumerate(subscription.lines) if line is not None)
            heard = [line.publisher_id for line in lines]
            assert sorted(heard) == sorted(other for other in publishing if other != user)
            self.most[user] = max(self.most[user], len(heard))
            assert len(subscription.lines) <= self.most[user]
            for line in lines:
                assert line in line.track.consumers
                if line.flowing:
                    assert subscription.offered[int(line.mid)] is line
                    assert line.publisher_id not in participant.unwanted
            assert set(subscription.connection.consumers.values()) == set(lines)

    def settle(self) -> None:
        """Every offer is answered until there is none."""
        for _ in range(4):
            for user in self.people():
                self.answer(user)
            self.stage.wait(3)
        people = self.people()
        publishing = {user for user, one in people.items() if one.publisher is not None}
        for user, participant in people.items():
            if participant.subscription is not None:
                assert self.stage.heard(user) == sorted(publishing - {user} - participant.unwanted - self.refused[user])
                offer = self.stage.offers(user)[-1]
                assert sorted(name for name in heard_in(offer) if name != "-") == sorted(publishing - {user})


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
@example([("publish", "ann"), ("subscribe", "bo"), ("refuse", "bo")])
def test_what_is_offered_is_true_and_what_flows_was_answered(steps: list[tuple[str, Any]]) -> None:
    with Stage(consent_timeout_s=600, answer_timeout_s=600) as stage:
        play = Play(stage)
        for step in steps:
            play.step(*step)
        play.settle()
        for person in list(play.people()):
            stage.leave(person)
        tables = stage.shard.tables()
        assert (tables.rooms, tables.participants, tables.transports, tables.tracks, tables.consumers) == (0, 0, 0, 0, 0)
        assert stage.loop.totals().rejected_commands == 0
