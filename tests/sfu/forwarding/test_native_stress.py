"""Rings, table swaps, counters and shared fan-outs under ThreadSanitizer, and memory under ASan and UBSan: native/stress.c.

`make stress` runs it longer: ANTIPHON_STRESS_ROUNDS is the number of commands.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import native_build

ROUNDS = int(os.environ.get("ANTIPHON_STRESS_ROUNDS", "300000"))
SOURCES = [
    native_build.NATIVE / "stress.c",
    native_build.NATIVE / "null_srtp.c",
    *native_build.forwarding_sources(without={"srtp.c", "crypto.c"}),
]
THREAD = ["-g", "-O1", "-fsanitize=thread"]
EARLY_SPLIT = ["-DSPLIT_FROM=2", "-DPIECE_COPIES_LEAST=1", "-DHELPER_HEAD_START=200"]
"""The helper takes part in lists that are small enough to change all the time, also where other tests keep all cores busy."""


def run(program: Path, seed: int) -> subprocess.CompletedProcess[str]:
    command = [str(program), str(ROUNDS), str(seed)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unexpected memory mapping" in outcome.stderr:  # libtsan of GCC 12 where the kernel randomises more than it knows
        outcome = subprocess.run(["setarch", "-R", *command], capture_output=True, text=True, check=False)
    return outcome


@pytest.mark.timeout(60 + ROUNDS // 1000)
@pytest.mark.parametrize(("name", "flags"), [("thread", THREAD), ("address", native_build.SANITIZE)])
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_races_leaks_or_is_lost_while_everything_changes(name: str, flags: list[str], seed: int) -> None:
    program = native_build.build(native_build.BUILD / "stress" / name, SOURCES, [*flags, *EARLY_SPLIT, "-UNDEBUG"])
    outcome = run(program, seed)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "heard in order" in outcome.stdout
    if len(os.sched_getaffinity(0)) > 1:
        assert ", 0 of them by the helper" not in outcome.stdout
    assert not outcome.stderr
