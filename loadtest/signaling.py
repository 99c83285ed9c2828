"""A client of signaling version 1 (control/SIGNALING.md): JSON text frames over one WebSocket, no media.

Every message that arrives is kept in :attr:`Signaling.received` in order, and waiting means looking through that list,
so that a message which comes earlier than somebody waits for it is never missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

Message = dict[str, Any]
"""One JSON object of the protocol; ``message["type"]`` is its name."""

PROTOCOL_VERSION = 1
DEFAULT_TIMEOUT_S = 10.0
"""How long an answer may take. Control gives up on a shard sooner than this and says so."""


class TargetError(Exception):
    """The server cannot be used at all: wrong URL, nobody there, another protocol. The text is one line for people."""


class Refused(Exception):
    """The server answered a request with ``error``.

    ``code`` is the stable snake_case name, ``request`` the type of the message that was refused.
    """

    def __init__(self, message: Message) -> None:
        super().__init__(f"{message.get('request')}: {message.get('code')}: {message.get('message')}")
        self.text: str = message.get("message", "")
        self.code: str = message.get("code", "")
        self.request: str = message.get("request") or ""


class Closed(Exception):
    """The WebSocket is closed. ``code`` is the close code of RFC 6455 7.4, 1006 where no close frame came."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server closed the WebSocket: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


def websocket_url(url: str) -> str:
    """Turn what a person types (``http://host:8080``, ``host:8080``, ``wss://host/ws``) into the address of the WebSocket.

    Raises :class:`TargetError` for anything that is not such an address.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    try:
        usable = scheme is not None and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise TargetError(f"{url} is not an address like http://127.0.0.1:8080")
    path = parts.path if parts.path.rstrip("/").endswith("/ws") else parts.path.rstrip("/") + "/ws"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


class Signaling:
    """One open WebSocket. Make it with :meth:`open`, end it with :meth:`close` or :meth:`abort`."""

    def __init__(self, socket: ClientConnection, *, forget: frozenset[str] = frozenset()) -> None:
        self._socket = socket
        self._forget = forget
        self._arrived = asyncio.Condition()
        self.received: list[Message] = []
        """Everything the server has said, oldest first; without the types that were to be forgotten."""
        self.on_message: Callable[[Message], None] | None = None
        """Called with each message as it arrives."""
        self.closed: Closed | None = None
        """Why the socket is closed, or None while it is open."""
        self._requests: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._reader = asyncio.create_task(self._read(), name="signaling")

    @classmethod
    async def open(cls, url: str, *, tls: ssl.SSLContext | None = None, forget: frozenset[str] = frozenset()) -> Signaling:
        """Connect to ``url`` (see :func:`websocket_url`). Raises :class:`TargetError` with one line that says what is wrong.

        ``tls``: for ``https`` and ``wss``, where the usual certificate authorities are not what is wanted. ``forget``: types of messages
        that only :attr:`on_message` is told of.
        """
        target = websocket_url(url)
        try:
            # No proxy: a load tester talks to the address it is given.
            secure = (tls or ssl.create_default_context()) if target.startswith("wss:") else None
            socket = await connect(target, open_timeout=DEFAULT_TIMEOUT_S, proxy=None, compression=None, ssl=secure)
        except (InvalidURI, InvalidHandshake) as error:
            raise TargetError(f"{target} is not an Antiphon server: {error}") from error
        except TimeoutError as error:
            raise TargetError(f"{target} did not answer within {DEFAULT_TIMEOUT_S:.0f} s") from error
        except ssl.SSLError as error:
            raise TargetError(f"{target} is not to be trusted: {error.reason or error}") from error
        except OSError as error:
            raise TargetError(f"cannot connect to {target}: {error.strerror or error}") from error
        return cls(socket, forget=forget)

    async def send(self, type: str, **fields: object) -> None:
        """Send one message. Raises :class:`Closed` when the socket is."""
        await self.send_raw(json.dumps({"type": type, **fields}))

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame as it is: text for ``str``, binary for ``bytes``."""
        try:
            await self._socket.send(frame)
        except ConnectionClosed:
            await self._reader
            raise self.closed or Closed(1006, "") from None

    async def request(self, type: str, answer: str | None = None, /, *, timeout_s: float = DEFAULT_TIMEOUT_S, **fields: object) -> Message:
        """Send one message and wait for the message named ``answer``.

        Raises :class:`Refused` when the server answers this request with an error, :class:`TimeoutError` when it says
        nothing, :class:`Closed` when it hangs up.
        """
        # Answers carry no number: of each type one request at a time, so that it is clear whose answer it is.
        async with self._requests[type]:
            mark = len(self.received)
            await self.send(type, **fields)
            found = await self.wait(
                lambda m: m["type"] == answer or (m["type"] == "error" and m.get("request") == type), after=mark, timeout_s=timeout_s
            )
        if found["type"] == "error":
            raise Refused(found)
        return found

    async def wait(self, match: Callable[[Message], bool], *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S) -> Message:
        """Return the first message from position ``after`` of :attr:`received` on for which ``match`` is true.

        Raises :class:`TimeoutError` if none comes in time, :class:`Closed` if the socket closes first.
        """
        position = after

        def find() -> Message | None:
            nonlocal position
            for message in self.received[position:]:
                position += 1
                if match(message):
                    return message
            return None

        async with asyncio.timeout(timeout_s), self._arrived:
            while (found := find()) is None:
                if self.closed is not None:
                    raise self.closed
                await self._arrived.wait()
            return found

    async def expect(self, type: str, *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S, **fields: object) -> Message:
        """Wait for a message of ``type`` that has the given fields (see :meth:`wait`)."""
        try:
            return await self.wait(
                lambda m: m["type"] == type and all(m.get(name) == value for name, value in fields.items()),
                after=after,
                timeout_s=timeout_s,
            )
        except TimeoutError:
            raise TimeoutError(f"no {type} {fields} within {timeout_s} s; got {[m['type'] for m in self.received[after:]]}") from None

    async def wait_closed(self, timeout_s: float | None = DEFAULT_TIMEOUT_S) -> Closed:
        """Wait until the socket is closed by the server and return why. ``timeout_s`` None: as long as it takes."""
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(self._reader)
        assert self.closed is not None
        return self.closed

    async def close(self) -> None:
        """Say goodbye with a close frame. Harmless when repeated."""
        await self._socket.close()
        await self._reader

    async def abort(self) -> None:
        """Drop the TCP connection without a close frame, as a crashed tab or a lost network does."""
        self._socket.transport.abort()
        await self._reader

    async def _read(self) -> None:
        """Keep what arrives, until the socket closes. The server's words are input too: what is no message is a closed socket."""
        try:
            async for frame in self._socket:
                # Plain text "ping" is answered in plain text, the one word that is not JSON.
                message = {"type": "plain_pong"} if frame == "pong" else json.loads(frame)
                if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                    raise ValueError("not a message")
                if message["type"] not in self._forget:
                    self.received.append(message)
                if self.on_message is not None:
                    self.on_message(message)
                async with self._arrived:
                    self._arrived.notify_all()
        except ConnectionClosed:
            pass
        except ValueError:
            self.closed = Closed(1002, f"the server sent no message of the protocol: {frame[:80]!r}")
            with contextlib.suppress(ConnectionClosed):
                await self._socket.close(1002)
        if self.closed is None:
            self.closed = Closed(self._socket.close_code or 1006, self._socket.close_reason or "")
        async with self._arrived:
            self._arrived.notify_all()
