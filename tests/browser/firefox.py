"""Firefox from the machine's packages, driven by WebDriver BiDi (Playwright cannot drive this Firefox).

https://www.w3.org/TR/webdriver-bidi/: JSON over one WebSocket; commands have an id, events have none.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.browser.driver import POLL_S, WAIT_S, Driver, environment, find_browser

PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # Nothing of a profile's first start, and nothing that talks to anyone.
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "services.settings.server": "",
    "media.gmp-manager.updateEnabled": False,
}
MICROPHONE = "permissions.default.microphone"
LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


class FirefoxPage(Driver):
    """The one page of a Firefox process with a profile of its own."""

    def __init__(self, process: asyncio.subprocess.Process, socket: ClientConnection) -> None:
        super().__init__()
        self._process = process
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())
        self._context = ""

    @classmethod
    async def launch(cls, profile: Path, *, microphone: bool = True) -> FirefoxPage:
        """Start Firefox with an empty folder as its profile. ``microphone``: False has it refused."""
        preferences = {**PREFERENCES, MICROPHONE: 1 if microphone else 2}
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
        (profile / "user.js").write_text("".join(lines))
        process = await asyncio.create_subprocess_exec(
            find_browser("firefox-esr", "firefox"),
            *("--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0", "about:blank"),
            env=environment(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        url = await asyncio.wait_for(_listening(process), 60)
        # No limit on messages: the page's stylesheets and sources pass in events.
        page = cls(process, await connect(f"{url}/session", max_size=None, ping_interval=None, proxy=None))
        await page.command("session.new", capabilities={})
        await page.command("session.subscribe", events=["log.entryAdded"])
        tree = await page.command("browsingContext.getTree")
        page._context = tree["contexts"][0]["context"]
        # getUserMedia waits forever in a tab that is not in front.
        await page.command("browsingContext.activate", context=page._context)
        return page

    async def goto(self, url: str) -> None:
        await self.command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def click(self, name: str) -> None:
        node = await self._find("button", name)
        origin = {"type": "element", "element": {"sharedId": node["sharedId"]}}
        pointer = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        source = {"type": "pointer", "id": "mouse", "actions": pointer}
        await self._call("(element) => element.scrollIntoView({block: 'center'})", node)
        await self.command("input.performActions", context=self._context, actions=[source])

    async def fill(self, name: str, text: str) -> None:
        node = await self._find("textbox", name)
        await self._call("(element) => { element.focus(); element.select(); }", node)
        keys = [{"type": kind, "value": char} for char in (text or "\ue003") for kind in ("keyDown", "keyUp")]
        await self.command("input.performActions", context=self._context, actions=[{"type": "key", "id": "keys", "actions": keys}])

    async def can_see(self, role: str, name: str) -> bool:
        return bool(await self._visible(role, name))

    async def evaluate(self, expression: str) -> Any:
        code = f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        target = {"context": self._context}
        result = await self.command("script.evaluate", expression=code, target=target, awaitPromise=True, userActivation=False)
        assert result["type"] == "success", result
        return json.loads(result["result"]["value"])

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                await self.kill()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its result. Raises AssertionError with Firefox's words on an error."""
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        message = await asyncio.wait_for(answer, 60)
        assert message["type"] == "success", f"{method}: {message}"
        result: dict[str, Any] = message["result"]
        return result

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame)
            if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.problems.append(message["params"]["text"])
            waiting = self._waiting.pop(message.get("id"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def _visible(self, role: str, name: str) -> list[dict[str, Any]]:
        locator = {"type": "accessibility", "value": {"role": role, "name": name}}
        found = await self.command("browsingContext.locateNodes", context=self._context, locator=locator)
        nodes: list[dict[str, Any]] = found["nodes"]
        return [node for node in nodes if await self._call("(element) => element.checkVisibility()", node)]

    async def _find(self, role: str, name: str) -> dict[str, Any]:
        """The one visible, enabled element of this role and name; waits for it as a person would."""
        loop = asyncio.get_running_loop()
        end = loop.time() + WAIT_S
        while True:
            nodes = [node for node in await self._visible(role, name) if await self._call("(element) => !element.disabled", node)]
            if len(nodes) == 1:
                return nodes[0]
            assert loop.time() < end, f"{len(nodes)} visible {role} called {name!r}; the page says {await self.look()}"
            await asyncio.sleep(POLL_S)

    async def _call(self, function: str, node: dict[str, Any]) -> Any:
        argument = {"sharedId": node["sharedId"]}
        result = await self.command(
            "script.callFunction", functionDeclaration=function, target={"context": self._context}, awaitPromise=True, arguments=[argument]
        )
        assert result["type"] == "success", result
        return result["result"].get("value")


async def _listening(process: asyncio.subprocess.Process) -> str:
    """The address from Firefox's own words; what it says afterwards is read on and thrown away, so that its pipe never fills."""
    assert process.stderr is not None
    said = []
    async for line in process.stderr:
        text = line.decode(errors="replace")
        said.append(text)
        match = LISTENING.search(text)
        if match:
            task = asyncio.create_task(_drain(process.stderr))
            _drains.add(task)
            task.add_done_callback(_drains.discard)
            return match[1]
    raise AssertionError(f"Firefox ended before it listened: {''.join(said)}")


_drains: set[asyncio.Task[None]] = set()


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
