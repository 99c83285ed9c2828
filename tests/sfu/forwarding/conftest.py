"""The running loop that most tests of this folder use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sfu.forwarding.peers import RunningLoop


@pytest.fixture
def loop() -> Iterator[RunningLoop]:
    with RunningLoop() as running:
        yield running
