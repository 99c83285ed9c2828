"""Bad input between the processes: a ZeroMQ message that does not decode is counted, and changes nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import zmq
import zmq.asyncio

from sfu import protocol as p
from tests.scenarios.call import Call
from tests.server import ROOT, RunningServer

GARBAGE = (b"", b"\x00", b"\xc1" * 100, b"{}", p.encode(p.Reset(request_id=p.RequestId(1), deadline_unix_ms=0)) + b"\x00", os.urandom(5000))
"""Bodies that neither side can read. (A Reset would be one of control's words; with a byte too many it is nobody's.)"""


Message = TypeVar("Message", p.Hello, p.Heartbeat, p.Reply)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"ipc://{tmp_path_factory.mktemp('zmq')}/control"


@pytest.fixture
async def context() -> AsyncIterator[zmq.asyncio.Context]:
    context = zmq.asyncio.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture(scope="module")
def server(endpoint: str) -> Iterator[RunningServer]:
    with RunningServer(shards=1, environment={**os.environ, "ANTIPHON_CONTROL_SHARD_ENDPOINT": endpoint}) as running:
        yield running


class TestControl:
    @pytest.fixture
    async def intruder(self, context: zmq.asyncio.Context, endpoint: str) -> zmq.asyncio.Socket:
        """Somebody who got as far as control's socket."""
        socket: zmq.asyncio.Socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, b"intruder")
        socket.connect(endpoint)
        return socket

    async def test_bodies_that_do_not_decode_are_counted(self, bystanders: Call, intruder: zmq.asyncio.Socket) -> None:
        name = 'antiphon_zmq_bad_messages_total{reason="undecodable"}'
        before = await bystanders.metric(name)
        for body in GARBAGE:
            await intruder.send(body)
        await bystanders.wait_metric(name, lambda count: count == before + len(GARBAGE))

    async def test_wrong_number_of_frames_is_counted(self, bystanders: Call, intruder: zmq.asyncio.Socket) -> None:
        name = 'antiphon_zmq_bad_messages_total{reason="frames"}'
        before = await bystanders.metric(name)
        await intruder.send_multipart([b"", b"one", b"two"])
        await bystanders.wait_metric(name, lambda count: count == before + 1)

    async def test_nobody_speaks_for_another_shard(self, bystanders: Call, intruder: zmq.asyncio.Socket) -> None:
        name = 'antiphon_zmq_bad_messages_total{reason="impostor"}'
        before = await bystanders.metric(name)
        await intruder.send(p.encode(p.Goodbye(shard_id=p.ShardId("0"), instance="")))
        await bystanders.wait_metric(name, lambda count: count == before + 1)
        assert await bystanders.metric('antiphon_shard_up{shard="0"}') == 1

    async def test_answers_to_no_question_are_counted(self, bystanders: Call, intruder: zmq.asyncio.Socket) -> None:
        name = 'antiphon_zmq_bad_messages_total{reason="late"}'
        before = await bystanders.metric(name)
        await intruder.send(p.encode(p.Reply(request_id=p.RequestId(1), result=p.Done())))
        await bystanders.wait_metric(name, lambda count: count == before + 1)


def join(*, deadline_unix_ms: int) -> p.JoinRoom:
    """A command that the shard obeys; its request id is 7."""
    return p.JoinRoom(
        request_id=p.RequestId(7), deadline_unix_ms=deadline_unix_ms, room_id=p.RoomId("r"), user_id=p.UserId("u"), username="Ann"
    )


async def next_of(socket: zmq.asyncio.Socket, kind: type[Message]) -> Message:
    """The shard's next word of this kind; others are passed over."""
    async with asyncio.timeout(10):
        while True:
            _, body = await socket.recv_multipart()
            if isinstance(message := p.decode_shard_message(body), kind):
                return message


class TestShard:
    """A shard process whose control is the test."""

    @pytest.fixture
    async def control(self, context: zmq.asyncio.Context, tmp_path: Path) -> AsyncIterator[zmq.asyncio.Socket]:
        socket: zmq.asyncio.Socket = context.socket(zmq.ROUTER)
        socket.bind(f"ipc://{tmp_path}/control")
        command = [sys.executable, "-m", "sfu", "--control", f"ipc://{tmp_path}/control", "--shard-id", "s"]
        command += ["--udp-port", "0", "--host", "127.0.0.1", "--advertise", "127.0.0.1"]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=quiet, stderr=quiet)
        try:
            await next_of(socket, p.Hello)
            yield socket
        finally:
            process.terminate()
            status = await asyncio.wait_for(process.wait(), 10)
        assert status == 0

    async def test_bodies_that_do_not_decode_are_counted_and_the_next_command_is_obeyed(self, control: zmq.asyncio.Socket) -> None:
        for body in GARBAGE:
            await control.send_multipart([b"s", body])
        while (await next_of(control, p.Heartbeat)).bad_messages < len(GARBAGE):
            pass
        await control.send_multipart([b"s", p.encode(join(deadline_unix_ms=int(time.time() * 1000) + 5000))])
        assert await next_of(control, p.Reply) == p.Reply(request_id=p.RequestId(7), result=p.Done())

    async def test_command_past_its_deadline_is_not_carried_out_but_counted(self, control: zmq.asyncio.Socket) -> None:
        await control.send_multipart([b"s", p.encode(join(deadline_unix_ms=1))])
        while (beat := await next_of(control, p.Heartbeat)).expired_commands < 1:
            pass
        assert beat.tables.rooms == 0
