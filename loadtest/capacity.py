"""How much a deployment carries: the load is raised step by step until the demanded quality is missed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from loadtest.report import Report, percentile
from loadtest.run import Plan
from loadtest.scenario import Scenario, changed
from loadtest.table import number

GROWTH: Final = 1.5
"""Each step has so many times the rooms of the one before, until one fails; then the space between is halved."""
CLOSE_ENOUGH: Final = 1.1
MAX_STEPS: Final = 24


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ``packets_out_per_s``: of all shards together; ``limits``: which demands were missed; ``bottlenecks``: of the load
    tester."""

    rooms: int
    participants: int
    streams: int
    good: bool
    loss_ratio: float | None
    latency_p99_ms: float | None
    setup_p99_ms: float | None
    packets_out_per_s: float | None
    forwarding_cpu_max: float | None
    limits: tuple[str, ...]
    bottlenecks: tuple[str, ...]


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """``last_good``: the largest step that was as demanded, None where not even the first was; ``shards``: how many took part."""

    schema: int = 1
    host: str
    scenario: Scenario
    shards: int
    last_good: Step | None
    steps: tuple[Step, ...]


class Search:
    """``execute_step`` runs one scenario."""

    def __init__(self, plan: Plan, execute_step: Callable[[Scenario], Awaitable[Report]], console: Console) -> None:
        self._base = plan.scenario
        self._execute_step = execute_step
        self._console = console
        self._steps: list[Step] = []
        self._host = ""
        self._shards = 0

    async def execute(self) -> Capacity:
        """Run the steps. Ctrl-C ends the search with those so far."""
        good, bad = 0, 0
        rooms = self._base.rooms
        while len(self._steps) < MAX_STEPS:
            report = await self._execute_step(self._step(rooms))
            if report.interrupted:
                break
            self._note(report, rooms)
            if report.is_good:
                good = rooms
            else:
                bad = rooms
            following = next_rooms(good, bad, self._base.rooms)
            if following is None:
                break
            rooms = following
        best = max((step for step in self._steps if step.good), key=lambda step: step.rooms, default=None)
        return Capacity(host=self._host, scenario=self._base, shards=self._shards, last_good=best, steps=tuple(self._steps))

    def _step(self, rooms: int) -> Scenario:
        """People come as fast in a large step as in a small one: otherwise the limit would be that of a join storm."""
        return changed(self._base, {"rooms": rooms, "ramp_s": self._base.ramp_s * rooms / self._base.rooms})

    def _note(self, report: Report, rooms: int) -> None:
        shards = [shard for server in report.server for shard in server.shards]
        self._shards = len(shards) or self._shards
        self._host = report.generator.host
        cpus = [shard.forwarding_cpu for shard in shards if shard.forwarding_cpu is not None]
        step = Step(
            rooms=rooms,
            participants=self._step(rooms).participants,
            streams=report.hearing.heard,
            good=report.is_good,
            loss_ratio=report.media.loss_ratio,
            latency_p99_ms=report.media.latency_p99_ms,
            setup_p99_ms=report.setup.p99_ms,
            packets_out_per_s=sum(shard.packets_out_per_s for shard in shards) if shards else None,
            forwarding_cpu_max=percentile(cpus, 100) if cpus else None,
            limits=tuple(f"{criterion.name}: {criterion.found}" for criterion in report.quality if not criterion.met),
            bottlenecks=report.generator.bottlenecks,
        )
        self._steps.append(step)
        word = "good" if step.good else f"missed {'; '.join(step.limits)}"
        self._console.print(f"{rooms} rooms, {step.participants} people, {step.streams} streams: {word}", highlight=False)


def next_rooms(good: int, bad: int, first: int) -> int | None:
    """How many rooms to try next, or None where it is known well enough. ``good``, ``bad``: the largest that was good, and the smallest
    above it
    that was not; 0: none yet."""
    if not bad:
        return max(good + 1, int(good * GROWTH))
    if not good:
        return bad // 2 if bad == first and bad > 1 else None
    middle = (good + bad) // 2
    return middle if good < middle < bad and bad > good * CLOSE_ENOUGH else None


def show(found: Capacity, console: Console) -> None:
    """The steps as a table, and the result in a sentence."""
    table = Table(pad_edge=False, box=None)
    for name in ("rooms", "people", "streams", "packets/s out", "loss", "latency p99", "setup p99", "cores"):
        table.add_column(name, justify="right")
    table.add_column("")
    for step in sorted(found.steps, key=lambda step: step.rooms):
        table.add_row(
            str(step.rooms),
            str(step.participants),
            str(step.streams),
            number(step.packets_out_per_s, "", 0),
            number(None if step.loss_ratio is None else 100 * step.loss_ratio, "%", 3),
            number(step.latency_p99_ms, "ms", 2),
            number(step.setup_p99_ms, "ms", 0),
            number(step.forwarding_cpu_max, "", 2),
            "good" if step.good else "; ".join(step.limits),
        )
    console.print(table)
    limited = next((step for step in found.steps if not step.good and step.bottlenecks), None)
    if limited is not None:
        console.print(f"[yellow]The limit may be the load tester's:[/yellow] {'; '.join(limited.bottlenecks)}.", highlight=False)
    shards = f"{found.shards} shard{'s' if found.shards != 1 else ''}" if found.shards else "this server"
    if found.last_good is None:
        console.print(f"Not even the first step was as good as demanded ({shards}, {found.host}).", highlight=False)
    else:
        best = found.last_good
        console.print(
            f"Last good step with {shards}: {best.rooms} rooms, {best.participants} people, {best.streams} streams ({found.host})."
        )


def encode(found: Capacity) -> bytes:
    """As JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"
