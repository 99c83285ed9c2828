"""RTP packets and rewriter options that the tests of this folder share."""

from __future__ import annotations

import struct
from typing import Any

EXTENSION_ID = 1
SSRC = 1234
"""Of :func:`rtp`."""


def rtp(
    sequence: int,
    timestamp: int = 0,
    payload: bytes = b"opus",
    *,
    marker: bool = False,
    padding: int = 0,
    csrcs: tuple[int, ...] = (),
    profile: int | None = None,
    extension: bytes = b"",
) -> bytes:
    """One RTP packet (RFC 3550 5.1); ``extension`` is the data behind the profile, padded here to 32 bits."""
    extension += bytes(-len(extension) % 4)
    first = 0x80 | (0x20 if padding else 0) | (0x10 if profile is not None else 0) | len(csrcs)
    header = struct.pack("!BBHII", first, marker << 7 | 111, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, SSRC)
    header += b"".join(struct.pack("!I", csrc) for csrc in csrcs)
    if profile is not None:
        header += struct.pack("!HH", profile, len(extension) // 4) + extension
    return header + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


def options(**changes: Any) -> dict[str, Any]:
    return {
        "clock_rate": 48000,
        "source_level_extension": EXTENSION_ID,
        "ssrc": 0xCAFE,
        "payload_type": 96,
        "audio_level_extension": 2,
        "mid_extension": 4,
        "mid": b"0",
        "sequence": 7,
        "timestamp": 1000,
    } | changes
