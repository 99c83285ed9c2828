"""When figures are good, and how they are summed up."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from loadtest.peer import Reception
from loadtest.report import Durations, Figures, Media, Setup, percentile, show

GOOD = Figures(
    setup=Setup(4, 4, Durations(50, 60)),
    hearing=Setup(12, 12, Durations(150, 170)),
    media=Media(600, 600, 1.5),
    failures=[],
    interrupted=False,
)


def test_nearest_rank_percentiles() -> None:
    assert percentile([3, 1, 2], 50) == 2
    assert percentile(range(1, 101), 99) == 99
    assert percentile([7], 99) == 7
    assert math.isnan(percentile([], 50))


def test_media_sums_every_consumer() -> None:
    media = Media.of([Reception(90, 10, 1.0), Reception(100, 0, 3.0)])
    assert (media.expected_packets, media.received_packets, media.jitter_p99_ms) == (200, 190, 3.0)
    assert media.loss_ratio == pytest.approx(0.05)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, setup=Setup(4, 3, Durations(50, 60))),
        replace(GOOD, hearing=Setup(12, 11, Durations(150, 170))),
        replace(GOOD, media=Media(600, 599, 1.5)),
        replace(GOOD, media=Media(600, 601, 1.5)),
        replace(GOOD, failures=["Ann: the server closed the WebSocket: 1006"]),
    ],
)
def test_anything_lost_or_failed_is_not_good(bad: Figures) -> None:
    assert GOOD.is_good
    assert not bad.is_good


def test_table_shows_counts_and_failures_but_not_hundreds_of_them() -> None:
    output = io.StringIO()
    show(replace(GOOD, failures=[f"person {n}" for n in range(300)]), Console(file=output, width=100))
    text = output.getvalue()
    assert "4 of 4" in text
    assert "600 of 600" in text
    assert "0.000 %" in text
    assert "290 more failures" in text


def test_nothing_measured_is_shown_as_such() -> None:
    output = io.StringIO()
    nothing = Figures(Setup(0, 0, Durations.of([])), Setup(0, 0, Durations.of([])), Media.of([]), [], interrupted=True)
    show(nothing, Console(file=output, width=100))
    assert "nan" not in output.getvalue()
