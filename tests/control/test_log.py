"""What a fault leaves in the log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import control

SCRIPT = """
import io, sys
class Stderr(io.StringIO):
    def isatty(self):
        return {terminal}
sys.stderr = Stderr()
from control.serve import set_up_log, log
set_up_log("info")
def fail(token):
    raise RuntimeError("on purpose")
try:
    fail("a" + "-secret")
except RuntimeError:
    log.exception("it failed")
print(sys.stderr.getvalue())
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_traceback_shows_where_and_never_the_values_of_variables(terminal: bool) -> None:
    command = [sys.executable, "-c", SCRIPT.format(terminal=terminal)]
    done = subprocess.run(command, cwd=Path(control.__file__).parent.parent, capture_output=True, text=True, check=True, timeout=60)
    assert "RuntimeError" in done.stdout
    assert "in fail" in done.stdout
    assert "a-secret" not in done.stdout
