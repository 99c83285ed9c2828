"""A server whose faults are known: a proxy before a real one that loses, repeats and delays exactly what it says.

The load tester is given the proxy's URL. The proxy passes signaling on, but names a port of its own wherever the server names a media
port; so
media goes through it, too. Faults are made on the way to the listeners only, and only to media.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import re
import select
import socket
import threading
import time
from types import TracebackType
from typing import Self

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

PORT = re.compile(r"(127\.0\.0\.1 )(\d+)( typ host)")


def is_media(datagram: bytes) -> bool:
    """RTP, and not RTCP (RFC 5761 4)."""
    return 128 <= datagram[0] <= 191 and not 192 <= datagram[1] <= 223


class Relay:
    """One server port's media. Every ``lose_every``th media packet to a listener is lost, every ``repeat_every``th of the others comes
    twice,
    and all come ``delay_s`` later; 0 is never."""

    def __init__(self, port: int, *, lose_every: int, repeat_every: int, delay_s: float) -> None:
        self._server = ("127.0.0.1", port)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._lose_every, self._repeat_every, self._delay_s = lose_every, repeat_every, delay_s
        self.port = int(self._front.getsockname()[1])
        self.held_s: list[float] = []
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._owners: dict[int, tuple[str, int]] = {}
        self._seen = self._passed = 0
        self._later: list[tuple[float, int, float, bytes, tuple[str, int]]] = []
        self._order = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for each in [self._front, *self._backs.values()]:
            each.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            wait_s = max(0.0, self._later[0][0] - time.monotonic()) if self._later else 0.05
            readable, _, _ = select.select([self._front, *self._backs.values()], [], [], min(wait_s, 0.05))
            for each in readable:
                if each is self._front:
                    self._up(*self._front.recvfrom(2048))
                else:
                    self._down(each.recv(2048), self._owners[each.fileno()])
            while self._later and self._later[0][0] <= time.monotonic():
                _, _, came, datagram, client = heapq.heappop(self._later)
                self.held_s.append(time.monotonic() - came)
                self._front.sendto(datagram, client)

    def _up(self, datagram: bytes, client: tuple[str, int]) -> None:
        if client not in self._backs:
            back = self._backs[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.connect(self._server)
            self._owners[back.fileno()] = client
        self._backs[client].send(datagram)

    def _down(self, datagram: bytes, client: tuple[str, int]) -> None:
        if not is_media(datagram):
            self._front.sendto(datagram, client)
            return
        self._seen += 1
        if self._lose_every and self._seen % self._lose_every == 0:
            return
        self._passed += 1
        copies = 2 if self._repeat_every and self._passed % self._repeat_every == 0 else 1
        now = time.monotonic()
        for _ in range(copies):
            heapq.heappush(self._later, (now + self._delay_s, next(self._order), now, datagram, client))


class FaultyServer:
    """``async with`` it; ``url`` is for the load tester, ``relays`` has one for each media port that was named."""

    def __init__(self, ws_url: str, *, lose_every: int = 0, repeat_every: int = 0, delay_s: float = 0.0) -> None:
        self._ws_url = ws_url
        self._faults = {"lose_every": lose_every, "repeat_every": repeat_every, "delay_s": delay_s}
        self.relays: dict[int, Relay] = {}
        self.url = ""

    async def __aenter__(self) -> Self:
        self._serving = await serve(self._serve, "127.0.0.1", 0, compression=None)
        self.url = f"http://127.0.0.1:{next(iter(self._serving.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._serving.close()
        await self._serving.wait_closed()
        for relay in self.relays.values():
            relay.close()

    async def _serve(self, client: ServerConnection) -> None:
        async with connect(self._ws_url, proxy=None, compression=None) as server:
            down, up = self._pass_on(server, client, rename=True), self._pass_on(client, server, rename=False)
            both = [asyncio.create_task(down), asyncio.create_task(up)]
            _, other = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in other:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _pass_on(self, source: object, sink: object, *, rename: bool) -> None:
        try:
            async for frame in source:  # type: ignore[attr-defined]
                await sink.send(PORT.sub(self._our_port, frame) if rename else frame)  # type: ignore[attr-defined]
        except ConnectionClosed:
            pass

    def _our_port(self, candidate: re.Match[str]) -> str:
        port = int(candidate[2])
        if port not in self.relays:
            self.relays[port] = Relay(port, **self._faults)  # type: ignore[arg-type]
        return f"{candidate[1]}{self.relays[port].port}{candidate[3]}"
