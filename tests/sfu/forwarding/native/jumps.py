"""An authentic publisher that chooses its sequence numbers with malice, against the debug build.

libsrtp (2.7: srtp_rdbx_estimate_index) and RFC 3711 3.3.1 disagree on some jumps, and it also counts packets that end later in the loop.
Whatever index a packet was accepted under, its copies must never share a nonce with other bytes; the audit aborts if they do.
"""

from __future__ import annotations

import itertools

from tests.sfu.forwarding.packets import rtp
from tests.sfu.forwarding.peers import RunningLoop, wait_until

SSRC = 1234  # of rtp()
OTHER_PAYLOAD_TYPE = 13


def wrong_type(sequence: int, payload: bytes) -> bytes:
    packet = bytearray(rtp(sequence, payload=payload))
    packet[1] = OTHER_PAYLOAD_TYPE
    return bytes(packet)


def bad_padding(sequence: int, payload: bytes) -> bytes:
    packet = bytearray(rtp(sequence, payload=payload + b"\xff"))
    packet[0] |= 0x20
    return bytes(packet)


def good(sequence: int, payload: bytes) -> bytes:
    return rtp(sequence, payload=payload)


STREAMS = {
    "beyond the median": [(good, 5), (good, 60000), (good, 5)],
    "half a cycle": [(good, 0), (good, 1), (good, 32769), (good, 0), (good, 1)],
    "a cycle of another payload type": [(good, 1), (wrong_type, 30000), (wrong_type, 60000), (wrong_type, 65535), (good, 1)],
    "a cycle of damaged padding": [(good, 1), (bad_padding, 30000), (bad_padding, 60000), (bad_padding, 65535), (good, 1)],
}


def play(name: str) -> None:
    """Send one of STREAMS, and return when the loop has dealt with it."""
    with RunningLoop() as loop:
        slot, publisher = loop.peer()
        loop.track(0, slot, SSRC)
        slot, _ = loop.peer()
        loop.consumer(0, slot, ssrc=9000)
        loop.native.set_consumers(0, [0])
        numbers = itertools.count()
        for make, sequence in STREAMS[name]:
            publisher.send(make(sequence, b"payload %d" % next(numbers)))
        wait_until(lambda: loop.native.transport_counters(0).packets_in >= len(STREAMS[name]), "all packets to arrive")
        # A turn is over when a later command has been carried out.
        loop.native.remove_track(0)
        wait_until(lambda: loop.native.tables().tracks == 0, "the end of the turn")
