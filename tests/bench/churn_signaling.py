"""Whether control and a shard give everything back: sockets, rooms, offers, and whole calls come and go, and what is held is compared.

    python tests/bench/churn_signaling.py [--sockets 1000] [--joins-per-s 200] [--seconds 600] [--json]

SOCKETS signaling sockets stay open. At each turn one of them leaves its room and joins another one, takes the offer of a publisher, and
now and then loses its WebSocket and resumes, or closes it and opens another. Beside them a few whole participants (ICE, DTLS, SRTP) talk,
leave and come back. An hour of a busy server with 50 joins a second, compressed, is 15 minutes at 200 a second. After a warm-up and at the
end everybody leaves; memory, file descriptors and tables of control and shard are those of the warm-up. Exit status 1 where they are not,
or where the asked-for rate was not reached.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loadtest.light import Hub
from loadtest.participant import Directory, Participant, Target
from loadtest.signaling import Signaling
from tests.scenarios.processes import children
from tests.server import RunningServer

ROOM_SIZE = 10
WHOLE = 4
"""Participants with media."""
MEMORY_SHARE, MEMORY_KIB = 0.10, 16 * 1024
"""Resident memory may end this much higher than after the warm-up: allocators keep what they have once had."""
SPARE_FILES = 4
SAMPLE_EVERY_S = 30.0


@dataclass
class Held:
    """What the processes hold while nobody is there. ``tables``: the sum of all tables of all shards."""

    control_kib: int
    control_files: int
    shard_kib: int
    shard_files: int
    tables: float
    waiting: float
    rooms: float


def memory_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def held(server: RunningServer) -> Held:
    """When the tables are empty."""
    server.wait_tables_empty(60)
    metrics, shards = server.metrics(), children(server.pid)
    return Held(
        memory_kib(server.pid),
        files(server.pid),
        sum(map(memory_kib, shards)),
        sum(map(files, shards)),
        sum(server.tables().values()),
        metrics["antiphon_sessions_waiting"],
        metrics["antiphon_rooms"],
    )


@dataclass
class Sample:
    """Resident memory after so many joins, while everybody is there."""

    joins: int
    control_kib: int
    shard_kib: int


class Client:
    """One signaling socket that is in one room after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""
        self._in_room = False
        self._signaling: Signaling | None = None

    async def open(self, *, resuming: bool = False) -> None:
        self._signaling = await Signaling.open(self._url)
        fields = {"resume_token": self._token} if resuming else {}
        registered = await self._signaling.request("register", "registered", username="churn", **fields)
        self._token = registered["resume_token"]
        self._in_room = self._in_room and registered["resumed"]  # not where coming back took longer than the grace
        if self._in_room:
            await self._signaling.expect("room_joined")

    async def turn(self, rooms: list[str], fate: float) -> None:
        """Leave, join another room, be offered a publisher; now and then the socket is lost or closed before."""
        signaling = self._signaling
        assert signaling is not None
        if fate < 0.02:
            await signaling.abort()
            await self.open(resuming=True)
        elif fate < 0.04:
            await signaling.close()
            await self.open()
        signaling = self._signaling
        assert signaling is not None
        signaling.received.clear()
        if self._in_room:
            await signaling.request("leave_room", "room_left")
            self._in_room = False
        await signaling.request("join_room", "room_joined", room_id=random.choice(rooms))
        self._in_room = True
        await signaling.request("create_publisher", "publisher_created")

    async def close(self) -> None:
        if self._signaling is not None:
            await self._signaling.close()


class Churn:
    def __init__(self, server: RunningServer, sockets: int, joins_per_s: float) -> None:
        self.joins = 0
        self.samples: list[Sample] = []
        self._server = server
        self._joins_per_s = joins_per_s
        self._clients = [Client(server.url) for _ in range(sockets)]
        self._rooms: list[str] = []
        self._keepers: list[Signaling] = []

    async def enter(self) -> None:
        """Open the sockets and the rooms, each of which somebody keeps open."""
        for _ in range(max(1, len(self._clients) // ROOM_SIZE)):
            keeper = await Signaling.open(self._server.url, forget=frozenset({"user_joined", "user_left"}))
            await keeper.request("register", "registered", username="keeper")
            self._rooms.append((await keeper.request("create_room", "room_joined"))["room_id"])
            self._keepers.append(keeper)
        for first in range(0, len(self._clients), 50):
            await asyncio.gather(*(client.open() for client in self._clients[first : first + 50]))

    async def run(self, seconds: float) -> float:
        """Churn; returns the joins a second that were reached."""
        began, turns = time.monotonic(), 0
        busy: set[asyncio.Task[None]] = set()
        idle = list(self._clients)
        random.shuffle(idle)
        whole = asyncio.create_task(self._whole_ones(began + seconds))
        shards, next_sample = children(self._server.pid), began
        while (now := time.monotonic()) < began + seconds:
            while turns < (now - began) * self._joins_per_s and idle:
                client = idle.pop(0)
                task = asyncio.create_task(client.turn(self._rooms, random.random()))
                task.add_done_callback(lambda done, client=client: idle.append(client))
                busy.add(task)
                turns += 1
            if now >= next_sample:
                next_sample += SAMPLE_EVERY_S
                self._sample(shards)
            await asyncio.sleep(0.005)
            for task in [task for task in busy if task.done()]:
                busy.discard(task)
                task.result()
                self.joins += 1
        await asyncio.gather(*busy)
        self.joins += len(busy)
        reached = self.joins / (time.monotonic() - began)
        await whole
        return reached

    def _sample(self, shards: list[int]) -> None:
        sample = Sample(self.joins, memory_kib(self._server.pid), sum(map(memory_kib, shards)))
        self.samples.append(sample)
        print(f"{sample.joins} joins: control {sample.control_kib} KiB, shard {sample.shard_kib} KiB", file=sys.stderr)

    async def _whole_ones(self, end: float) -> None:
        """People with media who talk for a moment, leave, and come again."""
        while time.monotonic() < end:
            hub = Hub(endpoints=64, talkers=WHOLE, meters=64, groups=1)
            directory, target = Directory(), Target(self._server.url)
            people = [
                Participant(hub, target, directory, f"w{n}", number=n, group=0, talker=hub.traffic.open_talker(n), hearing="subscription")
                for n in range(WHOLE)
            ]
            try:
                for person in people:
                    await person.connect()
                room = await people[0].create_room()
                for person in people[1:]:
                    await person.join_room(room)
                await asyncio.gather(*(person.publish() for person in people))
                deadline = time.monotonic() + 15
                while sum(person.note_heard() for person in people) < WHOLE * (WHOLE - 1):
                    assert time.monotonic() < deadline, "the whole ones do not hear each other"
                    await asyncio.sleep(0.05)
            finally:
                await asyncio.gather(*(person.close() for person in people))
                hub.close()

    async def leave(self) -> None:
        for first in range(0, len(self._clients), 50):
            await asyncio.gather(*(client.close() for client in self._clients[first : first + 50]))
        await asyncio.gather(*(keeper.close() for keeper in self._keepers))
        self._keepers.clear()
        self._rooms.clear()


async def cycle(server: RunningServer, sockets: int, joins_per_s: float, seconds: float) -> tuple[Held, float, Churn]:
    """Enter, churn, leave: what is held afterwards, the rate that was reached, and the churn itself."""
    churn = Churn(server, sockets, joins_per_s)
    await churn.enter()
    try:
        reached = await churn.run(seconds)
    finally:
        await churn.leave()
    await asyncio.sleep(2 * server.resume_grace_s)
    return await asyncio.to_thread(held, server), reached, churn


def problems(start: Held, end: Held) -> list[str]:
    """What has not returned to the start."""
    found = []
    for name in ("control_kib", "shard_kib"):
        before, after = getattr(start, name), getattr(end, name)
        if after - before > max(MEMORY_SHARE * before, MEMORY_KIB):
            found.append(f"{name} grew from {before} to {after}")
    for name in ("control_files", "shard_files"):
        before, after = getattr(start, name), getattr(end, name)
        if after - before > SPARE_FILES:
            found.append(f"{name} grew from {before} to {after}")
    left = [name for name in ("tables", "waiting", "rooms") if getattr(end, name)]
    return [*found, *(f"{name} is {getattr(end, name)} and not 0" for name in left)]


def server_for(sockets: int) -> RunningServer:
    """One shard, so that everything of a run is in it; rooms that are empty go at once."""
    options = {"ROOM_GRACE_S": "0", "ROOMS_PER_MINUTE": "100000", "SOCKETS": str(4 * sockets + 100), "LOG_LEVEL": "error"}
    options |= {
        "ADDRESS_SOCKETS": str(4 * sockets + 100),
        "ADDRESS_JOINS_PER_S": "100000",
        "ADDRESS_JOIN_BURST": "100000",
    }  # all come from one
    control = {f"ANTIPHON_CONTROL_{name}": value for name, value in options.items()}
    environment = {**os.environ, **control, "ANTIPHON_SHARD_LOG_LEVEL": "error"}
    return RunningServer(shards=1, environment=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description="Come and go, and compare what is held.")
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--joins-per-s", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--warm-up", type=float, default=30.0, help="seconds of churn before the first comparison")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with server_for(asked.sockets) as server:
        start, _, _ = asyncio.run(cycle(server, asked.sockets, asked.joins_per_s, asked.warm_up))
        end, reached, churn = asyncio.run(cycle(server, asked.sockets, asked.joins_per_s, asked.seconds))
    found = problems(start, end)
    if reached < 0.9 * asked.joins_per_s:
        found.append(f"only {reached:.0f} joins a second were reached")
    result: dict[str, Any] = {"sockets": asked.sockets, "joins": churn.joins, "joins_per_s": round(reached, 1)}
    result |= {"start": asdict(start), "end": asdict(end), "problems": found}
    result["samples"] = [asdict(sample) for sample in churn.samples]
    if asked.json:
        print(json.dumps(result))
    else:
        print(f"{churn.joins} joins at {reached:.0f}/s over {asked.sockets} sockets")
        for name, before in asdict(start).items():
            print(f"  {name:14} {before:>10} -> {asdict(end)[name]}")
        print("\n".join(found) or "everything returned to the start")
    return 1 if found else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
