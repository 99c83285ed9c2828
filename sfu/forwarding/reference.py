"""The rewriting that forwarding.c does, once more in plain Python: the specification, and the oracle of the tests.

Nothing at run time imports this module: a shard has one forwarding path, the native one. Where the two differ one of them has a defect.

In: one source packet after another, as a peer sent it (decrypted). Out: the packet that one consumer gets (before encryption) and
its index, or the name of the reason why there is none. The rules:

* An outgoing packet has the consumer's SSRC and payload type, the source's marker, padding, CSRCs and payload, and a header extension block
  (RFC 8285, one-byte form) of the consumer's own: the audio level if the source packet has one, then the consumer's MID.
* Within an *epoch* the outgoing index and timestamp are the source's plus fixed offsets, so loss and reordering stay visible.
* The first packet of an epoch (start, after a pause, after a change of source) goes on: next index after the highest sent so far, timestamp
  advanced by the time that passed since that packet was sent, by one tick at least. Source packets from before it are ``stale``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

FIRST_CYCLE = 1 << 16
"""Extended sequence numbers start one cycle up, so that packets reordered before the first one stay positive."""
REPLAY_WINDOW = 1024
"""What is further behind was refused by replay protection, so a packet that got through lies ahead."""
MAX_PACKET_BYTES = 2048 - 16
"""Longest outgoing packet before protection."""
ONE_BYTE_PROFILE = 0xBEDE


@dataclass(frozen=True)
class Source:
    """One RTP packet taken apart (RFC 3550 5.1). ``payload`` includes padding; ``extensions``: id -> data."""

    padding: bool
    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    csrcs: bytes
    extensions: dict[int, bytes]
    payload: bytes


def parse_extensions(profile: int, data: bytes) -> dict[int, bytes]:
    """Elements of a header extension block (RFC 8285 4.2, 4.3). A malformed tail is ignored; of a repeated id the first counts."""
    found: dict[int, bytes] = {}
    one_byte = profile == ONE_BYTE_PROFILE
    if not one_byte and profile & 0xFFF0 != 0x1000:
        return found
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 1
            continue
        if one_byte:
            identifier, size = data[at] >> 4, (data[at] & 0x0F) + 1
            at += 1
            if identifier == 15:
                break
        else:
            if at + 2 > len(data):
                break
            identifier, size = data[at], data[at + 1]
            at += 2
        if at + size > len(data):
            break
        found.setdefault(identifier, data[at : at + size])
        at += size
    return found


def parse(packet: bytes) -> Source | str:
    """Take a packet apart, or name the drop reason."""
    if len(packet) < 12:
        return "truncated"
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", packet)
    if first >> 6 != 2:
        return "bad_version"
    offset = 12 + 4 * (first & 0x0F)
    csrcs = packet[12:offset]
    extensions: dict[int, bytes] = {}
    if first & 0x10:
        if len(packet) < offset + 4:
            return "truncated"
        profile, words = struct.unpack_from("!HH", packet, offset)
        offset += 4 + 4 * words
        extensions = parse_extensions(profile, packet[offset - 4 * words : offset])
    if len(packet) < offset:
        return "truncated"
    payload = packet[offset:]
    padding = bool(first & 0x20)
    if padding and (not payload or not 0 < payload[-1] <= len(payload)):
        return "truncated"
    return Source(padding, bool(second & 0x80), second & 0x7F, sequence, timestamp, ssrc, csrcs, extensions, payload)


class Rewriter:
    """One source and one consumer of it; arguments as :class:`_native.Rewriter`."""

    def __init__(
        self,
        *,
        clock_rate: int,
        source_level_extension: int,
        ssrc: int,
        payload_type: int,
        audio_level_extension: int,
        mid_extension: int,
        mid: bytes,
        sequence: int,
        timestamp: int,
    ) -> None:
        self.clock_rate = clock_rate
        self.source_level_extension = source_level_extension
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.audio_level_extension = audio_level_extension
        self.mid_extension = mid_extension
        self.mid = mid
        self.next_index = sequence
        self.last_timestamp = timestamp
        self.last_sent_ms: int | None = None
        self.highest: int | None = None
        self.in_epoch = False
        self.epoch_start = 0
        self.index_offset = 0
        self.timestamp_offset = 0

    def new_epoch(self) -> None:
        self.in_epoch = False

    def new_source(self) -> None:
        self.highest = None
        self.in_epoch = False

    def rewrite(self, packet: bytes, now_ms: int) -> tuple[bytes, int] | str:
        source = parse(packet)
        if isinstance(source, str):
            return source
        index = self._extend(source.sequence)
        block = self._extension_block(source)
        if 12 + len(source.csrcs) + len(block) + len(source.payload) > MAX_PACKET_BYTES:
            return "too_long"
        if not self.in_epoch:
            self._begin_epoch(index, source.timestamp, now_ms)
        elif index < self.epoch_start:
            return "stale"
        outgoing = index + self.index_offset
        timestamp = (source.timestamp + self.timestamp_offset) & 0xFFFFFFFF
        header = struct.pack(
            "!BBHII",
            0x80 | source.padding << 5 | bool(block) << 4 | len(source.csrcs) // 4,
            source.marker << 7 | self.payload_type,
            outgoing & 0xFFFF,
            timestamp,
            self.ssrc,
        )
        if outgoing >= self.next_index:
            self.next_index = outgoing + 1
            self.last_timestamp = timestamp
            self.last_sent_ms = now_ms
        return header + source.csrcs + block + source.payload, outgoing

    def _extend(self, sequence: int) -> int:
        """The extended sequence number: at most REPLAY_WINDOW - 1 behind the highest so far, or else ahead of it."""
        if self.highest is None:
            self.highest = FIRST_CYCLE + sequence
        distance = (sequence - self.highest) & 0xFFFF
        index = self.highest + (distance - 0x10000 if distance > 0x10000 - REPLAY_WINDOW else distance)
        self.highest = max(self.highest, index)
        return index

    def _begin_epoch(self, index: int, timestamp: int, now_ms: int) -> None:
        begin = self.last_timestamp
        if self.last_sent_ms is not None:
            elapsed_ms = (now_ms - self.last_sent_ms) & 0xFFFFFFFF
            begin += max(elapsed_ms * self.clock_rate // 1000, 1)
        self.index_offset = self.next_index - index
        self.epoch_start = index
        self.timestamp_offset = begin - timestamp
        self.in_epoch = True

    def _extension_block(self, source: Source) -> bytes:
        level = source.extensions.get(self.source_level_extension, b"") if self.source_level_extension else b""
        elements = b""
        if len(level) == 1 and self.audio_level_extension:
            elements += bytes([self.audio_level_extension << 4]) + level
        if self.mid_extension and self.mid:
            elements += bytes([self.mid_extension << 4 | len(self.mid) - 1]) + self.mid
        elements += bytes(-len(elements) % 4)
        return struct.pack("!HH", ONE_BYTE_PROFILE, len(elements) // 4) + elements if elements else b""
