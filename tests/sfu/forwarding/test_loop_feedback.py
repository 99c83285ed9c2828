"""What the forwarding thread tells its peers, and sends them again, through real sockets."""

from __future__ import annotations

import os
import struct

import pytest

from sfu.forwarding import _native
from tests.sfu.forwarding.packets import SSRC, rtp
from tests.sfu.forwarding.peers import RunningLoop, call, wait_until

GCM, CM = _native.AEAD_AES_128_GCM, _native.AES128_CM_SHA1_80


class TestReports:
    """RFC 3550 6.4: without them a browser shows neither loss nor round trip."""

    def test_publisher_is_told_its_loss_and_the_delay_since_its_report(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        publisher.send_rtcp(struct.pack("!BBHIQIII", 0x80, 200, 6, SSRC, 0x1122334455667788, 0, 0, 0))
        for i in [0, 1, 2, 3, 5, 6, 7, 9]:
            publisher.send(rtp(65530 + i, 960 * i))
            listener.receive()
        report = publisher.receive_rtcp()
        while struct.unpack_from("!I", report, 16)[0] != (1 << 16) + 3:  # until one covers all packets
            report = publisher.receive_rtcp()
        kind, reporter, source, loss, _, _, last_sr, delay = struct.unpack_from("!xB2x7I", report)
        assert (kind, reporter, source, loss & 0xFFFFFF) == (201, 0x5000, SSRC, 2)
        assert last_sr == 0x33445566
        assert 0 < delay < 5 * 65536

    def test_listener_is_told_what_was_sent(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        for i in range(5):
            publisher.send(rtp(i, 960 * i, payload=bytes(100)))
            listener.receive()
        report = listener.receive_rtcp()
        while struct.unpack_from("!I", report, 20)[0] < 5:
            report = listener.receive_rtcp()
        assert struct.unpack_from("!BBHI", report) == (0x80, 200, 6, 9000)
        assert struct.unpack_from("!II", report, 20) == (5, 500)
        assert report[28:] == b"\x81\xca\x00\x04" + struct.pack("!I", 9000) + b"\x01\x08antiphon" + bytes(2)


class TestRetransmission:
    """RFC 4585 6.2.1 asks by outgoing sequence number; the answer is the same datagram once more."""

    @pytest.mark.parametrize("profile", [GCM, CM])
    def test_a_retransmission_is_byte_identical(self, loop: RunningLoop, profile: int) -> None:
        publisher, (listener,) = call(loop, profile=profile)
        first: list[bytes] = []
        for i in range(50):
            publisher.send(rtp(65520 + i, 960 * i, os.urandom(60), profile=0xBEDE, extension=bytes([0x10, i])))
            first.append(listener.receive_wire())
        loop.native.retransmit(0, 0, [100, 103, 149])
        media = [listener.receive_wire() for _ in range(3)]
        assert media == [first[0], first[3], first[49]]
        assert loop.native.totals().retransmitted == 3

    def test_what_was_never_sent_or_is_gone_is_counted(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        loop.native.retransmit(0, 0, [100])
        loop.wait_drop("not_in_history")
        for i in range(600):
            publisher.send(rtp(i, payload=bytes(10)))
            listener.receive()
        loop.native.retransmit(0, 0, [99, 100, 150, 700, 40000])
        loop.wait_drop("not_in_history", 6)
        loop.native.retransmit(0, 0, [699])
        assert struct.unpack_from("!H", listener.receive_wire(), 2)[0] == 699

    def test_packets_from_before_a_pause_are_not_confused_with_later_ones(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        publisher.send(rtp(10))
        listener.receive()
        loop.native.set_paused(0, True)
        loop.native.set_paused(0, False)
        publisher.send(rtp(30, payload=b"after"))
        listener.receive()
        loop.native.retransmit(0, 0, [100])
        loop.wait_drop("not_in_history")
        loop.native.retransmit(0, 0, [101])
        wait_until(lambda: loop.native.totals().retransmitted == 1, "retransmission")

    def test_a_list_of_more_than_64_is_refused(self, loop: RunningLoop) -> None:
        call(loop)
        with pytest.raises(ValueError, match="at most 64"):
            loop.native.retransmit(0, 0, list(range(65)))
