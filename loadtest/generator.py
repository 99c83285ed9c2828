"""The load tester looks at itself: does it keep up, or are the figures its own?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from loadtest.native._traffic import Traffic, TrafficCounters
from loadtest.report import Counts, GeneratorFigures, LinkFigures, percentile

LAG_EVERY_S: Final = 0.02
MAX_LAG_P99_MS: Final = 100.0
"""Above it setup times are more the load tester's than the server's."""
MAX_TICK_LATE_P99_MS: Final = 5.0
"""A quarter of a frame: above it talkers are no steady talkers."""
MAX_LINK_LATE_P99_MS: Final = 5.0
"""Above it the bad link's lateness is no small part of the latency that was asked for."""
MAX_PYTHON_CPU: Final = 0.9
MAX_MACHINE_SHARE: Final = 0.95
CLOCK: Final = "CLOCK_REALTIME of one host, for senders and listeners"


class MachineTime(NamedTuple):
    """Seconds of all cores together, since boot."""

    busy: float
    total: float


def machine_time() -> MachineTime | None:
    """None where there is no Linux ``/proc/stat``."""
    with contextlib.suppress(OSError, ValueError):
        ticks = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        hertz = os.sysconf("SC_CLK_TCK")
        return MachineTime((sum(ticks) - ticks[3] - ticks[4]) / hertz, sum(ticks) / hertz)
    return None


class Second(NamedTuple):
    """``cpu``, ``machine_cpu``: cores in use since the last call, of this process and of all."""

    cpu: float
    machine_cpu: float | None
    loop_lag_ms: float
    tick_late_p99_ms: float | None


class GeneratorWatch:
    """Start it with the run. :meth:`second` is called once a second."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._late = Counts()
        self._lags_ms: deque[float] = deque(maxlen=200_000)
        self._recent_lag_ms = 0.0
        self._task = asyncio.create_task(self._watch_loop(), name="loop lag")
        self._last_cpu, self._last_at, self._last_machine = time.process_time(), time.monotonic(), machine_time()
        self._start = (self._last_cpu, self._last_at, self._last_machine, 0)
        self._counters: TrafficCounters = traffic.counters()

    def begin(self) -> None:
        """The figures count from now on: people have begun to talk."""
        self._counters = self._traffic.counters()
        self._start = (time.process_time(), time.monotonic(), machine_time(), self._counters.cpu_ns)
        self._late = Counts()

    async def _watch_loop(self) -> None:
        while True:
            due = time.monotonic() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            lag_ms = max(0.0, 1000 * (time.monotonic() - due))
            self._lags_ms.append(lag_ms)
            self._recent_lag_ms = max(self._recent_lag_ms, lag_ms)

    def second(self) -> Second:
        cpu, at, machine = time.process_time(), time.monotonic(), machine_time()
        passed = max(1e-6, at - self._last_at)
        counters = self._traffic.counters()
        self._late.add(counters.late)
        lag_ms, self._recent_lag_ms = self._recent_lag_ms, 0.0
        used = _cores(self._last_machine, machine)
        result = Second((cpu - self._last_cpu) / passed, used, lag_ms, Counts(counters.late).percentile_ms(99))
        self._last_cpu, self._last_at, self._last_machine = cpu, at, machine
        return result

    def figures(self, *, send_errors: int) -> GeneratorFigures:
        """Since :meth:`begin`, but for the lag, which is of the whole run."""
        start_cpu, start_at, start_machine, start_native = self._start
        counters = self._traffic.counters()
        self._late.add(counters.late)
        passed = max(1e-6, time.monotonic() - start_at)
        native = (counters.cpu_ns - start_native) / 1e9 / passed
        machine = _cores(start_machine, machine_time())
        lags = list(self._lags_ms)
        found = GeneratorFigures(
            host=f"{platform.node()} ({platform.machine()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores)",
            cores=os.cpu_count() or 1,
            clock=CLOCK,
            python_cpu=(time.process_time() - start_cpu) / passed - native,
            native_cpu=native,
            machine_cpu=machine,
            loop_lag_p99_ms=percentile(lags, 99) if lags else None,
            loop_lag_max_ms=max(lags, default=None),
            tick_late_p99_ms=self._late.percentile_ms(99),
            skipped_turns=counters.skipped - self._counters.skipped,
            socket_drops=counters.socket_drops,
            send_errors=send_errors,
            events_dropped=counters.events_dropped,
            auth_failed=counters.auth_failed,
            bottlenecks=(),
        )
        return msgspec.structs.replace(found, bottlenecks=problems(found))

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def problems(figures: GeneratorFigures) -> tuple[str, ...]:
    """Where the load tester, and not the server, may have made the figures."""
    lag, late, machine = figures.loop_lag_p99_ms or 0.0, figures.tick_late_p99_ms or 0.0, figures.machine_cpu or 0.0
    found = [
        (figures.python_cpu > MAX_PYTHON_CPU, f"its Python thread used {figures.python_cpu:.0%} of a core"),
        (figures.native_cpu > MAX_PYTHON_CPU, f"its traffic thread used {figures.native_cpu:.0%} of a core"),
        (lag > MAX_LAG_P99_MS, f"its event loop was up to {lag:.0f} ms late (p99): setup times are longer than the server made them"),
        (late > MAX_TICK_LATE_P99_MS, f"its talkers' turns began up to {late:.1f} ms late (p99)"),
        (figures.skipped_turns > 0, f"{figures.skipped_turns} turns of talkers were skipped"),
        (figures.socket_drops > 0, f"the kernel dropped {figures.socket_drops} packets that it had not fetched: they count as lost"),
        (figures.events_dropped > 0, f"{figures.events_dropped} STUN and DTLS packets had no room"),
        (machine > MAX_MACHINE_SHARE * figures.cores, f"the machine was busy with {machine:.1f} of {figures.cores} cores"),
    ]
    return tuple(text for is_so, text in found if is_so)


def link_problems(link: LinkFigures) -> tuple[str, ...]:
    """Where the bad link was worse than it was to be."""
    late = link.late_p99_ms or 0.0
    lost = link.to_server.overflowed + link.from_server.overflowed
    found = [
        (late > MAX_LINK_LATE_P99_MS, f"its bad link let packets go up to {late:.1f} ms late (p99)"),
        (lost > 0, f"its bad link lost {lost} packets that it had no room for: they count as lost"),
        (link.cpu > MAX_PYTHON_CPU, f"its bad link used {link.cpu:.0%} of a core"),
    ]
    return tuple(text for is_so, text in found if is_so)


def _cores(before: MachineTime | None, after: MachineTime | None) -> float | None:
    if before is None or after is None or after.total <= before.total:
        return None
    return (after.busy - before.busy) / (after.total - before.total) * (os.cpu_count() or 1)
