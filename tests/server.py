"""A real server for tests: ``antiphon serve`` as a process of its own, on ports that the system chooses.

    with RunningServer(shards=2) as server:
        page.goto(server.url)
        ...
        server.wait_tables_empty()

``async with`` does the same from a coroutine. On the way out the server gets SIGTERM and must end by itself, in order and in
time: a test that used it fails otherwise.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent

START_S = 30.0
"""The server must say where to open it within this time; it takes one to two seconds on a free machine."""
STOP_S = 15.0
"""After SIGTERM every process of the server must be gone within this time."""
SETTLE_S = 15.0
"""Tables must be empty this long after the last client left: a heartbeat has to bring the news to control."""
RESUME_GRACE_S = 2.0
"""Whoever vanishes is kept for so long, instead of the 30 s that a user's connection may need: tests wait for the end of it."""
POLL_S = 0.1

_OPEN_LINE = re.compile(r"Open (https?://(\S+?):(\d+))/? in a browser")
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*(?:\{.*\})?) (\S+)$")

TABLE_METRIC = "antiphon_shard_table"
"""Gauge with the labels ``shard`` and ``table`` (see sfu.protocol.ShardTables)."""


class RunningServer:
    """``url``: the page; ``ws_url``: the signaling socket; ``pid``: of control."""

    def __init__(
        self,
        *,
        shards: int = 2,
        args: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        resume_grace_s: float = RESUME_GRACE_S,
        prefix: Sequence[str] = (),
    ) -> None:
        """``prefix``: a command that becomes the server, like ``ip netns exec NAME``."""
        self._command = [*prefix, sys.executable, "-m", "control", "serve", "--host", "127.0.0.1", "--port", "0", "--udp-port", "0"]
        self._command += ["--shards", str(shards), "--advertise", "127.0.0.1", *args]
        self.resume_grace_s = resume_grace_s
        grace = {"ANTIPHON_CONTROL_RESUME_GRACE_S": str(resume_grace_s)}
        self._environment = {**(os.environ if environment is None else environment), **grace}
        self._process: subprocess.Popen[str] | None = None
        self._output: deque[str] = deque(maxlen=400)
        self._opened = threading.Event()
        self._readers: list[threading.Thread] = []
        self.url = ""
        self.ws_url = ""
        self._tls = ssl.create_default_context()  # asked for figures only; tests/control/test_tls.py looks at certificates
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    # ------------------------------------------------------------------------------------------ life

    def start(self) -> None:
        """Start and wait until the server says where to open it. Raises AssertionError with its output if it does not."""
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        for stream in (self._process.stdout, self._process.stderr):
            reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
            reader.start()
            self._readers.append(reader)
        deadline = time.monotonic() + START_S
        while not self._opened.wait(POLL_S):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self.finish()
                raise AssertionError(f"the server did not start:\n{self.output}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """A signal, then wait; SIGTERM gives people in rooms ``drain_deadline_s`` first. Raises AssertionError when it does not end, or
        ends with an error."""
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            self.finish()
            raise AssertionError(f"the server did not stop within {STOP_S} s of {number.name}:\n{self.output}") from None
        self.finish()
        assert code == 0, f"the server ended with status {code}:\n{self.output}"

    def kill(self) -> None:
        """End control as a crash would: SIGKILL. Its shards live on; whoever kills it starts a server that takes them over."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def finish(self) -> None:
        """Take the rest of the output. A shard that outlives control would keep the pipes open: then this gives up waiting."""
        assert self._process is not None
        self._process.wait()
        for reader in self._readers:
            reader.join(5)
        if not any(reader.is_alive() for reader in self._readers):
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()

    def _read(self, stream: object) -> None:
        for line in stream:  # type: ignore[attr-defined]
            self._output.append(line)
            match = _OPEN_LINE.search(line)
            if match:
                self.url = match[1]
                self.ws_url = f"{'wss' if match[1].startswith('https') else 'ws'}://{match[2]}:{match[3]}/ws"
                self._opened.set()

    def __enter__(self) -> RunningServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> RunningServer:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self.stop)

    # ------------------------------------------------------------------------------------------ looking inside

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """The last lines of its stdout and stderr."""
        return "".join(self._output)

    def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics``, by name and labels as they stand there: ``name{label="x"}``."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5, context=self._tls) as answer:
            text = answer.read().decode()
        matches = (_SAMPLE.match(line) for line in text.splitlines() if not line.startswith("#"))
        return {match[1]: float(match[2]) for match in matches if match}

    def tables(self) -> dict[str, float]:
        """How many of each thing the shards hold, by ``name{labels}``. Raises AssertionError where the metric is missing."""
        tables = {name: value for name, value in self.metrics().items() if name.startswith(TABLE_METRIC + "{")}
        assert tables, f"/metrics has no {TABLE_METRIC}: no shard answers\n{self.output}"
        return tables

    def wait_tables_empty(self, deadline_s: float = SETTLE_S) -> None:
        """Wait until no shard holds anything. Raises AssertionError with what is left."""
        self.wait(lambda: not self._left_over(), deadline_s, lambda: f"the shards still hold {self._left_over()}\n{self.output}")

    async def wait_tables_empty_async(self, deadline_s: float = SETTLE_S) -> None:
        """:meth:`wait_tables_empty` from a coroutine."""
        await asyncio.to_thread(self.wait_tables_empty, deadline_s)

    def _left_over(self) -> dict[str, float]:
        return {name: value for name, value in self.tables().items() if value != 0}

    @staticmethod
    def wait(condition: Callable[[], bool], deadline_s: float, failure: Callable[[], str]) -> None:
        """Poll until ``condition`` holds. Raises AssertionError with ``failure()`` at the deadline."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, failure()
            time.sleep(POLL_S)
