"""Somebody who uses the page: what people do with its buttons, and what they see and hear."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.browser.driver import POLL_S, WAIT_S, Driver

STATS = """
(async () => {
  const heard = {};
  const people = window.antiphon.client.room?.participants ?? [];
  for (const { direction, peerConnection } of window.antiphon.client.connections) {
    if (direction !== "receive") continue;
    for (const report of (await peerConnection.getStats()).values()) {
      const person = people.find(({ stream }) => stream?.getTracks().some(({ id }) => id === report.trackIdentifier));
      if (report.type !== "inbound-rtp" || !person) continue;
      const receiver = peerConnection.getReceivers().find(({ track }) => track.id === report.trackIdentifier);
      heard[person.username] = {
        packets: report.packetsReceived,
        lost: report.packetsLost,
        energy: report.totalAudioEnergy ?? 0,
        level: Math.max(report.audioLevel ?? 0, receiver?.getSynchronizationSources()[0]?.audioLevel ?? 0),
      };
    }
  }
  return heard;
})()
"""
SENT = """
(async () => {
  const own = window.antiphon.client.connections.find(({ direction }) => direction === "send");
  const reports = own ? [...(await own.peerConnection.getStats()).values()] : [];
  return reports.find(({ type }) => type === "outbound-rtp")?.packetsSent ?? 0;
})()
"""
PEOPLE = """[...document.querySelectorAll('[aria-label="People in the room"] > li')].map((item) => item.innerText)"""
STATUS = """document.querySelector('[role="status"]').innerText"""
ALERT = """document.querySelector('[role="alert"]').innerText"""


@dataclass(frozen=True)
class Heard:
    """Of one person: packets received and lost since the connection began, energy likewise, level now (0..1)."""

    packets: int
    lost: int
    energy: float
    level: float


class Person:
    """One user of the page in a browser."""

    def __init__(self, page: Driver, url: str) -> None:
        self.page = page
        self.url = url

    async def open(self, path: str = "/") -> None:
        await self.page.goto(self.url + path)
        await self.wait_status("Disconnected")

    async def connect(self, name: str) -> None:
        await self.page.fill("Username", name)
        await self.page.click("Connect to Server")
        await self.wait_status("Connected")

    async def give_microphone(self) -> None:
        await self.page.click("Request Microphone Access")
        await self.page.wait("!document.getElementById('microphone-live').hidden", for_="the microphone")

    async def wait_microphone_level(self) -> None:
        """Wait until the page shows that the microphone hears something."""
        level = """Number(document.querySelector('[aria-label="Microphone level"]').getAttribute('aria-valuenow'))"""
        await self.page.wait(f"{level} > 10", for_="a microphone level")

    async def wait_level_of(self, name: str) -> None:
        """Wait until the page shows that ``name`` says something."""
        tile = (
            f"""[...document.querySelectorAll('[aria-label="People in the room"] > li')].find((one) => one.innerText.includes({name!r}))"""
        )
        await self.page.wait(f"{tile}.querySelector('.avatar').style.getPropertyValue('--level') > 0.1", for_=f"the level of {name}")

    async def create_room(self) -> str:
        """Returns the room's id, as the page shows it."""
        await self.page.click("Create New Room")
        await self.wait_status("In room")
        return str(await self.page.evaluate("document.getElementById('current-room-id').innerText"))

    async def join_room(self, room_id: str | None = None) -> None:
        """``room_id``: None joins what stands in the field."""
        if room_id is not None:
            await self.page.fill("Room ID", room_id)
        await self.page.click("Join Room")
        await self.wait_status("In room")

    async def wait_status(self, status: str) -> None:
        await self.page.wait(f"{STATUS} === {status!r}", for_=f"the status {status}")

    async def wait_alert(self, words: str) -> None:
        """Wait for an error message with these words in it."""
        await self.page.wait(f"{ALERT}.includes({words!r})", for_=f"an alert about {words!r}")

    async def wait_people(self, *lines: str) -> None:
        """Wait until exactly these are in the room, in this order: what is given is part of what the page shows of each."""
        end = time.monotonic() + WAIT_S
        while True:
            people = await self.page.evaluate(PEOPLE)
            if len(people) == len(lines) and all(line in shown for line, shown in zip(lines, people, strict=True)):
                return
            assert time.monotonic() < end, f"people are {people}, not {lines}; {await self.page.look()}"
            await asyncio.sleep(POLL_S)

    async def heard(self) -> dict[str, Heard]:
        """What has been received so far, by name."""
        return {name: Heard(**values) for name, values in (await self.page.evaluate(STATS)).items()}

    async def assert_hears(self, *names: str) -> None:
        """Wait until everyone in ``names`` is heard: 50 further packets, energy grows, a level above zero, loss under 1 %."""
        end = time.monotonic() + WAIT_S
        others = "window.antiphon.client.room.participants.filter(({ stream }) => stream)"
        await self.page.wait(f"{others}.length === {len(names)}", for_=str(names))
        first = await self.heard()
        loudest = dict.fromkeys(names, 0.0)
        while True:
            now = await self.heard()
            loudest = {name: max(level, now[name].level if name in now else 0.0) for name, level in loudest.items()}
            if all(name in now and _is_heard(first.get(name), now[name], loudest[name]) for name in names):
                return
            assert time.monotonic() < end, f"does not hear {names}: first {first}, now {now}, loudest {loudest}"
            await asyncio.sleep(POLL_S)

    async def sent_packets(self) -> int:
        """How many packets the microphone has sent so far."""
        return int(await self.page.evaluate(SENT))

    async def assert_silence_from(self, name: str) -> None:
        """Wait until nothing new of ``name`` arrives: neither packets nor sound within half a second."""
        end = time.monotonic() + WAIT_S
        while True:
            before = (await self.heard())[name]
            await asyncio.sleep(0.5)  # the span that is measured
            after = (await self.heard())[name]
            if after.packets == before.packets and after.energy - before.energy < 1e-6:
                return
            assert time.monotonic() < end, f"still hears {name}: {before}, then {after}"


def _is_heard(first: Heard | None, now: Heard, loudest: float) -> bool:
    packets, energy = (first.packets, first.energy) if first else (0, 0.0)
    lost = now.lost / max(1, now.lost + now.packets)
    return now.packets - packets >= 50 and now.energy > energy + 1e-5 and loudest > 0.001 and lost < 0.01
