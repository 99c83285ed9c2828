"""TCP connections before they are anything: how many there may be, and how long each may take to say what it wants.

uvicorn waits for a request's head without end. Here a connection that has not sent one within ``header_timeout_s`` is cut, at its first
request and at every later one on the same connection; and there are no more connections, of one address and in all, than sockets
and some requests need. What comes from a trusted proxy is counted in all only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from control.clients import Network, client_key, is_proxy
from control.websocket import WebSocketProtocol

CUT_REASONS: Final = ("header_timeout", "too_many", "too_many_of_address")

OTHERS: Final = 256
"""Connections beside those of signaling sockets: pages, metrics, the admin API, sockets that are being turned away."""


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """``most``, ``most_of_address``: TCP connections, those of signaling sockets included."""

    most: int
    most_of_address: int
    header_timeout_s: float
    proxies: Sequence[Network] = ()

    @classmethod
    def of(cls, sockets: int, address_sockets: int, header_timeout_s: float, proxies: Sequence[Network]) -> ConnectionBounds:
        """Room for so many signaling sockets and the requests beside them."""
        return cls(sockets + OTHERS, address_sockets + OTHERS, header_timeout_s, proxies)


class Connections:
    """All TCP connections of HTTP. ``cut``: those that were ended here, by reason."""

    def __init__(self, bounds: ConnectionBounds) -> None:
        self.bounds = bounds
        self.cut: Counter[str] = Counter(dict.fromkeys(CUT_REASONS, 0))
        self._of_address: Counter[str] = Counter()
        self._keys: dict[asyncio.BaseTransport, str | None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, transport: asyncio.BaseTransport, peer: str) -> str | None:
        """Count a new connection. If there is no room for it, the reason; it must be cut then."""
        key = None if is_proxy(peer, self.bounds.proxies) else client_key(peer, (), ())
        if len(self._keys) >= self.bounds.most:
            return "too_many"
        if key is not None:
            if self._of_address[key] >= self.bounds.most_of_address:
                return "too_many_of_address"
            self._of_address[key] += 1
        self._keys[transport] = key
        return None

    def remove(self, transport: asyncio.BaseTransport) -> None:
        key = self._keys.pop(transport, None)
        if key is not None:
            self._of_address[key] -= 1
            if not self._of_address[key]:
                del self._of_address[key]


def http_protocol(connections: Connections) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, held to the bounds of ``connections``."""

    class Bounded(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            reason = connections.add(transport, self.client[0] if self.client else "")
            if reason is not None:
                connections.cut[reason] += 1
                transport.abort()
                return
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY):  # a request is being answered
                self._stop_expecting()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._expect_head()

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._stop_expecting()
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_expecting()
            connections.remove(self.transport)
            super().connection_lost(exc)

        def _expect_head(self) -> None:
            self._stop_expecting()
            if not self.transport.is_closing() and self.conn.our_state not in (h11.SEND_RESPONSE, h11.SEND_BODY):
                self._head_timer = self.loop.call_later(connections.bounds.header_timeout_s, self._cut)

        def _stop_expecting(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _cut(self) -> None:
            connections.cut["header_timeout"] += 1
            self.transport.abort()

    return Bounded


def websocket_protocol(connections: Connections) -> type[WebSocketProtocol]:
    """The same for a connection that has become a WebSocket: it is counted until it ends."""

    class Counted(WebSocketProtocol):
        def connection_lost(self, exc: Exception | None) -> Any:
            connections.remove(self.transport)
            return super().connection_lost(exc)

    return Counted
