"""Sessions that outlive their socket, without sockets: who comes back as whom, until when, and what they are told."""

from __future__ import annotations

from typing import Any

from control import messages as m
from control.effects import Session
from control.sessions import Limits
from sfu import protocol as p

from .said import types


def token_of(world: Any, name: str = "Bo") -> tuple[Session, str]:
    """Somebody who has just registered."""
    session = Session()
    (registered,) = world.say(session, m.Register(username=name))
    return session, registered.resume_token


def enter(world: Any, session: Session, host: Session) -> None:
    world.say(session, m.JoinRoom(room_id=host.participant.room_id))
    world.quiet(host, session)


class TestWaiting:
    def test_a_lost_socket_keeps_the_participant_and_nobody_is_told(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        world.lose(bo)
        world.now += 29
        world.run(world.signaling.tick(world.now))
        assert world.heard(ann) == []
        assert world.sent(p.LeaveRoom) == []
        registered, joined = world.resume(bo, token)
        assert (registered.user_id, registered.resumed) == (bo.user_id, True)
        assert [person.user_id for person in joined.participants] == [ann.user_id, bo.user_id]
        assert world.heard(ann) == []

    def test_after_the_grace_it_is_a_leave_and_the_token_is_worth_nothing(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        world.lose(bo)
        world.now += 30
        world.run(world.signaling.tick(world.now))
        assert types(world.heard(ann)) == ["user_left"]
        assert [command.user_id for command in world.sent(p.LeaveRoom)] == [bo.user_id]
        newcomer = Session()
        (registered,) = world.say(newcomer, m.Register(username="Bo", resume_token=token))
        assert not registered.resumed
        assert registered.user_id != bo.user_id
        assert world.signaling.sessions.resumes.expired == 1

    def test_the_grace_begins_anew_with_each_loss(self, world: Any) -> None:
        _, (bo, token) = world.host(), token_of(world)
        for _ in range(3):
            world.lose(bo)
            world.now += 29
            world.run(world.signaling.tick(world.now))
            token = world.resume(bo, token)[0].resume_token

    def test_a_clean_close_is_a_leave_at_once(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        world.end(bo)
        assert types(world.heard(ann)) == ["user_left"]
        assert world.signaling.sessions.resumes.find(token) is None

    def test_no_more_wait_than_the_operator_allows(self, make_world: Any) -> None:
        world = make_world(Limits(sockets=1))
        (bo, _), (cy, token) = token_of(world), token_of(world, "Cy")
        world.lose(bo)
        world.lose(cy)
        assert (bo.closed, cy.closed) == (False, True)
        assert world.signaling.sessions.resumes.find(token) is None
        assert world.signaling.sessions.resumes.crowded_out == 1

    def test_a_stranger_who_vanishes_is_not_waited_for(self, world: Any) -> None:
        stranger = Session()
        world.lose(stranger)
        assert stranger.closed
        assert world.signaling.sessions.resumes.waiting == 0

    def test_a_join_that_was_under_way_when_the_socket_broke_counts(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        world.hold = True
        world.say(bo, m.JoinRoom(room_id=ann.participant.room_id))
        world.lose(bo)
        world.answer()
        assert types(world.heard(ann)) == ["user_joined"]
        world.heard(bo)
        assert types(world.resume(bo, token)) == ["registered", "room_joined"]


class TestTokens:
    def test_are_unguessable_and_kept_as_digests_only(self, world: Any) -> None:
        (bo, token), (_, other) = token_of(world), token_of(world)
        assert token != other
        assert len(token) >= 43  # 256 bits in base64
        assert all(token.encode() not in digest for digest in bo.tokens)

    def test_the_used_one_is_good_until_its_successor_is_used(self, world: Any) -> None:
        bo, first = token_of(world)
        second = world.resume(bo, first)[0].resume_token
        third = world.resume(bo, first)[0].resume_token  # the answer with the second was lost on the way
        assert world.signaling.sessions.resumes.find(second) is None
        world.resume(bo, third)
        assert world.signaling.sessions.resumes.find(first) is None

    def test_one_that_is_nobodys_makes_a_new_person(self, world: Any) -> None:
        session = Session()
        (registered,) = world.say(session, m.Register(username="Bo", resume_token="guess\U0001f511"))
        assert not registered.resumed

    def test_the_name_stays_that_of_the_session(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        _, joined = world.resume(bo, token)
        assert [person.username for person in joined.participants] == ["Ann", "Bo"]


class TestWhatIsTold:
    def test_everything_that_a_client_needs_to_go_on(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        world.publish(ann)
        world.publish(bo, "t2")
        consumer = world.consume(bo, ann)
        world.say(bo, m.SetMuted(muted=True))
        world.say(ann, m.SetMuted(muted=True))
        world.lose(bo)
        joined, publishing, muted = world.resume(bo, token)[1:]
        heard = m.Heard(consumer_id=consumer, publisher_user_id=ann.user_id)
        assert joined.resumed == m.Held(publishing=True, muted=True, consumers=[heard])
        assert publishing == m.NewPublisher(user_id=ann.user_id, username="Ann")
        assert muted == m.UserMuted(user_id=ann.user_id, muted=True)

    def test_what_was_lost_meanwhile_is_missing(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        world.publish(ann)
        world.publish(bo, "t2")
        world.consume(bo, ann)
        world.lose(bo)
        world.end(ann)
        world.event(p.PublisherClosed, bo, reason="consent_lost")
        world.quiet(bo)
        joined = world.resume(bo, token)[1]
        assert [person.username for person in joined.participants] == ["Bo"]
        assert joined.resumed == m.Held(publishing=False, muted=False, consumers=[])

    def test_the_room_moved_while_it_was_away(self, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        world.publish(bo)
        world.lose(bo)
        world.run(world.signaling.shard_lost(p.ShardId("0"), world.now))
        world.heard(bo)
        assert world.resume(bo, token)[1].resumed == m.Held(publishing=False, muted=False, consumers=[])

    def test_who_is_in_no_room_is_told_of_none(self, world: Any) -> None:
        bo, token = token_of(world)
        world.lose(bo)
        assert types(world.resume(bo, token)) == ["registered"]

    def test_a_room_can_be_left_and_joined_after_resuming(self, world: Any) -> None:
        ann, (bo, token) = world.host(), token_of(world)
        enter(world, bo, ann)
        world.lose(bo)
        world.resume(bo, token)
        assert types(world.say(bo, m.LeaveRoom())) == ["room_left"]
        assert types(world.heard(ann)) == ["user_left"]
        assert types(world.say(bo, m.JoinRoom(room_id=ann.participant.room_id))) == ["room_joined"]
        assert world.heard(bo) == []
