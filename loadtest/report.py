"""The figures of a run, whether they are good, and how they look in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from loadtest.peer import Reception

SHOWN_FAILURES = 10


def percentile(values: Iterable[float], percent: float) -> float:
    """Nearest-rank percentile: the smallest value that at least ``percent`` % of all do not exceed; nan if there is none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True)
class Durations:
    """Median and 99th percentile in milliseconds; nan where nothing was measured."""

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> Durations:
        values = list(values_ms)
        return cls(percentile(values, 50), percentile(values, 99))


@dataclass(frozen=True)
class Setup:
    """How many were tried, how many came about, and how long those took."""

    attempted: int
    succeeded: int
    duration: Durations


@dataclass(frozen=True)
class Media:
    """Sums over all consumers. ``lost`` can only be negative if packets were duplicated, which is as wrong as loss."""

    expected_packets: int
    received_packets: int
    jitter_p99_ms: float

    @classmethod
    def of(cls, receptions: Iterable[Reception]) -> Media:
        every = list(receptions)
        return cls(sum(r.expected for r in every), sum(r.packets for r in every), percentile((r.jitter_ms for r in every), 99))

    @property
    def loss_ratio(self) -> float:
        """Lost of expected packets, 0..1; nan if none were expected."""
        return 1 - self.received_packets / self.expected_packets if self.expected_packets else math.nan


@dataclass(frozen=True)
class Figures:
    """What a run found.

    ``setup``: participants, from opening the WebSocket until joined and, for publishers, until the track is up. ``hearing``:
    consumers, from asking for one until its first decoded sound (aiortc's jitter buffer holds 80 ms of it back).
    """

    setup: Setup
    hearing: Setup
    media: Media
    failures: list[str]
    interrupted: bool

    @property
    def is_good(self) -> bool:
        """Whether everybody got in, everybody heard everybody, and no packet was lost."""
        complete = all(step.succeeded == step.attempted for step in (self.setup, self.hearing))
        return complete and not self.failures and self.media.received_packets == self.media.expected_packets


def show(figures: Figures, console: Console) -> None:
    """Print the final table, the first failures, and the verdict."""
    table = Table(title="Figures until interrupted" if figures.interrupted else None, show_header=False, pad_edge=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("Participants in the call", f"{figures.setup.succeeded} of {figures.setup.attempted}")
    table.add_row("  setup p50 / p99", _pair(figures.setup.duration))
    table.add_row("Streams heard", f"{figures.hearing.succeeded} of {figures.hearing.attempted}")
    table.add_row("  first sound p50 / p99", _pair(figures.hearing.duration))
    table.add_row("Packets received", f"{figures.media.received_packets} of {figures.media.expected_packets}")
    table.add_row("  loss", _number(figures.media.loss_ratio * 100, "%", 3))
    table.add_row("  jitter p99", _number(figures.media.jitter_p99_ms, "ms", 1))
    console.print(table)
    for failure in figures.failures[:SHOWN_FAILURES]:
        console.print(f"[red]failed[/red] {failure}", highlight=False)
    if len(figures.failures) > SHOWN_FAILURES:
        console.print(f"... and {len(figures.failures) - SHOWN_FAILURES} more failures")
    console.print("[green]Nothing was lost.[/green]" if figures.is_good else "[red]Something was lost or failed.[/red]")


def _pair(duration: Durations) -> str:
    return f"{_number(duration.p50_ms, '', 0)} / {_number(duration.p99_ms, 'ms', 0)}".rstrip()


def _number(value: float, unit: str, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f} {unit}".rstrip()
