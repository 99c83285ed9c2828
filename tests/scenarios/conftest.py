"""Scenarios run against a real server, ``antiphon serve`` as processes of its own, with whole aiortc peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.scenarios.call import Call
from tests.server import RunningServer


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server with two shards, shared by the tests of one file."""
    with RunningServer(shards=2) as running:
        yield running


@pytest.fixture
async def call(server: RunningServer) -> AsyncIterator[Call]:
    """People who can be sent into rooms; when the test is over they have left and the shards hold nothing of them."""
    async with Call(server) as people:
        yield people
