"""Looking at a server's processes through /proc."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def children(pid: int) -> list[int]:
    """Process ids of all descendants of ``pid``, through every thread that may have started one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *children(child)]
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent (Z), or is just being taken by it (X), does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return re.search(r"^State:\t[ZX]", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE) is None
    return False


def shard_pid(control_pid: int, shard_id: str) -> int:
    """Process id of a local shard. Raises LookupError where there is none."""
    for pid in children(control_pid):
        with contextlib.suppress(FileNotFoundError):
            arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if "--shard-id" in arguments and arguments[arguments.index("--shard-id") + 1] == shard_id:
                return pid
    raise LookupError(f"control {control_pid} has no shard {shard_id}")
