"""What lies between a page and the server: a cable that can be cut, and a router that can give the page another address.

    async with Cable(server.url) as cable:
        person.open(cable.url)      # HTTP and the WebSocket go through it, and media through UDP relays of its own
        await cable.cut()           # every TCP connection breaks without a goodbye, and nobody gets through
        await cable.mend()
        await cable.move()          # from now on the server sees another source port
        cable.block()               # the media path that is in use is dead for good; only a new one works

The relays are made for the candidates that the server offers, and put into their place in the offers as they pass: ``127.0.0.1 <port> typ
host`` with a port of as many digits. So WebSocket compression is struck out of the handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from types import TracebackType
from urllib.parse import urlsplit

CANDIDATE = re.compile(rb"127\.0\.0\.1 (\d+) typ host")
COMPRESSION = re.compile(rb"Sec-WebSocket-Extensions:[^\r]*\r\n", re.IGNORECASE)


class Cable:
    """``url``: what the page opens instead of the server's."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        assert target.hostname is not None
        assert target.port is not None
        self._target = (target.hostname, target.port)
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._transports: set[asyncio.Transport] = set()
        self._relays: dict[int, Relay] = {}
        self._all_relays: list[Relay] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Cable:
        await self.mend()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.cut()
        for relay in self._all_relays:
            relay.close()

    # ------------------------------------------------------------------------------------------ TCP

    async def cut(self) -> None:
        """Break every connection (RST, no close frame), and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for transport in list(self._transports):
            transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def mend(self) -> None:
        """Let connections through, at the same address as before."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
            both = {writer.transport, upstream_writer.transport}
            self._transports |= both
            try:
                await asyncio.gather(
                    self._copy(reader, upstream_writer, lambda data: COMPRESSION.sub(b"", data)),
                    self._copy(upstream_reader, writer, self._redirect),
                )
            finally:
                self._transports -= both
        writer.close()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: object) -> None:
        try:
            while data := await reader.read(1 << 20):
                writer.write(change(data))  # type: ignore[operator]
                await writer.drain()
        finally:
            writer.close()

    def _redirect(self, data: bytes) -> bytes:
        return CANDIDATE.sub(lambda match: match[0].replace(match[1], b"%d" % self._relay(int(match[1])).port), data)

    # ------------------------------------------------------------------------------------------ UDP

    async def move(self) -> None:
        """The server sees the page's media come from other ports from now on; the page notices nothing."""
        for relay in self._relays.values():
            relay.move()

    def block(self) -> None:
        """Nothing passes the relays that are in use, ever again. What the server offers from now on goes through new ones."""
        for relay in self._relays.values():
            relay.blocked = True
        self._relays.clear()

    def _relay(self, port: int) -> Relay:
        if port not in self._relays:
            self._relays[port] = Relay(port)
            self._all_relays.append(self._relays[port])
        return self._relays[port]


class Relay:
    """One UDP port of the server, as seen from a page behind the cable. ``moved``: source ports that the server has seen."""

    def __init__(self, target_port: int) -> None:
        self.blocked = False
        self._target = ("127.0.0.1", target_port)
        self._socket = _bind_like(target_port)
        self.port: int = self._socket.getsockname()[1]
        self._upstreams: dict[tuple[str, int], socket.socket] = {}
        asyncio.get_running_loop().add_reader(self._socket, self._from_page)

    def move(self) -> None:
        for page in list(self._upstreams):
            self._drop(page)

    def close(self) -> None:
        self.move()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _from_page(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, page = self._socket.recvfrom(65536)
                if not self.blocked:
                    self._send(self._upstream(page), data)

    def _from_server(self, upstream: socket.socket, page: tuple[str, int]) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                data = upstream.recv(65536)
                if not self.blocked:
                    self._socket.sendto(data, page)

    @staticmethod
    def _send(upstream: socket.socket, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            upstream.send(data)

    def _upstream(self, page: tuple[str, int]) -> socket.socket:
        if page not in self._upstreams:
            upstream = self._upstreams[page] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            upstream.setblocking(False)
            upstream.bind(("127.0.0.1", 0))
            upstream.connect(self._target)
            asyncio.get_running_loop().add_reader(upstream, self._from_server, upstream, page)
        return self._upstreams[page]

    def _drop(self, page: tuple[str, int]) -> None:
        upstream = self._upstreams.pop(page)
        asyncio.get_running_loop().remove_reader(upstream)
        upstream.close()


def _bind_like(port: int) -> socket.socket:
    """A UDP socket on a free port with as many digits as ``port``, so that one can stand for the other in a frame of fixed length."""
    held = []
    try:
        while True:
            found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            found.setblocking(False)
            found.bind(("127.0.0.1", 0))
            if len(str(found.getsockname()[1])) == len(str(port)):
                return found
            held.append(found)
    finally:
        for other in held:
            other.close()
