"""A control that tests hold in their hands, a shard on loopback, and aiortc peers that send and hear tones."""

from __future__ import annotations

import asyncio
import fractions
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import av
import hypothesis
import msgspec
import numpy as np
import pytest
import zmq
import zmq.asyncio
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from sfu import protocol as p

M = TypeVar("M")

# A busy machine may stop a test for longer than any deadline of one example; pytest's timeout holds for the whole test.
hypothesis.settings.register_profile("antiphon", deadline=None)
hypothesis.settings.load_profile("antiphon")

WAIT_S = 30.0
"""Patience with a busy machine; nothing here takes more than a second on a free one."""


class Router:
    """The control side of the ZeroMQ conversation."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.bind(endpoint)
        self._identity = b""
        self._last = 0
        self.messages: list[p.ShardMessage] = []
        self._arrived = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            self._identity, body = await self._socket.recv_multipart()
            async with self._arrived:
                self.messages.append(p.decode_shard_message(body))
                self._arrived.notify_all()

    async def first(self, kind: type[M], such: Callable[[M], bool] = lambda message: True, wait_s: float = WAIT_S) -> M:
        """The first message of ``kind`` that is ``such``, now or later."""

        def find() -> M | None:
            return next((message for message in self.messages if isinstance(message, kind) and such(message)), None)

        async with asyncio.timeout(wait_s), self._arrived:
            await self._arrived.wait_for(lambda: find() is not None)
        found = find()
        assert found is not None
        return found

    async def raw(self, *frames: bytes) -> None:
        await self.first(p.Hello)
        await self._socket.send_multipart([self._identity, *frames])

    async def ask(self, command: Callable[..., Any], *, deadline_s: float = 10.0, **fields: Any) -> p.Reply | p.Failed:
        self._last += 1
        number = p.RequestId(self._last)
        body = p.encode(command(request_id=number, deadline_unix_ms=int((time.time() + deadline_s) * 1000), **fields))
        await self.raw(body)
        return await self.first(p.Reply | p.Failed, lambda message: message.request_id == number)  # type: ignore[arg-type]

    async def do(self, command: Callable[..., Any], **fields: Any) -> Any:
        """The result of a command that must succeed."""
        answer = await self.ask(command, **fields)
        assert isinstance(answer, p.Reply), answer
        return answer.result

    async def tables(self, such: Callable[[p.ShardTables], bool]) -> p.ShardTables:
        """Wait for a heartbeat from now on whose tables are ``such``."""
        seen = len(self.messages)
        heartbeat = await self.first(p.Heartbeat, lambda message: such(message.tables) and self.messages.index(message) >= seen)
        return heartbeat.tables

    async def dropped(self, reason: str, at_least: int = 1) -> int:
        """Wait until the named drop counter has reached ``at_least``."""
        heartbeat = await self.first(p.Heartbeat, lambda message: message.drops[reason] >= at_least)
        return heartbeat.drops[reason]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not self._socket.closed:
            self._socket.close()
            self._context.term()


class Tone(MediaStreamTrack):
    """A sine of ``hertz`` at 48 kHz in 20 ms frames, in real time."""

    kind = "audio"

    def __init__(self, hertz: float) -> None:
        super().__init__()
        self.hertz = hertz
        self._sample = 0
        self._start: float | None = None

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        await asyncio.sleep(max(0.0, self._start + self._sample / 48000 - loop.time()))
        phase = 2 * np.pi * self.hertz * (self._sample + np.arange(960)) / 48000
        frame = av.AudioFrame.from_ndarray((8000 * np.sin(phase)).astype(np.int16)[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._sample, fractions.Fraction(1, 48000)
        self._sample += 960
        return frame


async def pitch(track: MediaStreamTrack, frames: int = 25) -> float:
    """Dominant frequency in hertz of the next ``frames`` frames after the decoder has settled."""
    samples = []
    for number in range(frames + 10):
        frame = await track.recv()
        assert isinstance(frame, av.AudioFrame)
        if number >= 10:
            samples.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0])
    wave = np.concatenate(samples).astype(float)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * 48000 / len(wave))


class Person:
    """One participant: joins, publishes a tone, consumes others, with an aiortc connection for each."""

    def __init__(self, router: Router, room_id: str, name: str) -> None:
        self.router = router
        self.at = {"room_id": room_id, "user_id": f"{name}-{uuid.uuid4().hex[:6]}"}
        self.user_id = self.at["user_id"]
        self.name = name
        self.publishing: RTCPeerConnection | None = None
        self.connections: list[RTCPeerConnection] = []

    async def join(self) -> Person:
        await self.router.do(p.JoinRoom, username=self.name, **self.at)
        return self

    def connection(self) -> RTCPeerConnection:
        made = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connections.append(made)
        return made

    async def publish(self, hertz: float) -> p.TrackPublished:
        offer = await self.router.do(p.CreatePublisher, **self.at)
        self.publishing = self.connection()
        self.publishing.addTrack(Tone(hertz))
        sdp = await answer(self.publishing, offer.sdp)
        await self.router.do(p.AnswerPublisher, sdp=sdp, **self.at)
        return await self.router.first(p.TrackPublished, lambda event: event.user_id == self.user_id)

    async def consume(self, other: Person) -> tuple[str, MediaStreamTrack]:
        """Hear ``other``: the consumer's id and the incoming track."""
        consumer_id = str(uuid.uuid4())
        offer = await self.router.do(p.CreateConsumer, publisher_user_id=other.user_id, consumer_id=consumer_id, **self.at)
        connection = self.connection()
        tracks: list[MediaStreamTrack] = []
        connection.on("track", tracks.append)
        sdp = await answer(connection, offer.sdp)
        await self.router.do(p.AnswerConsumer, consumer_id=consumer_id, sdp=sdp, **self.at)
        return consumer_id, tracks[0]

    async def leave(self) -> None:
        await self.router.do(p.LeaveRoom, **self.at)

    async def close(self) -> None:
        for connection in self.connections:
            await connection.close()


async def answer(connection: RTCPeerConnection, offer: str) -> str:
    await connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return str(connection.localDescription.sdp)


class ShardUnderTest:
    """A running shard and its control."""

    def __init__(self, process: Any, router: Router, running: asyncio.Task[None]) -> None:
        self.process = process
        self.router = router
        self.running = running
        self.people: list[Person] = []

    async def person(self, name: str, room_id: str = "room") -> Person:
        person = Person(self.router, room_id, name)
        self.people.append(person)
        return await person.join()

    async def drained(self) -> p.ShardTables:
        """Wait until every table is empty."""
        return await self.router.tables(lambda tables: not any(msgspec.structs.astuple(tables)))


@pytest.fixture
async def start_shard(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts shards: ``await start_shard(consent_timeout_s=1)``. All of them end with the test."""
    from sfu.config import load
    from sfu.process import ShardProcess

    started: list[ShardUnderTest] = []

    async def start(**options: Any) -> ShardUnderTest:
        endpoint = f"ipc://{tmp_path}/control-{len(started)}"
        router = Router(endpoint)
        defaults = {"shard_id": "0", "control": endpoint, "host": "127.0.0.1", "udp_port": 0, "heartbeat_ms": 20}
        process = ShardProcess(load({**defaults, **options}, environment={}))
        under_test = ShardUnderTest(process, router, asyncio.create_task(process.run()))
        started.append(under_test)
        await router.first(p.Hello)
        return under_test

    yield start
    for under_test in started:
        for person in under_test.people:
            await person.close()
        under_test.process.stop()
        await under_test.running
        await under_test.router.close()


@pytest.fixture
async def shard(start_shard: Callable[..., Any]) -> ShardUnderTest:
    """One shard with default limits on 127.0.0.1."""
    under_test: ShardUnderTest = await start_shard()
    return under_test


@pytest.fixture
def hear() -> Callable[..., Any]:
    """``await hear(track)``: the pitch of what comes in, in hertz."""
    return pitch
