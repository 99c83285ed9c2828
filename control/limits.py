"""What one socket may send: sans-IO, fed with ``now`` in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

INNOCENT: Final = frozenset(
    {
        "shard_unavailable",
        "shard_full",
        "room_full",
        "too_many_rooms",
        "connection_failed",
        "publisher_not_found",
        "not_publishing",
        "consumer_not_found",
        "not_subscribed",
    }
)
"""Errors that a correct client meets when a server is missing or somebody left at the same moment: not held against it."""


@dataclass(slots=True)
class TokenBucket:
    """A rate with bursts: full at first, each thing allowed takes one token."""

    tokens: float = -1.0
    _at: float = 0.0

    def fill(self, now: float, per_s: float, burst: float) -> None:
        """Give back what has accrued since the last time: ``per_s`` tokens a second, at most ``burst``."""
        self.tokens = burst if self.tokens < 0 else min(burst, self.tokens + (now - self._at) * per_s)
        self._at = now

    def take(self) -> bool:
        """Whether there was a token; it is gone now."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class SocketLimits:
    """Token bucket of messages, and errors in a row.

    ``per_s`` messages a second in the long run, ``burst`` at once (many consumers are asked for in the moment of joining);
    ``errors_in_a_row`` ends the socket. Each message over the rate is an error too, and those are not forgiven by the few
    messages of a flood that pass: only by a bucket that is half full again.
    """

    per_s: float
    burst: float
    errors_in_a_row: int
    _bucket: TokenBucket = field(default_factory=TokenBucket)
    _errors: int = 0
    _over_rate: int = 0

    def allow(self, now: float) -> bool:
        """Whether one more message at ``now`` is within the rate."""
        self._bucket.fill(now, self.per_s, self.burst)
        if self._bucket.tokens >= self.burst / 2:
            self._over_rate = 0
        if self._bucket.take():
            return True
        self._over_rate += 1
        return False

    def answered(self, errors: list[str]) -> None:
        """A message was carried out; ``errors``: codes of the errors that it got."""
        counted = [code for code in errors if code not in INNOCENT]
        if counted:
            self._errors += len(counted)
        elif not errors:
            self._errors = 0

    @property
    def exceeded(self) -> str | None:
        """Why the socket is to be closed, if it is."""
        if self._over_rate >= self.errors_in_a_row:
            return "too many messages"
        return "too many errors in a row" if self._errors >= self.errors_in_a_row else None
