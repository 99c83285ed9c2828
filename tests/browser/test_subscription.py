"""One subscriber connection in real browsers: who is heard in a section that is used again, single people, and ICE restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from loadtest.peer import Peer
from tests.browser.conftest import Opener
from tests.browser.driver import POLL_S, WAIT_S
from tests.browser.person import Person
from tests.browser.raw import RAW
from tests.server import RunningServer

pytestmark = pytest.mark.browser

TONES_HZ = (600, 1000, 1400, 1800, 2200)

MOVING_PACKETS = 10
"""0.2 s: what may be lost of a microphone while its browser moves to another pair of candidates."""

SECTIONS = "window.antiphon.client.connections.find(({ direction }) => direction === 'receive').peerConnection.getTransceivers()"

PITCH = """
(async (name) => {
  const person = window.antiphon.client.room.participants.find(({ username }) => username === name);
  if (!person?.stream) return 0;
  const context = (window.listening ??= new AudioContext());
  await context.resume();
  const source = context.createMediaStreamSource(person.stream);
  const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
  source.connect(analyser);
  await new Promise((resolve) => setTimeout(resolve, 400));
  const levels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(levels);
  source.disconnect();
  const loudest = levels.indexOf(Math.max(...levels));
  return levels[loudest] > -60 ? loudest * context.sampleRate / 8192 : 0;
})
"""
"""The frequency in hertz of what the page hears of somebody now; 0 for silence and for somebody who is not heard."""


NEWEST = """
((name) => {
  const { participants } = window.antiphon.client.room;
  const person = participants.find(({ username }) => username === name);
  const pc = window.antiphon.client.connections.find(({ direction }) => direction === "receive")?.peerConnection;
  const transceiver = pc?.getTransceivers().find(({ receiver }) => person?.stream?.getTracks().includes(receiver.track));
  const section = pc?.remoteDescription?.sdp.split("m=audio").find((text) => text.includes(`a=mid:${transceiver?.mid}\\r`));
  const sources = transceiver?.receiver.getSynchronizationSources() ?? [];
  const newest = sources.reduce((a, b) => (a && a.timestamp > b.timestamp ? a : b), null);
  if (!newest || !section?.includes(`a=ssrc:${newest.source} `)) return null;
  return participants.find(({ userId }) => section.includes(`a=msid:${userId} `))?.username ?? "nobody";
})
"""
"""Whose packets are played as those of somebody, by SSRC; null while those that came last are not of the section's present SSRC. For
Firefox, whose AudioContext stands still on a machine without a sound card."""


async def pitch_of(person: Person, name: str) -> float:
    return float(await person.page.evaluate(f"({PITCH})({name!r})"))


async def hears_tone(person: Person, name: str, hertz: float) -> None:
    """Wait until ``name`` is heard with this tone. Any other one on the way there would be somebody else's voice."""
    async with asyncio.timeout(WAIT_S):
        while True:
            heard = await pitch_of(person, name)
            assert heard == 0 or abs(heard - hertz) < 50, f"{name} is heard with {heard} Hz, which is not {hertz}"
            if heard:
                return


async def hears_packets(person: Person, name: str) -> None:
    """Wait until packets come that the offer announced as those of ``name``."""
    async with asyncio.timeout(WAIT_S):
        while True:
            owner = await person.page.evaluate(f"({NEWEST})({name!r})")
            assert owner in (None, name)
            if owner == name:
                return
            await asyncio.sleep(POLL_S)


@pytest.fixture
async def tones(server: RunningServer) -> AsyncIterator[Callable[[str, str | None, float], Awaitable[Peer]]]:
    """Makes people who publish a tone: ``await tones(name, room, hertz)``; in a new room, and hearing, where that is None."""
    peers: list[Peer] = []

    async def make(name: str, room_id: str | None, hertz: float) -> Peer:
        peer = await Peer(server.url, name, frequency_hz=hertz, hears=room_id is None).connect()
        peers.append(peer)
        await (peer.create_room() if room_id is None else peer.join_room(room_id))
        await peer.publish()
        return peer

    yield make
    await asyncio.gather(*(peer.close() for peer in peers))


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
async def test_nobodys_voice_is_anybody_elses_when_a_section_is_used_again(
    browser: str, open_chromium: Opener, open_firefox: Opener, tones: Any
) -> None:
    me = await (open_chromium if browser == "chromium" else open_firefox)()
    await me.connect("Me")
    room = await me.create_room()

    async def hears(name: str, hertz: float) -> None:
        await (hears_tone(me, name, hertz) if browser == "chromium" else hears_packets(me, name))

    stays = await tones("Stays", room, TONES_HZ[0])
    await hears("Stays", TONES_HZ[0])
    for number, hertz in enumerate(TONES_HZ[1:] if browser == "chromium" else TONES_HZ[1:3]):
        other = await tones(f"P{number}", room, hertz)
        await hears(f"P{number}", hertz)
        await hears("Stays", TONES_HZ[0])
        await other.close()
        if number == 0:  # once with an inactive section in between, else straight from one person to the next
            await me.page.wait(f"{SECTIONS}.some((one) => one.currentDirection === 'inactive')", for_="a section that is free")
    assert await me.page.evaluate(f"{SECTIONS}.length") == 2
    await stays.close()
    assert not me.page.problems


async def test_one_who_is_not_to_be_heard_sends_nothing_and_the_others_go_on(open_chromium: Opener, tones: Any) -> None:
    me = await open_chromium()
    await me.connect("Me")
    room = await me.create_room()
    await tones("Ann", room, TONES_HZ[0])
    await tones("Bo", room, TONES_HZ[1])
    await me.assert_hears("Ann", "Bo")
    ann = "window.antiphon.client.room.participants.find(({ username }) => username === 'Ann')"
    await me.page.evaluate(f"{ann}.setHeard(false)")
    await me.assert_silence_from("Ann")
    await hears_tone(me, "Bo", TONES_HZ[1])
    await me.page.evaluate(f"{ann}.setHeard(true)")
    await me.assert_hears("Ann", "Bo")


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
async def test_ice_restarts_under_a_running_call(
    browser: str, server: RunningServer, open_chromium: Opener, open_firefox: Opener, tones: Any
) -> None:
    me = await (open_chromium if browser == "chromium" else open_firefox)()
    ann = await tones("Ann", None, TONES_HZ[0])
    room = ann.room_id
    page = me.page
    await page.evaluate(RAW)
    await page.evaluate(f"raw.open({server.ws_url!r}, 'Raw').then(() => raw.ask({{type: 'join_room', room_id: {room!r}}}, 'room_joined'))")
    await page.evaluate("raw.send({type: 'subscribe'}), raw.publish()")
    await packets_grow(page)
    mine = await heard_by(ann)
    for target in ("publisher", "subscription"):
        before = await page.evaluate(f"raw.ufrags('{target}')")
        pair = await page.evaluate(f"raw.pair('{target}')")
        await page.evaluate(f"raw.send({{type: 'restart_ice', target: '{target}'}})")
        changed = f"raw.ufrags('{target}').every((ufrag, side) => ufrag !== {before!r}[side])"
        await page.wait(changed, for_=f"new credentials of the {target}")
        if browser == "chromium":  # Firefox tells neither ufrags nor ids that would show it
            after = await page.evaluate(f"raw.ufrags('{target}')")
            moved = f"raw.pair('{target}').then((pair) => pair.local === {after[0]!r} && pair.id !== {pair['id']!r})"
            await page.wait(moved, for_=f"another candidate pair of the {target}")
        await packets_grow(page)
        grown = (await mine.reception()).packets + 50
        async with asyncio.timeout(WAIT_S):
            while (await mine.reception()).packets < grown:  # noqa: ASYNC110 (there is nothing to wait on)
                await asyncio.sleep(0.05)
        assert (await page.evaluate("raw.received()"))["lost"] == 0
        # Chromium sends on the new pair for some packets before the check that nominates it.
        assert (await mine.reception()).lost <= MOVING_PACKETS
    assert await page.evaluate("raw.errors") == []


async def packets_grow(page: Any) -> None:
    """Wait until the subscription of the raw client has got 50 further packets."""
    came = (await page.evaluate("raw.pc.subscription ? raw.received() : {packets: 0}"))["packets"]
    await page.wait(f"raw.pc.subscription && raw.received().then(({{ packets }}) => packets >= {came + 50})", for_="more packets")


async def heard_by(peer: Peer) -> Any:
    """The only consumer of ``peer``, once there is one."""
    async with asyncio.timeout(WAIT_S):
        while not peer.consumers:  # noqa: ASYNC110 (there is nothing to wait on)
            await asyncio.sleep(0.05)
    consumer = next(iter(peer.consumers.values()))
    await consumer.connected()
    return consumer
