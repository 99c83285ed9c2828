"""People come and go in numbers, sockets break and resume: memory, file descriptors and tables return to the start."""

from __future__ import annotations

import asyncio

from tests.bench.churn_signaling import cycle, problems, server_for

SOCKETS = 150
JOINS_PER_S = 100.0
WARM_UP_S, SECONDS = 2.0, 6.0


def test_everything_returns_to_the_start() -> None:
    with server_for(SOCKETS) as server:
        start, _, _ = asyncio.run(cycle(server, SOCKETS, JOINS_PER_S, WARM_UP_S))
        end, reached, churn = asyncio.run(cycle(server, SOCKETS, JOINS_PER_S, SECONDS))
    print(f"{churn.joins} joins at {reached:.0f}/s: {start} -> {end}")
    assert churn.joins > 50
    assert problems(start, end) == []
