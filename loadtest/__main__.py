"""``antiphon loadtest URL``, also ``python -m loadtest URL``: how a deployment carries the people one asks it to carry."""

from __future__ import annotations

import asyncio
import signal

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest import report, scenario
from loadtest.signaling import TargetError

EXIT_BAD = 1
"""Something was lost or failed."""
EXIT_UNUSABLE = 2
"""No server could be measured (the same as click's for wrong flags)."""


@click.command("loadtest")
@click.argument("url", default="http://127.0.0.1:8080")
@click.option("--rooms", default=1, show_default=True, type=click.IntRange(1), help="Number of rooms.")
@click.option("--publishers", default=2, show_default=True, type=click.IntRange(0), help="People in each room who talk and listen.")
@click.option("--listeners", default=0, show_default=True, type=click.IntRange(0), help="People in each room who only listen.")
@click.option("--duration", default=10.0, show_default=True, type=click.FloatRange(0), help="Seconds to talk once all hear all.")
@click.option("--ramp", default=0.0, show_default=True, type=click.FloatRange(0), help="Seconds over which people join.")
def main(url: str, rooms: int, publishers: int, listeners: int, duration: float, ramp: float) -> None:
    """Join rooms of the Antiphon server at URL as synthetic participants and measure what they hear.

    Each participant is made of whole aiortc peer connections and sends a tone of its own. The exit status is 1 when a
    packet was lost or somebody could not join or hear, 2 when there is no such server. Ctrl-C ends with the figures so far.
    """
    if publishers + listeners == 0:
        raise click.UsageError("nobody to join: give --publishers or --listeners")
    console = Console()
    wanted = scenario.Scenario(url, rooms, publishers, listeners, duration, ramp)
    try:
        figures = asyncio.run(_run(wanted, console))
    except TargetError as error:
        click.echo(f"antiphon loadtest: {error}", err=True)
        raise SystemExit(EXIT_UNUSABLE) from None
    report.show(figures, console)
    raise SystemExit(0 if figures.is_good else EXIT_BAD)


async def _run(wanted: scenario.Scenario, console: Console) -> report.Figures:
    """Run with live progress; SIGINT and SIGTERM stop early."""
    columns = (TextColumn("{task.description:>9}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("joining", total=wanted.participants + wanted.streams, state="")

        def show(progress: scenario.Progress) -> None:
            joined, heard = f"{progress.joined}/{wanted.participants}", f"{progress.hearing}/{wanted.streams}"
            state = f"{joined} in the call, {progress.talking} talking, {heard} streams heard"
            bars.update(bar, description=progress.phase, completed=progress.joined + progress.hearing, state=state)

        run = scenario.Run(wanted, show)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, run.stop.set)
        return await run.execute()


if __name__ == "__main__":
    main()
