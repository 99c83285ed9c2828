"""The local shards: started with control, watched, started again when they die, ended with control.

Owns the child processes, and in their place those that an earlier control has left behind and this one goes on with (control/leftover.py).
Each is a session of its own (setsid), so that Ctrl-C in the terminal reaches only control, which then ends them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from sfu.protocol import ShardId

log = structlog.get_logger("antiphon.processes")

FIRST_BACKOFF_S: Final = 0.2
LONGEST_BACKOFF_S: Final = 10.0
STABLE_S: Final = 30.0
"""A shard that ran for so long and dies is started again at once; one that dies sooner after an ever longer pause."""


STOPPED: Final = frozenset("Tt")
"""States of a process in /proc/PID/stat (proc(5)): stopped by a signal, or while it is traced."""


class Links(Protocol):
    """What of control.shards is needed here."""

    def lost(self, shard: ShardId, reason: str, *, gone: bool) -> None: ...


class Process(Protocol):
    """What of a process is needed here, whoever has started it."""

    pid: int

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, number: int, /) -> None: ...

    async def wait(self) -> int: ...


class LocalShards:
    """``count`` processes; ``command(i)`` is the command line of shard i. Their output is control's.

    The first one goes ahead (:meth:`start`, :meth:`start_rest`): what keeps it from starting keeps all, and is said once.
    ``died_at_start`` is set with (shard id, exit status) by the first that ends before :attr:`started` is true; after that a shard
    that ends is started again.
    """

    def __init__(self, links: Links, count: int, command: Callable[[int], list[str]]) -> None:
        self.started = False
        self.restarts = 0
        self.died_at_start: asyncio.Future[tuple[ShardId, int]] = asyncio.get_running_loop().create_future()
        self.shard_ids = [ShardId(str(i)) for i in range(count)]
        self._links = links
        self._command = command
        self._stopping = asyncio.Event()
        self._ending = signal.SIGTERM
        self._processes: dict[ShardId, Process] = {}
        self._adopted: dict[ShardId, Process] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._start_up_to(1)

    def start_rest(self) -> None:
        self._start_up_to(len(self.shard_ids))

    def _start_up_to(self, count: int) -> None:
        for index, shard in list(enumerate(self.shard_ids))[len(self._tasks) : count]:
            self._tasks.append(asyncio.create_task(self._keep(index, shard)))

    def adopt(self, shard: ShardId, process: Process) -> None:
        """Go on with a shard that runs already. To be called before it would be started."""
        self._adopted[shard] = self._processes[shard] = process

    @property
    def adopted(self) -> set[ShardId]:
        """Those that ran before this control, and have not been started again."""
        return set(self._adopted)

    def pid(self, shard: ShardId) -> int | None:
        """Of the last process that was started for a shard; None before."""
        process = self._processes.get(shard)
        return process.pid if process is not None else None

    def is_stopped(self, shard: ShardId) -> bool:
        """Whether its process was stopped by a signal (SIGSTOP), or by a debugger."""
        process = self._processes.get(shard)
        if process is None or process.returncode is not None:
            return False
        with contextlib.suppress(OSError, IndexError):
            # proc(5): the state comes after the name, which is in brackets and may hold anything.
            return Path(f"/proc/{process.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in STOPPED
        return False

    def kill(self, shard: ShardId) -> None:
        """End a shard that does not answer; what takes its place is a new process."""
        self._signal(shard, signal.SIGKILL)

    async def stop(self, seconds: float) -> None:
        """Ask every shard to end; kill those that have not after ``seconds``. A shard that is just being started ends as well."""
        self._end_with(signal.SIGTERM)
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        if late:
            log.warning("shards killed: they did not end in time", shards=len(late))
            self.kill_all()
        await asyncio.gather(*self._tasks)

    def kill_all(self) -> None:
        self._end_with(signal.SIGKILL)

    def _end_with(self, number: signal.Signals) -> None:
        self._ending = number
        self._stopping.set()
        for shard in self.shard_ids:
            self._signal(shard, number)

    def _signal(self, shard: ShardId, number: signal.Signals) -> None:
        process = self._processes.get(shard)
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, index: int, shard: ShardId) -> None:
        """Run one shard for as long as control runs."""
        loop = asyncio.get_running_loop()
        backoff = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            since = loop.time()
            adopted = shard in self._adopted
            try:
                status = await self._run(index, shard)
            except OSError as error:  # the machine is short of memory, processes or files, which passes
                backoff = min(2 * backoff, LONGEST_BACKOFF_S)
                log.error("shard process cannot be started, trying again", shard=shard, error=str(error), in_s=backoff)
                await self._pause(backoff)
                continue
            if self._stopping.is_set():
                return
            if not self.started and not adopted:
                if not self.died_at_start.done():
                    self.died_at_start.set_result((shard, status))
                return
            backoff = FIRST_BACKOFF_S if loop.time() - since >= STABLE_S else min(2 * backoff, LONGEST_BACKOFF_S)
            log.warning("shard process ended, starting it again", shard=shard, status=status, in_s=backoff)
            self.restarts += 1
            await self._pause(backoff)

    async def _pause(self, seconds: float) -> None:
        """Returns after ``seconds``, or at once when control ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _run(self, index: int, shard: ShardId) -> int:
        process = self._adopted.get(shard)
        if process is None:
            command = self._command(index)
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
        self._processes[shard] = process
        if self._stopping.is_set():  # asked to end while it was being started
            self._signal(shard, self._ending)
        status = await process.wait()
        self._adopted.pop(shard, None)
        self._links.lost(shard, "its process ended", gone=True)
        return status
