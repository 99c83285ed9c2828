"""``antiphon loadtest URL``, also ``python -m loadtest URL``: how a deployment carries the people one asks it to carry."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest import capacity, html, namespace, report, run, scenario, table, tokens
from loadtest.participant import Target
from loadtest.reach import Reach
from loadtest.scenario import Fault, Scenario, ScenarioError
from loadtest.signaling import TargetError, websocket_url

EXIT_BAD = 1
"""A demanded quality was missed."""
EXIT_UNUSABLE = 2
"""No server could be measured (the same as click's for wrong flags)."""
SPARE_FILES = 64

FLAGS = {
    "rooms": "rooms",
    "listeners": "listeners",
    "hearing": "hearing",
    "duration": "duration_s",
    "ramp": "ramp_s",
    "max_loss": "quality.max_loss_ratio",
    "max_latency": "quality.max_latency_p99_ms",
    "min_setup": "quality.min_setup_ratio",
    "loss": "network.loss_ratio",
    "delay": "network.delay_ms",
    "netns": "network.namespace",
}
"""Flags that are fields of a scenario."""


def _peers(text: str, publishers: int) -> tuple[int, int]:
    """``light``, ``aiortc`` or ``light:2,aiortc:1`` -> how many are light and how many aiortc."""
    if text in ("light", "aiortc"):
        return (publishers, 0) if text == "light" else (0, publishers)
    counts = dict.fromkeys(("light", "aiortc"), 0)
    for part in text.split(","):
        kind, colon, count = part.strip().partition(":")
        if kind not in counts or not colon or not count.isdecimal():
            raise click.BadParameter("give light, aiortc, or counts like light:2,aiortc:1", param_hint="'--peers'")
        counts[kind] = int(count)
    return counts["light"], counts["aiortc"]


def _timed(text: str, flag: str) -> tuple[str, float]:
    """``WHAT@SECONDS``."""
    what, at, seconds = text.rpartition("@")
    with contextlib.suppress(ValueError):
        if at and float(seconds) >= 0:
            return what, float(seconds)
    raise click.BadParameter(f"{text!r} is not like WHAT@SECONDS", param_hint=f"'{flag}'")


def _faults(kill_shard: tuple[str, ...], kill_control: float | None, cut: tuple[str, ...]) -> tuple[Fault, ...]:
    found: list[Fault] = []
    for text in kill_shard:
        shard, at_s = _timed(text, "--kill-shard")
        pid = shard.removeprefix("pid:")
        found.append(
            Fault(kind="kill_shard", at_s=at_s, pid=int(pid))
            if pid != shard and pid.isdecimal()
            else Fault(kind="kill_shard", at_s=at_s, shard=shard)
        )
    if kill_control is not None:
        found.append(Fault(kind="kill_control", at_s=kill_control))
    for text in cut:
        share, at_s = _timed(text, "--cut")
        try:
            ratio = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            raise click.BadParameter(f"{share!r} is not a share like 0.5 or 50%", param_hint="'--cut'")
        found.append(Fault(kind="cut_listeners", at_s=at_s, share=ratio))
    return tuple(found)


def _scenario(flags: dict[str, Any]) -> Scenario:
    """The scenario that was named, changed by the flags that were given."""
    wanted = scenario.load(flags["scenario"]) if flags["scenario"] else Scenario()
    changes = {field: flags[flag] for flag, field in FLAGS.items() if flags[flag] is not None}
    if not flags["scenario"] or flags["peers"] is not None or flags["publishers"] is not None:
        publishers = flags["publishers"] if flags["publishers"] is not None else wanted.talkers or 2
        light, aiortc = _peers(flags["peers"] or ("aiortc" if wanted.aiortc_publishers or not flags["scenario"] else "light"), publishers)
        changes |= {"publishers": light, "aiortc_publishers": aiortc}
    faults = _faults(flags["kill_shard"], flags["kill_control"], flags["cut"])
    if faults:
        changes["faults"] = (*wanted.faults, *faults)
    wanted = scenario.changed(wanted, changes)
    wanted.check("the flags")
    return wanted


def _tls(insecure: bool, ca: Path | None) -> ssl.SSLContext | None:
    if not insecure and ca is None:
        return None
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _plan(urls: tuple[str, ...], flags: dict[str, Any]) -> run.Plan:
    """Raises :class:`TargetError`, :class:`ScenarioError`, :class:`tokens.SecretError`, or :class:`ValueError` for a network that is
    none."""
    wanted = _scenario(flags)
    tls = _tls(flags["insecure"], flags["ca"])
    given = flags["token"]
    token = tokens.issuer(tokens.read_secret(flags["token_secret_file"])) if flags["token_secret_file"] else lambda name, room: given
    targets = [Target(url, tls, token) for url in urls]
    hosts = [urlsplit(websocket_url(url)).hostname or "" for url in urls]
    try:
        reach = Reach(hosts, flags["media"])
    except OSError as error:
        raise TargetError(f"{', '.join(hosts)}: {error.strerror or error}") from None
    admin = flags["admin_token_file"].read_text().strip() if flags["admin_token_file"] else ""
    return run.Plan(wanted, targets, reach, flags["metrics_url"] or "", admin, admin)


def _network(plan: run.Plan, media: tuple[str, ...]) -> contextlib.AbstractContextManager[namespace.Link | None]:
    """Where the run's sockets live. Raises :class:`namespace.NamespaceError` on the way in."""
    if not plan.scenario.network.namespace:
        return contextlib.nullcontext()
    hosts = [urlsplit(websocket_url(target.url)).hostname or "" for target in plan.targets]
    return namespace.entered(plan.scenario.network, hosts, media)


@click.command("loadtest", context_settings={"max_content_width": 110})
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--scenario", metavar="NAME|FILE", help=f"Shipped: {', '.join(scenario.shipped())}; or a TOML file. Flags change it.")
@click.option("--rooms", type=click.IntRange(1), help="Number of rooms.  [default: 1]")
@click.option("--publishers", type=click.IntRange(0), help="People in each room who talk and listen.  [default: 2]")
@click.option("--listeners", type=click.IntRange(0), help="People in each room who only listen.  [default: 0]")
@click.option("--peers", metavar="KIND", help="What publishers are: aiortc, light, or counts like light:2,aiortc:1.  [default: aiortc]")
@click.option("--hearing", type=click.Choice(["subscription", "consumers"]), help="One connection for a room, or one for each publisher.")
@click.option("--duration", type=click.FloatRange(0), help="Seconds to talk once all hear all.  [default: 10]")
@click.option("--ramp", type=click.FloatRange(0), help="Seconds over which people join.  [default: 0]")
@click.option("--max-loss", type=click.FloatRange(0, 1), metavar="RATIO", help="Demanded quality.  [default: 0.001]")
@click.option("--max-latency", type=click.FloatRange(0), metavar="MS", help="Demanded 99th percentile.  [default: 20]")
@click.option("--min-setup", type=click.FloatRange(0, 1), metavar="RATIO", help="Demanded share of people who get in.  [default: 1]")
@click.option(
    "--loss", type=click.FloatRange(0, 1), metavar="RATIO", help="Throw away so much of what arrives here, as a bad network would."
)
@click.option("--delay", type=click.FloatRange(0, 60_000), metavar="MS", help="Let what arrives here come so much later.")
@click.option(
    "--netns",
    is_flag=True,
    default=None,
    help="Loss and delay for every packet, signaling too, both ways: all live in a network namespace of their own (root; see README).",
)
@click.option(
    "--kill-shard", multiple=True, metavar="SHARD|pid:N@S", help="Kill a shard S seconds into the talk (servers on this machine)."
)
@click.option("--kill-control", type=click.FloatRange(0), metavar="S", help="Likewise control.")
@click.option("--cut", multiple=True, metavar="SHARE@S", help="Cut so many listeners off S seconds into the talk.")
@click.option("--token", metavar="JWT", help="Token of all participants.")
@click.option("--token-secret-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Issue a token to each (HS256).")
@click.option("--insecure", is_flag=True, help="Trust any certificate of the server.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Trust certificates of these authorities (PEM).")
@click.option("--media", multiple=True, metavar="NET", help="Address or network that media may go to, besides the hosts of the URLs.")
@click.option("--metrics-url", metavar="URL", help="Where the server's metrics are.  [default: /metrics of each URL]")
@click.option(
    "--admin-token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For metrics and for killing shards."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as JSON (loadtest/REPORT.md).")
@click.option("--report", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write it as one HTML page with charts.")
@click.option("--find-capacity", is_flag=True, help="Raise the number of rooms step by step until the demanded quality is missed.")
def main(urls: tuple[str, ...], json_file: Path | None, html_file: Path | None, find_capacity: bool, **flags: Any) -> None:
    """Join rooms of the Antiphon servers at each URL (http://127.0.0.1:8080 if there is none) and measure what listeners hear.

    Rooms go to the URLs in turn. The exit status is 1 when a demanded quality was missed, 2 when there is no server to measure. Ctrl-C ends
    with the figures so far. Packets go to the addresses given and to no others.
    """
    console = Console()
    try:
        plan = _plan(urls or ("http://127.0.0.1:8080",), flags)
        _raise_file_limit(plan.scenario)
        with _network(plan, flags["media"]) as link:
            plan.link = link
            if find_capacity:
                raise SystemExit(_find_capacity(plan, console, json_file))
            found = uvloop.run(_run(plan, console))
    except (TargetError, ScenarioError, namespace.NamespaceError, tokens.SecretError, ValueError, OSError) as error:
        click.echo(f"antiphon loadtest: {error}", err=True)
        raise SystemExit(EXIT_UNUSABLE) from None
    table.show(found, console)
    if json_file is not None:
        json_file.write_bytes(report.encode(found))
    if html_file is not None:
        html_file.write_text(html.page(found), encoding="utf-8")
    raise SystemExit(0 if found.is_good else EXIT_BAD)


def _find_capacity(plan: run.Plan, console: Console, json_file: Path | None) -> int:
    found = uvloop.run(_search(plan, console))
    capacity.show(found, console)
    if json_file is not None:
        json_file.write_bytes(capacity.encode(found))
    return 0 if found.last_good is not None else EXIT_BAD


async def _search(plan: run.Plan, console: Console) -> capacity.Capacity:
    search = capacity.Search(plan, lambda wanted: _run(run.Plan(**{**vars(plan), "scenario": wanted}), console), console)
    return await search.execute()


def _raise_file_limit(wanted: Scenario) -> None:
    """Every connection takes a descriptor, and so does every WebSocket. Raises :class:`ScenarioError` where the system forbids that
    many."""
    media = wanted.participants if wanted.hearing == "subscription" else wanted.streams
    need = wanted.participants + wanted.rooms * wanted.talkers + media + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and need > hard:
        raise ScenarioError(f"{need} sockets are needed and the system allows {hard}: raise the limit (ulimit -n) or lower the load")
    if need > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


async def _run(plan: run.Plan, console: Console) -> report.Report:
    """Run with live progress; SIGINT and SIGTERM stop early."""
    columns = (TextColumn("{task.description:>9}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    wanted = plan.scenario
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("joining", total=wanted.participants + wanted.streams + wanted.duration_s, state="")

        def show(progress: run.Progress) -> None:
            loss = "-" if progress.loss_ratio is None else f"{100 * progress.loss_ratio:.2f} %"
            p99 = "-" if progress.p99_ms is None else f"{progress.p99_ms:.1f} ms"
            heard = f"{progress.hearing}/{wanted.streams} heard"
            state = f"{progress.joined}/{wanted.participants} joined, {progress.talking} talking, {heard}, loss {loss}, p99 {p99}"
            done = progress.joined + progress.hearing + progress.talked_s
            bars.update(bar, description=progress.phase, completed=done, state=state)
            if not console.is_terminal and progress.is_new_phase:
                console.print(f"{progress.phase}: {state}", highlight=False)

        execution = run.Run(plan, show)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, execution.stop.set)
        return await execution.execute()


if __name__ == "__main__":
    main(prog_name="antiphon loadtest")
