"""What a shard says that it holds, against what control believes: after control was started again, and after they lost touch."""

from __future__ import annotations

from typing import Any

import pytest

from control import kept
from control import messages as m
from control.effects import Session
from control.grants import Grants
from sfu import protocol as p

from .said import types

MEDIA = ("username", "muted", "has_publisher", "track_id", "consumers", "has_subscription", "subscribed")


def account(person: Session, **changes: Any) -> p.ParticipantState:
    """What the shard would say of a participant, as control believes it to be."""
    participant = person.participant
    assert participant is not None
    known = kept.Kept(control=changes.pop("control", "earlier"), grants=person.grants, tokens=person.tokens)
    heard = [p.ConsumerState(consumer_id=c, publisher_user_id=user) for c, user in participant.consumers.items()]
    fields: dict[str, Any] = {
        "room_id": participant.room_id,
        "user_id": participant.user_id,
        "username": participant.username,
        "session": kept.encode(known),
        "muted": participant.muted,
        "has_publisher": participant.has_publisher,
        "track_id": participant.track_id,
        "has_subscription": participant.has_subscription,
        "consumers": heard,
        "subscribed": [p.ConsumerState(consumer_id=c, publisher_user_id=user) for c, user in participant.subscribed.items()],
    }
    return p.ParticipantState(**{**fields, **changes})


def up(world: Any, *held: p.ParticipantState, shard: str = "0") -> None:
    world.commands.clear()
    world.run(world.signaling.shard_up(p.ShardId(shard), world.now, list(held)))


class Call:
    """Ann and Bo in a room, hearing each other, with Bo's resume token."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.ann, self.bo = world.host(), Session()
        self.token = world.say(self.bo, m.Register(username="Bo"))[0].resume_token
        world.say(self.bo, m.JoinRoom(room_id=self.ann.participant.room_id))
        world.publish(self.ann, "ta")
        world.publish(self.bo, "tb")
        self.subscribe(self.ann, self.bo)
        self.a_hears_b = world.consume(self.ann, self.bo)
        self.b_hears_a = world.consume(self.bo, self.ann)
        world.quiet(self.ann, self.bo)

    def subscribe(self, listener: Session, heard: Session) -> None:
        self.world.say(listener, m.Subscribe())
        track = p.SubscribedTrack(mid="0", consumer_id=p.ConsumerId("s"), user_id=heard.user_id, track_id=p.TrackId("t"), kind="audio")
        self.world.event(p.SubscriptionOffer, listener, revision=1, sdp="v=0", tracks=[track], candidates=[])

    @property
    def both(self) -> list[p.ParticipantState]:
        return [account(self.ann), account(self.bo)]


@pytest.fixture
def call(world: Any) -> Call:
    return Call(world)


class TestNewControl:
    """Another control process hears of the rooms for the first time."""

    def test_takes_in_rooms_and_people_with_all_that_they_have(self, call: Call, make_world: Any) -> None:
        new = make_world(shards=())
        up(new, *call.both)
        (room,) = new.signaling.rooms
        assert (room.room_id, room.shard) == (call.ann.participant.room_id, "0")
        for before in (call.ann, call.bo):
            after = room.participants[before.user_id]
            assert [getattr(after, name) for name in MEDIA] == [getattr(before.participant, name) for name in MEDIA]
        assert new.signaling.rooms.load(p.ShardId("0")).people == 2
        assert {type(command) for command in new.commands} == {p.JoinRoom}  # they are this control's from now on

    def test_people_resume_with_the_token_of_the_earlier_one(self, call: Call, make_world: Any) -> None:
        new = make_world(shards=())
        up(new, *call.both)
        bo = new.signaling.sessions.resumes.find(call.token)
        registered, joined, publishing = new.resume(bo, call.token)
        assert registered.user_id == call.bo.user_id
        assert [person.username for person in joined.participants] == ["Ann", "Bo"]
        heard = m.Heard(consumer_id=call.b_hears_a, publisher_user_id=call.ann.user_id)
        assert joined.resumed == m.Held(publishing=True, muted=False, consumers=[heard])
        assert publishing == m.NewPublisher(user_id=call.ann.user_id, username="Ann")

    def test_what_they_may_do_is_kept(self, call: Call, make_world: Any) -> None:
        new = make_world(shards=())
        call.bo.grants = Grants(identity="bo", room=call.bo.participant.room_id, grants=("join", "subscribe"))
        up(new, *call.both)
        assert new.signaling.sessions.resumes.find(call.token).grants == call.bo.grants

    def test_who_does_not_come_back_leaves(self, call: Call, make_world: Any) -> None:
        new = make_world(shards=())
        up(new, *call.both)
        bo = new.signaling.sessions.resumes.find(call.token)
        new.resume(bo, call.token)
        new.commands.clear()
        new.now += 30
        new.run(new.signaling.tick(new.now))
        assert types(new.heard(bo)) == ["user_left"]
        assert [command.user_id for command in new.sent(p.LeaveRoom)] == [call.ann.user_id]

    def test_what_it_resumed_it_knows_again_as_its_own(self, call: Call, make_world: Any) -> None:
        new = make_world(shards=())
        up(new, *call.both)
        renewed = {command.user_id: command.session for command in new.sent(p.JoinRoom)}
        new.now += 30
        new.run(new.signaling.tick(new.now))  # both are gone, and their leaving is lost on the way
        up(new, *(account(session, session=renewed[session.user_id]) for session in (call.ann, call.bo)))
        assert len(new.sent(p.LeaveRoom)) == 2
        assert new.signaling.rooms.people == 0

    def test_one_with_more_consumers_than_fit_into_an_entry_is_one_person(self, call: Call, make_world: Any) -> None:
        new = make_world(shards=())
        other = p.ConsumerState(consumer_id=p.ConsumerId("c2"), publisher_user_id=p.UserId("x"))
        up(new, *call.both, account(call.bo, consumers=[other]))
        (room,) = new.signaling.rooms
        assert set(room.participants[call.bo.user_id].consumers) == {call.b_hears_a, "c2"}

    @pytest.mark.parametrize("session", [b"", b"\xc1", kept.encode(kept.Kept(control="x", grants=Grants()))[:-3]])
    def test_whom_it_cannot_read_it_sends_off(self, call: Call, make_world: Any, session: bytes) -> None:
        new = make_world(shards=())
        up(new, account(call.ann, session=session))
        assert len(new.sent(p.LeaveRoom)) == 1
        assert len(new.signaling.rooms) == 0


class TestSameControl:
    """It was not away, but the connection to the shard broke."""

    def test_nothing_was_missed_and_nobody_is_told_anything(self, call: Call) -> None:
        up(call.world, *call.both)
        assert [type(command) for command in call.world.commands] == [p.RepeatOffer]  # the one thing that only the shard knows
        assert call.world.heard(call.ann) == call.world.heard(call.bo) == []

    def test_who_left_meanwhile_is_told_to_leave_again(self, call: Call) -> None:
        own = call.world.signaling.sessions.instance
        left = account(call.bo, control=own)
        call.world.end(call.bo)
        up(call.world, account(call.ann, control=own, consumers=[]), left)
        assert [command.user_id for command in call.world.sent(p.LeaveRoom)] == [left.user_id]

    def test_who_came_meanwhile_is_made_known_again(self, call: Call) -> None:
        call.world.say(call.bo, m.SetMuted(muted=True))
        call.world.quiet(call.ann)
        up(call.world, account(call.ann, consumers=[]))
        assert [type(command) for command in call.world.commands] == [p.JoinRoom, p.SetMuted, p.RepeatOffer]
        assert types(call.world.heard(call.bo)) == ["publisher_closed", "consumer_closed"]
        assert types(call.world.heard(call.ann)) == ["publisher_closed"]

    def test_a_publisher_that_ended_meanwhile_is_told_to_everyone(self, call: Call) -> None:
        up(call.world, account(call.ann, track_id=None, has_publisher=False), account(call.bo, consumers=[]))
        closed = m.PublisherClosed(user_id=call.ann.user_id)
        assert call.world.heard(call.ann) == call.world.heard(call.bo) == [closed]
        assert call.bo.participant.consumers == {}
        assert [type(command) for command in call.world.commands] == [p.RepeatOffer]

    def test_a_track_that_came_up_meanwhile_is_announced(self, world: Any) -> None:
        ann = world.host()
        bo = world.join(ann)
        world.quiet(bo)
        up(world, account(ann, has_publisher=True, track_id=p.TrackId("t")), account(bo))
        assert types(world.heard(ann)) == ["audio_published"]
        assert types(world.heard(bo)) == ["new_publisher"]

    def test_a_publisher_that_was_replaced_meanwhile_is_closed_and_announced(self, call: Call) -> None:
        up(call.world, account(call.ann, track_id=p.TrackId("t2")), account(call.bo, consumers=[]))
        assert types(call.world.heard(call.bo)) == ["publisher_closed", "new_publisher"]

    def test_consumers_are_closed_on_the_side_that_still_has_them(self, call: Call) -> None:
        unknown = p.ConsumerState(consumer_id=p.ConsumerId("unknown"), publisher_user_id=call.ann.user_id)
        up(call.world, account(call.ann, consumers=[]), account(call.bo, consumers=[*account(call.bo).consumers, unknown]))
        assert call.world.heard(call.ann) == [m.ConsumerClosed(consumer_id=call.a_hears_b, reason="reset")]
        assert [command.consumer_id for command in call.world.sent(p.CloseConsumer)] == ["unknown"]
        assert call.world.heard(call.bo) == []

    def test_subscriptions_are_closed_on_the_side_that_still_has_them(self, call: Call) -> None:
        up(call.world, account(call.ann, has_subscription=False, subscribed=[]), account(call.bo, has_subscription=True))
        assert call.world.heard(call.ann) == [m.SubscriptionClosed(reason="reset")]
        assert not call.ann.participant.has_subscription
        assert [type(command) for command in call.world.commands] == [p.CloseSubscription]

    def test_muted_is_what_control_says(self, call: Call) -> None:
        up(call.world, account(call.ann, muted=True), account(call.bo))
        assert [command.muted for command in call.world.sent(p.SetMuted)] == [False]

    def test_a_shard_given_up_for_lost_that_comes_back_gets_its_rooms_back(self, call: Call) -> None:
        held = call.both
        call.world.run(call.world.signaling.shard_lost(p.ShardId("0"), call.world.now))
        up(call.world, *held)
        assert call.world.heard(call.ann) == call.world.heard(call.bo) == []
        assert call.world.signaling.rooms.load(p.ShardId("0")).people == 2

    def test_rooms_that_have_moved_meanwhile_stay_where_they_are(self, make_world: Any) -> None:
        world = make_world(shards=("0", "1"))
        call = Call(world)
        held = call.both
        world.run(world.signaling.shard_lost(p.ShardId("0"), world.now))
        world.quiet(call.ann, call.bo)
        up(world, *held)
        assert [type(command) for command in world.commands] == [p.LeaveRoom, p.LeaveRoom]
        assert set(world.shard_of[-2:]) == {"0"}
        assert call.ann.participant.room_id in {room.room_id for room in world.signaling.rooms.on_shard(p.ShardId("1"))}
        assert world.heard(call.ann) == []
