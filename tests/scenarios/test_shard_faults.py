"""A shard dies, or is stopped, under 20 people who talk: how soon that is noticed, and how soon they hear each other again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

from loadtest.light import Hub
from loadtest.participant import Directory, Participant, Target
from tests.server import RunningServer

from .call import Call, all_hear_all
from .processes import is_alive, shard_pid
from .survivor import survivors

PEOPLE = 20
NOTICED_S = 1.0
TALK_AGAIN_S = 3.0
RECENT_PACKETS = 10
"""A listener who has missed so many of somebody's newest packets (0.2 s) does not hear that person."""


class Crowd:
    """People in one room who all talk and hear each other, each over one subscriber connection; light, so that one process can be all."""

    def __init__(self, server: RunningServer) -> None:
        self.hub = Hub(endpoints=4 * PEOPLE, talkers=PEOPLE, meters=2 * PEOPLE * PEOPLE, groups=1)
        directory, target = Directory(), Target(server.url)
        self.people = [
            Participant(
                self.hub,
                target,
                directory,
                f"person {number}",
                number=number,
                group=0,
                talker=self.hub.traffic.open_talker(100 * number),
                hearing="subscription",
            )
            for number in range(PEOPLE)
        ]

    async def enter(self) -> None:
        await asyncio.gather(*(person.connect() for person in self.people))
        room_id = await self.people[0].create_room()
        await asyncio.gather(*(person.join_room(room_id) for person in self.people[1:]))
        await asyncio.gather(*(person.publish() for person in self.people))
        await self.wait(lambda: self.all_hear_all, 30)

    @property
    def all_hear_all(self) -> bool:
        heard = [self.hub.traffic.meter(meter).resumed_after_ns >= 0 for meter in self.meters]
        return len(heard) == PEOPLE * (PEOPLE - 1) and all(heard) and not self.hub.traffic.silent_meters(RECENT_PACKETS)

    @property
    def meters(self) -> list[int]:
        """One for each who hears somebody."""
        return [pair.meter for person in self.people for pair in person.pairs.values()]

    def mark(self) -> None:
        """What has been heard so far does not count any more."""
        for meter in self.meters:
            self.hub.traffic.mark_meter(meter)

    @property
    def all_told(self) -> bool:
        return all(person.interruptions == ["room_moved (shard_lost)"] for person in self.people)

    async def wait(self, condition: Callable[[], bool], deadline_s: float) -> float:
        """Seconds until it held."""
        began = time.monotonic()
        async with asyncio.timeout(deadline_s):
            while not condition():  # noqa: ASYNC110 - the figures of the native traffic have no events
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def leave(self) -> None:
        await asyncio.gather(*(person.close() for person in self.people))
        self.hub.close()


@pytest.fixture
async def call(call: Call) -> Call:
    """On two shards: the one that the test before has ended is back."""
    for shard in ("0", "1"):
        await call.wait_metric(f'antiphon_shard_up{{shard="{shard}"}}', lambda up: up == 1)
    return call


@pytest.fixture
async def crowd(call: Call) -> AsyncIterator[Crowd]:
    made = Crowd(call.server)
    yield made
    await made.leave()
    assert [failure for person in made.people for failure in person.failures] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_twenty_people_are_told_and_hear_each_other_again(crowd: Crowd, call: Call, number: signal.Signals) -> None:
    await crowd.enter()
    shard = await call.wait_shard_with_rooms()
    pid = shard_pid(call.server.pid, shard)
    began = time.monotonic()
    os.kill(pid, number)
    noticed_s = await crowd.wait(lambda: crowd.all_told, 20)
    crowd.mark()  # that shard is gone: what is heard from now on has come through the other one
    await crowd.wait(lambda: crowd.all_hear_all, 20)
    heard_s = time.monotonic() - began
    print(f"{number.name} under {PEOPLE} people: all told after {noticed_s:.2f} s, all hear all after {heard_s:.2f} s")
    assert noticed_s < NOTICED_S
    assert heard_s < TALK_AGAIN_S
    assert not is_alive(pid)  # also the one that was only stopped: it will say nothing any more


async def test_whole_peers_talk_again_as_well(call: Call) -> None:
    people = await survivors(call, "Ann", "Bo", "Cy")
    await all_hear_all(*people)
    began = time.monotonic()
    os.kill(shard_pid(call.server.pid, await call.wait_shard_with_rooms()), signal.SIGKILL)
    await asyncio.gather(*(person.signaling.expect("room_moved") for person in people))
    noticed_s = time.monotonic() - began
    for person in people:  # nobody hears what was under way before
        moved = [message["type"] for message in person.signaling.received].index("room_moved")
        await person.signaling.expect("audio_published", after=moved)
    await all_hear_all(*people)
    print(f"aiortc: all told after {noticed_s:.2f} s, all hear the right tones after {time.monotonic() - began:.2f} s")
    assert noticed_s < NOTICED_S
