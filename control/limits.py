"""What one socket may send: sans-IO, fed with ``now`` in seconds."""

from __future__ import annotations

from dataclasses import dataclass
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
    }
)
"""Errors that a correct client meets when a server is missing or somebody left at the same moment: not held against it."""


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
    _tokens: float = -1.0
    _at: float = 0.0
    _errors: int = 0
    _over_rate: int = 0

    def allow(self, now: float) -> bool:
        """Whether one more message at ``now`` is within the rate."""
        self._tokens = self.burst if self._tokens < 0 else min(self.burst, self._tokens + (now - self._at) * self.per_s)
        self._at = now
        if self._tokens >= self.burst / 2:
            self._over_rate = 0
        if self._tokens < 1:
            self._over_rate += 1
            return False
        self._tokens -= 1
        return True

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
