"""What control measures of itself as it goes: how long joins take, and how late its event loop is. /metrics shows it."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

LAG_PROBE_S: Final = 0.1
_JOIN_BOUNDS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LAG_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Meters:
    """Histograms, all in seconds, in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._joins = Histogram(
            "antiphon_join_duration_seconds",
            "From create_room or join_room to room_joined, of those that came in",
            buckets=_JOIN_BOUNDS_S,
            registry=registry,
        )
        self._lag = Histogram(
            "antiphon_control_lag_seconds", "Delay of a timer on control's event loop", buckets=_LAG_BOUNDS_S, registry=registry
        )

    def joined(self, seconds: float) -> None:
        self._joins.observe(seconds)

    async def probe_lag(self) -> None:
        """Set a timer again and again, and note how late it runs. Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            due_at = loop.time() + LAG_PROBE_S
            await asyncio.sleep(LAG_PROBE_S)
            self._lag.observe(max(0.0, loop.time() - due_at))
