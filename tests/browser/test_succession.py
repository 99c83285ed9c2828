"""Control is killed under people in browsers: they talk on, and are the same people under the next one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest
from playwright.async_api import Playwright

from tests.browser import chromium
from tests.browser.chromium import ChromiumPage
from tests.browser.person import Person
from tests.browser.test_reconnection import SAME_MEDIA, SAME_PERSON, goodbye, hear_each_other, more_packets, seen, talk
from tests.scenarios.processes import children, is_alive
from tests.scenarios.test_survival import free_tcp_port
from tests.server import RunningServer

pytestmark = pytest.mark.browser


async def test_control_is_killed_and_everybody_talks_on_and_resumes_under_the_next_one(
    playwright: Playwright, sound: Path, tmp_path: Path
) -> None:
    port = free_tcp_port()
    environment = {**os.environ, "ANTIPHON_CONTROL_RUNTIME_DIR": str(tmp_path / "run")}
    first, second = (RunningServer(shards=1, args=["--port", str(port)], environment=environment, resume_grace_s=30) for _ in range(2))
    await asyncio.to_thread(first.start)
    shards = children(first.pid)
    browser = await chromium.launch(playwright, sound=sound)
    try:
        ann, bo = [Person(await ChromiumPage.open(browser), first.url) for _ in range(2)]
        for person in (ann, bo):
            await person.open()
        await talk(ann, bo)
        await asyncio.to_thread(first.kill)
        for person in (ann, bo):
            await person.wait_status("Reconnecting")
        await asyncio.gather(more_packets(ann, "Bo"), more_packets(bo, "Ann"))
        async with second:
            for person in (ann, bo):
                await person.wait_status("In room")
                assert await person.page.evaluate(SAME_MEDIA)
                assert await person.page.evaluate(SAME_PERSON)
                assert await seen(person, "reconnected") == [True]
                assert await seen(person, "left") == 0
            await hear_each_other(ann, bo)
            await ann.page.click("Mute")
            await bo.wait_people("Muted", "Microphone on")
            await goodbye(ann, bo)
            await second.wait_tables_empty_async()
        await asyncio.to_thread(first.finish)
    finally:
        await browser.close()
        for pid in shards:
            if is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
