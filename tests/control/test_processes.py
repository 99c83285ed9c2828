"""Supervision of the local shards, with small programs in their place."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from control.processes import LocalShards
from sfu.protocol import ShardId

WAIT_FOR_EVER = [sys.executable, "-c", "import signal; signal.pause()"]


class Links:
    def lost(self, shard: ShardId, reason: str, *, gone: bool) -> None:
        pass


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - processes tell nobody what becomes of them
        await asyncio.sleep(0.01)


async def test_one_that_was_stopped_is_told_from_one_that_is_busy() -> None:
    local = LocalShards(Links(), 1, lambda index: [sys.executable, "-c", "while True: pass"])
    shard = local.shard_ids[0]
    assert not local.is_stopped(shard)
    local.start()
    try:
        async with asyncio.timeout(10):
            await until(lambda: local.pid(shard) is not None)
            pid = local.pid(shard)
            assert pid is not None
            assert not local.is_stopped(shard)
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: local.is_stopped(shard))
            os.kill(pid, signal.SIGCONT)
            await until(lambda: not local.is_stopped(shard))
    finally:
        local.kill_all()
        await local.stop(10)
    assert not local.is_stopped(shard)


async def test_one_that_dies_again_and_again_is_started_after_ever_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.processes.FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr("control.processes.LONGEST_BACKOFF_S", 0.05)
    local = LocalShards(Links(), 1, lambda index: ["/bin/false"])
    local.started = True
    with structlog.testing.capture_logs() as lines:
        local.start()
        async with asyncio.timeout(20):
            await until(lambda: local.restarts >= 4)
        await local.stop(10)
    assert [line["in_s"] for line in lines if "in_s" in line][:4] == [0.02, 0.04, 0.05, 0.05]


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
