"""Webhooks: what happens in rooms, told to another system by HTTP, in order, signed, and again until it is taken.

One POST for each event, its body one JSON object::

    {"id": UUID, "event": "participant_joined", "unix_s": 1800000000.0, "room_id": ..., "user_id": ..., "username": ..., "identity": ...}

``event`` is one of :data:`control.happenings.KINDS`; ``track_published`` has a ``track_id`` as well, ``identity`` is there where a
token named one. The receiver answers 2xx within 5 s. Headers::

    Antiphon-Timestamp: 1800000000             seconds since 1970, of this attempt
    Antiphon-Signature: v1=<hex>               HMAC-SHA256, keyed with the secret, of the timestamp, a dot and the body

It should refuse a wrong signature and a timestamp that is minutes old, and take an ``id`` that it has seen as told already: an answer that
got lost makes the same event come again. Nothing here makes signaling wait: events stand in a queue with a bound, and what it
has no room for is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
import structlog

from control.binding import StartError
from control.config import ControlConfig

log = structlog.get_logger("antiphon.webhooks")

TIMEOUT_S: Final = 5.0
MIN_SECRET_CHARS: Final = 16
RESULTS: Final = ("delivered", "retried", "refused", "given_up", "dropped")
"""What became of events: taken; tried again; refused for good (4xx); not taken in all the time; no room in the queue."""
AGAIN: Final = frozenset({408, 409, 425, 429})
"""Refusals (4xx) that may pass."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where events go. ``queue``: how many may wait; ``give_up_s``: how long one is tried."""

    url: str
    secret: bytes
    queue: int = 1000
    give_up_s: float = 300.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0

    @classmethod
    def of(cls, config: ControlConfig) -> Hook | None:
        """The configured one. Raises :class:`StartError`."""
        secret = config.webhook_secret.get_secret_value()
        if not config.webhook_url:
            return None
        if len(secret) < MIN_SECRET_CHARS:
            raise StartError(f"webhook_url needs a webhook_secret of {MIN_SECRET_CHARS} characters at least")
        return cls(config.webhook_url, secret.encode(), config.webhook_queue, config.webhook_give_up_s)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Value of ``Antiphon-Signature``."""
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Webhooks:
    """Delivers to one hook. ``counted``: events by what became of them, of :data:`RESULTS`."""

    def __init__(self, hook: Hook, counted: Counter[str], unix: Callable[[], float] = time.time) -> None:
        self.counted = counted
        self._hook = hook
        self._unix = unix
        self._waiting: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._where = urlsplit(hook.url).hostname  # of the address only this is logged: the rest may be a secret

    def put(self, kind: str, fields: dict[str, str]) -> None:
        """Something has happened."""
        if len(self._waiting) >= self._hook.queue:
            self.counted["dropped"] += 1
            return
        event = {"id": str(uuid.uuid4()), "event": kind, "unix_s": self._unix(), **fields}
        self._waiting.append(msgspec.json.encode(event))
        self._empty.clear()
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled. Events go out one after another: a receiver sees them in their order."""
        async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as http:
            while True:
                while self._waiting:
                    await self._deliver(http, self._waiting[0])
                    self._waiting.popleft()
                self._empty.set()
                self._changed.clear()
                await self._changed.wait()

    async def flush(self, seconds: float) -> None:
        """Give what waits some time to go out."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    async def _deliver(self, http: httpx.AsyncClient, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        end, delay_s = loop.time() + self._hook.give_up_s, self._hook.first_delay_s
        while True:
            problem = await self._try(http, body)
            if problem is None:
                return
            if loop.time() + delay_s > end:
                self.counted["given_up"] += 1
                log.error("webhook given up", host=self._where, problem=problem)
                return
            self.counted["retried"] += 1
            log.warning("webhook not taken, trying again", host=self._where, problem=problem, in_s=delay_s)
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.0))
            delay_s = min(2 * delay_s, self._hook.longest_delay_s)

    async def _try(self, http: httpx.AsyncClient, body: bytes) -> str | None:
        """One attempt; what went wrong and may go right the next time."""
        timestamp = str(int(self._unix()))
        headers = {
            "Content-Type": "application/json",
            "Antiphon-Timestamp": timestamp,
            "Antiphon-Signature": signature(self._hook.secret, timestamp, body),
        }
        try:
            async with http.stream("POST", self._hook.url, content=body, headers=headers) as answer:  # what it says is not read
                status = answer.status_code
        except (httpx.HTTPError, OSError) as error:
            return type(error).__name__
        if 200 <= status < 300:
            self.counted["delivered"] += 1
            return None
        if 400 <= status < 500 and status not in AGAIN:
            self.counted["refused"] += 1
            log.error("webhook refused", host=self._where, status=status)
            return None
        return f"HTTP status {status}"
