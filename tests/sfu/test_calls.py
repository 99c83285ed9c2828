"""People talk through a real shard: real sockets, real aiortc peers, a real ROUTER as control."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sfu import protocol as p


async def test_two_people_hear_each_others_tone(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    await bo.publish(1000)
    _, from_ann = await bo.consume(ann)
    _, from_bo = await ann.consume(bo)
    heard = await asyncio.gather(hear(from_ann), hear(from_bo))
    assert heard == [pytest.approx(440, abs=10), pytest.approx(1000, abs=10)]
    tables = await shard.router.tables(lambda tables: tables.native_consumers == 2)
    assert (tables.transports, tables.native_transports, tables.tracks, tables.native_tracks) == (4, 4, 2, 2)
    await ann.leave()
    await bo.leave()
    await shard.drained()
