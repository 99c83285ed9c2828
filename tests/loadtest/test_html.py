"""The report as a page: whole, alone, and true to what it was made of."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from loadtest import charts
from loadtest.html import page
from tests.loadtest.samples import report, sample

VOID = {"meta", "rect", "line", "circle", "path"}


class Nesting(HTMLParser):
    """Raises AssertionError where a tag is closed that was not the last to be opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID or self.open[-1] == tag:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    text = page(report())
    text = re.sub(r"(<(rect|line|path)\b[^>]*>)(<title>[^<]*</title>)</\2>", r"\1", text)
    parser = Nesting()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r"<(script|link|img|iframe)\b|url\(|@import", text)
    assert not re.search(r"(src|href)=", text)


def test_the_words_of_a_scenario_are_no_markup() -> None:
    text = page(report())
    assert "Two &amp; &lt;two&gt;" in text
    assert "<two>" not in text


def test_every_chart_and_table_is_there() -> None:
    text = page(report())
    for expected in (
        "Latency, each second",
        "Loss, each second",
        "Steps of the way in",
        "shard 1",
        "Latency p99 of each room",
        "2 of 4",
        "no_consumer 3",
    ):
        assert expected in text
    assert "As good as demanded" in text
    assert text.count("room 2, ") == 12  # a cell for each second of the second room
    assert "None" not in text
    assert "nan" not in text


def test_a_run_that_measured_nothing_still_has_a_page() -> None:
    text = page(report(timeline=(), rooms=(), streams=(), faults=(), server=(), media_by_kind={}))
    assert "Nothing was measured." in text


def test_hundreds_of_rooms_and_seconds_share_cells() -> None:
    many = tuple(msgspec.structs.replace(sample(second, rooms=500), t_s=float(second)) for second in range(1, 1000))
    text = page(report(timeline=many))
    assert text.count("<rect") < 10_000
    assert len(text) < 2_000_000


@pytest.mark.parametrize(("span", "step"), [(1.0, 0.5), (10, 5), (7, 2), (0.03, 0.01), (1000, 500)])
def test_axes_have_round_steps(span: float, step: float) -> None:
    assert charts.nice_step(span, 4) == pytest.approx(step)
