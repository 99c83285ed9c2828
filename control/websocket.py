"""One WebSocket: a thin adapter between Starlette and the signaling logic.

Owns three tasks: the reader (frames in, limits), the worker (one message at a time, in order) and the writer (frames out, from a
bounded queue). Whichever ends first ends the socket. The client leaves its room in that moment if either side has closed the socket
in order; if it broke, its session waits to be resumed. It must not know what a message means.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from control import messages as m
from control.dispatch import Dispatcher
from control.effects import Session
from control.limits import SocketLimits

log = structlog.get_logger("antiphon.websocket")

CLOSE_S: Final = 1.0
"""How long a closing frame, and what is queued before it, may take to be handed to the kernel before the connection is cut."""
POLICY_VIOLATION: Final = 1008
GOING_AWAY: Final = 1001
TRY_AGAIN_LATER: Final = 1013
COMING_BACK: Final = 4000
"""A client that closes with this code or a higher one means to resume its session. Lower ones are a leave."""


@dataclass(frozen=True, slots=True)
class SocketBounds:
    """The operator's bounds on one socket (control/config.py describes each)."""

    messages_per_s: float = 50.0
    message_burst: float = 100.0
    errors_in_a_row: int = 20
    waiting_messages: int = 256
    queue_bytes: int = 1024 * 1024
    sockets: int = 10_000
    address_sockets: int = 4000
    register_timeout_s: float = 10.0
    bytes_per_s: float = 256 * 1024
    byte_burst: float = 1024 * 1024


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which also lets the application cut a connection whose peer reads nothing."""

    async def run_asgi(self) -> None:
        self.scope["extensions"]["antiphon.abort"] = {"abort": self.transport.abort}
        await super().run_asgi()


class ClientSocket:
    """Adapter of one socket; implements :class:`control.dispatch.Outbox`. ``address``: of the client (control/clients.py)."""

    def __init__(self, websocket: WebSocket, dispatcher: Dispatcher, bounds: SocketBounds, address: str = "") -> None:
        self._websocket = websocket
        self._dispatcher = dispatcher
        self._bounds = bounds
        self._limits = SocketLimits(
            bounds.messages_per_s, bounds.message_burst, bounds.errors_in_a_row, bounds.bytes_per_s, bounds.byte_burst
        )
        self._address = address
        self._session = Session(address=address)
        self._inbox: asyncio.Queue[m.ClientMessage | m.BadMessage] = asyncio.Queue(bounds.waiting_messages)
        self._outbox: deque[str] = deque()
        self._outbox_bytes = 0
        self._outbox_filled = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._errors: list[str] = []
        self._clean = False
        self._too_slow = asyncio.Event()

    async def run(self) -> None:
        """Serve the socket until either side ends it."""
        if self._dispatcher.sockets >= self._bounds.sockets:
            await self._turn_away("the server has as many connections as it takes")
            return
        if self._dispatcher.of_address[self._address] >= self._bounds.address_sockets:
            await self._turn_away("your address has as many connections as it may")
            return
        self._dispatcher.count(self._address, 1)
        self._dispatcher.attach(self._session, self)  # before anything is awaited, so that no more come in than are counted
        registering = asyncio.get_running_loop().call_later(self._bounds.register_timeout_s, self._expect_registered)
        try:
            await self._websocket.accept()
            await self._serve()
        finally:
            registering.cancel()
            self._dispatcher.detach(self._session, self)
            self._dispatcher.count(self._address, -1)

    async def _serve(self) -> None:
        tasks = [asyncio.create_task(step()) for step in (self._read, self._work, self._write, self._too_slow.wait)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._leave()
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                    log.error("socket task failed", **self._about(), exc_info=result)
        if self._too_slow.is_set():
            await self._cut()

    def _about(self) -> dict[str, str]:
        return self._dispatcher.signaling.sessions.about(self._session)

    async def _turn_away(self, reason: str) -> None:
        """Accepted all the same: a browser shows a page nothing of why an upgrade was refused."""
        self._dispatcher.turned_away += 1
        await self._websocket.accept()
        asyncio.get_running_loop().call_later(CLOSE_S, self._abort)
        await self._websocket.close(TRY_AGAIN_LATER, reason)

    def _expect_registered(self) -> None:
        """Who is let in shall say who it is: open sockets that say nothing would keep others out."""
        if self._session.user_id is None:
            self.close(POLICY_VIOLATION, "not registered in time")

    # ------------------------------------------------------------------------------------------ Outbox

    def deliver(self, text: str, error: str | None) -> None:
        """Queue one frame. A client that does not read what it is sent is cut, so that nobody waits for it."""
        if error is not None:
            self._errors.append(error)
        if self._closing is not None or self._too_slow.is_set():
            return
        self._outbox.append(text)
        self._outbox_bytes += len(text)
        self._outbox_filled.set()
        if self._outbox_bytes > self._bounds.queue_bytes:
            log.warning("slow client closed", **self._about(), queued_bytes=self._outbox_bytes)
            self._too_slow.set()

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued; what the client still sends is not looked at."""
        if self._closing is None:
            self._closing = (code, reason)
            self._outbox_filled.set()
            asyncio.get_running_loop().call_later(CLOSE_S, self._too_slow.set)

    def attached(self, session: Session) -> None:
        """The client has resumed ``session``."""
        self._session = session

    # ------------------------------------------------------------------------------------------ tasks

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame = await self._websocket.receive()
            if frame["type"] == "websocket.disconnect":
                # uvicorn gives a reason (maybe empty) only where a close frame was received.
                self._clean = "reason" in frame and frame["code"] < COMING_BACK
                return
            if self._closing is not None:
                continue
            text = frame.get("text")
            size = len(frame.get("bytes") or b"") if text is None else len(text.encode())
            if not self._limits.allow(loop.time(), size):
                self._refuse_rate()
            elif text == "ping":
                self.deliver("pong", None)
            else:
                self._take(text)

    def _take(self, text: str | None) -> None:
        message: m.ClientMessage | m.BadMessage
        if text is None:
            message = m.BadMessage("invalid_message", "Messages are text frames; this one is binary.")
        else:
            try:
                message = m.decode_client(text)
            except m.BadMessage as error:
                message = error
        try:
            self._inbox.put_nowait(message)
        except asyncio.QueueFull:
            self._refuse_rate()

    def _refuse_rate(self) -> None:
        earlier = len(self._errors)
        self._dispatcher.apply(self._dispatcher.signaling.rate_limited(self._session))
        del self._errors[earlier:]  # not of the message that is being carried out, and counted by the limits themselves
        self._close_if_exceeded()

    async def _work(self) -> None:
        while True:
            message = await self._inbox.get()
            if self._closing is not None:
                continue
            self._errors.clear()
            if isinstance(message, m.BadMessage):
                self._dispatcher.apply(self._dispatcher.signaling.bad_message(self._session, message))
            else:
                await self._dispatcher.receive(self._session, message)
            self._limits.answered(self._errors)
            self._close_if_exceeded()

    def _close_if_exceeded(self) -> None:
        reason = self._limits.exceeded
        if reason is not None and self._closing is None:
            log.warning("socket closed", **self._about(), reason=reason)
            self.close(POLICY_VIOLATION, reason)

    async def _write(self) -> None:
        while True:
            while self._outbox:
                text = self._outbox.popleft()
                await self._websocket.send_text(text)
                self._outbox_bytes -= len(text)
            if self._closing is not None:
                await self._websocket.close(*self._closing)
                return
            self._outbox_filled.clear()
            await self._outbox_filled.wait()

    # ------------------------------------------------------------------------------------------ end

    def _leave(self) -> None:
        if not self._dispatcher.detach(self._session, self):
            return  # another socket has resumed its session
        signaling, now = self._dispatcher.signaling, asyncio.get_running_loop().time()
        # A socket that the server closes for a reason is not to be resumed either.
        clean = self._clean or self._closing is not None or self._too_slow.is_set()
        self._dispatcher.apply(signaling.closed(self._session, now) if clean else signaling.lost(self._session, now))

    async def _cut(self) -> None:
        """Say why, if the peer takes even that, and drop the connection with all that waits in it."""
        with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_S):
                await self._websocket.close(POLICY_VIOLATION, "reads too slowly")
        self._abort()

    def _abort(self) -> None:
        extension = self._websocket.scope.get("extensions", {}).get("antiphon.abort")
        if extension is not None:
            extension["abort"]()
