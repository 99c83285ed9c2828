"""A shard whose standard error nobody reads any more goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from sfu.outlet import Outlet


@pytest.fixture
def broken() -> Iterator[TextIO]:
    """A pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    yield stream
    with pytest.raises(BrokenPipeError):
        stream.close()  # there is something in its buffer that nobody takes


def test_a_broken_pipe_is_no_error(broken: TextIO) -> None:
    logger = structlog.PrintLogger(Outlet(broken))  # type: ignore[arg-type]
    for _ in range(1000):
        logger.info("a line of the log " * 100)


def test_lines_arrive_whole_and_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with os.fdopen(os.dup(2), "w") as stderr:
        structlog.PrintLogger(Outlet(stderr)).info("one line")  # type: ignore[arg-type]
        assert capfd.readouterr().err == "one line\n"
