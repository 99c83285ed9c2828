"""Who may join as a shard from another host: CURVE (RFC 26 of ZeroMQ) with a list of public keys.

Both sides prove a key: a shard that is not on the list is refused by ZAP (RFC 27 of ZeroMQ) before a word of it is read, and a shard that
expects another key of control, or none, gets no further than the handshake. Each refusal is counted; :data:`REFUSALS` says which is which.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import zmq
import zmq.asyncio
import zmq.auth
from zmq.auth import Authenticator
from zmq.utils.monitor import parse_monitor_message

from control.binding import StartError

log = structlog.get_logger("antiphon.curve")

REFUSALS: Final = ("unknown_key", "handshake")
"""``unknown_key``: the shard's public key is not in shard_public_keys; ``handshake``: it speaks no CURVE or expects another control."""
KEY_CHARS: Final = 40
"""Of a key in Z85 (RFC 32 of ZeroMQ)."""
_FAILED: Final = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_DOMAIN: Final = "antiphon"
_LOGGED_EVERY_S: Final = 60.0
"""A shard that is refused tries again each second."""


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """``secret``: control's; ``allowed``: public keys of shards. All in Z85."""

    secret: bytes = field(repr=False)
    allowed: frozenset[bytes]


def read_server_keys(file: str, allowed: list[str]) -> ServerKeys:
    """Raises :class:`StartError`."""
    try:
        _, secret = zmq.auth.load_certificate(Path(file))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "there is no such file, or it holds no CURVE key"
        raise StartError(f"shard_key_file: {file} cannot be used: {problem}; antiphon keygen makes one") from None
    if secret is None or len(secret) != KEY_CHARS:
        raise StartError(f"shard_key_file: {file} holds no secret key; it is the file whose name ends in .key_secret")
    return ServerKeys(secret, frozenset(key.encode() for key in allowed))


class CurveDoor:
    """Guards one endpoint of a socket that may have others. ``refused``: connections, by reason."""

    def __init__(self, keys: ServerKeys) -> None:
        self.refused: Counter[str] = Counter()
        self._keys = keys
        self._logged_at: dict[str, float] = {}
        self._authenticator: Authenticator | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def bind(self, context: zmq.asyncio.Context, socket: zmq.asyncio.Socket, endpoint: str) -> None:
        """Bind ``socket`` to ``endpoint`` too, for shards with a key. Raises :class:`zmq.ZMQError`."""
        self._authenticator = authenticator = Authenticator(context)
        authenticator.start()
        authenticator.configure_curve_callback(_DOMAIN, self)
        # These hold for what is bound from now on: the ipc socket of local shards stays as it is.
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())
        socket.bind(endpoint)
        watching, answering = self._watch(socket.get_monitor_socket(_FAILED)), self._answer(authenticator)
        self._tasks = [asyncio.create_task(watching), asyncio.create_task(answering)]

    def callback(self, domain: str, key: bytes) -> bool:
        """Of the authenticator: whether who has proved to have ``key`` may come in."""
        return key in self._keys.allowed

    async def stop(self) -> None:
        """Before the context ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._authenticator is not None:
            self._authenticator.stop()

    async def _answer(self, authenticator: Authenticator) -> None:
        # The wrapper is closed with its socket: one that is left behind goes when it is collected, and takes the event loop's reader for
        # that descriptor along, which by then may be the next socket's. Then nobody is let in any more.
        requests = zmq.asyncio.Socket.from_socket(authenticator.zap_socket)
        try:
            while True:
                await authenticator.handle_zap_message(await requests.recv_multipart())
        finally:
            requests.close(0)

    async def _watch(self, monitor: zmq.asyncio.Socket) -> None:
        try:
            while True:
                event = parse_monitor_message(await monitor.recv_multipart())["event"]
                self._refused("unknown_key" if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH else "handshake")
        finally:
            monitor.close(0)

    def _refused(self, reason: str) -> None:
        self.refused[reason] += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at.get(reason, -_LOGGED_EVERY_S) >= _LOGGED_EVERY_S:
            self._logged_at[reason] = now
            log.warning("shard refused", reason=reason, refused=self.refused[reason])
