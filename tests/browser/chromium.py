"""Chromium from the machine's packages, driven by Playwright."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, CDPSession, Page, Playwright
from playwright.async_api import Error as PlaywrightError

from tests.browser.driver import WAIT_S, Driver, find_browser

INSECURE_HOST = "antiphon.test"
FLAGS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Pages of this host come from this machine, but not from "localhost": browsers trust them as little as any plain http.
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
)
GRANT = ("--use-fake-ui-for-media-stream",)
AUTOPLAY = ("--autoplay-policy=no-user-gesture-required",)


async def launch(playwright: Playwright, *, sound: Path | None = None, microphone: bool = True, autoplay: bool = True) -> Browser:
    """Start Chromium. ``sound``: WAV for the microphone, played again and again; ``microphone``: False has it refused."""
    flags = [*FLAGS, *(GRANT if microphone else ()), *(AUTOPLAY if autoplay else ())]
    if sound is not None:
        flags.append(f"--use-file-for-fake-audio-capture={sound}")
    return await playwright.chromium.launch(executable_path=find_browser("chromium", "chromium-browser"), args=flags)


class ChromiumPage(Driver):
    """One page in a context of its own: it shares nothing with other pages but the process."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        super().__init__()
        self._context = context
        self._session: CDPSession | None = None
        self.page = page
        page.set_default_timeout(WAIT_S * 1000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)

    @classmethod
    async def open(cls, browser: Browser, **options: Any) -> ChromiumPage:
        context = await browser.new_context(**options)
        return cls(context, await context.new_page())

    async def goto(self, url: str) -> None:
        await self.page.goto(url)

    async def click(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def fill(self, name: str, text: str) -> None:
        await self.page.get_by_role("textbox", name=name, exact=True).fill(text)

    async def can_see(self, role: str, name: str) -> bool:
        return await self.page.get_by_role(role, name=name, exact=True).is_visible()  # type: ignore[arg-type]

    async def evaluate(self, expression: str) -> Any:
        # Not page.evaluate: that counts as a touch of the page, and lets sound play that a person would have to allow.
        if self._session is None:
            self._session = await self._context.new_cdp_session(self.page)
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": False}
        answer = await self._session.send("Runtime.evaluate", options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def kill(self) -> None:
        with contextlib.suppress(PlaywrightError):
            await self.page.goto("chrome://crash")  # the renderer process ends: no event reaches the page

    async def close(self) -> None:
        await self._context.close()
