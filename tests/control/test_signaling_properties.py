"""Whatever clients and shards do, in whatever order: nothing raises, nothing is left behind.

Invariants: loads equal what the rooms hold; when everyone is gone no shard holds anybody, although every command was carried out,
also those whose answer came too late or never.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control import messages as m
from control.effects import Refused, Session, Unanswered
from control.sessions import Limits
from control.signaling import Signaling
from sfu import protocol as p

from .conftest import World

SHARDS = ("0", "1")
PEOPLE = 4
OUTCOMES = (
    None,
    None,
    None,
    Unanswered("late"),
    Refused("shard_full", "No."),
    Refused("not_in_room", "Who?"),
    Refused("strange", ""),
    p.Done(),
)
EVENTS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (p.TrackPublished, {"track_id": "t", "kind": "audio"}),
    (p.PublisherClosed, {"reason": "replaced"}),
    (p.PublisherClosed, {"reason": "consent_lost"}),
    (p.PublisherFailed, {"reason": "handshake_timeout"}),
    (p.SubscriptionOffer, {"revision": 1, "sdp": "", "tracks": [], "candidates": ["x"]}),
    (p.SubscriptionClosed, {"reason": "answer_timeout"}),
)
STEPS = st.one_of(
    st.tuples(st.just("say"), st.integers(0, PEOPLE - 1), st.integers(0, 18)),
    st.tuples(st.just("answer"), st.sampled_from(OUTCOMES), st.none()),
    st.tuples(st.just("event"), st.integers(0, PEOPLE - 1), st.sampled_from(EVENTS)),
    st.tuples(st.sampled_from(["up", "lost"]), st.sampled_from(SHARDS), st.none()),
    st.tuples(st.sampled_from(["close", "lose", "resume"]), st.integers(0, PEOPLE - 1), st.none()),
    st.tuples(st.just("tick"), st.none(), st.none()),
)


class Play:
    """People, of whom each waits for the answer to what they said before they say the next thing."""

    def __init__(self) -> None:
        self.world = World(Limits(room_participants=3, rooms=3, room_grace_s=5), SHARDS)
        self.world.hold = True
        self.people = [self.world.guest(f"P{i}") for i in range(PEOPLE)]
        self.away: set[Session] = set()
        self.rooms: list[p.RoomId] = []
        self.losses: list[tuple[int, str]] = []

    @property
    def signaling(self) -> Signaling:
        return self.world.signaling

    def message(self, session: Session, choice: int) -> m.ClientMessage:
        room = self.rooms[-1] if self.rooms else p.RoomId("none")
        other = next((person.user_id for person in self.people if person.user_id and person is not session), p.UserId("nobody"))
        consumer = next(iter(session.participant.consumers), p.ConsumerId("none")) if session.participant else p.ConsumerId("none")
        messages: list[m.ClientMessage] = [
            m.CreateRoom(),
            m.JoinRoom(room_id=room),
            m.JoinRoom(room_id=room),
            m.JoinRoom(room_id=p.RoomId("none")),
            m.LeaveRoom(),
            m.Ping(),
            m.CreatePublisher(),
            m.PublishAudio(sdp=""),
            m.ClosePublisher(),
            m.CreateConsumer(publisher_user_id=other),
            m.ConsumerAnswer(consumer_id=consumer, sdp=""),
            m.CloseConsumer(consumer_id=consumer),
            m.SetMuted(muted=True),
            m.ConsumerIceCandidate(consumer_id=consumer, candidate="x"),
            m.Subscribe(),
            m.SubscriptionAnswer(revision=1, sdp=""),
            m.SetSubscribed(publisher_user_id=other, subscribed=False),
            m.CloseSubscription(),
            m.RestartIce(target="publisher"),
        ]
        return messages[choice]

    def step(self, kind: str, first: Any, second: Any) -> None:
        world = self.world
        world.now += 1
        match kind:
            case "say" if self.people[first] not in self.away:
                self.answer_calls_of(self.people[first])
                world.say(self.people[first], self.message(self.people[first], second))
            case "answer" if world.held:
                world.answer(first)
            case "event" if self.people[first].participant is not None:
                world.event(second[0], self.people[first], **second[1])
            case "up":
                world.run(self.signaling.shard_up(first, world.now))
            case "lost":
                self.fail_all()
                self.losses.append((len(world.commands), first))
                world.run(self.signaling.shard_lost(first, world.now))
            case "close":
                world.end(self.people[first])
                self.people[first] = world.guest("back")
            case "lose":
                world.lose(self.people[first])
                self.away.add(self.people[first])
            case "resume" if self.people[first] in self.away:
                self.come_back(first)
            case "tick":
                world.run(self.signaling.tick(world.now))
        self.rooms += [room.room_id for room in self.signaling.rooms if room.room_id not in self.rooms]
        self.check_loads()

    def come_back(self, person: int) -> None:
        """On a new socket, with the last token: as the same person, unless it was away for too long."""
        session = self.people[person]
        self.away.discard(session)
        if session.closed:
            self.people[person] = self.world.guest("late")
            return
        self.answer_calls_of(session)
        token = self.signaling.sessions.resumes.issue(session)
        self.world.quiet(session)
        registered = self.world.resume(session, token)[0]
        assert isinstance(registered, m.Registered)
        assert registered.user_id == session.user_id

    def answer_calls_of(self, session: Session) -> None:
        """One client's messages are carried out one at a time: nothing of it may be under way when it says the next thing."""
        while any(getattr(call.command, "user_id", None) == session.user_id for call in self.world.held):
            self.world.answer()

    def fail_all(self) -> None:
        while self.world.held:
            self.world.answer(Unanswered("the shard stopped"))

    def check_loads(self) -> None:
        expected: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for room in self.signaling.rooms:
            if room.shard is not None:
                expected[room.shard][0] += 1
                expected[room.shard][1] += room.people
        for shard in SHARDS:
            load = self.signaling.rooms.load(p.ShardId(shard))
            assert [load.rooms, load.people] == expected[shard]

    def end(self) -> None:
        for person in self.people:
            self.world.end(person)
        self.fail_all()
        self.world.now += 100
        self.world.run(self.signaling.tick(self.world.now))
        assert len(self.signaling.rooms) == 0
        assert len(self.signaling.sessions) == 0
        self.check_loads()

    def left_on_shards(self) -> set[tuple[str, str, str]]:
        """(shard, room, user) of whoever would still be there if every command was carried out in its order.

        A shard that is lost takes what it held along; it is reset before it is used again.
        """
        held: set[tuple[str, str, str]] = set()
        losses = list(self.losses)
        for index, (shard, command) in enumerate(zip(self.world.shard_of, self.world.commands, strict=True)):
            while losses and losses[0][0] <= index:
                gone = losses.pop(0)[1]
                held = {entry for entry in held if entry[0] != gone}
            match command:
                case p.JoinRoom():
                    held.add((shard, command.room_id, command.user_id))
                case p.LeaveRoom():
                    held.discard((shard, command.room_id, command.user_id))
        return {entry for entry in held if entry[0] not in {gone for _, gone in losses}}


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_nothing_raises_and_nothing_is_left_behind(steps: list[tuple[str, Any, Any]]) -> None:
    play = Play()
    for step in steps:
        play.step(*step)
    play.end()
    assert play.left_on_shards() == set()
