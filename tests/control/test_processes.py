"""Supervision of the local shards, with small programs in their place."""

from __future__ import annotations

import asyncio
import errno
import sys
from typing import Any

import pytest

from control.processes import LocalShards
from sfu.protocol import ShardId

WAIT_FOR_EVER = [sys.executable, "-c", "import signal; signal.pause()"]


class Links:
    def lost(self, shard: ShardId, reason: str, *, gone: bool) -> None:
        pass


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
async def test_a_machine_that_is_short_of_something_is_asked_again(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = asyncio.create_subprocess_exec
    refusals = [OSError(number, "not now"), OSError(number, "not now")]
    running = asyncio.Event()

    async def short_of_something(*command: str, **options: Any) -> asyncio.subprocess.Process:
        if refusals:
            raise refusals.pop()
        process = await real(*command, **options)
        running.set()
        return process

    monkeypatch.setattr("control.processes.FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", short_of_something)
    local = LocalShards(Links(), 1, lambda index: WAIT_FOR_EVER)
    local.start()
    try:
        await asyncio.wait_for(running.wait(), 10)
        assert not local.died_at_start.done()
        assert not refusals
    finally:
        await local.stop(10)
