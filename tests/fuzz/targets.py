"""Builds and runs the fuzz targets: libFuzzer with ASan and UBSan on the plain C of the packet path.

    python -m tests.fuzz.targets SECONDS    every target so long, over its kept corpus; fails on the first finding

New inputs of interest are added to build/fuzz/corpus; ``--keep`` merges the smallest set of them into tests/fuzz/corpus.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests import native_build

FOLDER = Path(__file__).resolve().parent
FOUND = native_build.BUILD / "fuzz" / "corpus"
NULL_SRTP = native_build.NATIVE / "null_srtp.c"
# Commands that a test gives on purpose may be impossible, and are counted then: the assertion is for the product's own.
FLAGS = ["-g", "-O1", "-DANTIPHON_DEBUG", "-DNDEBUG", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
LOOP = [
    *native_build.forwarding_sources(without={"srtp.c", "crypto.c", "nonce_audit.c"}),
    native_build.FORWARDING / "nonce_audit.c",
    NULL_SRTP,
]


class Target(NamedTuple):
    """Sources beside tests/fuzz/<name>.c, compiler flags, and options of the run."""

    sources: list[Path]
    flags: list[str]
    options: list[str]


TARGETS = {
    "demux": Target([], [], ["-max_len=100"]),
    "rtp": Target([native_build.FORWARDING / "rewrite.c"], [], ["-max_len=600"]),
    "rtcp": Target(LOOP, [], ["-max_len=600"]),
    "receive": Target(LOOP, ["-Wl,--wrap=sendmmsg"], ["-max_len=3000"]),
}


def build(name: str) -> Path:
    target = TARGETS[name]
    sources = [FOLDER / f"{name}.c", *target.sources]
    return native_build.build(native_build.BUILD / "fuzz" / name, sources, [*FLAGS, *target.flags], cc="clang")


def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """One run of libFuzzer; a finding is kept as build/fuzz/<name>-crash-*."""
    artifacts = native_build.BUILD / "fuzz" / f"{name}-"
    command = [str(build(name)), f"-artifact_prefix={artifacts}", *TARGETS[name].options, *options]
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )


def fuzz(name: str, seconds: int) -> subprocess.CompletedProcess[str]:
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    return run(name, f"-max_total_time={seconds}", "-timeout=10", str(FOUND / name), str(FOLDER / "corpus" / name))


def keep(name: str) -> None:
    """Add to the kept corpus what reaches code that it did not reach."""
    run(name, "-merge=1", "-use_counters=0", str(FOLDER / "corpus" / name), str(FOUND / name)).check_returncode()


def main(arguments: list[str]) -> int:
    seconds = next((int(argument) for argument in arguments if argument.isdigit()), 300)
    for name in TARGETS:
        outcome = fuzz(name, seconds)
        print(f"{name}: {outcome.stdout.strip().splitlines()[-1]}", flush=True)
        if outcome.returncode:
            print(outcome.stdout)
            return outcome.returncode
        if "--keep" in arguments:
            keep(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
