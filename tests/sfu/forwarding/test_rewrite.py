"""Property: the C rewriter and reference.py agree on every packet of every stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.forwarding import _native, reference
from tests.sfu.forwarding.packets import EXTENSION_ID, options, rtp


def both(**changes: Any) -> tuple[_native.Rewriter, reference.Rewriter]:
    return _native.Rewriter(**options(**changes)), reference.Rewriter(**options(**changes))


extension_elements = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda level: bytes([EXTENSION_ID << 4, level]), st.integers(0, 255)),
    st.builds(lambda level: bytes([EXTENSION_ID, 1, level]), st.integers(0, 255)),
    st.builds(
        lambda level, junk: bytes([0, 3 << 4 | len(junk) - 1]) + junk + bytes([EXTENSION_ID << 4, level]),
        st.integers(0, 255),
        st.binary(min_size=1, max_size=16),
    ),
)


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, bytes, int]]:
    """Steps (action, packet, now_ms) of a source with loss, reordering, wraps, pauses, changes of SSRC and damage."""
    sequence = draw(st.one_of(st.integers(0, 0xFFFF), st.integers(65500, 65535)))
    timestamp = draw(st.one_of(st.integers(0, 0xFFFFFFFF), st.just(0xFFFFFF00)))
    now_ms = draw(st.one_of(st.integers(0, 1 << 20), st.just((1 << 32) - 100)))
    steps: list[tuple[str, bytes, int]] = []
    for _ in range(draw(st.integers(1, 40))):
        action = draw(st.sampled_from(["packet"] * 8 + ["epoch", "source", "raw"]))
        jump = draw(st.sampled_from([1] * 6 + [2, 3, 50, 1000, -1, -2, -40]))
        sequence, timestamp = sequence + jump, timestamp + 960 * jump
        now_ms = (now_ms + draw(st.sampled_from([0, 19, 20, 21, 500, 70000]))) & 0xFFFFFFFF
        if action == "source":
            sequence, timestamp = draw(st.integers(0, 0xFFFF)), draw(st.integers(0, 0xFFFFFFFF))
        packet = rtp(
            sequence,
            timestamp,
            draw(st.one_of(st.binary(max_size=60), st.sampled_from([b"", bytes(1990), bytes(2030)]))),
            marker=draw(st.booleans()),
            padding=draw(st.sampled_from([0, 0, 0, 1, 4, 255])),
            csrcs=tuple(draw(st.lists(st.integers(0, 0xFFFFFFFF), max_size=15))),
            profile=draw(st.sampled_from([None, 0xBEDE, 0x1000, 0x1005, 0x1234])),
            extension=draw(extension_elements),
        )
        if action == "raw":
            packet = draw(st.one_of(st.binary(max_size=80), st.builds(lambda cut, p=packet: p[:cut], st.integers(0, len(packet)))))
        steps.append((action, packet, now_ms))
    return steps


@settings(max_examples=400, deadline=None)
@given(
    stream=streams(),
    level_id=st.sampled_from([0, 1, 14]),
    mid_id=st.sampled_from([0, 4, 14]),
    mid=st.sampled_from([b"", b"0", b"audio-17", b"sixteen-bytes-id"]),
    sequence=st.sampled_from([0, 7, 32767]),
    timestamp=st.integers(0, 0xFFFFFFFF),
)
def test_c_and_python_rewrite_alike(
    stream: list[tuple[str, bytes, int]], level_id: int, mid_id: int, mid: bytes, sequence: int, timestamp: int
) -> None:
    native, python = both(audio_level_extension=level_id, mid_extension=mid_id, mid=mid, sequence=sequence, timestamp=timestamp)
    for action, packet, now_ms in stream:
        if action == "epoch":
            native.new_epoch(), python.new_epoch()
        elif action == "source":
            native.new_source(), python.new_source()
        assert native.rewrite(packet, now_ms) == python.rewrite(packet, now_ms)


@pytest.fixture(params=["native", "reference"])
def rewriter(request: pytest.FixtureRequest) -> Any:
    return both()[request.param == "reference"]


def sent(outcome: tuple[bytes, int] | str) -> reference.Source:
    assert not isinstance(outcome, str), outcome
    source = reference.parse(outcome[0])
    assert isinstance(source, reference.Source)
    return source


class TestContinuity:
    def test_first_packet_has_the_sequence_and_timestamp_it_was_given(self, rewriter: Any) -> None:
        first = sent(rewriter.rewrite(rtp(4000, 99), 0))
        assert (first.sequence, first.timestamp, first.ssrc, first.payload_type) == (7, 1000, 0xCAFE, 96)

    def test_loss_at_the_source_stays_visible(self, rewriter: Any) -> None:
        rewriter.rewrite(rtp(10, 0), 0)
        after = sent(rewriter.rewrite(rtp(13, 2880), 60))
        assert (after.sequence, after.timestamp) == (10, 3880)

    def test_sequence_is_contiguous_over_a_pause_and_time_goes_on(self, rewriter: Any) -> None:
        rewriter.rewrite(rtp(10, 0), 0)
        rewriter.new_epoch()
        after = sent(rewriter.rewrite(rtp(510, 480000), 10_000))
        assert (after.sequence, after.timestamp) == (8, 1000 + 480000)

    def test_sequence_is_contiguous_over_a_change_of_source(self, rewriter: Any) -> None:
        rewriter.rewrite(rtp(10, 0), 0)
        rewriter.new_source()
        after = sent(rewriter.rewrite(rtp(60000, 123456), 20))
        assert (after.sequence, after.timestamp) == (8, 1960)

    def test_packet_from_before_the_start_is_stale(self, rewriter: Any) -> None:
        rewriter.rewrite(rtp(10, 960), 0)
        assert rewriter.rewrite(rtp(9, 0), 1) == "stale"

    def test_no_index_is_used_twice_over_wraps_and_pauses(self, rewriter: Any) -> None:
        seen: set[int] = set()
        for i in range(200_000):
            if i % 30_000 == 29_999:
                rewriter.new_epoch()
            _, index = rewriter.rewrite(rtp(65000 + i, i * 960), i * 20 & 0xFFFFFFFF)
            assert index not in seen
            seen.add(index)
        assert seen == set(range(7, 200_007))


class TestExtensions:
    def test_level_and_mid_are_the_consumers_own(self, rewriter: Any) -> None:
        outcome = sent(rewriter.rewrite(rtp(1, profile=0xBEDE, extension=bytes([0x10, 0x85, 0x40, ord("9")])), 0))
        assert outcome.extensions == {2: b"\x85", 4: b"0"}

    def test_two_byte_form_is_read(self, rewriter: Any) -> None:
        outcome = sent(rewriter.rewrite(rtp(1, profile=0x1000, extension=bytes([1, 1, 0x7F])), 0))
        assert outcome.extensions == {2: b"\x7f", 4: b"0"}

    def test_packet_without_level_carries_only_the_mid(self, rewriter: Any) -> None:
        assert sent(rewriter.rewrite(rtp(1), 0)).extensions == {4: b"0"}

    def test_padding_only_packet_is_forwarded(self, rewriter: Any) -> None:
        outcome = sent(rewriter.rewrite(rtp(1, payload=b"", padding=8), 0))
        assert outcome.padding
        assert outcome.payload == bytes(7) + b"\x08"
