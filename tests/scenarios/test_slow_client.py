"""A client that reads nothing: what waits for it is bounded, it is closed with a reason, and nobody else in its room waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from loadtest.peer import Peer
from tests.server import RunningServer

from .call import Call, all_hear_all, nothing_lost

QUEUE_BYTES = 256 * 1024
TOLD_BYTES = 16 * 1024 * 1024
"""What the server would have to keep for the stuck client if nothing were bounded."""
QUESTIONS_AT_ONCE = 500
NO_DELAY_S = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Without a limit of messages, so that one client can ask for so much that its queue, and not its rate, ends it."""
    limits = {"QUEUE_BYTES": QUEUE_BYTES, "MESSAGES_PER_S": 100_000, "MESSAGE_BURST": 100_000, "ERRORS_IN_A_ROW": 100_000}
    environment = {**os.environ, **{f"ANTIPHON_CONTROL_{name}": str(value) for name, value in limits.items()}}
    with RunningServer(shards=1, environment=environment) as running:
        yield running


@pytest.fixture
async def call(server: RunningServer) -> AsyncIterator[Call]:
    async with Call(server) as people:
        yield people


def memory_kib(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def ping_until(peer: Peer, stop: asyncio.Event) -> float:
    """The longest time that the server took to answer ``peer``, in seconds."""
    longest = 0.0
    while not stop.is_set():
        began = time.monotonic()
        await peer.signaling.request("ping", "pong", timeout_s=20)
        longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(0.01)
    return longest


class Flood:
    """Questions of a client that reads no answer, each of which is an error of 200 bytes."""

    def __init__(self, client: ClientConnection, control_pid: int) -> None:
        self.asked = 0
        self.most_kib = 0
        self._client = client
        self._pid = control_pid

    async def ask_until(self, enough: Callable[[], bool]) -> None:
        """Raises :class:`ConnectionClosed` when the server ends it."""
        question = json.dumps({"type": "x" * 64})
        while not enough():
            for _ in range(QUESTIONS_AT_ONCE):
                await self._client.send(question)
            self.asked += QUESTIONS_AT_ONCE
            self.most_kib = max(self.most_kib, memory_kib(self._pid))


async def read_all(client: ClientConnection) -> None:
    """Read on until the socket ends. Raises :class:`ConnectionClosed`."""
    client.transport.resume_reading()
    while True:
        await asyncio.wait_for(client.recv(), 10)


async def test_it_is_closed_and_bounded_and_nobody_waits_for_it(call: Call, server: RunningServer) -> None:
    ann, bo = await call.pair()
    before_kib, stop = memory_kib(server.pid), asyncio.Event()
    answered = asyncio.create_task(ping_until(ann, stop))
    async with connect(server.ws_url, proxy=None, compression=None, max_queue=1) as stuck:
        await stuck.send(json.dumps({"type": "register", "username": "Stuck"}))
        await stuck.send(json.dumps({"type": "join_room", "room_id": ann.room_id}))
        await ann.signaling.expect("user_joined")
        stuck.transport.pause_reading()
        flood = Flood(stuck, server.pid)
        with pytest.raises(ConnectionClosed):
            await flood.ask_until(lambda: flood.asked * 200 > TOLD_BYTES)
    await ann.signaling.expect("user_left", username="Stuck")
    stop.set()
    longest_s = await answered
    grown_kib = flood.most_kib - before_kib
    print(f"closed after {flood.asked} questions; others waited {1000 * longest_s:.0f} ms; memory grew by {grown_kib} KiB")
    assert longest_s < NO_DELAY_S
    assert grown_kib * 1024 < TOLD_BYTES // 2
    assert '"event": "slow client closed"' in server.output
    await all_hear_all(ann, bo)
    await nothing_lost(ann, bo)


async def test_one_that_reads_again_in_time_is_told_the_reason(server: RunningServer) -> None:
    earlier = server.output.count("slow client closed")
    async with connect(server.ws_url, proxy=None, compression=None, max_queue=None) as slow:
        await slow.send(json.dumps({"type": "register", "username": "Slow"}))
        slow.transport.pause_reading()
        flood = Flood(slow, server.pid)
        with contextlib.suppress(ConnectionClosed):
            await flood.ask_until(lambda: server.output.count("slow client closed") > earlier)
        with pytest.raises(ConnectionClosed) as caught:
            await read_all(slow)
    reason = caught.value.rcvd
    assert reason is None or (reason.code, reason.reason) == (1008, "reads too slowly")  # None: it was cut before it read on
