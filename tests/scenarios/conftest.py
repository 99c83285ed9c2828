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


@pytest.fixture
async def bystanders(call: Call) -> AsyncIterator[Call]:
    """Ann and Bo, who talk while the test misbehaves beside them, and who must have heard each other all along without loss."""
    ann, bo = await call.pair()
    yield call
    await ann.hear(bo)
    await bo.hear(ann)
    for listener, talker in ((ann, bo), (bo, ann)):
        reception = await listener.consumers[talker.user_id].reception()
        assert reception.packets > 0
        assert reception.lost == 0, f"{listener.username} lost packets of {talker.username}: {reception}"
    types = {message["type"] for peer in (ann, bo) for message in peer.signaling.received}
    assert not types & {"error", "publisher_closed", "consumer_closed", "room_moved"}
