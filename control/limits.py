"""What one socket, one address and all together may send: sans-IO, fed with ``now`` in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

INNOCENT: Final = frozenset(
    {
        "shard_unavailable",
        "shard_full",
        "room_full",
        "too_many_rooms",
        "too_many_consumers",
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

    def take(self, count: float = 1) -> bool:
        """Whether there were ``count`` tokens; they are gone now."""
        if self.tokens < count:
            return False
        self.tokens -= count
        return True


@dataclass(slots=True)
class KeyedRate:
    """A rate for each key (an address) and one for all together. Holds a bucket only for keys that have used theirs of late."""

    per_s: float
    burst: float
    total_per_s: float
    total_burst: float
    _buckets: dict[str, TokenBucket] = field(default_factory=dict)
    _total: TokenBucket = field(default_factory=TokenBucket)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> Literal["key", "total"] | None:
        """Let one thing of ``key`` pass (None), or say whose rate it goes beyond. What is refused costs nobody anything."""
        bucket = self._buckets.setdefault(key, TokenBucket())
        bucket.fill(now, self.per_s, self.burst)
        self._total.fill(now, self.total_per_s, self.total_burst)
        if bucket.tokens < 1:
            return "key"
        if not self._total.take():
            return "total"
        bucket.take()
        return None

    def forget_idle(self, now: float) -> None:
        """Drop the buckets that are full again: a new one is the same."""
        for key, bucket in list(self._buckets.items()):
            bucket.fill(now, self.per_s, self.burst)
            if bucket.tokens >= self.burst:
                del self._buckets[key]


@dataclass(slots=True)
class SocketLimits:
    """Token buckets of messages and of their bytes, and errors in a row.

    ``per_s`` messages a second in the long run, ``burst`` at once (many consumers are asked for in the moment of joining);
    ``bytes_per_s`` and ``byte_burst`` likewise; ``errors_in_a_row`` ends the socket. Each message over a rate is an error too, and
    those are not forgiven by the few messages of a flood that pass: only when the bucket of messages is half full again, and that of
    bytes quite.
    """

    per_s: float
    burst: float
    errors_in_a_row: int
    bytes_per_s: float = 256 * 1024
    byte_burst: float = 1024 * 1024
    _bucket: TokenBucket = field(default_factory=TokenBucket)
    _bytes: TokenBucket = field(default_factory=TokenBucket)
    _errors: int = 0
    _over_rate: int = 0

    def allow(self, now: float, size: int = 0) -> bool:
        """Whether one more message of ``size`` bytes at ``now`` is within the rates."""
        self._bucket.fill(now, self.per_s, self.burst)
        self._bytes.fill(now, self.bytes_per_s, self.byte_burst)
        if self._bucket.tokens >= self.burst / 2 and self._bytes.tokens >= self.byte_burst:
            self._over_rate = 0
        if self._bytes.take(size) and self._bucket.take():
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
