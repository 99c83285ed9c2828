"""Writes the handmade part of the corpus, tests/fuzz/corpus/<target>/seed-*: ``python -m tests.fuzz.seeds``.

One well-formed input for each kind of thing a target reads, so that a fuzzer with little time begins behind the first checks.
"""

from __future__ import annotations

import struct
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
STUN = b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x00\x06\x00\x03a:b\0"
DTLS = b"\x16\xfe\xfd" + bytes(30)
SR = struct.pack("!BBHIQIII", 0x80, 200, 6, 1000, 0x0123456789ABCDEF, 960, 5, 800)
RR = struct.pack("!BBHIIIIIII", 0x81, 201, 7, 7, 9000, 0, 100, 0, 0, 0)
SDES = struct.pack("!BBHI", 0x81, 202, 3, 1000) + b"\x01\x04name\0\0"
NACK = struct.pack("!BBHIIHH", 0x81, 205, 3, 7, 9000, 100, 5)


def rtp(
    sequence: int, *, first: int = 0x80, extension: bytes = b"", payload: bytes = b"opus", payload_type: int = 111, ssrc: int = 1000
) -> bytes:
    header = struct.pack("!BBHII", first | bool(extension) << 4, payload_type, sequence, 960 * sequence & 0xFFFFFFFF, ssrc)
    return header + bytes(4 * (first & 15)) + extension + payload


ONE_BYTE = b"\xbe\xde\x00\x02\x10\x7f\x41ab\0\0\0"
TWO_BYTES = b"\x10\x00\x00\x02\x01\x01\x55\x04\x02ab\0"
TAG = bytes(4)
PACKETS = {
    "plain": rtp(1),
    "one-byte": rtp(1, extension=ONE_BYTE),
    "two-bytes": rtp(1, extension=TWO_BYTES),
    "csrcs": rtp(1, first=0x83, extension=ONE_BYTE),
    "padding": rtp(1, first=0xA0, payload=b"opus\0\0\0\4"),
    "padding-only": rtp(1, first=0xA0, payload=b"\0\0\0\4"),
    "bad-padding": rtp(1, first=0xA0, payload=b"\xff"),
    "lying-extension": rtp(1, extension=b"\xbe\xde\xff\xff"),
}


def datagram(peer: int, data: bytes) -> bytes:
    return bytes([12, peer]) + struct.pack("!H", len(data)) + data


def stream(*packets: bytes) -> bytes:
    return b"".join(datagram(0, packet + TAG) for packet in packets)


RECEIVE = {
    "stream": stream(*(rtp(i & 0xFFFF, extension=ONE_BYTE) for i in range(65530, 65545))),
    "kinds": b"".join(datagram(peer, data) for peer in (0, 5) for data in (STUN, DTLS, rtp(1), SR + SDES + TAG, b"\x80", b"\x50xx")),
    "reports": stream(rtp(1), rtp(2)) + bytes([30, 0, 255, 30, 0, 255]) + datagram(2, RR + NACK + TAG),
    "retransmission": stream(rtp(1), rtp(2), rtp(3)) + bytes([11, 127, 255, 128, 0, 128, 1, 0, 0]),
    "mute": stream(rtp(1)) + bytes([6, 0, 1]) + stream(rtp(2)) + bytes([6, 0, 0]) + stream(rtp(3)),
    "source-change": stream(rtp(1)) + bytes([5, 0, 1]) + stream(rtp(500, ssrc=1001), rtp(2)),
    "unknown-ssrcs": stream(*(rtp(1, ssrc=i, extension=ONE_BYTE) for i in range(20))),
    "repeat": stream(rtp(5), rtp(60000), rtp(5, payload=b"else")),
    "cycle": stream(rtp(1), *(rtp(i, payload_type=13) for i in (30000, 60000, 65535)), rtp(1, payload=b"else")),
    "churn": bytes([9, 0, 0, 8, 0, 2, 1, 3, 10, 0, 3]) + stream(rtp(1)) + bytes([1, 1, 0, 1, 2, 1, 3, 3, 1]) + stream(rtp(2)),
    "full-kernel": bytes([31, 1, 0, 2]) + stream(rtp(1)) + bytes([31, 3, 4, 1]) + stream(rtp(2)),
    "long": stream(rtp(1, payload=bytes(1990)), rtp(2, payload=bytes(2028))),
    "tags": b"".join(datagram(0, rtp(i) + bytes([0, 0, 0, 0xF0 + i])) for i in range(3)),
}

SEEDS: dict[str, dict[str, bytes]] = {
    "demux": {"stun": STUN, "dtls": DTLS, "rtp": rtp(1), "rtcp": SR + SDES},
    "rtp": {name: bytes([1, 4, 3, 1]) + packet for name, packet in PACKETS.items()},
    "rtcp": {name: bytes(range(32)) + b"\x08" + packet for name, packet in {"sr": SR + SDES, "rr": RR + NACK, "short": SR[:20]}.items()},
    "receive": RECEIVE,
}

if __name__ == "__main__":
    for target, seeds in SEEDS.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (CORPUS / target / f"seed-{name}").write_bytes(data)
