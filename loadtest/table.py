"""A report as it looks in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtest.report import Durations, GapFigures, LinkFigures, MediaFigures, Report, ServerFigures

SHOWN_FAILURES = 10
KINDS = {"light": "light publishers", "aiortc": "aiortc publishers"}


def show(report: Report, console: Console) -> None:
    """Print the final table, what went wrong, and the verdict."""
    title = "Figures until interrupted" if report.interrupted else None
    table = Table(title=title, show_header=False, pad_edge=False, box=None)
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in rows(report):
        table.add_row(escape(name), escape(value))
    console.print(table)
    for server in report.server:
        _server(server, console)
    for fault in report.faults:
        silence = f"silence p50 {number(fault.silence_p50_s, 's', 2)}, max {number(fault.silence_max_s, 's', 2)}"
        noticed = f"{fault.affected} of {fault.listeners} listeners noticed, {silence}, {fault.lost_packets} packets lost"
        line = f"{fault.kind} at {fault.at_s:.1f} s: {fault.what}; {noticed}"
        console.print(line, highlight=False, markup=False)
    for failure in report.failures[:SHOWN_FAILURES]:
        console.print(f"[red]failed[/red] {escape(failure)}", highlight=False)
    if report.failure_count > SHOWN_FAILURES:
        console.print(f"... and {report.failure_count - SHOWN_FAILURES} more failures")
    for text in report.generator.bottlenecks:
        console.print(
            f"[yellow]The figures may not be the server's:[/yellow] the load tester did not keep up: {escape(text)}.", highlight=False
        )
    verdict(report, console)


def rows(report: Report) -> Iterable[tuple[str, str]]:
    """Name and value of every line of the table."""
    setup, hearing, media, people = report.setup, report.hearing, report.media, report.people
    yield "Participants in the call", f"{setup.succeeded} of {setup.attempted}"
    yield "  light / aiortc publishers / listeners", f"{people.light_publishers} / {people.aiortc_publishers} / {people.listeners}"
    yield "  setup p50 / p99", pair(setup.p50_ms, setup.p99_ms)
    for step, times in setup.steps.items():
        yield f"    {step.replace('_', ' ')}", of_durations(times)
    yield "Streams heard", f"{hearing.heard} of {hearing.expected}"
    yield "  first packet p50 / p99", pair(hearing.p50_ms, hearing.p99_ms)
    yield from media_rows("Packets received", media)
    if len(report.media_by_kind) > 1:
        for kind, figures in report.media_by_kind.items():
            yield f"  of {KINDS[kind]}", f"{figures.received_packets} of {figures.expected_packets}"
            yield "    latency p50 / p99", pair(figures.latency_p50_ms, figures.latency_p99_ms, 2)
    yield from gap_rows(report.gaps)
    if report.link is not None:
        yield from link_rows(report.link)
    generator = report.generator
    cpu = f"{generator.python_cpu:.2f} + {generator.native_cpu:.2f} cores"
    yield "Load tester: CPU Python + native", cpu
    yield "  loop lag p99 / talkers late p99", pair(generator.loop_lag_p99_ms, generator.tick_late_p99_ms, 1)


def media_rows(name: str, media: MediaFigures) -> Iterable[tuple[str, str]]:
    yield name, f"{media.received_packets} of {media.expected_packets}"
    yield "  loss", number(None if media.loss_ratio is None else media.loss_ratio * 100, "%", 3)
    yield "  latency p50 / p99", pair(media.latency_p50_ms, media.latency_p99_ms, 2)
    yield "  jitter p99", number(media.jitter_p99_ms, "ms", 2)
    yield "  duplicates / reordered", f"{media.duplicate_packets} / {media.reordered_packets}"
    if media.silence_s:
        yield "  silence in all / longest", f"{media.silence_s:.2f} / {media.longest_silence_s:.2f} s"


def link_rows(link: LinkFigures) -> Iterable[tuple[str, str]]:
    yield "Bad link: asked for, each way", f"{100 * link.loss_ratio:g} % loss, {link.delay_ms:g} ms"
    for name, way in (("to the server", link.to_server), ("from the server", link.from_server)):
        yield f"  packets dropped {name}", f"{way.dropped} of {way.packets}"
        yield "    of media", f"{way.media_dropped} of {way.media_packets}"
    yield "  late p99 / max", pair(link.late_p99_ms, link.late_max_ms, 2)


def gap_rows(gaps: GapFigures) -> Iterable[tuple[str, str]]:
    for name, times in (
        ("Unmuted and heard again", gaps.unmute),
        ("Came back and heard", gaps.rejoin),
        ("Signaling again", gaps.reconnect),
    ):
        if times.count:
            yield f"{name} p50 / p99", f"{of_durations(times)} ({times.count} times)"


def _server(server: ServerFigures, console: Console) -> None:
    if not server.reachable:
        console.print(f"Server side of {server.url}: not known: {server.note}", highlight=False, markup=False)
        return
    table = Table(title=f"Server {server.url}, version {server.version}", title_justify="left", pad_edge=False, box=None)
    table.add_column("shard")
    for name in ("packets/s in", "out", "forwarding CPU", "adds p50 / p99", "lag max"):
        table.add_column(name, justify="right")
    table.add_column("drops")
    for shard in server.shards:
        drops = ", ".join(f"{reason} {count}" for reason, count in shard.drops.items()) or "none"
        table.add_row(
            escape(shard.shard),
            f"{shard.packets_in_per_s:.0f}",
            f"{shard.packets_out_per_s:.0f}",
            number(shard.forwarding_cpu, "cores", 3),
            pair(shard.latency_p50_ms, shard.latency_p99_ms, 2),
            number(shard.lag_max_ms, "ms", 0),
            escape(drops),
        )
    console.print(table)


def verdict(report: Report, console: Console) -> None:
    """The demands, those that were missed by name."""
    missed = [criterion for criterion in report.quality if not criterion.met]
    for criterion in missed:
        console.print(f"[red]missed[/red] {criterion.name}: demanded {criterion.demanded}, found {criterion.found}", highlight=False)
    if not missed and report.media.received_packets == report.media.expected_packets:
        console.print("[green]Nothing was lost.[/green]")
    elif not missed:
        console.print("[green]As good as demanded.[/green]")


def of_durations(times: Durations) -> str:
    return pair(times.p50_ms, times.p99_ms, 1)


def pair(first: float | None, second: float | None, digits: int = 0) -> str:
    """Two milliseconds."""
    return f"{number(first, '', digits)} / {number(second, 'ms', digits)}"


def number(value: float | None, unit: str, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f} {unit}".rstrip()
