"""A WebSocket breaks, control is killed: calls go on, and people come back as who they were."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server import RunningServer

from .call import Call, all_hear_all, nothing_lost
from .processes import children, is_alive
from .survivor import Survivor, hear_more, survivors


def told(person: Survivor) -> set[str]:
    return {message["type"] for message in person.signaling.received}


class TestLostWebSocket:
    async def test_nobody_notices_and_media_never_stops(self, call: Call) -> None:
        ann, bo = await survivors(call, "Ann", "Bo")
        await all_hear_all(ann, bo)
        before = dict(ann.consumers), dict(bo.consumers)
        await bo.cut()
        await hear_more([ann, bo], 25)
        held = await bo.resume()
        assert held["publishing"]
        assert {consumer["consumer_id"] for consumer in held["consumers"]} == {bo.consumers[ann.user_id].consumer_id}
        await all_hear_all(ann, bo)
        assert (ann.consumers, bo.consumers) == before  # the very same connections
        await nothing_lost(ann, bo)
        assert not told(ann) & {"user_left", "publisher_closed", "room_moved"}
        cy = await call.guest("Cy", ann.room_id)  # and both still follow what happens
        await all_hear_all(ann, bo, cy)

    async def test_who_does_not_come_back_leaves_and_frees_everything(self, call: Call) -> None:
        ann, bo = await survivors(call, "Ann", "Bo")
        await all_hear_all(ann, bo)
        await bo.abort()
        await ann.signaling.expect("user_left", user_id=bo.user_id, timeout_s=20)


def free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Starts = Callable[[], RunningServer]


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    """Makes servers that are each other's successors: same ports, same folder."""
    port = free_tcp_port()
    environment = {**os.environ, "ANTIPHON_CONTROL_RUNTIME_DIR": str(tmp_path / "run")}
    return lambda: RunningServer(shards=2, args=["--port", str(port)], environment=environment, resume_grace_s=6.0)


@asynccontextmanager
async def killed_and_succeeded(starts: Starts, before: Callable[[Call], Any], between: Callable[[Any], Any]) -> AsyncIterator[Any]:
    """A call whose control is killed. ``before(call)`` makes people, ``between(people)`` happens while there is no control."""
    first, second = starts(), starts()
    await asyncio.to_thread(first.start)
    async with Call(first) as call:
        try:
            people = await before(call)
            shards = children(first.pid)
            await asyncio.to_thread(first.kill)
            await between(people)
            assert all(is_alive(pid) for pid in shards)
        except BaseException:
            for pid in children(first.pid) if is_alive(first.pid) else shards:
                os.kill(pid, 9)
            raise
        async with second:
            call.server = second
            yield call, people, shards
            await asyncio.gather(*(peer.close() for peer in call.peers))
            await second.wait_tables_empty_async(40)
        assert not any(is_alive(pid) for pid in shards)  # they end with the control that took them over
        await asyncio.to_thread(first.finish)
        call.server = NoServer()  # type: ignore[assignment]


class NoServer:
    """What is left to look at when both have ended."""

    async def wait_tables_empty_async(self) -> None: ...


class TestControlIsKilled:
    async def test_not_a_packet_is_lost_and_everybody_resumes_under_the_next_one(self, starts: Starts) -> None:
        async def talk(call: Call) -> tuple[list[Survivor], list[Survivor]]:
            rooms = await survivors(call, "Ann", "Bo", "Cy"), await survivors(call, "Di", "Ed")
            for room in rooms:
                await all_hear_all(*room)
            return rooms

        async def talk_on(rooms: tuple[list[Survivor], list[Survivor]]) -> None:
            await asyncio.gather(*(hear_more(room) for room in rooms))

        async with killed_and_succeeded(starts, talk, talk_on) as (call, (room, other), shards):
            assert set(children(call.server.pid)) == set()  # it has started none: it goes on with those of the one before it
            held = await asyncio.gather(*(person.resume() for person in [*room, *other]))
            assert all(one["publishing"] for one in held)
            for people in (room, other):
                await all_hear_all(*people)
                await hear_more(people)
                await nothing_lost(*people)
                for person in people:
                    ids = {consumer["consumer_id"] for consumer in person.resumptions[0]["consumers"]}
                    assert ids == {consumer.consumer_id for consumer in person.consumers.values()}
                    assert not told(person) & {"room_moved", "publisher_closed", "consumer_closed", "user_left", "error"}
            fay = await call.guest("Fay", room[0].room_id)
            await all_hear_all(*room, fay)
            assert len(shards) == 2

    async def test_who_does_not_resume_leaves_the_others(self, starts: Starts) -> None:
        async def talk(call: Call) -> list[Survivor]:
            people = await survivors(call, "Ann", "Bo")
            await all_hear_all(*people)
            return people

        async def vanish(people: list[Survivor]) -> None:
            await people[1].abort()

        async with killed_and_succeeded(starts, talk, vanish) as (call, (ann, bo), _):
            await ann.resume()
            await ann.signaling.expect("user_left", user_id=bo.user_id, timeout_s=30)
            assert await call.metric("antiphon_participants") == 1
