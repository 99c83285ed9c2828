"""Stamps, meters and histograms: the arithmetic of the native traffic, without a network."""

from __future__ import annotations

import itertools
import random

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import speech
from loadtest.native import _traffic

MS = 1_000_000
FRAME_NS = 20 * MS


def decode(packets: list[bytes]) -> np.ndarray:
    decoder = av.CodecContext.create("libopus", "r")
    return np.concatenate([frame.to_ndarray() for packet in packets for frame in decoder.decode(av.Packet(packet))], axis=1)


class TestStamp:
    @given(st.binary(max_size=1000), st.integers(0, 2), *[st.integers(0, 2**32 - 1)] * 3, st.integers(0, 2**64 - 1))
    def test_what_was_written_is_read(self, rest: bytes, flags: int, run: int, talker: int, sequence: int, sent_ns: int) -> None:
        packet = _traffic.write_stamp(b"\x78" + rest, flags, run, talker, sequence, sent_ns)
        assert _traffic.read_stamp(packet) == (flags, run, talker, sequence, sent_ns)

    @given(st.binary(max_size=200))
    def test_other_packets_carry_none(self, payload: bytes) -> None:
        assert b"ANT" in payload or _traffic.read_stamp(payload) is None

    def test_rfc6716_decoders_hear_the_same_sound(self) -> None:
        plain = [frame.packet for frame in speech.frames()[:150]]
        stamped = [_traffic.write_stamp(packet, 0, 1, 2, number, 3) for number, packet in enumerate(plain)]
        assert np.array_equal(decode(plain), decode(stamped))

    @pytest.mark.parametrize("frame", [b"", b"\x79abc", b"\x7b\x41\x18", b"\x78" + bytes(1600)])
    def test_packets_that_cannot_carry_one_are_refused(self, frame: bytes) -> None:
        with pytest.raises(ValueError, match="code 0"):
            _traffic.write_stamp(frame, 0, 1, 2, 3, 4)


class TestMeter:
    def feed(self, sequences: list[int], latency_ns: int = 5 * MS) -> _traffic.Meter:
        meter = _traffic.Meter()
        for sequence in sequences:
            sent = 10**18 + sequence * FRAME_NS
            meter.take(sequence, sent, sent + latency_ns)
        return meter

    def figures(self, meter: _traffic.Meter, spoken: int) -> _traffic.MeterFigures:
        return meter.figures(spoken, 10**18 + spoken * FRAME_NS)

    def test_everything_arrived(self) -> None:
        figures = self.figures(self.feed(list(range(7, 108))), 107)
        assert (figures.expected, figures.received, figures.duplicates, figures.reordered, figures.silence_ns) == (101, 101, 0, 0, 0)
        assert figures.latency_sum_us == 101 * 5000
        assert figures.jitter_ns == 0

    def test_losses_duplicates_and_reordering_are_told_apart(self) -> None:
        figures = self.figures(self.feed([1, 2, 4, 3, 3, 6, 6, 8]), 8)
        assert (figures.expected, figures.received, figures.duplicates, figures.reordered) == (8, 6, 2, 1)

    def test_the_end_is_missed_too(self) -> None:
        meter = self.feed([1, 2, 3])
        meter.end(8)
        figures = self.figures(meter, 20)
        assert (figures.expected, figures.received) == (8, 3)
        assert figures.silence_ns > 0

    def test_nothing_after_the_end_counts(self) -> None:
        meter = self.feed([1, 2, 3])
        meter.end(4)
        for sequence in (4, 5):
            meter.take(sequence, 10**18, 10**18)
        assert self.figures(meter, 9)[3:5] == (4, 4)

    def test_silence_lasts_from_the_last_packet_before_to_the_first_after(self) -> None:
        figures = self.figures(self.feed([1, 2, 53, 54]), 54)
        assert figures.silence_ns == figures.longest_silence_ns == 51 * FRAME_NS

    def test_one_lost_packet_is_no_silence(self) -> None:
        assert self.figures(self.feed([1, 2, 4]), 4).silence_ns == 0

    def test_before_the_first_packet_nothing_is_expected(self) -> None:
        assert _traffic.Meter().figures(1000, 10**18)[3:5] == (0, 0)

    def test_muted_packets_are_a_fault_and_unsure_ones_are_nothing(self) -> None:
        meter = self.feed([1, 2])
        meter.take(2, 10**18, 10**18, _traffic.UNSURE)
        meter.take(2, 10**18, 10**18, _traffic.MUTED)
        figures = self.figures(meter, 2)
        assert (figures.expected, figures.received, figures.duplicates, figures.muted) == (2, 2, 0, 1)

    def test_mark_measures_until_the_next_packet(self) -> None:
        meter = self.feed([1])
        start = 10**18 + FRAME_NS + 5 * MS
        meter.mark(start + MS)
        assert self.figures(meter, 1).resumed_after_ns == -1
        meter.take(2, start, start + 31 * MS)
        meter.take(3, start, start + 51 * MS)
        assert self.figures(meter, 3).resumed_after_ns == 30 * MS

    def test_jitter_is_that_of_rfc3550(self) -> None:
        meter, expected, transit = _traffic.Meter(), 0.0, 0
        noise = random.Random(3)
        for sequence in range(1, 500):
            latency = noise.randrange(5 * MS, 15 * MS)
            sent = 10**18 + sequence * FRAME_NS
            meter.take(sequence, sent, sent + latency)
            if sequence > 1:
                expected += (abs(latency - transit) - expected) / 16
            transit = latency
        assert meter.figures(499, 10**18).jitter_ns == pytest.approx(expected)

    def test_clocks_that_disagree_show_as_no_latency(self) -> None:
        figures = self.figures(self.feed([1, 2], latency_ns=-7 * MS), 2)
        assert figures.latency_sum_us == 0

    @given(st.lists(st.integers(0, 300), max_size=300))
    def test_sums_hold_whatever_arrives(self, jumps: list[int]) -> None:
        meter = _traffic.Meter()
        arrived = [1000 + jump for jump in jumps]
        for sequence in arrived:
            meter.take(sequence, 10**18, 10**18)
        figures = meter.figures(max(arrived, default=0), 10**18)
        kept = {s for s in arrived if s >= arrived[0]} if arrived else set()
        assert figures.received == len(kept)
        assert figures.expected == (max(kept) - arrived[0] + 1 if kept else 0)
        assert figures.received + figures.duplicates == sum(s >= arrived[0] for s in arrived)

    def test_sequence_numbers_wrap(self) -> None:
        figures = _traffic.Meter()
        for sequence in (2**32 - 2, 2**32 - 1, 0, 2):
            figures.take(sequence, 10**18, 10**18)
        assert figures.figures(2, 10**18)[3:5] == (5, 4)


@pytest.mark.parametrize(("bounds", "ratio"), [(_traffic.FINE_BOUNDS_US, 1 / 64), (_traffic.COARSE_BOUNDS_US, 1 / 8)])
def test_buckets_are_as_narrow_as_promised(bounds: tuple[int, ...], ratio: float) -> None:
    assert bounds[0] == 0
    assert bounds[-1] >= 100_000_000
    for low, high in itertools.pairwise(bounds):
        assert low < high
        assert high - low <= max(1, low * ratio)


class TestTables:
    def test_full_tables_and_wrong_numbers_are_errors(self) -> None:
        traffic = _traffic.Traffic(1, endpoints=1, talkers=1, meters=1, groups=1)
        traffic.add_frame(b"\x78abc", 10, False)
        talker = traffic.open_talker(0)
        traffic.open_meter(0, talker, 0)
        for full in (lambda: traffic.open_talker(0), lambda: traffic.open_meter(1, talker, 0), lambda: traffic.add_frame(b"\x78", 1, True)):
            with pytest.raises(RuntimeError):
                full()
        for missing in (
            lambda: traffic.meter(1),
            lambda: traffic.endpoint(0),
            lambda: traffic.group(1),
            lambda: traffic.set_speaking(7, True),
        ):
            with pytest.raises(LookupError):
                missing()
        traffic.close()
        traffic.close()
        with pytest.raises(RuntimeError):
            traffic.counters()

    def test_pauses_are_kept_out_of_the_sequence(self) -> None:
        """A talker that is silent sends one packet in 400 ms, and counts what it sends."""
        traffic = _traffic.Traffic(1, endpoints=1, talkers=2, meters=1, groups=1)
        traffic.add_frame(b"\x78abc", 30, False)
        talker = traffic.open_talker(0, talk_frames=50, pause_frames=100, native=False)
        said = [traffic.utter(talker) for _ in range(150)]
        assert sum(packet is not None for packet in said) == 50 + 5
        stamps = [_traffic.read_stamp(packet) for packet in said if packet]
        assert [stamp.sequence for stamp in stamps if stamp] == list(range(1, 56))
        traffic.close()
