"""Where log lines go: standard error, for as long as there is somebody to read it."""

from __future__ import annotations

import contextlib
import io
from typing import TextIO


class Outlet(io.TextIOBase):
    """Writes to ``stream``, and nowhere once that is broken.

    A shard outlives the control that has started it, and with that, perhaps, whoever read what the two say. A line of the log that cannot
    be written must not keep a command from being carried out.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()
