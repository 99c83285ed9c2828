"""No allocation per packet, and at most 1 KiB per consumer beside its SRTP state."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from tests import native_build
from tests.sfu.forwarding.peers import RunningLoop, wait_until

CONSUMERS = 10_000
LIMIT_BYTES = 1024


def test_forwarding_allocates_nothing_per_packet_or_command() -> None:
    """20 000 packets to 10 consumers of both profiles, with lists swapped, mutes and retransmissions in between."""
    flags = ["-O2", "-fno-builtin", "-shared", "-fPIC"]
    counting = native_build.build(native_build.BUILD / "debug" / "allocations.so", [native_build.NATIVE / "allocations.c"], flags)
    run = subprocess.run(
        [sys.executable, "-m", "tests.sfu.forwarding.native.steady"],
        cwd=native_build.ROOT,
        env={**os.environ, "LD_PRELOAD": str(counting)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    sums = json.loads(run.stdout)
    assert sums["packets_out"] == 210_000
    assert sums["retransmitted"] == 210
    assert sums["python"] > 10_000, "counting does not work"
    assert sums["after"] == sums["before"]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_ten_thousand_consumers_take_less_than_a_kibibyte_each() -> None:
    with RunningLoop() as loop:
        publisher, _ = loop.peer()
        loop.track(0, publisher, 1)
        slot, _ = loop.peer()
        before = resident_bytes()
        for i in range(CONSUMERS):
            loop.consumer(i, slot, ssrc=i)
        loop.native.set_consumers(0, range(CONSUMERS))
        wait_until(lambda: loop.native.tables().consumers == CONSUMERS, "all consumers")
        assert resident_bytes() - before < CONSUMERS * LIMIT_BYTES
