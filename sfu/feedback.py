"""What peers report about the media they get (RFC 3550 6.4, RFC 4585), sans-IO.

Reports about a consumer come back on its own transport and name its SSRC. Deciding what to do about them (retransmission,
key frames, bandwidth) is built on :class:`Reception`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiortc.rtp import (
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
)

_NTP_EPOCH: Final = 2_208_988_800  # seconds from 1900 to 1970
_MAX_RTT_S: Final = 60.0
"""A longer round trip is a lie or a clock that was set: such a report says nothing about the path."""
MAX_NACK_SEQUENCES: Final = 64
"""Of one NACK: 1.3 s of voice, and more than its consumer may have at once."""


class ReceiverReport(NamedTuple):
    """One report block about ``ssrc``. ``fraction_lost`` 0..1 since the last report, ``lost`` cumulative, ``jitter`` in RTP clock ticks,
    ``highest``: extended highest sequence number received. ``rtt_s`` is None where the peer has seen no sender report yet."""

    ssrc: int
    fraction_lost: float
    lost: int
    jitter: int
    rtt_s: float | None
    highest: int = 0


class Nack(NamedTuple):
    """``ssrc`` misses packets with these ``sequences`` (RFC 4585 6.2.1), :data:`MAX_NACK_SEQUENCES` at most, and ``further`` ones."""

    ssrc: int
    sequences: tuple[int, ...]
    further: int = 0


Feedback = ReceiverReport | Nack


@dataclass(slots=True)
class Reception:
    """How one consumer is received, from its peer's reports. Loss, round trip and ``highest`` as in :class:`ReceiverReport`; ``at``: when
    the last one came, seconds of the shard's clock."""

    reports: int = 0
    fraction_lost: float = 0.0
    lost: int = 0
    jitter: int = 0
    rtt_s: float | None = None
    nacks: int = 0
    highest: int = 0
    at: float = 0.0

    def note(self, feedback: Feedback, now: float) -> None:
        match feedback:
            case ReceiverReport():
                self.reports += 1
                self.highest, self.at = feedback.highest, now
                self.fraction_lost, self.lost, self.jitter = feedback.fraction_lost, feedback.lost, feedback.jitter
                if feedback.rtt_s is not None:
                    self.rtt_s = feedback.rtt_s
            case Nack():
                self.nacks += 1


def read_rtcp(data: bytes, unix_s: float) -> list[Feedback] | None:
    """What a decrypted compound packet says, in order; None if it is malformed.

    ``unix_s``: wall clock at its arrival, the one from which sender reports are stamped.
    """
    try:
        packets = RtcpPacket.parse(data)
    except (ValueError, IndexError, struct.error):
        return None
    return [feedback for packet in packets for feedback in _read_packet(packet, unix_s)]


def _read_packet(packet: AnyRtcpPacket, unix_s: float) -> list[Feedback]:
    match packet:
        case RtcpRrPacket() | RtcpSrPacket():
            return [_read_report(report, unix_s) for report in packet.reports]
        case RtcpRtpfbPacket() if packet.fmt == RTCP_RTPFB_NACK:
            sequences = tuple(sequence & 0xFFFF for sequence in packet.lost[:MAX_NACK_SEQUENCES])
            return [Nack(packet.media_ssrc, sequences, len(packet.lost) - len(sequences))]
    return []


def _read_report(report: RtcpReceiverInfo, unix_s: float) -> ReceiverReport:
    return ReceiverReport(
        report.ssrc, report.fraction_lost / 256, report.packets_lost, report.jitter, _round_trip(report, unix_s), report.highest_sequence
    )


def _round_trip(report: RtcpReceiverInfo, unix_s: float) -> float | None:
    """RFC 3550 6.4.1: arrival - LSR - DLSR, all in 1/65536 s, modulo 2^32."""
    if report.lsr == 0:
        return None
    arrival = int((unix_s + _NTP_EPOCH) * 65536) & 0xFFFFFFFF
    round_trip_s = ((arrival - report.lsr - report.dlsr) & 0xFFFFFFFF) / 65536
    if round_trip_s >= 65536 - 1:
        return 0.0  # rounding: the report seems to come from less than a second in the future
    return round_trip_s if round_trip_s <= _MAX_RTT_S else None
