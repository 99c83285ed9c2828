from __future__ import annotations

import struct

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPsfbPacket, RtcpReceiverInfo, RtcpRrPacket, RtcpRtpfbPacket
from hypothesis import given
from hypothesis import strategies as st

from sfu.feedback import MAX_NACK_SEQUENCES, Nack, ReceiverReport, Reception, read_rtcp

NTP_EPOCH = 2_208_988_800


def report(unix_s: float, rtt_s: float, held_s: float = 0.25, lsr: int | None = None) -> bytes:
    sent = int((unix_s - rtt_s - held_s + NTP_EPOCH) * 65536) & 0xFFFFFFFF if lsr is None else lsr
    block = RtcpReceiverInfo(7, 64, 5, 1000, 48, sent, int(held_s * 65536))
    return bytes(RtcpRrPacket(ssrc=1, reports=[block]))


class TestRfc3550ReceiverReport:
    @pytest.mark.parametrize("rtt_s", [0.0, 0.04, 1.5])
    def test_round_trip(self, rtt_s: float) -> None:
        (read,) = read_rtcp(report(1_800_000_000.5, rtt_s), 1_800_000_000.5) or []
        assert isinstance(read, ReceiverReport)
        assert (read.ssrc, read.fraction_lost, read.lost, read.jitter) == (7, 0.25, 5, 48)
        assert read.rtt_s == pytest.approx(rtt_s, abs=0.001)

    def test_no_sender_report_seen_yet_means_no_round_trip(self) -> None:
        (read,) = read_rtcp(report(1e9, 0, lsr=0), 1e9) or []
        assert isinstance(read, ReceiverReport)
        assert read.rtt_s is None

    def test_impossible_round_trip_is_no_round_trip(self) -> None:
        (read,) = read_rtcp(report(1e9, 500), 1e9) or []
        assert isinstance(read, ReceiverReport)
        assert read.rtt_s is None


class TestOthers:
    def test_compound_packet_is_read_in_order(self) -> None:
        data = bytes(RtcpRrPacket(ssrc=1)) + bytes(RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=9, lost=[65535, 65536]))
        data += bytes(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=9)) + bytes(RtcpByePacket(sources=[3]))
        assert read_rtcp(data, 0) == [Nack(9, (65535, 0))]

    def test_long_nack_is_cut_and_says_so(self) -> None:
        (read,) = read_rtcp(bytes(RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=9, lost=list(range(200)))), 0) or []
        assert read == Nack(9, tuple(range(MAX_NACK_SEQUENCES)), 200 - MAX_NACK_SEQUENCES)

    def test_unknown_packet_types_are_skipped(self) -> None:
        assert read_rtcp(struct.pack("!BBHI", 0x80, 207, 1, 5), 0) == []

    def test_reception_keeps_the_last_and_counts(self) -> None:
        reception = Reception()
        reception.note(ReceiverReport(1, 0.5, 9, 3, 0.1, 70), 1.0)
        reception.note(ReceiverReport(1, 0.0, 10, 4, None, 71), 2.0)
        reception.note(Nack(1, (5,)), 3.0)
        assert reception == Reception(2, 0.0, 10, 4, 0.1, 1, highest=71, at=2.0)


class TestHostileBytes:
    @given(st.binary(max_size=100))
    def test_any_bytes_are_survived(self, data: bytes) -> None:
        read_rtcp(data, 0)

    @given(st.sampled_from([200, 201, 202, 203, 205, 206]), st.integers(0, 31), st.booleans(), st.binary(max_size=120))
    def test_any_body_is_survived(self, kind: int, count: int, padded: bool, body: bytes) -> None:
        body = body[: len(body) // 4 * 4]
        read_rtcp(struct.pack("!BBH", 0x80 | padded << 5 | count, kind, len(body) // 4) + body, 0)

    def test_truncated_is_malformed(self) -> None:
        assert read_rtcp(report(1e9, 0)[:-1], 0) is None
