"""A room of fifty in Chromium: what a newcomer waits for, what one join costs the pages that are there, and whether they stay smooth.

48 light participants of the load tester publish speech and hear nothing (hearing is what the pages do here); two pages of the real
client are in the room with them, everything on this one machine. Measured in the pages:

* **newcomer**: from ``joinRoom`` until packets of each of the 49 others have arrived at the page's receivers;
* **join**: somebody joins and publishes: offers that the page which was there has to answer, and the time until it hears them;
* **churn**: somebody leaves and somebody else comes, again and again: offers, sections and length of the SDP;
* **long tasks**: those of 50 ms and more on the pages' main threads, as Chromium reports them, and the longest.

    make bench-room50 ARGS="--rounds 200"
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast

from playwright.async_api import Browser, async_playwright

from loadtest.light import Hub
from loadtest.participant import Directory, Participant, Target
from tests.browser import chromium
from tests.browser.chromium import ChromiumPage
from tests.browser.person import Person
from tests.server import RunningServer

SYNTHETIC = 48
JOINS = 10
"""Single joins whose cost is measured, with so much quiet after each that none shares an offer with another."""
QUIET_S = 3.0

OBSERVE = """
window.observed = { offers: 0, sections: 0, bytes: 0, tasks: [] };
new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) window.observed.tasks.push(duration); })
  .observe({ type: "longtask", buffered: true });
const original = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function (description) {
  const sections = description.sdp.split("m=audio").length - 1;
  if (/a=(sendonly|inactive)/.test(description.sdp)) {
    observed.offers += 1;
    observed.sections = Math.max(observed.sections, sections);
    observed.bytes = Math.max(observed.bytes, description.sdp.length);
  }
  return original.call(this, description);
};
"""
HEARD = """
(() => {
  const { client } = window.antiphon;
  const pc = client.connections.find(({ direction }) => direction === "receive")?.peerConnection;
  const live = new Set((pc?.getReceivers() ?? []).filter((one) => one.getSynchronizationSources().length > 0).map(({ track }) => track));
  return (client.room?.participants ?? []).filter(({ stream }) => stream?.getTracks().some((track) => live.has(track)))
    .map(({ username }) => username);
})
"""
JOIN_AND_HEAR = """
(async (heard, room, count) => {
  const from = performance.now();
  await window.antiphon.client.joinRoom(room);
  const joined = performance.now() - from;
  while (heard().length < count && performance.now() - from < 30_000) await new Promise((resolve) => setTimeout(resolve, 20));
  return { joined, all: performance.now() - from, heard: heard().length };
})
"""


class Crowd:
    """Synthetic people who publish, each under a name of their own."""

    def __init__(self, server: RunningServer, hub: Hub) -> None:
        self._hub = hub
        self._target = Target(server.url)
        self._directory = Directory()
        self._free = [hub.traffic.open_talker(number, slot=number) for number in range(SYNTHETIC + 8)]
        self.people: list[Participant] = []
        self._made = 0

    async def come(self, room_id: str) -> Participant:
        self._made += 1
        talker = self._free.pop(0)
        hearing = cast(Any, "nobody")
        one = Participant(
            self._hub, self._target, self._directory, f"S{self._made}", number=talker, group=0, talker=talker, hearing=hearing
        )
        await one.connect()
        await one.join_room(room_id)
        await one.publish()
        self.people.append(one)
        return one

    async def go(self) -> None:
        """The one who came first leaves."""
        first = self.people.pop(0)
        await first.leave()
        assert first.talker is not None
        self._free.append(first.talker)


async def open_page(browser: Browser, server: RunningServer, name: str) -> Person:
    page = await ChromiumPage.open(browser)
    await page.page.add_init_script(OBSERVE)
    person = Person(page, server.url)
    await person.open()
    await person.connect(name)
    await person.give_microphone()
    return person


async def observed(person: Person) -> dict[str, Any]:
    return cast(dict[str, Any], await person.page.evaluate("window.observed"))


async def until_heard(person: Person, name: str) -> float:
    """Milliseconds until the page hears ``name``."""
    from_ = time.monotonic()
    await person.page.wait(f"({HEARD})().includes({name!r})", for_=f"hearing {name}", deadline_s=30)
    return 1000 * (time.monotonic() - from_)


async def measure(rounds: int) -> dict[str, Any]:
    async with RunningServer(shards=1) as server, async_playwright() as playwright:
        browser = await chromium.launch(playwright)
        hub = Hub()
        try:
            return await run(server, browser, Crowd(server, hub), rounds)
        finally:
            hub.close()
            await browser.close()


async def run(server: RunningServer, browser: Browser, crowd: Crowd, rounds: int) -> dict[str, Any]:
    ann, late = await open_page(browser, server, "Ann"), await open_page(browser, server, "Late")
    room = await ann.create_room()
    for _ in range(SYNTHETIC):
        await crowd.come(room)
    await ann.page.wait(f"({HEARD})().length === {SYNTHETIC}", for_="the whole crowd", deadline_s=60)
    filled = await observed(ann)
    await asyncio.sleep(QUIET_S)
    await late.page.evaluate("window.observed.tasks.length = 0")
    newcomer = await late.page.evaluate(f"({JOIN_AND_HEAR})({HEARD}, {room!r}, {SYNTHETIC + 1})")
    newcomer["tasks"] = (await observed(late))["tasks"]
    await asyncio.sleep(QUIET_S)
    joins = await single_joins(ann, crowd, room)
    return {
        "filling": {"people": SYNTHETIC, "offers": filled["offers"], "tasks": filled["tasks"]},
        "newcomer": newcomer,
        "joins": joins,
        "churn": await churn(ann, crowd, room, rounds),
    }


async def single_joins(ann: Person, crowd: Crowd, room: str) -> dict[str, Any]:
    offers, heard_ms, tasks = [], [], []
    for _ in range(JOINS):
        await crowd.go()
        await asyncio.sleep(QUIET_S)
        before = await observed(ann)
        one = await crowd.come(room)
        heard_ms.append(await until_heard(ann, one.name))
        await asyncio.sleep(QUIET_S)
        after = await observed(ann)
        offers.append(after["offers"] - before["offers"])
        tasks += after["tasks"][len(before["tasks"]) :]
    return {"offers": offers, "heard_ms": heard_ms, "tasks": tasks}


async def churn(ann: Person, crowd: Crowd, room: str, rounds: int) -> dict[str, Any]:
    before = await observed(ann)
    for _ in range(rounds):
        await crowd.go()
        one = await crowd.come(room)
        await until_heard(ann, one.name)
    after = await observed(ann)
    sections = await ann.page.evaluate(
        "window.antiphon.client.connections.find(({ direction }) => direction === 'receive').peerConnection.getTransceivers().length"
    )
    return {
        "rounds": rounds,
        "offers": after["offers"] - before["offers"],
        "sections": sections,
        "sdp_bytes": [before["bytes"], after["bytes"]],
        "tasks": after["tasks"][len(before["tasks"]) :],
    }


def longest(tasks: list[float]) -> str:
    return f"{len(tasks)}, longest {max(tasks):.0f} ms" if tasks else "none of 50 ms"


def show(result: dict[str, Any]) -> None:
    newcomer, joins, churned = result["newcomer"], result["joins"], result["churn"]
    rows = [
        ("newcomer hears all 49 others after", f"{newcomer['all']:.0f} ms (in the room after {newcomer['joined']:.0f} ms)"),
        ("newcomer's long tasks", longest(newcomer["tasks"])),
        (f"offers for each of {len(joins['offers'])} joins, at a page that was there", f"{max(joins['offers'])} at most"),
        ("that page hears the joiner, after the joiner's track is up, within", f"{statistics.median(joins['heard_ms']):.0f} ms (median)"),
        ("long tasks in these joins", longest(joins["tasks"])),
        (f"offers over {churned['rounds']} leaves and joins", str(churned["offers"])),
        ("sections afterwards, for 49 others", str(churned["sections"])),
        ("longest SDP before and after", "{} and {} bytes".format(*churned["sdp_bytes"])),
        ("long tasks in these", longest(churned["tasks"])),
        (f"offers while {result['filling']['people']} came one after the other", str(result["filling"]["offers"])),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="leaves and joins (default: 200)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.rounds))
    show(result)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(0 if result["newcomer"]["heard"] == SYNTHETIC + 1 else 1)


if __name__ == "__main__":
    main()
