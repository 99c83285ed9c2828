from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sfu.forwarding
from sfu.negotiation import Section
from sfu.publisher import MAX_ENCODINGS, Track


class Loop:
    """Takes note of encodings."""

    def __init__(self) -> None:
        self.added: list[tuple[int, int]] = []

    def add_encoding(self, track: int, ssrc: int) -> None:
        self.added.append((track, ssrc))


def track() -> Any:
    return Track(None, 7, Section("0", "audio", "recvonly"))  # type: ignore[arg-type]


def test_as_many_encodings_as_the_native_loop_keeps() -> None:
    header = (Path(sfu.forwarding.__file__).parent / "table.h").read_text(encoding="utf-8")
    assert re.findall(r"#define MAX_ENCODINGS (\d+)", header) == [str(MAX_ENCODINGS)]


def test_a_further_ssrc_takes_the_place_of_the_oldest() -> None:
    claimed, loop = track(), Loop()
    for ssrc in range(1, 7):
        claimed.claim(loop, ssrc)
    assert claimed.encodings == [3, 4, 5, 6]


def test_an_ssrc_that_comes_again_is_added_again() -> None:
    claimed, loop = track(), Loop()
    for ssrc in (1, 2, 1):
        claimed.claim(loop, ssrc)
    assert (claimed.encodings, loop.added) == ([1, 2], [(7, 1), (7, 2), (7, 1)])
