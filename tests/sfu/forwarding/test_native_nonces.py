"""RFC 7714 8.4, 9.1: no (key, SSRC, index) ever encrypts two packets. The debug build aborts if one does (nonce_audit.h)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests import native_build
from tests.sfu.forwarding.native import jumps

TWO_PACKETS_UNDER_ONE_NONCE = """
import tests.native_debug
from sfu.forwarding import _native
for payload in (b"one", b"one", {second!r}):
    _native.protect(_native.{profile}, bytes(range({size})), bytes([0x80]) + bytes(11) + payload, 12, 7, True)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=native_build.ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("profile", "size"), [("AEAD_AES_128_GCM", 28), ("AES128_CM_SHA1_80", 30)])
def test_the_audit_aborts_when_a_nonce_is_spent_on_two_packets(profile: str, size: int) -> None:
    assert run("-c", TWO_PACKETS_UNDER_ONE_NONCE.format(second=b"one", profile=profile, size=size)).returncode == 0
    caught = run("-c", TWO_PACKETS_UNDER_ONE_NONCE.format(second=b"two", profile=profile, size=size))
    assert caught.returncode == -signal.SIGABRT
    assert "nonce audit: SSRC 00000000, index 7 was spent on two different packets" in caught.stderr


@pytest.mark.timeout(300)
def test_an_hour_of_calls_with_retransmissions_and_restarts_repeats_no_nonce() -> None:
    hour = run("-m", "tests.sfu.forwarding.native.hour", "3600", "1")
    assert hour.returncode == 0, hour.stdout + hour.stderr
    sums = json.loads(hour.stdout)
    assert sums["packets_in"] >= 180_000
    assert sums["packets_out"] >= 300_000
    assert sums["retransmitted"] >= 1_000


@pytest.mark.parametrize("stream", jumps.STREAMS)
def test_a_publisher_cannot_force_a_repeat_by_its_sequence_numbers(stream: str) -> None:
    malicious = run("-c", f"import tests.native_debug; from tests.sfu.forwarding.native import jumps; jumps.play({stream!r})")
    assert malicious.returncode == 0, malicious.stderr
