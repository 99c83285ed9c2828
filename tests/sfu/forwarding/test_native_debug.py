"""The tests of this folder once more, against a build that asserts its invariants and audits every nonce."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import native_build

FOLDER = "tests/sfu/forwarding"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("selection", "environment"),
    [
        pytest.param(["--ignore-glob=*/test_native_*", f"--ignore={FOLDER}/test_srtp.py", FOLDER], {}, id="loop"),
        # Known-answer tests encrypt different texts under one published key: there the audit would rightly object.
        pytest.param([f"{FOLDER}/test_srtp.py"], {"ANTIPHON_NONCE_AUDIT": "off"}, id="known answers"),
    ],
)
def test_tests_pass_against_the_debug_build(selection: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "tests.native_debug", "-p", "no:cacheprovider", "-x", *selection]
    run = subprocess.run(command, cwd=native_build.ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "native: build/debug/" in run.stdout
