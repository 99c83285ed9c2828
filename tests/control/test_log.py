"""What a fault leaves in the log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import control
import control.logs
import sfu.logs

SCRIPT = """
import io, sys
class Stderr(io.StringIO):
    def isatty(self):
        return {terminal}
sys.stderr = Stderr()
import structlog
from control.logs import set_up_logs
set_up_logs("info")
log = structlog.get_logger()
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


SECRET = "s3cr3t-" + "x" * 20
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb29tIjoiciJ9." + "x" * 20
LEAKS = [
    f"a=ice-pwd:{SECRET}",
    f"a=crypto:{SECRET}",
    f'{{"type": "register", "token": "{SECRET}"}}',
    f"{{'resume_token': '{SECRET}'}}",
    f'Registered(user_id="u", resume_token="{SECRET}")',
    f"admin_token='{SECRET}'",
    f"https://example.org/?room=r&token={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f'IceServer(urls=["turn:x"], username="1:u", credential="{SECRET}")',
    f"not decoded: {JWT}",
]
"""Lines as an exception or a careless log call would write them."""


@pytest.mark.parametrize("scrub", [control.logs.scrub, sfu.logs.scrub], ids=["control", "shard"])
class TestScrubbing:
    @pytest.mark.parametrize("leak", LEAKS)
    def test_secrets_are_masked_and_what_stands_beside_them_is_not(self, scrub: Callable[[str], str], leak: str) -> None:
        for line in (
            f"before {leak} after",
            json.dumps({"event": f"before {leak} after"}),
            json.dumps(json.dumps({"x": f"before {leak} after"})),
        ):
            cleaned = scrub(line)
            assert SECRET not in cleaned
            assert JWT not in cleaned
            assert "before" in cleaned
            assert "after" in cleaned
            assert "***" in cleaned

    def test_other_lines_stay_as_they_are(self, scrub: Callable[[str], str]) -> None:
        line = '{"room": "0b5c", "user": "77aa", "event": "turn_secret: expected one of them", "file": "/run/admin-token-8080", "n": 1}'
        assert scrub(line) == line

    def test_a_hostile_line_takes_no_time(self, scrub: Callable[[str], str]) -> None:
        for line in ("token" * 20_000, "a=ice-pwd:" * 10_000, "eyJ" + "a." * 50_000, "-" * 100_000, 'secret\\" : \\"' * 10_000):
            scrub(line)  # pytest's timeout is the bound: a regular expression that backtracks would need hours


FOREIGN = """
import io, logging, sys, warnings
class Stderr(io.StringIO):
    def isatty(self):
        return {terminal}
sys.stderr = Stderr()
from {module} import set_up_logs
set_up_logs("info")
try:
    raise RuntimeError("a=ice-pwd:" + "{secret}")
except RuntimeError:
    logging.getLogger("asyncio").error("Exception in callback %s", "token='{secret}'", exc_info=True)
logging.getLogger("aioice").info("too much")
print(sys.stderr.getvalue())
"""


@pytest.mark.parametrize("module", ["control.logs", "sfu.logs"])
@pytest.mark.parametrize("terminal", [True, False])
def test_what_libraries_log_has_the_same_form_and_no_secret(module: str, terminal: bool) -> None:
    script = FOREIGN.format(terminal=terminal, module=module, secret=SECRET)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(control.__file__).parent.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout
    assert "too much" not in done.stdout
    assert "Exception in callback" in done.stdout
    assert "RuntimeError" in done.stdout
    if not terminal:
        (line,) = done.stdout.splitlines()[:1]
        assert {"event", "level", "timestamp", "logger", "exception"} <= set(json.loads(line))
