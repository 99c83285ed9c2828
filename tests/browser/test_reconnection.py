"""Whatever breaks between the page and the server, the page mends it by itself: really cut sockets, killed processes, moved networks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.browser.cable import Cable
from tests.browser.conftest import Opener
from tests.browser.driver import POLL_S, WAIT_S
from tests.browser.person import Person
from tests.scenarios.processes import shard_pid
from tests.server import RunningServer

pytestmark = pytest.mark.browser

TALK_AGAIN_S = 3.0
"""People whose shard was killed hear each other again within this time."""
WATCH = """(() => {
  const { client } = window.antiphon;
  window.seen = { attempts: 0, reconnected: [], left: 0, states: [] };
  window.kept = { room: client.room, userId: client.userId, connections: client.connections.map((one) => one.peerConnection) };
  client.on("reconnecting", () => (window.seen.attempts += 1));
  client.on("reconnected", ({ resumed }) => window.seen.reconnected.push(resumed));
  client.on("roomleft", () => (window.seen.left += 1));
  client.on("statechange", ({ state }) => window.seen.states.push(state));
})()"""
SAME_MEDIA = """(() => {
  const now = window.antiphon.client.connections.map((one) => one.peerConnection);
  return now.length === window.kept.connections.length && now.every((one) => window.kept.connections.includes(one));
})()"""
BACK_AFTER_S = """(async () => {
  const began = performance.now();
  for (;;) {
    const fresh = window.antiphon.client.connections.filter((one) => !window.kept.connections.includes(one.peerConnection));
    for (const { peerConnection } of fresh) {
      for (const { type, packetsReceived } of (await peerConnection.getStats()).values()) {
        if (type === "inbound-rtp" && packetsReceived > 0) return (performance.now() - began) / 1000;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
})()"""
"""How long it takes from now until something is heard on another connection than those at WATCH."""
SAME_PERSON = "window.antiphon.client.userId === window.kept.userId && window.antiphon.client.room === window.kept.room"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Keeps people whose socket broke for as long as a test lasts on a busy machine."""
    with RunningServer(shards=2, resume_grace_s=30) as running:
        yield running


@pytest.fixture
async def cable(server: RunningServer) -> AsyncIterator[Cable]:
    async with Cable(server.url) as laid:
        yield laid


async def talk(ann: Person, bo: Person) -> str:
    """Ann makes a room, Bo joins it, and they hear each other. Returns the room."""
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await bo.connect("Bo")
    await bo.give_microphone()
    await bo.join_room(room)
    await hear_each_other(ann, bo)
    for person in (ann, bo):
        await person.page.evaluate(WATCH)
    return room


async def hear_each_other(ann: Person, bo: Person) -> None:
    await asyncio.gather(ann.assert_hears("Bo"), bo.assert_hears("Ann"))


async def more_packets(person: Person, name: str, count: int = 60) -> None:
    """Wait until this many further packets of ``name`` have arrived."""
    first = (await person.heard())[name].packets
    end = time.monotonic() + WAIT_S
    while (now := (await person.heard()).get(name)) is None or now.packets < first + count:
        assert time.monotonic() < end, f"{now} after {first} packets of {name}"
        await asyncio.sleep(POLL_S)


async def goodbye(*people: Person) -> None:
    """Leave in order: this server waits long for those who do not."""
    for person in people:
        await person.page.evaluate("window.antiphon.client.close()")


async def seen(person: Person, what: str) -> object:
    return await person.page.evaluate(f"window.seen.{what}")


@contextlib.asynccontextmanager
async def away(cable: Cable, *people: Person) -> AsyncIterator[None]:
    """The cable of these people is cut meanwhile."""
    await cable.cut()
    for person in people:
        await person.wait_status("Reconnecting")
    yield
    await cable.mend()
    for person in people:
        await person.page.evaluate("dispatchEvent(new Event('online'))")  # as the browser tells: else it waits for its next attempt
        await person.wait_status("In room")


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
async def test_a_cut_socket_resumes_and_media_never_stops(browser: str, cable: Cable, open_chromium: Opener, open_firefox: Opener) -> None:
    ann = await (open_chromium if browser == "chromium" else open_firefox)(url=cable.url)
    bo = await open_chromium()
    room = await talk(ann, bo)
    async with away(cable, ann):
        cleo = await open_chromium()
        await cleo.connect("Cleo")
        await cleo.join_room(room)
        # Nobody has noticed, and everyone goes on talking.
        await bo.wait_people("Ann", "Bo", "Cleo")
        await asyncio.gather(more_packets(ann, "Bo"), more_packets(bo, "Ann"))
        await cleo.assert_hears("Ann", "Bo")
    await ann.wait_people("Ann", "Bo", "Cleo")
    assert await ann.page.evaluate(SAME_MEDIA)
    assert await ann.page.evaluate(SAME_PERSON)
    assert await seen(ann, "reconnected") == [True]
    assert await seen(ann, "left") == 0
    assert int(await seen(ann, "attempts")) >= 2  # type: ignore[call-overload]
    await ann.page.click("Mute")
    await bo.wait_people("Muted", "Microphone on", "Listening only")
    await goodbye(ann, bo, cleo)


async def test_a_session_that_is_over_is_made_anew(cable: Cable, open_chromium: Opener) -> None:
    """The server is told nothing of it: it has forgotten the session, as after the grace."""
    ann, bo = await open_chromium(url=cable.url), await open_chromium()
    await talk(ann, bo)
    await ann.page.click("Mute")
    async with away(cable, ann):
        # Somebody else resumes with Ann's token and leaves in order: that session has ended.
        thief = await open_chromium()
        token = await ann.page.evaluate("window.antiphon.client.resumeToken")
        await thief.page.evaluate(f"window.antiphon.client.connect(location.origin, 'Thief', {{ resumeToken: {token!r} }})")
        await thief.page.evaluate("window.antiphon.client.close()")
        await bo.wait_people("Bo")
    await bo.wait_people("Bo", "Ann")
    await bo.wait_people("Microphone on", "Muted")
    assert await seen(ann, "reconnected") == [False]
    assert await seen(ann, "left") == 0
    assert await ann.page.evaluate(
        "window.antiphon.client.room === window.kept.room && window.antiphon.client.userId !== window.kept.userId"
    )
    await ann.page.click("Unmute")
    await hear_each_other(ann, bo)
    await goodbye(ann, bo)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
async def test_a_call_goes_on_when_the_network_gives_it_another_port(
    browser: str, cable: Cable, open_chromium: Opener, open_firefox: Opener
) -> None:
    ann = await (open_chromium if browser == "chromium" else open_firefox)(url=cable.url)
    bo = await open_chromium()
    await talk(ann, bo)
    await cable.move()
    await asyncio.gather(more_packets(ann, "Bo"), more_packets(bo, "Ann"))
    assert await ann.page.evaluate(SAME_MEDIA)
    await goodbye(ann, bo)


async def test_a_dead_path_is_left_by_restarting_ice(cable: Cable, open_chromium: Opener) -> None:
    ann, bo = await open_chromium(url=cable.url), await open_chromium()
    await talk(ann, bo)
    cable.block()
    await asyncio.gather(more_packets(ann, "Bo"), more_packets(bo, "Ann"))
    assert await ann.page.evaluate(SAME_MEDIA)  # the same connections, on another way
    await goodbye(ann, bo)


async def test_a_killed_shard_costs_a_call_seconds(open_chromium: Opener, server: RunningServer) -> None:
    ann, bo = await open_chromium(), await open_chromium()
    await talk(ann, bo)
    shard = next(str(n) for n in range(2) if server.tables()[f'antiphon_shard_table{{shard="{n}",table="participants"}}'])
    measured = [asyncio.create_task(person.page.evaluate(BACK_AFTER_S)) for person in (ann, bo)]
    await asyncio.sleep(0)  # both have been asked to measure
    os.kill(shard_pid(server.pid, shard), signal.SIGKILL)
    silences = await asyncio.gather(*measured)
    print(f"heard again after {silences} s")
    assert max(silences) < TALK_AGAIN_S
    await hear_each_other(ann, bo)
    assert await seen(ann, "states") == []
    assert await ann.page.evaluate(SAME_PERSON)


async def test_two_tabs_of_one_person_are_two_people_until_one_takes_over_the_other(open_chromium: Opener) -> None:
    one, two = await open_chromium(), await open_chromium()
    await one.connect("Ann")
    await one.give_microphone()
    room = await one.create_room()
    await two.connect("Ann")
    await two.give_microphone()
    await two.join_room(room)
    await asyncio.gather(one.assert_hears("Ann"), two.assert_hears("Ann"))
    await two.page.click("Leave Room")
    await two.page.click("Disconnect")
    token = await one.page.evaluate("window.antiphon.client.resumeToken")
    await two.page.evaluate(f"window.antiphon.client.connect(location.origin, 'Ann', {{ resumeToken: {token!r} }})")
    await one.wait_status("Disconnected")
    await one.wait_alert("another tab")
    await two.wait_status("In room")
    await two.wait_people("Ann")


async def test_a_reloaded_page_leaves_and_can_join_again(open_chromium: Opener) -> None:
    ann, bo = await open_chromium(), await open_chromium()
    room = await talk(ann, bo)
    await bo.open(f"/?room={room}")
    await ann.wait_people("Ann")
    await bo.connect("Bo")
    await bo.give_microphone()
    await bo.join_room()
    await hear_each_other(ann, bo)
