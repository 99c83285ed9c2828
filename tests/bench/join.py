"""What one join costs the server in CPU time, and how long it takes until the joiner hears somebody.

A real server (control and one shard, processes of their own) and one process of light clients (tests/bench/light.py). In every room
one person talks. A join is a new WebSocket, register, join_room, a publisher connection and a consumer connection (each with SDP, ICE
and DTLS), until both are up and the talker's first packet has come; then the joiner leaves and hangs up. CPU time is that of the whole
process, all its threads, over all joins: what follows from a join (notices, leaving, closing) is in it. Joins start at a fixed rate,
whatever became of the earlier ones.

    p50_ms, p99_ms: from join_room to the first forwarded packet (a talker's packets are 20 ms apart).

    python tests/bench/join.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import uvloop
from websockets.asyncio.client import ClientConnection, connect

from tests.bench.light import Identity, Talker, Transport, speech
from tests.server import RunningServer

ROOMS = 8
PATIENCE_S = 20.0
Message = dict[str, Any]


class Client:
    """One socket of the signaling protocol. Messages are kept, so that none is missed."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._messages: list[Message] = []
        self._arrived = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, name: str) -> Client:
        client = cls(await connect(url, compression=None, proxy=None))
        await client.send("register", username=name)
        await client.first("registered")
        return client

    async def send(self, kind: str, **fields: object) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def first(self, kind: str, such: Callable[[Message], bool] = lambda message: True) -> Message:
        """The first message of ``kind`` that is ``such``, now or later. An error or a long wait ends the benchmark."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self._messages:
                    assert message["type"] != "error", message
                    if message["type"] == kind and such(message):
                        return message
                self._arrived.clear()
                await self._arrived.wait()

    async def close(self) -> None:
        self._reader.cancel()
        await self._socket.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            self._messages.append(json.loads(frame))
            self._arrived.set()


class Bench:
    def __init__(self, url: str) -> None:
        self.url = url
        self.identity = Identity()
        self.rooms: list[tuple[str, str]] = []
        """Room and who talks there."""
        self._talkers: list[tuple[Client, Transport, Talker]] = []

    async def open_rooms(self) -> None:
        for number in range(ROOMS):
            client = await Client.open(self.url, f"talker {number}")
            await client.send("create_room")
            joined = await client.first("room_joined")
            self.rooms.append((joined["room_id"], joined["participants"][0]["user_id"]))
            transport, ssrc = await self._publish(client)
            self._talkers.append((client, transport, Talker(transport, ssrc)))

    async def close_rooms(self) -> None:
        for client, transport, talker in self._talkers:
            talker.close()
            transport.close()
            await client.close()

    async def join(self, number: int) -> float:
        """One join; seconds from join_room to the first packet."""
        room, talker = self.rooms[number % ROOMS]
        client = await Client.open(self.url, f"joiner {number}")
        start = time.perf_counter()
        await client.send("join_room", room_id=room)
        await client.first("new_publisher", lambda message: message["user_id"] == talker)
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publish(client))
            consuming = await self._consume(client, talker)
            async with asyncio.timeout(PATIENCE_S):
                await consuming.heard
            heard = time.perf_counter() - start
        transport, ssrc = publishing.result()
        transport.send(speech(ssrc, 0))
        await client.send("leave_room")
        await client.first("room_left")
        consuming.close()
        transport.close()
        await client.close()
        return heard

    async def _publish(self, client: Client) -> tuple[Transport, int]:
        await client.send("create_publisher")
        transport, ssrc = Transport(self.identity, (await client.first("publisher_created"))["sdp"]), secrets.randbits(32)
        await client.send("publish_audio", sdp=transport.answer("sendonly", ssrc))
        await transport.open()
        await client.first("audio_published")
        async with asyncio.timeout(PATIENCE_S):
            await transport.connected
        return transport, ssrc

    async def _consume(self, client: Client, talker: str) -> Transport:
        await client.send("create_consumer", publisher_user_id=talker)
        created = await client.first("consumer_created")
        transport = Transport(self.identity, created["sdp"])
        await client.send("consumer_answer", consumer_id=created["consumer_id"], sdp=transport.answer("recvonly"))
        await transport.open()
        return transport

    async def joins(self, count: int, per_s: float, first: int) -> list[float]:
        """``count`` joins begun at ``per_s`` a second."""
        loop = asyncio.get_running_loop()
        start, tasks = loop.time(), []
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0.0, start + number / per_s - loop.time()))
                tasks.append(group.create_task(self.join(first + number)))
        return [task.result() for task in tasks]


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process, of those that have ended too: its clock of clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def shard_of(pid: int) -> int:
    """The one shard that the control process ``pid`` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    shards = [int(child) for child in children if b"sfu" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(shards) == 1, children
    return shards[0]


async def measure(server: RunningServer, joins: int, per_s: float) -> dict[str, Any]:
    bench = Bench(server.ws_url)
    control, shard = server.pid, shard_of(server.pid)
    await bench.open_rooms()
    warm_up = max(20, joins // 10)
    await bench.joins(warm_up, per_s, 0)
    before = cpu_s(control), cpu_s(shard)
    heard = sorted(await bench.joins(joins, per_s, warm_up))
    after = cpu_s(control), cpu_s(shard)
    await bench.close_rooms()
    return {
        "joins": joins,
        "joins_per_s": per_s,
        "shard_joins_per_cpu_s": round(joins / (after[1] - before[1]), 1),
        "control_joins_per_cpu_s": round(joins / (after[0] - before[0]), 1),
        "p50_ms": round(1000 * statistics.median(heard), 1),
        "p99_ms": round(1000 * heard[min(joins - 1, int(0.99 * joins))], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer joins, under 10 s")
    parser.add_argument("--joins", type=int, default=None, help="default 1000, with --quick 150")
    parser.add_argument("--rate", type=float, default=50.0, help="joins begun in a second")
    options = parser.parse_args()
    joins = options.joins or (150 if options.quick else 1000)
    with RunningServer(shards=1) as server:
        result = uvloop.run(measure(server, joins, options.rate))
        server.wait_tables_empty()
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:>24}: {value}")


if __name__ == "__main__":
    main()
