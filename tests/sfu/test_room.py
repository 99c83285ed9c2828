"""What rooms give back, tell control and write into the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from sfu import protocol as p


@pytest.mark.parametrize("broken", ["offer", "open"])
async def test_publisher_that_cannot_be_made_leaves_nothing(shard: Any, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    ann = await shard.person("ann")
    fail(monkeypatch, shard, broken)
    assert (await shard.router.ask(p.CreatePublisher, **ann.at)).code == "internal_error"
    assert (len(shard.process.shard._tracks), len(shard.process.shard.connections)) == (0, 0)
    await shard.router.tables(lambda tables: not tables.native_transports)
    monkeypatch.undo()
    await ann.publish(440)


@pytest.mark.parametrize("broken", ["offer", "open"])
async def test_consumer_that_cannot_be_made_leaves_nothing(shard: Any, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    fail(monkeypatch, shard, broken)
    refused = await shard.router.ask(p.CreateConsumer, publisher_user_id=ann.user_id, consumer_id="c", **bo.at)
    assert refused.code == "internal_error"
    monkeypatch.undo()
    tables = shard.process.shard.tables()
    assert (tables.consumers, tables.transports) == (0, 1)
    await bo.consume(ann)
    await ann.leave()
    await bo.leave()
    await shard.drained()


def fail(monkeypatch: pytest.MonkeyPatch, shard: Any, method: str) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(shard.process.shard.connections, method, broken)


async def test_native_loop_that_refuses_a_transport_costs_no_slot(shard: Any) -> None:
    class Refusing:
        def add_transport(self, slot: int, generation: int) -> None:
            raise RuntimeError("broken")

    connections = shard.process.shard.connections
    ann = await shard.person("ann")
    loop, connections.loop = connections.loop, Refusing()
    assert (await shard.router.ask(p.CreatePublisher, **ann.at)).code == "internal_error"
    connections.loop = loop
    assert (len(connections), len(connections._slots)) == (0, 0)


async def test_shard_that_ends_says_nothing_of_publishers_nobody_knew(shard: Any) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    await shard.router.do(p.CreatePublisher, **bo.at)
    await shard.router.do(p.Shutdown)
    await shard.router.first(p.Goodbye)
    ends = [(type(event), event.reason) for event in shard.router.messages if isinstance(event, p.PublisherClosed | p.PublisherFailed)]
    assert ends == [(p.PublisherClosed, "closed")]


async def test_ends_are_logged_with_their_figures(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    published = await ann.publish(440)
    consumer_id, track = await bo.consume(ann)
    await hear(track)
    with structlog.testing.capture_logs() as lines:
        await shard.router.do(p.CloseConsumer, consumer_id=consumer_id, **bo.at)
        await shard.router.do(p.ClosePublisher, **ann.at)
    by_event = {line["event"]: line for line in lines}
    for event, user, what in [
        ("consumer closed", bo.user_id, {"consumer": consumer_id, "publisher": ann.user_id}),
        ("publisher closed", ann.user_id, {"track": published.track_id}),
    ]:
        line = by_event[event]
        assert (line["user"], line["room"], line["reason"]) == (user, "room", "closed")
        assert what.items() <= line.items()
        assert line["seconds"] > 0
        assert line["packets"] > 20
