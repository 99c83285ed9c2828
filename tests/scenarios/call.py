"""People for scenarios: each has a tone of its own, and all are gone again, with everything they held, when the test ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from loadtest.audio import tone_of
from loadtest.peer import Consumer, Peer
from tests.server import RunningServer


class Call:
    """Makes peers and cleans up after them. ``async with`` asserts on the way out that no peer failed and no table is left filled."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.peers: list[Peer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.gather(*(peer.close() for peer in self.peers))
        if error is None:
            assert [failure for peer in self.peers for failure in peer.failures] == []
            await self.server.wait_tables_empty_async()

    async def person(self, name: str, *, hears: bool = True) -> Peer:
        """Somebody who is registered and in no room."""
        peer = Peer(self.server.url, name, frequency_hz=tone_of(len(self.peers)), hears=hears)
        self.peers.append(peer)
        return await peer.connect()

    async def host(self, name: str, *, publishes: bool = True) -> Peer:
        """Somebody in a new room."""
        peer = await self.person(name)
        await peer.create_room()
        if publishes:
            await peer.publish()
        return peer

    async def guest(self, name: str, room_id: str, *, publishes: bool = True) -> Peer:
        """Somebody who came into the room."""
        peer = await self.person(name)
        await peer.join_room(room_id)
        if publishes:
            await peer.publish()
        return peer

    async def pair(self) -> tuple[Peer, Peer]:
        """Ann and Bo in a room of their own, hearing each other."""
        ann = await self.host("Ann")
        bo = await self.guest("Bo", ann.room_id)
        await all_hear_all(ann, bo)
        return ann, bo

    # ------------------------------------------------------------------------------------------ looking at the server

    async def metric(self, name: str) -> float:
        """One sample, by name and labels as on ``/metrics``; 0 where there is none (a counter that has never counted)."""
        return (await asyncio.to_thread(self.server.metrics)).get(name, 0.0)

    async def drops(self, reason: str) -> float:
        """How many packets all shards have dropped for ``reason``, as they last said."""
        return await asyncio.to_thread(self._drops, reason)

    async def wait_drops(self, reason: str, at_least: float) -> None:
        """Wait until ``reason`` was counted so often; heartbeats bring the figure a few times a second."""

        def holds() -> bool:
            return self._drops(reason) >= at_least

        await asyncio.to_thread(self.server.wait, holds, 10, lambda: f"{reason} was counted {self._drops(reason)} times, not {at_least}")

    def _drops(self, reason: str) -> float:
        samples = self.server.metrics().items()
        found = [value for name, value in samples if name.startswith("antiphon_shard_drops_total{") and f'reason="{reason}"' in name]
        assert found, f"no shard counts drops for {reason}"
        return sum(found)

    async def wait_transports(self, count: float) -> None:
        """Wait until the forwarding threads hold ``count`` transports: what left is forgotten there, too."""

        def holds() -> bool:
            return self._transports() == count

        await asyncio.to_thread(self.server.wait, holds, 10, lambda: f"there are {self._transports()} transports, not {count}")

    def _transports(self) -> float:
        return sum(value for name, value in self.server.tables().items() if 'table="native_transports"' in name)

    async def wait_metric(self, name: str, condition: Callable[[float], bool]) -> None:
        """Wait until ``condition`` holds for the sample ``name``."""

        def holds() -> bool:
            return condition(self.server.metrics().get(name, 0.0))

        await asyncio.to_thread(self.server.wait, holds, 10, lambda: f"{name} is {self.server.metrics().get(name)}")

    async def wait_shard_with_rooms(self) -> str:
        """Wait until exactly one shard says that it holds rooms; returns its id."""

        def found() -> list[str]:
            samples = self.server.metrics().items()
            rooms = [name for name, value in samples if name.startswith("antiphon_shard_table{") and 'table="rooms"' in name and value > 0]
            return [name.split('shard="')[1].split('"')[0] for name in rooms]

        await asyncio.to_thread(self.server.wait, lambda: len(found()) == 1, 10, lambda: f"shards with rooms: {found()}")
        return (await asyncio.to_thread(found))[0]


async def all_hear_all(*people: Peer) -> None:
    """Every one of ``people`` hears the right tone from every other one who publishes, and from nobody else."""
    talking = [peer for peer in people if peer.publishing is not None]
    await asyncio.gather(*(listener.hear(talker) for listener in people for talker in talking if talker is not listener))
    for listener in people:
        assert set(listener.consumers) == {talker.user_id for talker in talking if talker is not listener}


async def nothing_lost(*people: Peer) -> None:
    """Not one packet is missing, or came twice, at any consumer of ``people``."""
    for listener in people:
        for consumer in listener.consumers.values():
            reception = await consumer.reception()
            assert reception.packets > 0
            assert reception.lost == 0, f"{listener.username}: {reception}"


async def packets(consumer: Consumer) -> int:
    return (await consumer.reception()).packets
