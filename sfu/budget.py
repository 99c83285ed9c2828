"""A token bucket: how often something may be done that a peer can ask for."""

from __future__ import annotations


class TokenBucket:
    """Refills with ``rate_per_s`` tokens a second up to ``burst``, with which it starts. Times are seconds, monotonic."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at: float | None = None

    def take(self, wanted: int, now: float) -> int:
        """How many of ``wanted`` whole tokens there are; they are gone then."""
        self._fill(now, 1)
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted

    def spend(self, cost: int, now: float, scale: int = 1) -> bool:
        """Take ``cost`` tokens, or none where there are fewer. ``scale``: by how much rate and burst are larger for the time being."""
        self._fill(now, scale)
        if cost > self._tokens:
            return False
        self._tokens -= cost
        return True

    def _fill(self, now: float, scale: int) -> None:
        if self._filled_at is not None:
            self._tokens = min(scale * self._burst, self._tokens + max(0.0, now - self._filled_at) * scale * self._rate_per_s)
        self._filled_at = now
