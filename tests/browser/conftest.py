"""Browsers and a server for the tests of this folder."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, async_playwright

from tests.browser import chromium
from tests.browser.chromium import ChromiumPage
from tests.browser.firefox import FirefoxPage
from tests.browser.person import Person
from tests.browser.sound import write_speech
from tests.server import RunningServer

Opener = Callable[..., Awaitable[Person]]
"""Opens a page in a browser: a :class:`Person` on the server's start page."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for the tests of a file; each test must leave it empty (see ``people``)."""
    with RunningServer(shards=2) as running:
        yield running


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("sound") / "speech.wav")


@pytest.fixture
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as running:
        yield running


@pytest.fixture
async def cleanup(server: RunningServer) -> AsyncIterator[contextlib.AsyncExitStack]:
    """Closes what a test opened; afterwards nobody may be left on the shards."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack
    print(server.output)  # pytest shows it when the test failed
    await server.wait_tables_empty_async()


@pytest.fixture
def open_chromium(server: RunningServer, playwright: Playwright, sound: Path, cleanup: contextlib.AsyncExitStack) -> Opener:
    """Opens a page in Chromium. All pages of a test share a browser, each has a context of its own."""
    browsers: dict[tuple[bool, bool, Path], Browser] = {}

    async def open_page(
        path: str = "/",
        *,
        microphone: bool = True,
        autoplay: bool = True,
        hears: Path = sound,
        before: str | None = None,
        url: str | None = None,
    ) -> Person:
        """``hears``: what the microphone hears; ``before``: script that runs before those of the page; ``url``: default is the server's."""
        kind = (microphone, autoplay, hears)
        if kind not in browsers:
            browser = await chromium.launch(playwright, sound=hears, microphone=microphone, autoplay=autoplay)
            cleanup.push_async_callback(browser.close)
            browsers[kind] = browser
        page = await ChromiumPage.open(browsers[kind])
        if before is not None:
            await page.page.add_init_script(before)
        cleanup.push_async_callback(page.close)
        person = Person(page, url or server.url)
        await person.open(path)
        return person

    return open_page


@pytest.fixture
def open_firefox(server: RunningServer, tmp_path: Path, cleanup: contextlib.AsyncExitStack) -> Opener:
    """Opens a page in a Firefox of its own."""
    count = iter(range(1000))

    async def open_page(path: str = "/", *, microphone: bool = True, url: str | None = None) -> Person:
        profile = tmp_path / f"firefox-{next(count)}"
        profile.mkdir()
        page = await FirefoxPage.launch(profile, microphone=microphone)
        cleanup.push_async_callback(page.close)
        person = Person(page, url or server.url)
        await person.open(path)
        return person

    return open_page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_chromium(sound: Path) -> AsyncIterator[Browser]:
    """One Chromium for the tests of a file, which are marked ``asyncio(loop_scope="module")``."""
    async with async_playwright() as running:
        browser = await chromium.launch(running, sound=sound)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(server: RunningServer, shared_chromium: Browser) -> AsyncIterator[Opener]:
    """Opens pages in the Chromium of the file, each in a context of its own (``color_scheme``, ``locale``, ``viewport``, ...)."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_page(path: str = "/", *, before: str | None = None, status: str = "Disconnected", **options: object) -> Person:
            page = await ChromiumPage.open(shared_chromium, **options)
            stack.push_async_callback(page.close)
            if before is not None:
                await page.page.add_init_script(before)
            person = Person(page, server.url)
            await page.goto(server.url + path)
            await person.wait_status(status)
            return person

        yield open_page
