"""What fails inside the shard costs the one it concerns, is counted, and neither fills the log nor tells it secrets."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest
import structlog

from sfu.forwarding._native import RtcpReceived, StunReceived
from sfu.logs import set_up_logs
from tests.sfu.test_hostile import binding_request


async def test_stun_from_port_0_is_counted_and_no_fault(shard: Any) -> None:
    unknown = binding_request("aaaaaaaaaaaaaaaa:b", b"x" * 24)
    shard.process.shard.handle(StunReceived(("127.0.0.1", 0), unknown), 0.0, 0.0)
    metrics = shard.process.metrics
    assert (metrics.dropped("unreachable_address"), metrics.dropped("internal_error")) == (1, 0)


async def test_nomination_from_port_0_moves_nothing(shard: Any) -> None:
    from sfu import protocol as p

    ann = await shard.person("ann")
    await shard.router.do(p.CreatePublisher, **ann.at)
    (connection,) = shard.process.shard.connections._by_slot.values()
    ice = connection.association.ice
    nomination = binding_request(f"{ice.local_ufrag}:b", ice.local_pwd.encode(), **{"USE-CANDIDATE": None, "ICE-CONTROLLING": 1})
    shard.process.shard.handle(StunReceived(("127.0.0.1", 0), nomination), 0.0, 0.0)
    assert (ice.address, connection.bound) == (None, None)
    assert shard.process.metrics.dropped("internal_error") == 0


async def test_tracebacks_are_few_and_every_fault_is_counted(shard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(shard.process.shard, "_rtcp_received", fail)
    with structlog.testing.capture_logs() as lines:
        for number in range(100):
            shard.process.shard.handle(RtcpReceived(0, 0, b""), number / 100, 0.0)
        shown = [line for line in lines if line["event"] == "event failed"]
        assert len(shown) == 5
        shard.process.shard.handle(RtcpReceived(0, 0, b""), 60.0, 0.0)
    assert lines[-1]["internal_errors"] == shard.process.metrics.dropped("internal_error") == 101


@pytest.mark.parametrize("terminal", [True, False])
def test_traceback_shows_no_local_variables(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    before, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    try:
        set_up_logs("info")
        fail_with_a_secret("S3CR" + "3T")
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.configure(**before)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    assert "RuntimeError" in stream.getvalue()
    assert "S3CR3T" not in stream.getvalue()


def fail_with_a_secret(key: str) -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("failed")
