"""Pictures of every main state of the page, light and dark, phone and desktop, from a real call: ``python -m tests.browser.screenshots``.

They go to ``screenshots/`` (ignored by git), for somebody to look at; nothing is compared. Arguments choose: ``phone-dark desktop-light``.
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
from tests.browser.crowd import crowd  # noqa: E402
from tests.browser.person import Person  # noqa: E402
from tests.browser.sound import write_speech  # noqa: E402
from tests.server import RunningServer  # noqa: E402

FOLDER = ROOT / "screenshots"
SIZES = {"phone": (360, 740), "desktop": (1280, 800)}
SCHEMES = ("light", "dark")
SPEAKERS = ("Bo", "Cleopatra Nguyễn-Østergård the Third", "עדה לאבלייס", "Émile")
LISTENERS = ("Dee", "Fatima Zahra", "Gül", "Hiroshi", "Ines", "山田 太郎", "Kwame")
REFUSED = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('Permission denied', 'NotAllowedError'); }"


class Company:
    """The others: they stay in their two rooms while one visitor after the other takes pictures."""

    def __init__(self, server: RunningServer, browser: Browser) -> None:
        self._server = server
        self._browser = browser
        self.small = ""
        self.large = ""

    async def gather(self, stack: contextlib.AsyncExitStack) -> None:
        self.small = await self._room(SPEAKERS[:2])
        self.large = await self._room(SPEAKERS)
        await stack.enter_async_context(crowd(self._server.ws_url, self.large, LISTENERS))

    async def _room(self, names: tuple[str, ...]) -> str:
        room = ""
        for name in names:
            person = Person(await ChromiumPage.open(self._browser), self._server.url)
            await person.open()
            await person.connect(name)
            await person.give_microphone()
            if room:
                await person.join_room(room)
            else:
                room = await person.create_room()
        return room


class Photographer:
    """Takes pictures of one person's page in one size and colour scheme."""

    def __init__(self, browser: Browser, server: RunningServer, size: str, scheme: str, folder: Path = FOLDER) -> None:
        self._browser = browser
        self._server = server
        self._suffix = f"{size}-{scheme}.png"
        self._folder = folder
        width, height = SIZES[size]
        self._options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme, "has_touch": size == "phone"}

    async def visitor(self, path: str = "/", *, before: str = "", status: str = "Disconnected", **options: object) -> Person:
        """A page of its own."""
        page = await ChromiumPage.open(self._browser, **self._options, **options)
        if before:
            await page.page.add_init_script(before)
        person = Person(page, self._server.url)
        await page.goto(self._server.url + path)
        await person.wait_status(status)
        return person

    async def take(self, person: Person, name: str, *, settle_ms: int = 250) -> None:
        """``settle_ms``: until transitions have ended."""
        assert isinstance(person.page, ChromiumPage)
        await person.page.page.wait_for_timeout(settle_ms)
        await person.page.page.screenshot(path=self._folder / f"{name}-{self._suffix}")


async def photograph_lobby(camera: Photographer) -> None:
    ann = await camera.visitor("/?room=0d5f5a7e-53a1-4a0c-9f0b-7a1f4f6f2c11", before=REFUSED)
    await camera.take(ann, "01-invited")
    await ann.page.click("Request Microphone Access")
    await ann.wait_alert("microphone")
    await camera.take(ann, "02-microphone-refused")
    await ann.page.close()
    ann = await camera.visitor()
    await camera.take(ann, "03-start")
    await ann.connect("Ann")
    await ann.give_microphone()
    await camera.take(ann, "04-connected")
    await ann.page.fill("Room ID", "0d5f5a7e-53a1-4a0c-9f0b-7a1f4f6f2c11")
    await ann.page.click("Join Room")
    await ann.wait_alert("room")
    await camera.take(ann, "05-wrong-room")
    await ann.create_room()
    await camera.take(ann, "06-alone")
    await ann.page.click("Leave Room")
    await ann.wait_status("Connected")
    await ann.page.close()


async def photograph_call(camera: Photographer, company: Company) -> None:
    ann = await camera.visitor(f"/?room={company.small}")
    await ann.connect("Ann")
    await ann.join_room()
    await camera.take(ann, "07-listening")
    await ann.give_microphone()
    await ann.assert_hears(*SPEAKERS[:2])
    await ann.page.click("Copy Room Link")
    await camera.take(ann, "08-three-people", settle_ms=2500)
    await ann.page.click("Mute")
    await camera.take(ann, "09-muted", settle_ms=2500)
    await ann.page.click("Deafen")
    await camera.take(ann, "10-deafened")
    await ann.page.click("Undeafen")
    await ann.page.click("Unmute")
    await ann.page.click("Options for Bo")
    await camera.take(ann, "11-person-menu")
    await ann.page.click("Close")
    await ann.page.click("Settings")
    await camera.take(ann, "12-settings")
    await ann.page.click("Done")
    await ann.page.click("Show detailed statistics")
    await ann.page.evaluate("document.getElementById('statistics').scrollIntoView()")
    await camera.take(ann, "13-statistics", settle_ms=8000)
    await ann.page.close()


async def photograph_crowd(camera: Photographer, company: Company) -> None:
    ann = await camera.visitor(f"/?room={company.large}")
    await ann.connect("Ann")
    await ann.give_microphone()
    await ann.join_room()
    await ann.assert_hears(*SPEAKERS)
    await camera.take(ann, "14-twelve-people", settle_ms=2000)
    await ann.page.close()
    anna = await camera.visitor(f"/?room={company.small}", status="Getrennt", locale="de-DE")
    await camera.take(anna, "15-german")
    await anna.page.fill("Name", "Anna")
    await anna.page.click("Verbinden")
    await anna.wait_status("Verbunden")
    await anna.page.click("Beitreten")
    await anna.wait_status("Im Raum")
    await anna.page.click("Mikrofon freigeben")
    await camera.take(anna, "16-german-call", settle_ms=2500)
    await anna.page.click("Einstellungen")
    await camera.take(anna, "17-german-settings")
    await anna.page.close()
    offline = await camera.visitor()
    await offline.page.goto(f"{offline.url}/app/offline/index.html")
    await camera.take(offline, "18-offline")
    await offline.page.close()


async def main(chosen: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = await stack.enter_async_context(RunningServer(shards=2))
        playwright = await stack.enter_async_context(async_playwright())
        browser = await chromium.launch(playwright, sound=write_speech(Path(folder) / "speech.wav"))
        stack.push_async_callback(browser.close)
        company = Company(server, browser)
        await company.gather(stack)
        for size, scheme in itertools.product(SIZES, SCHEMES):
            if chosen and f"{size}-{scheme}" not in chosen:
                continue
            camera = Photographer(browser, server, size, scheme)
            await photograph_lobby(camera)
            await photograph_call(camera, company)
            await photograph_crowd(camera, company)
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
