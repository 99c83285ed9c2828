"""What a test does with a page, whichever browser it runs in. Elements are found by role and accessible name, as people find them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from abc import ABC, abstractmethod
from typing import Any

WAIT_S = 20.0
"""Longest wait for something that takes well under a second when the machine is free."""
POLL_S = 0.05

INSTALL = "apt-get install --no-install-recommends chromium firefox-esr"


def find_browser(*names: str) -> str:
    """Path of the first of ``names``. Raises AssertionError with the command that installs it: these tests never skip."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise AssertionError(f"there is no {names[0]} on this machine: {INSTALL}")


class Driver(ABC):
    """One page in one browser. ``problems``: errors that the page's console has shown."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    @abstractmethod
    async def goto(self, url: str) -> None:
        """Load ``url`` and wait until its modules have run."""

    @abstractmethod
    async def click(self, name: str) -> None:
        """Press the visible, enabled button called ``name``."""

    @abstractmethod
    async def fill(self, name: str, text: str) -> None:
        """Replace what stands in the text field called ``name``."""

    @abstractmethod
    async def can_see(self, role: str, name: str) -> bool:
        """Whether there is a visible element of this role and accessible name."""

    @abstractmethod
    async def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is awaited."""

    @abstractmethod
    async def kill(self) -> None:
        """End the page without letting it say goodbye."""

    @abstractmethod
    async def close(self) -> None:
        """End the browser."""

    async def wait(self, expression: str, *, for_: str, deadline_s: float = WAIT_S) -> Any:
        """Poll ``expression`` until it is true. Raises AssertionError that says what was awaited (``for_``)."""
        end = time.monotonic() + deadline_s
        while not (value := await self.evaluate(expression)):
            assert time.monotonic() < end, f"waited {deadline_s} s for {for_}; the page says {await self.look()}"
            await asyncio.sleep(POLL_S)
        return value

    async def look(self) -> str:
        """What the page shows and what its console said, for failure messages."""
        text = await self.evaluate("document.body.innerText")
        return f"{text!r}, console: {self.problems}"


def environment() -> dict[str, str]:
    """Of browser processes: as it is, but no display and no session of the person at the machine."""
    dropped = ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS")
    return {key: value for key, value in os.environ.items() if key not in dropped}
