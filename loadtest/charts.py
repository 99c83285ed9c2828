"""Charts as inline SVG: lines over time, bars, and a heat map. Pure functions from numbers to markup; colours are the page's CSS
variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 720
HEIGHT: Final = 220
LEFT: Final = 74
RIGHT: Final = 12
TOP: Final = 12
BOTTOM: Final = 28
COLOURS: Final = ("--c1", "--c2", "--c3", "--c4", "--c5", "--c6")
DASHES: Final = ("", "6 3", "2 3", "8 3 2 3", "1 2", "12 4")
"""Lines differ in their dashes as well, so that they can be told apart in print and by people who see few colours."""
HEAT_ROWS: Final = 60
HEAT_COLUMNS: Final = 120


class Line(NamedTuple):
    """``points``: (x, y); a y of None leaves a gap."""

    name: str
    points: Sequence[tuple[float, float | None]]


def nice_step(span: float, steps: int) -> float:
    """1, 2 or 5 times a power of ten, so that ``span`` has about ``steps`` of them."""
    raw = max(span, 1e-9) / steps
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)


def lines(series: Sequence[Line], *, title: str, x_unit: str = "s", y_unit: str, marks: Sequence[tuple[float, str]] = ()) -> str:
    """``marks``: moments, with what happened then."""
    values = [y for line in series for _, y in line.points if y is not None]
    moments = [x for line in series for x, _ in line.points]
    if not values:
        return _nothing(title)
    top, end = max(values) * 1.05 or 1.0, max(*moments, 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / end, TOP + (HEIGHT - TOP - BOTTOM) * (1 - y / top)

    parts = [*_y_axis(top, y_unit, at), *_x_axis(end, x_unit, at)]
    for moment, what in marks:
        x, _ = at(moment, 0)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"><title>{escape(what)}</title></line>')
    for number, line in enumerate(series):
        parts += [_path(run, at, number, line.name) for run in _runs(line.points)]
    return _figure(title, parts, _legend([line.name for line in series]))


def _path(points: Sequence[tuple[float, float]], at: object, number: int, name: str) -> str:
    placed = [at(x, y) for x, y in points]  # type: ignore[operator]
    style = f"stroke:var({COLOURS[number % len(COLOURS)]});stroke-dasharray:{DASHES[number % len(DASHES)] or 'none'}"
    if len(placed) == 1:
        return f'<circle r="2" cx="{placed[0][0]:.1f}" cy="{placed[0][1]:.1f}" style="fill:var({COLOURS[number % len(COLOURS)]})"/>'
    path = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(placed))
    return f'<path class="line" d="{path}" style="{style}"><title>{escape(name)}</title></path>'


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Points without gaps in between."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def bars(rows: Sequence[tuple[str, float, float]], *, title: str, unit: str, names: tuple[str, str]) -> str:
    """Two bars for each of ``rows`` (name, first, second), ``names`` of which are in the legend."""
    if not rows:
        return _nothing(title)
    top = max(max(first, second) for _, first, second in rows) or 1.0
    left, height = 130, 30
    scale = (WIDTH - left - 90) / top
    parts = []
    for number, (name, first, second) in enumerate(rows):
        y = number * height + 4
        parts.append(f'<text class="label" x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        for offset, value, colour in ((0, second, COLOURS[1]), (11, first, COLOURS[0])):
            width = max(1.0, value * scale)
            parts.append(f'<rect x="{left}" y="{y + offset}" width="{width:.1f}" height="10" style="fill:var({colour})"/>')
            parts.append(f'<text class="tick" x="{left + width + 5:.1f}" y="{y + offset + 9}">{number_text(value)} {escape(unit)}</text>')
    return _figure(title, parts, _legend(names), height=len(rows) * height + 8)


def heat(rows: Sequence[Sequence[float | None]], times_s: Sequence[float], *, title: str, unit: str, limit: float) -> str:
    """One row for each room, one column a second; colour by value up to ``limit``, which and all above it are the darkest. Of many rooms or
    seconds several share a cell, which then shows the worst."""
    if not rows or not times_s or all(value is None for row in rows for value in row):
        return _nothing(title)
    tall, wide = math.ceil(len(rows) / HEAT_ROWS), math.ceil(len(times_s) / HEAT_COLUMNS)
    cells_down, cells_across = math.ceil(len(rows) / tall), math.ceil(len(times_s) / wide)
    cell_height = max(5.0, min(22.0, 300 / cells_down))
    cell_width = (WIDTH - LEFT - RIGHT) / cells_across
    parts = []
    for down in range(cells_down):
        for across in range(cells_across):
            block = [row[across * wide : (across + 1) * wide] for row in rows[down * tall : (down + 1) * tall]]
            values = [value for part in block for value in part if value is not None]
            where = f"room {down * tall + 1}, {times_s[min(across * wide, len(times_s) - 1)]:.0f} s"
            parts.append(_cell(LEFT + across * cell_width, down * cell_height, cell_width, cell_height, values, where, unit, limit))
    for down in range(0, cells_down, max(1, cells_down // 10)):
        y = down * cell_height + cell_height / 2 + 4
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y:.1f}" text-anchor="end">{down * tall + 1}</text>')
    height = cells_down * cell_height
    parts.append(f'<text class="tick" x="{LEFT}" y="{height + 16:.0f}">{times_s[0]:.0f} s</text>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{height + 16:.0f}" text-anchor="end">{times_s[-1]:.0f} s</text>')
    scale = f'<span class="scale"></span> 0 to {number_text(limit)} {escape(unit)} and above; hatched: nothing heard'
    return _figure(title, parts, f'<p class="legend">{scale}</p>', height=height + 24)


def _cell(x: float, y: float, width: float, height: float, values: list[float], where: str, unit: str, limit: float) -> str:
    size = f'x="{x:.2f}" y="{y:.2f}" width="{max(0.5, width - 0.6):.2f}" height="{max(0.5, height - 0.6):.2f}"'
    if not values:
        return f'<rect {size} class="none"><title>{where}: nothing</title></rect>'
    worst = max(values)
    share = round(100 * min(1.0, worst / limit)) if limit else 0
    title = f"<title>{where}: {number_text(worst)} {unit}</title>"
    return f'<rect {size} style="fill:color-mix(in srgb,var(--hot) {share}%,var(--cold))">{title}</rect>'


def _y_axis(top: float, unit: str, at: object) -> list[str]:
    step, parts = nice_step(top, 4), []
    for number in range(int(top / step) + 1):
        _, y = at(0, number * step)  # type: ignore[operator]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = f"{number_text(number * step)} {unit}" if number else "0"
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    return parts


def _x_axis(end: float, unit: str, at: object) -> list[str]:
    step, parts = nice_step(end, 8), []
    for number in range(int(end / step) + 1):
        x, _ = at(number * step, 0)  # type: ignore[operator]
        text = f"{number_text(number * step)} {unit}"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(text)}</text>')
    return parts


def number_text(value: float) -> str:
    """Three digits at most, no exponent."""
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}" if value >= 0.001 else "0"


def _legend(names: Sequence[str]) -> str:
    items = []
    for number, name in enumerate(names):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)] or "none"
        swatch = (
            f'<svg width="26" height="8"><line x1="0" x2="26" y1="4" y2="4" style="stroke:var({colour});stroke-dasharray:{dash}"/></svg>'
        )
        items.append(f"<span>{swatch} {escape(name)}</span>")
    return f'<p class="legend">{" ".join(items)}</p>'


def _figure(title: str, parts: Sequence[str], legend: str, height: float = HEIGHT) -> str:
    svg = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}{legend}</figure>"


def _nothing(title: str) -> str:
    return f'<figure><figcaption>{escape(title)}</figcaption><p class="legend">Nothing was measured.</p></figure>'
