"""The page loads nothing but its own files, can be installed, and has something to show without the server."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.chromium import ChromiumPage
from tests.browser.conftest import Opener
from tests.browser.firefox import FirefoxPage
from tests.browser.person import Person
from tests.server import RunningServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", ({ blockedURI, violatedDirective }) =>
  window.violations.push(`${violatedDirective} ${blockedURI}`));
"""
KEPT = """(async () => {
  const caches_ = await Promise.all((await caches.keys()).map((name) => caches.open(name)));
  return (await Promise.all(caches_.map((cache) => cache.keys()))).flat().map(({ url }) => url);
})()"""
OFFLINE_PARTS = {"index.html", "offline.css", "offline.js", "text.js"}


async def a_whole_call(person: Person) -> None:
    await person.connect("Ann")
    await person.give_microphone()
    await person.create_room()
    await person.page.click("Show detailed statistics")
    await person.page.wait("document.querySelector('#connections canvas') !== null", for_="charts")
    await person.page.click("Settings")
    await person.page.click("Done")
    await person.page.click("Leave Room")
    await person.wait_status("Connected")


async def test_a_call_asks_no_other_host_and_breaks_no_policy_in_chromium(
    visit: Opener, shared_chromium: Browser, server: RunningServer
) -> None:
    page = await ChromiumPage.open(shared_chromium)
    asked: list[str] = []
    page.page.context.on("request", lambda request: asked.append(request.url))
    page.page.on("websocket", lambda socket: asked.append(socket.url.replace("ws:", "http:")))
    await page.page.add_init_script(VIOLATIONS)
    ann = Person(page, server.url)
    await ann.open()
    await a_whole_call(ann)
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    assert [url for url in asked if not url.startswith((f"{server.url}/", f"blob:{server.url}"))] == []
    assert await page.evaluate("window.violations") == []
    assert page.problems == []
    await page.close()


async def test_firefox_breaks_no_policy_either(server: RunningServer, tmp_path: Path) -> None:
    page = await FirefoxPage.launch(tmp_path)
    try:
        fia = Person(page, server.url)
        await fia.open()
        await page.evaluate(f"(() => {{ {VIOLATIONS} }})()")
        await a_whole_call(fia)
        names = await page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
        assert [name for name in names if not name.startswith(f"{server.url}/")] == []
        assert await page.evaluate("window.violations") == []
        assert page.problems == []
    finally:
        await page.close()


def sizes_of_icons(url: str) -> list[tuple[str, str]]:
    """Of each icon of the manifest, the size that it promises and the one that it has. Raises AssertionError for a wrong type."""
    with urllib.request.urlopen(f"{url}/app/manifest.webmanifest") as answer:
        icons = json.load(answer)["icons"]
    assert any(icon.get("purpose") == "maskable" for icon in icons)
    found = []
    for icon in icons:
        with urllib.request.urlopen(url + icon["src"]) as answer:
            assert answer.headers["content-type"] == icon["type"]
            header = answer.read(24)  # PNG 5.6: the signature, and IHDR with width and height
        size = f"{int.from_bytes(header[16:20])}x{int.from_bytes(header[20:24])}" if icon["type"] == "image/png" else "any"
        found.append((icon["sizes"], size))
    return found


async def test_every_icon_of_the_manifest_is_there(server: RunningServer) -> None:
    found = await asyncio.to_thread(sizes_of_icons, server.url)
    assert {promised for promised, _ in found} == {"any", "192x192", "512x512"}
    assert all(promised == size for promised, size in found), found


async def test_without_the_server_the_offline_page_shows_and_nothing_else_is_kept(shared_chromium: Browser) -> None:
    page = await ChromiumPage.open(shared_chromium)
    with RunningServer(shards=1) as server:
        await page.goto(server.url)
        await page.wait("navigator.serviceWorker.controller !== null", for_="the service worker")
        kept = await page.evaluate(KEPT)
        assert {url.removeprefix(f"{server.url}/app/") for url in kept} == {f"offline/{part}" for part in OFFLINE_PARTS} | {"icon.svg"}
    await page.goto(f"{server.url}/?room=x")
    await page.wait("document.getElementById('offline-title')?.innerText === 'No connection'", for_="the offline page")
    assert await page.evaluate("location.search") == "?room=x"
    assert await page.can_see("button", "Try Again")
    await page.close()
