"""A report as one HTML page that needs nothing else: no script, no file beside it. It reads on a screen, light or dark, and in print."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

from loadtest import charts
from loadtest.charts import Line
from loadtest.report import Report, Sample, ServerFigures
from loadtest.table import number, rows

STYLE: Final = Path(__file__).with_name("report.css")
STEP_NAMES: Final = {
    "websocket": "WebSocket",
    "register": "register",
    "join": "join",
    "offer": "offer",
    "ice": "ICE",
    "dtls": "DTLS",
    "consumer_offer": "hear: offer",
    "consumer_ice": "hear: ICE",
    "consumer_dtls": "hear: DTLS",
    "first_packet": "first packet",
}


def page(report: Report) -> str:
    """The page, as text of UTF-8."""
    title = report.scenario.title or "Load test"
    style = STYLE.read_text(encoding="utf-8")
    body = "".join([_head(report, title), _quality(report), _warnings(report), _charts(report), _figures(report), _server(report)])
    end = _faults(report) + _rooms(report) + _failures(report) + _about(report)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>{body}{end}</main></body></html>\n"
    )


def _head(report: Report, title: str) -> str:
    people = report.people
    who = [
        f"{count} {name}"
        for count, name in (
            (people.light_publishers, "light publishers"),
            (people.aiortc_publishers, "aiortc publishers"),
            (people.listeners, "listeners"),
        )
        if count
    ]
    rooms = f"{report.scenario.rooms} room{'s' if report.scenario.rooms != 1 else ''}"
    verdict = "As good as demanded" if report.is_good else "Not as good as demanded"
    if report.interrupted:
        verdict += " (interrupted)"
    what = f"{', '.join(who)} in {rooms} of {', '.join(report.targets)}. {report.started_at}, {report.duration_s:.0f} s."
    about = f"<p>{escape(report.scenario.description)}</p>" if report.scenario.description else ""
    if (link := report.link) is not None:
        what += f" All of them were behind a bad link: {100 * link.loss_ratio:g} % loss and {link.delay_ms:g} ms delay each way."
    word = "good" if report.is_good else "bad"
    return f'<header><h1>{escape(title)}</h1><p class="verdict {word}">{verdict}</p>{about}<p class="quiet">{escape(what)}</p></header>'


def _quality(report: Report) -> str:
    tiles = "".join(
        f'<li class="{"good" if c.met else "bad"}"><span class="name">{escape(c.name)}</span><strong>{escape(c.found)}</strong>'
        f'<span class="quiet">{"✓" if c.met else "✗"} {escape(c.demanded)}</span></li>'
        for c in report.quality
    )
    return f'<ul class="tiles">{tiles}</ul>'


def _warnings(report: Report) -> str:
    if not report.generator.bottlenecks:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in report.generator.bottlenecks)
    title = "These figures may not be the server’s"
    return f'<section class="warning"><h2>{title}</h2><p>The load tester did not keep up:</p><ul>{items}</ul></section>'


def _charts(report: Report) -> str:
    samples = report.timeline
    marks = [(fault.at_s, f"{fault.kind}: {fault.what}") for fault in report.faults]
    latency = [Line("p50", _over_time(samples, "latency_p50_ms")), Line("p99", _over_time(samples, "latency_p99_ms"))]
    loss = [Line("loss", [(s.t_s, None if s.loss_ratio is None else 100 * s.loss_ratio) for s in samples])]
    silent = [Line("silent streams", _over_time(samples, "silent_streams"))]
    shards = sorted({shard for sample in samples for shard in sample.shard_cpu})
    cpu = [Line(f"shard {shard}", [(s.t_s, s.shard_cpu.get(shard)) for s in samples]) for shard in shards]
    cpu.append(Line("load tester", _over_time(samples, "generator_cpu")))
    steps = [
        (STEP_NAMES.get(name, name), times.p50_ms, times.p99_ms)
        for name, times in report.setup.steps.items()
        if times.p50_ms is not None and times.p99_ms is not None
    ]
    heat_rows = list(zip(*(sample.rooms_p99_ms for sample in samples), strict=True)) if samples else []
    limit = report.scenario.quality.max_latency_p99_ms
    figures = [
        charts.lines(latency, title="Latency, each second", y_unit="ms", marks=marks),
        charts.lines(loss, title="Loss, each second", y_unit="%", marks=marks),
        charts.lines(silent, title="Streams that have missed half a second of speech", y_unit="", marks=marks),
        charts.lines(cpu, title="CPU of each shard’s forwarding thread, and of the load tester", y_unit="cores", marks=marks),
        charts.bars(steps, title="Steps of the way in", unit="ms", names=("p50", "p99")),
        charts.heat(
            heat_rows, [s.t_s for s in samples], title="Latency p99 of each room (row) and second (column)", unit="ms", limit=limit
        ),
    ]
    return f'<section class="charts">{"".join(figures)}</section>'


def _over_time(samples: Iterable[Sample], field: str) -> list[tuple[float, float | None]]:
    return [(sample.t_s, getattr(sample, field)) for sample in samples]


def _figures(report: Report) -> str:
    lines = "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows(report))
    return f"<section><h2>Figures</h2><table class='figures'>{lines}</table></section>"


def _server(report: Report) -> str:
    return "".join(_one_server(server) for server in report.server)


def _one_server(server: ServerFigures) -> str:
    head = f"<h2>Server {escape(server.url)}</h2>"
    if not server.reachable:
        return f"<section>{head}<p>Its own figures are not known: {escape(server.note)}</p></section>"
    names = ("Shard", "Packets/s in", "out", "Forwarding CPU", "Adds p50", "p99", "Lag max", "Drops")
    body = []
    for shard in server.shards:
        drops = ", ".join(f"{reason} {count}" for reason, count in shard.drops.items()) or "none"
        values = (
            shard.shard,
            f"{shard.packets_in_per_s:.0f}",
            f"{shard.packets_out_per_s:.0f}",
            number(shard.forwarding_cpu, "cores", 3),
            number(shard.latency_p50_ms, "ms", 2),
            number(shard.latency_p99_ms, "ms", 2),
            number(shard.lag_max_ms, "ms", 0),
            drops,
        )
        body.append("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>")
    source = f"<p class='quiet'>Version {escape(server.version)}, from its /metrics while people talked.</p>"
    return f"<section>{head}{_table(names, body)}{source}</section>"


def _faults(report: Report) -> str:
    if not report.faults:
        return ""
    body = []
    for fault in report.faults:
        parts = (("p50", fault.silence_p50_s), ("p99", fault.silence_p99_s), ("max", fault.silence_max_s))
        silence = ", ".join(f"{name} {number(value, 's', 2)}" for name, value in parts)
        values = (f"{fault.at_s:.1f} s", fault.what, f"{fault.affected} of {fault.listeners}", silence, str(fault.lost_packets))
        body.append("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>")
    names = ("At", "What broke", "Listeners who noticed", "Silence of a listener", "Packets lost")
    return f"<section><h2>Faults, and what they cost</h2>{_table(names, body)}</section>"


def _rooms(report: Report) -> str:
    worst = sorted(report.rooms, key=lambda room: (-(room.loss_ratio or 0), -(room.latency_p99_ms or 0)))[:10]
    body = []
    for room in worst:
        loss = number(None if room.loss_ratio is None else 100 * room.loss_ratio, "%", 3)
        packets = f"{room.received_packets} of {room.expected_packets}"
        values = (str(room.room), packets, loss, number(room.latency_p50_ms, "ms", 2), number(room.latency_p99_ms, "ms", 2))
        body.append("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>")
    title = "Rooms" if len(report.rooms) <= len(worst) else f"The worst {len(worst)} of {len(report.rooms)} rooms"
    return f"<section><h2>{title}</h2>{_table(('Room', 'Packets received', 'Loss', 'Latency p50', 'p99'), body)}</section>"


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    items = "".join(f"<li>{escape(failure)}</li>" for failure in report.failures[:30])
    more = f"<p>... {report.failure_count} in all.</p>" if report.failure_count > 30 else ""
    return f"<section><h2>What went wrong</h2><ul>{items}</ul>{more}</section>"


def _about(report: Report) -> str:
    return (
        f"<footer><p class='quiet'>Latency is from the talker’s stamp in the packet to the kernel’s receive time at the listener, by "
        f"{escape(report.generator.clock)}. Loss is before any repair. Load tester on {escape(report.generator.host)}, version "
        f"{escape(report.version)}.</p></footer>"
    )


def _table(names: Iterable[str], body: Iterable[str]) -> str:
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in names)
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
