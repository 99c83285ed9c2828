"""In which order the native loop is told of a connection that comes up."""

from __future__ import annotations

from typing import Any

import pytest


class Record:
    """The native loop, noting what it is told."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._loop, name)
        if not callable(method):
            return method

        def noting(*arguments: Any, **named: Any) -> Any:
            self.calls.append((name, arguments))
            return method(*arguments, **named)

        return noting

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def record(shard: Any) -> Record:
    record = Record(shard.process.loop)
    shard.process.shard.connections.loop = record
    return record


async def test_address_is_bound_before_the_peer_hears_that_it_is(shard: Any, record: Record) -> None:
    ann = await shard.person("ann")
    await ann.publish(440)
    bound = record.names().index("bind_address")
    address = record.calls[bound][1][1]
    name, arguments = record.calls[bound + 1]
    assert (name, arguments[0], arguments[1][0]) == ("send", address, 1)  # a STUN response


async def test_keys_are_set_before_media_is_let_through(shard: Any, record: Record) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    record.calls.clear()
    _, track = await bo.consume(ann)
    await track.recv()
    listed = next(index for index, (name, arguments) in enumerate(record.calls) if name == "set_consumers" and arguments[1])
    assert record.names().index("set_keys") < listed
