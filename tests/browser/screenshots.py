"""Pictures of every main state of the page, light and dark, phone and desktop, from a real call: ``python -m tests.browser.screenshots``.

They go to ``screenshots/`` (ignored by git), for somebody to look at; nothing is compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, async_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.browser import chromium  # noqa: E402 - run as a file, the folder of `tests` has to be found first
from tests.browser.chromium import ChromiumPage  # noqa: E402
from tests.browser.person import Person  # noqa: E402
from tests.browser.sound import write_speech  # noqa: E402
from tests.server import RunningServer  # noqa: E402

FOLDER = ROOT / "screenshots"
SIZES = {"phone": (360, 740), "desktop": (1280, 800)}
SCHEMES = ("light", "dark")
OTHERS = ("Bo", "Cleopatra Nguyễn-Østergård the Third", "עדה לאבלייס", "Dee", "Émile", "Fatima", "Gül")


class Photographer:
    """Takes pictures of one person's page in one size and colour scheme."""

    def __init__(self, person: Person, page: ChromiumPage, suffix: str) -> None:
        self.person = person
        self._page = page
        self._suffix = suffix

    async def take(self, name: str) -> None:
        await self._page.page.screenshot(path=FOLDER / f"{name}-{self._suffix}.png")


async def enter(browser: Browser, url: str, name: str, room: str, *, microphone: bool = True) -> Person:
    person = Person(await ChromiumPage.open(browser), url)
    await person.open(f"/?room={room}")
    await person.connect(name)
    if microphone:
        await person.give_microphone()
    await person.join_room()
    return person


async def photograph(server: RunningServer, browser: Browser, size: str, scheme: str) -> None:
    """All states in one size and scheme."""
    width, height = SIZES[size]
    page = await ChromiumPage.open(browser, viewport={"width": width, "height": height}, color_scheme=scheme)
    ann = Person(page, server.url)
    camera = Photographer(ann, page, f"{size}-{scheme}")
    await ann.open()
    await camera.take("1-start")
    await ann.connect("Ann")
    await camera.take("2-connected")
    await ann.page.fill("Room ID", "0d5f5a7e-53a1-4a0c-9f0b-7a1f4f6f2c11")
    await ann.page.click("Join Room")
    await ann.wait_alert("room")
    await camera.take("3-error")
    room = await ann.create_room()
    await camera.take("4-alone-listening")
    await ann.give_microphone()
    await page.page.mouse.move(5, height - 5)
    people = [await enter(browser, server.url, name, room, microphone=name != "Dee") for name in OTHERS[:2]]
    await ann.assert_hears(*OTHERS[:2])
    await camera.take("5-three-people")
    await ann.page.click("Mute")
    await people[0].page.click("Mute")
    await ann.wait_people("Muted", "Muted", "Microphone on")
    await camera.take("6-muted")
    people += [await enter(browser, server.url, name, room, microphone=name != "Dee") for name in OTHERS[2:]]
    await ann.page.click("Unmute")
    await page.page.wait_for_timeout(3500)  # until the notices are gone
    await camera.take("7-eight-people")
    await ann.page.click("Copy Room Link")
    await page.page.wait_for_timeout(200)
    await camera.take("8-link-copied")
    for person in people:
        await person.page.close()
    await ann.wait_people("Ann")
    await ann.page.click("Leave Room")
    await ann.wait_status("Connected")
    await camera.take("9-left")
    await page.close()


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = await stack.enter_async_context(RunningServer(shards=2))
        playwright = await stack.enter_async_context(async_playwright())
        browser = await chromium.launch(playwright, sound=write_speech(Path(folder) / "speech.wav"))
        stack.push_async_callback(browser.close)
        for size, scheme in itertools.product(SIZES, SCHEMES):
            await photograph(server, browser, size, scheme)
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}")


if __name__ == "__main__":
    asyncio.run(main())
