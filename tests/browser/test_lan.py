"""A server for a LAN: --dev-tls gives pages of a name that is not localhost a secure context, and with it a microphone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Playwright

from tests.browser import chromium
from tests.browser.chromium import INSECURE_HOST, ChromiumPage
from tests.browser.person import Person
from tests.server import RunningServer

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environment = {**os.environ, "ANTIPHON_CONTROL_RUNTIME_DIR": str(tmp_path_factory.mktemp("run") / "own")}
    with RunningServer(shards=1, args=["--host", "0.0.0.0", "--open", "--dev-tls"], environment=environment) as running:
        yield running


async def test_people_talk_over_https_with_a_self_signed_certificate(
    server: RunningServer, playwright: Playwright, sound: Path, cleanup: contextlib.AsyncExitStack
) -> None:
    browser = await chromium.launch(playwright, sound=sound)
    cleanup.push_async_callback(browser.close)
    url = f"https://{INSECURE_HOST}:{server.url.rsplit(':', 1)[1]}"

    async def open_page() -> Person:
        page = await ChromiumPage.open(browser, ignore_https_errors=True)  # what a person does with one click
        cleanup.push_async_callback(page.close)
        person = Person(page, url)
        await person.open("/")
        return person

    ann, bo = await open_page(), await open_page()
    assert await ann.page.evaluate("isSecureContext")
    for person, name in ((ann, "Ann"), (bo, "Bo")):
        await person.connect(name)
        await person.give_microphone()
    await bo.join_room(await ann.create_room())
    await ann.assert_hears("Bo")
    await bo.assert_hears("Ann")
    assert (await ann.page.evaluate("antiphon.client.connections.length")) > 0


def test_the_start_warns_that_only_this_machine_is_announced_for_media(server: RunningServer) -> None:
    warned = "only private addresses are announced for media"
    server.wait(lambda: warned in server.output, 30, lambda: server.output)
    assert server.output.count(warned) == 1
