"""A server that lets in who has a token, and the page that takes it from the link of an invitation."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from control.auth import Keys, make_token
from control.grants import Grants
from tests.browser.chromium import ChromiumPage
from tests.browser.conftest import Opener
from tests.server import RunningServer

pytestmark = pytest.mark.browser

SECRET = "a secret of more than thirty-two bytes"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(shards=1, environment={**os.environ, "ANTIPHON_CONTROL_ACCESS_SECRET": SECRET}) as running:
        yield running


async def test_the_link_of_an_invitation_lets_one_in_also_when_the_page_is_loaded_again(open_chromium: Opener) -> None:
    stranger = await open_chromium()
    await stranger.page.fill("Username", "Eve")
    await stranger.page.click("Connect to Server")
    await stranger.wait_alert("token")
    await stranger.wait_status("Disconnected")
    token = make_token(Keys("HS256", SECRET, SECRET), Grants(identity="ann", name="Dr. Ann"), 600, time.time())
    ann = await open_chromium(f"/#token={token}")
    await ann.connect("Ann")
    await ann.create_room()
    assert await ann.page.evaluate("location.hash") == ""
    assert isinstance(ann.page, ChromiumPage)
    await ann.page.page.reload()
    await ann.wait_status("Disconnected")
    await ann.connect("Ann")
