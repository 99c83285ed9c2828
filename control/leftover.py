"""Shards on this machine that a control has left behind when it was killed: found, taken over where they fit, ended where they do not.

They go on forwarding. The next control on the same endpoint finds them by their command lines, on which stands what they were started with
(:func:`origin_of`): one that was started just as this control would start it is kept, with all its calls. They are not its children, so it
holds each by a pidfd, which means that process for ever, whatever becomes of its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

from control import __version__
from sfu.protocol import PROTOCOL_VERSION, Hello, ShardId

log = structlog.get_logger("antiphon.leftover")

SHARD_ENVIRONMENT: Final = "ANTIPHON_SHARD_"
SEEN_S: Final = 5.0
"""A shard that was left behind looks for control once a second (sfu/link.py), so a living one says Hello within this time."""


class Process:
    """One process that this one has not started. It has :meth:`close` when it is of no more interest."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(pidfd, self._end)  # pidfd_open(2): readable when the process ends

    @property
    def returncode(self) -> int | None:
        """None while it runs. Afterwards 0: only its parent learns more."""
        return 0 if self._ended.done() else None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._pidfd, number)

    async def wait(self) -> int:
        await asyncio.shield(self._ended)
        return 0

    def close(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            if not self._ended.done():
                self._ended.cancel()

    def _end(self) -> None:
        self._ended.set_result(None)
        self.close()


class LeftOvers:
    """What an earlier control has left behind at ``endpoint``.

    ``origins``: what each local shard of this control would be started with, by name. What does not fit is asked to end at once.
    """

    def __init__(self, endpoint: str, origins: Mapping[ShardId, str]) -> None:
        self._fitting: dict[int, tuple[ShardId, Process]] = {}
        self._ending: list[Process] = []
        for pid, arguments in _shards_at(endpoint):
            process = _hold(pid, arguments)
            if process is None:
                continue
            shard = ShardId(_value(arguments, "--shard-id"))
            taken = shard in {other for other, _ in self._fitting.values()}
            if not taken and origins.get(shard) == _value(arguments, "--origin"):
                log.info("shard of an earlier control found", shard=shard, pid=pid)
                self._fitting[pid] = (shard, process)
            else:
                log.warning("shard of an earlier control does not fit and ends", shard=shard, pid=pid)
                process.send_signal(signal.SIGTERM)
                self._ending.append(process)

    def claim(self, hello: Hello) -> Process | None:
        """The process that says this, if it is one that fits."""
        shard, process = self._fitting.get(hello.pid, (None, None))
        if process is None or shard != hello.shard_id or hello.protocol != PROTOCOL_VERSION:
            return None
        del self._fitting[hello.pid]
        return process

    async def settle(self, end_s: float) -> None:
        """Returns when each has been claimed or has ended. What says nothing, or does not end within ``end_s``, is killed."""
        loop = asyncio.get_running_loop()
        seen_by, ended_by = loop.time() + SEEN_S, loop.time() + end_s
        while self._fitting or self._ending:
            now = loop.time()
            for pid, (shard, process) in list(self._fitting.items()):
                if process.returncode is not None or now >= seen_by:
                    log.warning("shard of an earlier control says nothing and is killed", shard=shard, pid=pid)
                    process.send_signal(signal.SIGKILL)
                    del self._fitting[pid]
                    self._ending.append(process)
            for process in self._ending:
                if now >= ended_by:
                    process.send_signal(signal.SIGKILL)
            self._ending = [process for process in self._ending if process.returncode is None]
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """Control ends. What nobody has claimed would wait for the next one."""
        for _, process in self._fitting.values():
            process.send_signal(signal.SIGTERM)
        for process in [*self._ending, *(process for _, process in self._fitting.values())]:
            process.close()


def origin_of(command: list[str], environ: Mapping[str, str], file: Path | None) -> str:
    """A digest of all that a shard's work depends on: its command line, the section [shard], its environment, the version."""
    section = tomllib.loads(file.read_text(encoding="utf-8")).get("shard", {}) if file is not None else {}
    variables = sorted((name, value) for name, value in environ.items() if name.startswith(SHARD_ENVIRONMENT))
    everything = (command, section, variables, __version__, PROTOCOL_VERSION)
    return hashlib.sha256(repr(everything).encode()).hexdigest()


def _shards_at(endpoint: str) -> Iterator[tuple[int, list[str]]]:
    """Process ids and command lines of this user's shards that a control has started for ``endpoint``."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (arguments := _arguments(int(folder.name))) is not None:
            named = _value(arguments, "--control") == endpoint and _value(arguments, "--origin") and "sfu" in arguments
            if named and int(folder.name) != os.getpid():
                yield int(folder.name), arguments


def _arguments(pid: int) -> list[str] | None:
    """Command line of a process of this user that has not ended."""
    with contextlib.suppress(OSError):
        path = Path(f"/proc/{pid}")
        if path.stat().st_uid == os.getuid():
            return path.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
    return None


def _hold(pid: int, arguments: list[str]) -> Process | None:
    """A handle on the process; None if it has ended, and its number has perhaps become another one's."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if _arguments(pid) != arguments:
        os.close(pidfd)
        return None
    return Process(pid, pidfd)


def _value(arguments: list[str], flag: str) -> str:
    """What follows ``flag``, or nothing."""
    position = arguments.index(flag) + 1 if flag in arguments else len(arguments)
    return arguments[position] if position < len(arguments) else ""
