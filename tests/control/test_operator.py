"""What an operator does to rooms and shards, seen by clients and by shards: no socket, no clock."""

from __future__ import annotations

import pytest

from control import messages as m
from control.effects import Happened, Outcome, Session, Unanswered
from control.operator import Operator
from control.rooms import Room
from control.sessions import Limits
from sfu import protocol as p
from tests.control.conftest import World
from tests.control.said import TIMEOUT, codes, types

S0, S1 = p.ShardId("0"), p.ShardId("1")


class Run:
    """A world with its operator."""

    def __init__(self, shards: tuple[str, ...] = ("0", "1"), limits: Limits | None = None) -> None:
        self.world = World(limits, shards=shards)
        self.operator = Operator(self.world.signaling)

    def drain(self, shard: p.ShardId, seconds: float) -> None:
        self.world.run(self.operator.drain(shard, seconds, self.world.now))

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.now += 1
            self.world.run(self.operator.tick(self.world.now))

    def room(self, session: Session) -> Room:
        assert session.participant is not None
        return self.world.signaling.sessions.room_of(session.participant)

    def shards(self, sessions: list[Session]) -> list[str | None]:
        return [self.room(session).shard for session in sessions]


class TestDrain:
    def test_rooms_are_moved_one_after_another_until_the_deadline(self) -> None:
        run = Run()
        hosts = [run.world.host() for _ in range(8)]
        mine = [host for host in hosts if run.room(host).shard == "0"]
        assert len(mine) == 4
        run.world.quiet(*hosts)
        run.drain(S0, 4)
        moved = []
        for _ in range(5):
            moved.append(sum(run.room(host).shard == "1" for host in mine))
            run.wait(1)
        assert moved == [1, 2, 3, 4, 4]
        for host in mine:
            assert types(run.world.heard(host)) == ["server_draining", "room_moved"]
        assert {tuple(types(run.world.heard(host))) for host in hosts if host not in mine} == {()}

    def test_who_is_moved_is_freed_there_and_known_here_and_publishes_again(self) -> None:
        run = Run()
        ann = run.world.host()
        bo = run.world.join(ann)
        here, there = (S0, S1) if run.room(ann).shard == "0" else (S1, S0)
        run.world.publish(bo)
        run.world.commands.clear()
        run.world.shard_of.clear()
        run.drain(here, 0)
        sent = [(shard, type(command)) for shard, command in zip(run.world.shard_of, run.world.commands, strict=True)]
        assert sent == [(here, p.LeaveRoom)] * 2 + [(there, p.JoinRoom)] * 2
        assert bo.participant is not None
        assert bo.participant.track_id is None
        assert types(run.world.say(bo, m.CreatePublisher()))[-2] == "publisher_created"
        assert run.world.shard_of[-1] == there

    def test_a_draining_shard_gets_no_rooms_until_it_is_undrained(self) -> None:
        run = Run()
        run.drain(S0, 60)
        assert run.shards([run.world.host() for _ in range(4)]) == ["1"] * 4
        run.operator.undrain(S0)
        assert run.shards([run.world.host() for _ in range(4)]) == ["0"] * 4

    def test_where_there_is_no_other_shard_rooms_go_on_and_end_at_the_deadline(self) -> None:
        run = Run(shards=("0",))
        ann = run.world.host()
        run.world.quiet(ann)
        run.drain(S0, 3)
        run.wait(2)
        assert types(run.world.heard(ann)) == ["server_draining"]
        assert codes(run.world.say(run.world.guest("Eve"), m.CreateRoom())) == [("shard_unavailable", "create_room")]
        run.wait(1)
        assert run.world.heard(ann) == [m.RoomLeft(reason="server_draining")]
        assert ann.participant is None
        assert isinstance(run.world.commands[-1], p.LeaveRoom)

    def test_a_shard_that_comes_up_in_time_takes_them(self) -> None:
        run = Run(shards=("0",))
        ann = run.world.host()
        run.drain(S0, 10)
        run.wait(5)
        run.world.run(run.world.signaling.shard_up(S1, run.world.now))
        run.wait(5)
        assert run.room(ann).shard == "1"

    def test_who_comes_in_while_the_room_moves_ends_up_with_the_others(self) -> None:
        run = Run()
        ann = run.world.host()
        here, there = (S0, S1) if run.room(ann).shard == "0" else (S1, S0)
        bo = run.world.guest("Bo")
        run.world.hold = True
        run.world.say(bo, m.JoinRoom(room_id=run.room(ann).room_id))
        run.drain(here, 0)
        run.world.commands.clear()
        run.world.shard_of.clear()
        run.world.answer()
        assert types(run.world.heard(bo))[0] == "room_joined"
        sent = [(shard, type(command)) for shard, command in zip(run.world.shard_of, run.world.commands, strict=True)]
        assert sent == [(here, p.LeaveRoom), (there, p.JoinRoom)]

    def test_the_whole_server_tells_everyone_and_makes_no_rooms(self) -> None:
        run = Run()
        ann, bo = run.world.host(), run.world.guest("Bo")
        run.world.quiet(ann, bo)
        run.world.run(run.operator.close(5))
        assert run.world.heard(ann) == run.world.heard(bo) == [m.ServerDraining(deadline_s=5)]
        (error,) = run.world.say(bo, m.CreateRoom())
        assert isinstance(error, m.Error)
        assert error.message == "The server is about to end and takes no new rooms."
        assert types(run.world.say(bo, m.JoinRoom(room_id=run.room(ann).room_id)))[0] == "room_joined"


class TestPeople:
    def test_who_is_removed_gets_a_reason_and_may_come_again(self) -> None:
        run = Run()
        ann = run.world.host()
        bo = run.world.join(ann)
        room = run.room(ann)
        run.world.quiet(ann, bo)
        assert bo.participant is not None
        run.world.run(run.operator.remove(bo.participant, "removed", run.world.now))
        assert run.world.heard(bo) == [m.RoomLeft(reason="removed")]
        assert types(run.world.heard(ann)) == ["user_left"]
        assert types(run.world.say(bo, m.JoinRoom(room_id=room.room_id)))[0] == "room_joined"

    def test_a_closed_room_is_gone_also_for_who_is_just_coming_in(self) -> None:
        run = Run()
        ann = run.world.host()
        room = run.room(ann)
        run.world.quiet(ann)
        bo = run.world.guest("Bo")
        run.world.hold = True
        run.world.say(bo, m.JoinRoom(room_id=room.room_id))
        run.world.run(run.operator.close_room(room, run.world.now))
        assert run.world.heard(ann) == [m.RoomLeft(reason="room_closed")]
        run.world.answer()
        assert codes(run.world.heard(bo)) == [("room_not_found", "join_room")]
        assert isinstance(run.world.commands[-1], p.LeaveRoom)
        assert codes(run.world.say(run.world.guest("Cy"), m.JoinRoom(room_id=room.room_id))) == [("room_not_found", "join_room")]

    @pytest.mark.parametrize("muted", [True, False])
    def test_muting_is_told_to_everybody_and_to_the_muted_one(self, muted: bool) -> None:
        run = Run()
        ann = run.world.host()
        bo = run.world.join(ann)
        run.world.quiet(ann, bo)
        outcomes: list[Outcome] = []
        assert bo.participant is not None
        assert bo.user_id is not None
        run.world.run(run.operator.mute(bo.participant, muted, outcomes.append))
        assert outcomes == [p.Done()]
        assert run.world.heard(ann) == run.world.heard(bo) == [m.UserMuted(user_id=bo.user_id, muted=muted)]
        assert bo.participant.muted is muted

    def test_muting_that_the_shard_does_not_answer_changes_nothing(self) -> None:
        run = Run()
        run.world.answers[p.SetMuted] = TIMEOUT
        ann = run.world.host()
        run.world.quiet(ann)
        outcomes: list[Outcome] = []
        assert ann.participant is not None
        run.world.run(run.operator.mute(ann.participant, True, outcomes.append))
        assert isinstance(outcomes[0], Unanswered)
        assert run.world.heard(ann) == []

    def test_an_announcement_reaches_a_room_or_everybody(self) -> None:
        run = Run()
        ann, bo = run.world.host(), run.world.host("Bo")
        cy = run.world.guest("Cy")
        run.world.quiet(ann, bo, cy)
        for room, count in ((run.room(ann), 1), (None, 3)):
            people, effects = run.operator.announce("Soon.", room)
            run.world.run(effects)
            assert people == count
        assert [len(run.world.heard(one)) for one in (ann, bo, cy)] == [2, 1, 1]

    def test_there_are_no_more_rooms_than_allowed(self) -> None:
        run = Run(limits=Limits(rooms=1))
        assert run.operator.create_room(0.0) is not None
        assert run.operator.create_room(0.0) is None


def test_a_room_starts_with_its_first_person_and_ends_behind_its_last() -> None:
    world = World()
    happened: list[str] = []
    run = world.run

    def record(effects: list[object]) -> None:
        happened.extend(effect.kind for effect in effects if isinstance(effect, Happened))
        run(effects)  # type: ignore[arg-type]

    world.run = record  # type: ignore[assignment, method-assign]
    ann = world.host()
    bo = world.join(ann)
    world.publish(bo)
    world.end(ann)
    world.end(bo)
    assert happened == [
        *("room_started", "participant_joined", "participant_joined", "track_published", "participant_left"),
        *("participant_left", "room_ended"),
    ]
