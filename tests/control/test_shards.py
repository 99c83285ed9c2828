"""Control's side of ZeroMQ against a shard that the test plays with a real DEALER."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zmq
import zmq.asyncio

from control.effects import Outcome, Refused, Unanswered
from control.shards import Shards, ShardTimes
from sfu import protocol as p

TABLES = p.ShardTables(
    rooms=0,
    participants=0,
    transports=0,
    tracks=0,
    consumers=0,
    native_transports=0,
    native_tracks=0,
    native_consumers=0,
    native_addresses=0,
)
ANN = p.ParticipantState(
    room_id=p.RoomId("r"),
    user_id=p.UserId("u"),
    username="Ann",
    session=b"s",
    muted=False,
    has_publisher=True,
    track_id=p.TrackId("t"),
    has_subscription=False,
    consumers=[],
    subscribed=[],
)
LEAVE = p.LeaveRoom(request_id=p.RequestId(0), deadline_unix_ms=0, room_id=p.RoomId("r"), user_id=p.UserId("u"))


class Heard:
    """What the listener was told, as (what, detail). ``held``: the last account."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.held: list[p.ParticipantState] = []

    def shard_up(self, shard: p.ShardId, held: list[p.ParticipantState]) -> None:
        self.held = held
        self.said.put_nowait(("up", shard))

    def shard_lost(self, shard: p.ShardId) -> None:
        self.said.put_nowait(("lost", shard))

    def shard_beat(self, beat: p.Heartbeat) -> None:
        pass

    def shard_event(self, event: p.ShardMessage) -> None:
        self.said.put_nowait(("event", event))

    async def next(self) -> tuple[str, Any]:
        return await asyncio.wait_for(self.said.get(), 5)


class Dealer:
    """A shard as control sees it."""

    def __init__(self, context: zmq.asyncio.Context, endpoint: str, shard: str = "0", instance: str = "i1") -> None:
        self.shard, self.instance = p.ShardId(shard), instance
        self._endpoint = endpoint
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IDENTITY, shard.encode())
        self._socket.connect(endpoint)

    def close(self) -> None:
        self._socket.close()

    def reconnect(self) -> None:
        """What is under way is lost."""
        self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)

    async def send(self, *frames: bytes) -> None:
        await self._socket.send_multipart(list(frames))

    async def say(self, message: p.ShardMessage) -> None:
        await self.send(p.encode(message))

    async def read(self) -> Any:
        return p.decode_command(await asyncio.wait_for(self._socket.recv(), 5))

    async def hello(self, protocol: int = p.PROTOCOL_VERSION, shard: str | None = None) -> None:
        await self.say(
            p.Hello(
                shard_id=p.ShardId(shard or self.shard),
                instance=self.instance,
                protocol=protocol,
                version="0",
                pid=1,
                host="h",
                udp_port=1,
                addresses=[],
                srtp="x",
                scheduling="nice 0",
            )
        )

    async def done(self, request_id: p.RequestId) -> None:
        await self.say(p.Reply(request_id=request_id, result=p.Done()))

    async def heartbeat(self, instance: str | None = None) -> None:
        await self.say(
            p.Heartbeat(
                shard_id=self.shard,
                instance=instance or self.instance,
                tables=TABLES,
                packets_in=0,
                packets_out=0,
                bytes_in=0,
                bytes_out=0,
                drops={},
                lag_ms=0.0,
                bad_messages=0,
                expired_commands=0,
            )
        )

    async def closed(self, instance: str | None = None) -> None:
        """An event, told apart by nothing but its instance."""
        fields = {"room_id": p.RoomId("r"), "user_id": p.UserId("u")}
        await self.say(p.PublisherClosed(shard_id=self.shard, instance=instance or self.instance, reason="closed", **fields))  # type: ignore[arg-type]

    async def asked(self) -> p.RequestId:
        """Control wants to know what the shard holds."""
        command = await self.read()
        assert isinstance(command, p.ReportState)
        return p.RequestId(command.request_id)

    async def state(self, request_id: p.RequestId, *held: p.ParticipantState) -> None:
        await self.say(p.State(shard_id=self.shard, instance=self.instance, request_id=request_id, participants=list(held)))

    async def reported(self, request_id: p.RequestId, entries: int = 0) -> None:
        await self.say(p.Reply(request_id=request_id, result=p.Reported(entries=entries)))

    async def come_up(self) -> None:
        await self.hello()
        await self.reported(await self.asked())


class Bench:
    """Control's side, its listener, and dealers that are closed at the end."""

    def __init__(self, silence_s: float = 60.0) -> None:
        self.heard = Heard()
        self.shards = Shards(self.heard, ShardTimes(command_s=5.0, silence_s=silence_s))
        self._context: zmq.asyncio.Context = zmq.asyncio.Context()
        self._dealers: list[Dealer] = []
        self.endpoint = self.shards.start("tcp://127.0.0.1:*")

    def impatient(self, *, command_s: float = 5.0, silence_s: float = 60.0) -> None:
        self.shards.times = ShardTimes(command_s, silence_s)

    def dealer(self, shard: str = "0", instance: str = "i1") -> Dealer:
        self._dealers.append(Dealer(self._context, self.endpoint, shard, instance))
        return self._dealers[-1]

    async def up(self, shard: str = "0", instance: str = "i1") -> Dealer:
        dealer = self.dealer(shard, instance)
        await dealer.come_up()
        assert await self.heard.next() == ("up", shard)
        return dealer

    def call(self, shard: str = "0") -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.shards.call(p.ShardId(shard), LEAVE, future.set_result)
        return future

    async def settled(self, dealer: Dealer) -> None:
        """Everything that the dealer has said so far was handled."""
        future = self.call(dealer.shard)
        command = await dealer.read()
        await dealer.done(command.request_id)
        await asyncio.wait_for(future, 5)

    async def stop(self) -> None:
        await self.shards.stop()
        for dealer in self._dealers:
            dealer.close()
        self._context.destroy(linger=0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    result = Bench()
    yield result
    await result.stop()


class TestCommands:
    async def test_an_answer_reaches_its_caller(self, bench: Bench) -> None:
        dealer = await bench.up()
        first, second = bench.call(), bench.call()
        one, two = await dealer.read(), await dealer.read()
        assert one.request_id != two.request_id
        await dealer.say(p.Failed(request_id=two.request_id, code="invalid_sdp", message="No."))
        await dealer.say(p.Reply(request_id=one.request_id, result=p.Offer(sdp="x", candidates=[])))
        assert await first == p.Offer(sdp="x", candidates=[])
        assert await second == Refused("invalid_sdp", "No.")

    async def test_a_command_carries_its_deadline(self, bench: Bench) -> None:
        dealer = await bench.up()
        bench.impatient(command_s=5.0)
        bench.call()
        called = await dealer.read()
        bench.shards.tell(dealer.shard, LEAVE)
        told = await dealer.read()
        assert 500_000 < told.deadline_unix_ms - called.deadline_unix_ms < 700_000

    async def test_no_answer_is_unanswered_and_a_late_one_is_discarded(self, bench: Bench) -> None:
        dealer = await bench.up()
        bench.impatient(command_s=0.05)
        assert isinstance(await bench.call(), Unanswered)
        bench.impatient()
        command = await dealer.read()
        await dealer.done(command.request_id)
        await bench.settled(dealer)
        assert bench.shards.discarded["late"] == 1
        assert bench.shards.unanswered == 1

    async def test_a_shard_that_is_not_there_is_unanswered_at_once(self, bench: Bench) -> None:
        assert isinstance(await bench.call("9"), Unanswered)
        bench.shards.tell(p.ShardId("9"), LEAVE)

    async def test_a_command_that_is_too_long_is_not_sent(self, bench: Bench) -> None:
        dealer = await bench.up()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        sdp = "x" * p.MAX_MESSAGE_BYTES
        fields = {"request_id": p.RequestId(0), "deadline_unix_ms": 0, "room_id": "r", "user_id": "u"}
        bench.shards.call(dealer.shard, p.AnswerPublisher(**fields, sdp=sdp), future.set_result)  # type: ignore[arg-type]
        assert isinstance(await future, Unanswered)

    async def test_a_fault_in_one_continuation_leaves_the_others_alone(self, bench: Bench) -> None:
        dealer = await bench.up()

        def fault(outcome: Outcome) -> None:
            raise RuntimeError("on purpose")

        bench.shards.call(dealer.shard, LEAVE, fault)
        await dealer.done((await dealer.read()).request_id)
        await bench.settled(dealer)


class TestGarbage:
    async def test_is_counted_by_reason_and_changes_nothing(self, bench: Bench) -> None:
        dealer = await bench.up()
        await dealer.send(b"")
        await dealer.send(b"\xc1 not MessagePack")
        await dealer.send(p.encode(LEAVE))  # a command is not for control
        await dealer.send(p.encode(p.Goodbye(shard_id=dealer.shard, instance="i1")) + b"x")
        await dealer.send(b"\x91" * 50_000)  # nested too deeply
        await dealer.send(b"a", b"b")
        await dealer.send(b"", p.encode(LEAVE))
        await dealer.hello(shard="1")
        await bench.settled(dealer)
        assert bench.shards.discarded == {"undecodable": 5, "frames": 2, "impostor": 1}
        assert [link.shard_id for link in bench.shards.up] == ["0"]

    async def test_an_oversized_message_costs_its_sender_the_connection_and_nobody_else(self, bench: Bench) -> None:
        dealer = await bench.up()
        other = bench.dealer("1")
        await other.send(b"x" * (p.MAX_MESSAGE_BYTES + 1))
        await bench.settled(dealer)

    async def test_another_protocol_version_is_refused(self, bench: Bench) -> None:
        dealer = await bench.up()
        other = bench.dealer("1")
        await other.hello(protocol=99)
        await other.hello()
        await other.asked()
        await bench.settled(dealer)
        assert bench.shards.discarded["protocol"] == 1

    async def test_one_that_is_not_admitted_is_told_to_end(self, bench: Bench) -> None:
        bench.shards.admits = lambda hello: False
        dealer = bench.dealer()
        await dealer.hello()
        assert isinstance(await dealer.read(), p.Shutdown)
        assert bench.shards.links == {}


class TestInstances:
    async def test_words_of_another_instance_are_discarded(self, bench: Bench) -> None:
        dealer = await bench.up()
        await dealer.closed("i0")
        await dealer.heartbeat("i0")
        await dealer.say(p.Goodbye(shard_id=dealer.shard, instance="i0"))
        await bench.settled(dealer)
        assert bench.shards.discarded["stale"] == 3
        assert bench.heard.said.empty()

    async def test_a_new_instance_means_that_the_old_one_is_lost(self, bench: Bench) -> None:
        dealer = await bench.up()
        waiting = bench.call()
        await dealer.read()
        dealer.instance = "i2"
        await dealer.come_up()
        assert isinstance(await waiting, Unanswered)
        assert [await bench.heard.next(), await bench.heard.next()] == [("lost", "0"), ("up", "0")]


class TestAccounts:
    async def test_a_shard_is_asked_what_it_holds_before_it_is_used(self, bench: Bench) -> None:
        dealer = bench.dealer()
        await dealer.hello()
        asked = await dealer.asked()
        assert isinstance(await bench.call(), Unanswered)
        await dealer.closed()  # before its account, so part of that
        await dealer.state(asked, ANN)
        await dealer.state(asked, ANN, ANN)
        await dealer.reported(asked, 3)
        await dealer.closed()
        assert await bench.heard.next() == ("up", "0")
        assert bench.heard.held == [ANN, ANN, ANN]
        assert (await bench.heard.next())[0] == "event"
        assert bench.shards.discarded["stale"] == 1

    async def test_parts_of_another_account_do_not_count(self, bench: Bench) -> None:
        dealer = bench.dealer()
        await dealer.hello()
        first = await dealer.asked()
        await dealer.hello()
        second = await dealer.asked()
        await dealer.state(first, ANN)
        await dealer.reported(first, 1)
        await dealer.reported(second)
        assert await bench.heard.next() == ("up", "0")
        assert bench.heard.held == []
        assert bench.shards.discarded == {"stale": 1, "late": 1}

    @pytest.mark.parametrize("how", ["incomplete", "refused"])
    async def test_a_shard_that_gives_none_is_emptied(self, bench: Bench, how: str) -> None:
        dealer = bench.dealer()
        await dealer.hello()
        asked = await dealer.asked()
        if how == "incomplete":
            await dealer.state(asked, ANN)
            await dealer.reported(asked, 2)
        else:
            await dealer.say(p.Failed(request_id=asked, code="internal_error", message="Oh."))
        reset = await dealer.read()
        assert isinstance(reset, p.Reset)
        await dealer.done(reset.request_id)
        assert await bench.heard.next() == ("up", "0")
        assert bench.heard.held == []

    async def test_one_that_does_not_answer_is_asked_again(self, bench: Bench) -> None:
        bench.impatient(command_s=0.05)
        dealer = bench.dealer()
        await dealer.hello()
        await dealer.asked()
        bench.impatient()
        again = asyncio.create_task(dealer.read())
        while not again.done():
            await dealer.heartbeat()
            await asyncio.wait({again}, timeout=0.02)
        await dealer.reported(again.result().request_id)
        assert await bench.heard.next() == ("up", "0")


class TestLostTouch:
    """What is said to a shard while its connection breaks is gone; what it holds is then no longer known for certain."""

    async def test_a_shard_that_connects_anew_is_asked_again_and_loses_nothing(self, bench: Bench) -> None:
        dealer = await bench.up()
        waiting = bench.call()
        dealer.reconnect()
        await dealer.hello()
        assert isinstance(await waiting, Unanswered)
        asked = await dealer.asked()
        await dealer.state(asked, ANN)
        await dealer.reported(asked, 1)
        assert await bench.heard.next() == ("up", "0")
        assert bench.heard.held == [ANN]
        await bench.settled(dealer)
        assert bench.heard.said.empty()

    async def test_a_shard_that_cannot_be_told_to_free_something_is_asked_when_it_can(self, bench: Bench) -> None:
        dealer = await bench.up()
        killed: list[str] = []
        bench.shards.on_silent = killed.append
        dealer.close()
        async with asyncio.timeout(5):
            while bench.shards.up:  # until ZeroMQ has noticed that nobody is there
                bench.shards.tell(dealer.shard, LEAVE)
                await asyncio.sleep(0.01)
        back = bench.dealer(instance=dealer.instance)
        await back.come_up()
        assert await bench.heard.next() == ("up", "0")
        await bench.settled(back)
        assert bench.heard.said.empty()
        assert killed == []

    async def test_one_that_ends_instead_of_answering_is_lost(self, bench: Bench) -> None:
        dealer = await bench.up()
        await dealer.hello()
        await dealer.asked()
        bench.shards.lost(dealer.shard, "its process ended", gone=True)
        assert await bench.heard.next() == ("lost", "0")

    async def test_a_burst_of_commands_is_no_reason(self, bench: Bench) -> None:
        dealer = await bench.up()
        fields = {"request_id": p.RequestId(0), "deadline_unix_ms": 0, "room_id": "r", "user_id": "u"}
        burst = 4000  # more than ZeroMQ's default on both sides and the kernel's buffers hold
        for _ in range(burst):
            bench.shards.tell(dealer.shard, p.AnswerPublisher(**fields, sdp="x" * 16384))  # type: ignore[arg-type]
        for _ in range(burst):
            assert isinstance(await dealer.read(), p.AnswerPublisher)
        await bench.settled(dealer)
        assert bench.heard.said.empty()


class TestLoss:
    async def test_a_goodbye_is_a_loss(self, bench: Bench) -> None:
        dealer = await bench.up()
        await dealer.say(p.Goodbye(shard_id=dealer.shard, instance="i1"))
        assert await bench.heard.next() == ("lost", "0")
        assert isinstance(await bench.call(), Unanswered)

    async def test_a_dead_process_fails_what_waits_and_its_late_words_are_stale(self, bench: Bench) -> None:
        dealer = await bench.up()
        waiting = bench.call()
        await dealer.read()
        bench.shards.lost(dealer.shard, "its process ended", gone=True)
        assert isinstance(await waiting, Unanswered)
        assert await bench.heard.next() == ("lost", "0")
        await dealer.heartbeat()
        await dealer.hello()
        dealer.instance = "i2"
        await dealer.come_up()
        assert await bench.heard.next() == ("up", "0")
        assert bench.shards.discarded == {"stale": 1}

    async def test_a_change_just_before_one_begins_to_wait_is_not_missed(self, bench: Bench) -> None:
        dealer = await bench.up()
        change = asyncio.create_task(bench.shards.wait_for_change())
        bench.shards.lost(dealer.shard, "its process ended", gone=True)  # the task has not run yet
        await asyncio.wait_for(change, 5)

    async def test_silence_is_a_loss_and_who_speaks_again_is_asked_what_it_holds(self) -> None:
        bench = Bench(silence_s=1.5)
        try:
            await self._fall_silent_and_speak_again(bench)
        finally:
            await bench.stop()

    async def test_one_that_is_known_to_be_stopped_is_given_up_long_before(self, bench: Bench) -> None:
        silent: list[str] = []
        bench.shards.on_silent = silent.append
        await bench.up()
        bench.shards.is_stopped = lambda shard: True
        assert await bench.heard.next() == ("lost", "0")  # within 5 s; its silence would take 60
        assert silent == ["0"]

    async def _fall_silent_and_speak_again(self, bench: Bench) -> None:
        silent: list[str] = []
        bench.shards.on_silent = silent.append
        dealer = await bench.up()
        assert await bench.heard.next() == ("lost", "0")
        assert silent == ["0"]
        bench.impatient()
        await dealer.heartbeat()
        await dealer.reported(await dealer.asked())
        assert await bench.heard.next() == ("up", "0")
