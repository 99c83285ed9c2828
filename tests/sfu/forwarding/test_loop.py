"""The forwarding thread through real sockets: what goes in encrypted comes out rewritten and encrypted anew, or is counted."""

from __future__ import annotations

import os
import random
import select
import socket
import struct

import pytest

from sfu.forwarding import _native, reference
from sfu.transport.ice_lite import make_ufrag
from tests.network import ipv6_works
from tests.sfu.forwarding.packets import SSRC, options, rtp
from tests.sfu.forwarding.peers import Peer, RunningLoop, call, wait_until

NEEDS_IPV6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")
GCM, CM = _native.AEAD_AES_128_GCM, _native.AES128_CM_SHA1_80


class TestForwarding:
    @pytest.mark.parametrize("profile", [GCM, CM])
    def test_every_consumer_gets_the_packet_that_reference_py_makes(self, loop: RunningLoop, profile: int) -> None:
        publisher, listeners = call(loop, consumers=3, profile=profile)
        references = [
            reference.Rewriter(**options(ssrc=9000 + i, payload_type=111, audio_level_extension=1, sequence=100, timestamp=0))
            for i in range(3)
        ]
        for i in range(200):
            packet = rtp(65500 + i, 960 * i, os.urandom(i), marker=i % 7 == 0, profile=0xBEDE, extension=bytes([0x10, i % 128]))
            publisher.send(packet)
            for listener, oracle in zip(listeners, references, strict=True):
                expected = oracle.rewrite(packet, 0)
                assert not isinstance(expected, str)
                assert listener.receive() == expected[0]

    def test_consumers_with_different_profiles_hear_one_track(self, loop: RunningLoop) -> None:
        publisher, (first,) = call(loop, profile=CM)
        slot, second = loop.peer(profile=GCM)
        loop.consumer(1, slot, ssrc=9001)
        loop.native.set_consumers(0, [0, 1])
        publisher.send(rtp(1, payload=b"hello"))
        assert first.receive().endswith(b"hello")
        assert second.receive().endswith(b"hello")

    def test_several_consumers_share_a_transport(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        slot, other = loop.peer()
        loop.track(1, slot, SSRC)
        loop.consumer(1, 1, ssrc=9001, mid=b"1")
        loop.native.set_consumers(1, [1])
        publisher.send(rtp(1, payload=b"one"))
        assert listener.receive().endswith(b"one")
        other.send(rtp(1, payload=b"two"))
        packet = reference.parse(listener.receive())
        assert isinstance(packet, reference.Source)
        assert (packet.ssrc, packet.extensions, packet.payload) == (9001, {4: b"1"}, b"two")

    @NEEDS_IPV6
    def test_ipv6_peers_hear_each_other(self) -> None:
        with RunningLoop("::1") as loop:
            publisher, (listener,) = call(loop)
            publisher.send(rtp(1, payload=b"six"))
            assert listener.receive().endswith(b"six")

    @pytest.mark.parametrize(("anywhere", "asked"), [("0.0.0.0", "127.0.0.3"), pytest.param("::", "::1", marks=NEEDS_IPV6)])
    def test_answers_and_media_leave_from_the_address_that_was_asked(self, anywhere: str, asked: str) -> None:
        """RFC 8445 7.2.5.2.1: a peer discards answers from another address."""
        with RunningLoop(anywhere) as loop:
            loop.host = asked
            slot, peer = loop.peer(bound=False)  # its socket is connected: the kernel drops what comes from elsewhere
            peer.socket.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12))
            (request,) = loop.events()
            assert isinstance(request, _native.StunReceived)
            assert request.address == (*peer.address, asked)
            loop.native.send(request.address, b"\x01\x01answer")
            assert peer.socket.recv(2048) == b"\x01\x01answer"
            loop.native.bind_address(slot, request.address)
            loop.track(0, slot, SSRC)
            loop.consumer(0, slot, ssrc=9000)
            loop.native.set_consumers(0, [0])
            peer.send(rtp(1, payload=b"echo"))
            assert peer.receive().endswith(b"echo")

    def test_media_follows_an_address_that_moves(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        publisher.send(rtp(1))
        listener.receive()
        moved = Peer(loop.port)
        loop.peers.append(moved)
        loop.native.bind_address(1, moved.address)
        publisher.send(rtp(2, payload=b"moved"))
        moved.inbound = listener.inbound
        assert moved.receive().endswith(b"moved")
        assert loop.native.tables().addresses == 2

    def test_a_new_ssrc_of_the_track_goes_on_without_a_gap(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        publisher.send(rtp(500))
        before = listener.receive()
        loop.native.add_encoding(0, 4321)
        publisher.send(rtp(60000)[:8] + struct.pack("!I", 4321) + b"new")
        after = listener.receive()
        assert struct.unpack_from("!H", after, 2)[0] == struct.unpack_from("!H", before, 2)[0] + 1
        publisher.send(rtp(501))
        loop.wait_drop("stale")

    def test_lists_change_while_packets_flow_and_nobody_loses_or_repeats_one(self, loop: RunningLoop) -> None:
        """Consumer 0 stays; the others come and go at random between packets."""
        publisher, (steady,) = call(loop)
        slot, visitor = loop.peer()
        for i in range(1, 9):
            loop.consumer(i, slot, ssrc=9000 + i)
        choose = random.Random(5)
        heard = []
        for i in range(2000):
            loop.native.set_consumers(0, choose.sample(range(9), 9)[: choose.randrange(1, 9)] if i % 2 else [0])
            members = [0, *choose.sample(range(1, 9), choose.randrange(0, 8))]
            choose.shuffle(members)
            loop.native.set_consumers(0, members)
            publisher.send(rtp(i, payload=struct.pack("!I", i)))
            heard.append(steady.receive())
            visitor.waiting()
        assert [struct.unpack("!I", packet[-4:])[0] for packet in heard] == list(range(2000))
        assert {(struct.unpack_from("!H", packet, 2)[0] - i) & 0xFFFF for i, packet in enumerate(heard)} == {100}


class TestMuting:
    def test_nothing_is_heard_while_paused_and_the_sequence_goes_on_after(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        publisher.send(rtp(1))
        before = listener.receive()
        loop.native.set_paused(0, True)
        publisher.send(rtp(2))
        loop.wait_drop("paused")
        loop.native.set_paused(0, False)
        publisher.send(rtp(3))
        after = listener.receive()
        assert struct.unpack_from("!H", after, 2)[0] == struct.unpack_from("!H", before, 2)[0] + 1

    def test_a_resynchronised_consumer_has_no_gap(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        publisher.send(rtp(1))
        listener.receive()
        loop.native.set_consumers(0, [])
        publisher.send(rtp(2))
        loop.wait_drop("no_consumer")
        loop.native.resync_consumer(0)
        loop.native.set_consumers(0, [0])
        publisher.send(rtp(3))
        assert struct.unpack_from("!H", listener.receive(), 2)[0] == 101


class TestDrops:
    """Every packet that ends in the loop has a named counter and disturbs nobody."""

    @pytest.mark.parametrize(
        ("datagram", "reason"),
        [
            (b"", "truncated"),
            (b"\x80", "truncated"),
            (b"\x50garbage", "bad_version"),
            (b"\xff" * 40, "bad_version"),
            (b"\x00\x01\x00\x00", "bad_stun"),
            (b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12), "bad_stun"),
            (b"\x00\x01\x00\x00\x12\x34\x56\x78" + bytes(12), "bad_stun"),
            (b"\x80\x6f" + bytes(30), "unknown_address"),
            (b"\x16\xfe\xfd" + bytes(30), "unknown_address"),
            (bytes(2049), "oversized"),
        ],
    )
    def test_strangers_garbage(self, loop: RunningLoop, datagram: bytes, reason: str) -> None:
        stranger = Peer(loop.port)
        loop.peers.append(stranger)
        stranger.socket.send(datagram)
        loop.wait_drop(reason)
        assert loop.native.events() == []

    @pytest.mark.parametrize(
        ("datagram", "reason"),
        [
            (b"\x80\x6f" + bytes(5), "truncated"),
            (b"\x8f\x6f" + bytes(30), "truncated"),
            (b"\x90\x6f" + bytes(10) + b"\xbe\xde\xff\xff", "truncated"),
            (b"\x80\xc8\x00\x01", "truncated"),
            (b"\x80\x6f" + bytes(40), "auth_failed"),
            (b"\x80\xc8" + bytes(40), "auth_failed"),
        ],
    )
    def test_peers_garbage(self, loop: RunningLoop, datagram: bytes, reason: str) -> None:
        publisher, (listener,) = call(loop)
        publisher.socket.send(datagram)
        loop.wait_drop(reason)
        publisher.send(rtp(1))
        assert listener.receive()

    def test_replayed_packet_is_forwarded_once(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        protected = publisher.send(rtp(1))
        listener.receive()
        publisher.socket.send(protected)
        loop.wait_drop("replayed")
        assert listener.waiting() == []
        assert loop.native.transport_counters(0).replayed == 1

    def test_rtp_before_keys(self, loop: RunningLoop) -> None:
        _, peer = loop.peer(keyed=False)
        peer.send(rtp(1))
        loop.wait_drop("no_keys")

    def test_payload_type_that_was_not_negotiated(self, loop: RunningLoop) -> None:
        publisher, _ = call(loop)
        publisher.send(b"\x80\x0d" + rtp(1)[2:])
        loop.wait_drop("bad_payload_type")

    def test_padding_that_is_longer_than_the_payload(self, loop: RunningLoop) -> None:
        publisher, _ = call(loop)
        publisher.send(bytes([0xA0]) + rtp(1, payload=b"ab\xff")[1:])
        loop.wait_drop("truncated")

    def test_consumer_whose_transport_has_no_address(self, loop: RunningLoop) -> None:
        publisher, _ = call(loop)
        slot, _ = loop.peer(bound=False)
        loop.consumer(1, slot, ssrc=1)
        loop.native.set_consumers(0, [1])
        publisher.send(rtp(1))
        loop.wait_drop("not_connected")

    def test_too_many_unknown_ssrcs(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        for ssrc in range(40):
            publisher.send(rtp(1)[:8] + struct.pack("!I", ssrc) + b"x")
        loop.wait_drop("too_many_ssrcs", 24)
        assert loop.native.drops()["unknown_ssrc"] == 16
        publisher.send(rtp(1))
        assert listener.receive()

    def test_too_many_rtcp_senders(self, loop: RunningLoop) -> None:
        publisher, _ = call(loop)
        for ssrc in range(40):
            publisher.send_rtcp(struct.pack("!BBHI", 0x80, 201, 1, ssrc))
        loop.wait_drop("too_many_ssrcs", 32)
        publisher.send_rtcp(struct.pack("!BBHI", 0x80, 201, 1, SSRC))  # that of an encoding always may
        assert len(loop.events(9)) == 9
        assert loop.native.drops()["too_many_ssrcs"] == 32

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may send from port 0, through a raw socket")
    def test_source_port_zero(self, loop: RunningLoop) -> None:
        stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            raw.sendto(struct.pack("!HHHH", 0, loop.port, 8 + len(stun), 0) + stun, ("127.0.0.1", 0))
        loop.wait_drop("bad_source")
        assert loop.native.events() == []

    def test_unread_events_fill_the_ring_and_are_counted(self, loop: RunningLoop) -> None:
        stranger = Peer(loop.port)
        loop.peers.append(stranger)
        request = b"\x00\x01\x03\xe8\x21\x12\xa4\x42" + bytes(12) + bytes(1000)
        sent = 0
        while loop.native.drops()["ring_full"] == 0:
            stranger.socket.send(request)
            sent += 1
            assert sent < 20_000
        publisher, (listener,) = call(loop)
        publisher.send(rtp(1))
        assert listener.receive()
        assert len(loop.native.events(5000)) > 400

    def test_strangers_stun_leaves_room_for_those_who_are_known(self, loop: RunningLoop) -> None:
        stranger = Peer(loop.port)
        loop.peers.append(stranger)
        request = b"\x00\x01\x03\xe8\x21\x12\xa4\x42" + bytes(12) + bytes(1000)
        for _ in range(1000):
            stranger.socket.send(request)
        loop.wait_drop("ring_full")
        slot, peer = loop.peer()
        peer.socket.send(request)
        peer.send_rtcp(struct.pack("!BBHI", 0x80, 201, 1, 7))
        wait_until(lambda: loop.native.transport_counters(slot).packets_in == 1, "RTCP")
        known = [event for event in loop.native.events(5000) if getattr(event, "address", None) == peer.address or hasattr(event, "slot")]
        assert [type(event) for event in known] == [_native.StunReceived, _native.RtcpReceived]


def check(username: bytes, *before: bytes) -> bytes:
    """A STUN Binding request as far as the loop reads it: attributes ``before``, then a USERNAME."""
    body = b"".join(before) + struct.pack("!HH", 6, len(username)) + username + bytes(-len(username) % 4)
    return struct.pack("!HHI", 1, len(body), 0x2112A442) + bytes(12) + body


class TestStunFloods:
    """Python is asked to look at so many messages a second: each transport's, and those of all strangers together."""

    @pytest.fixture
    def ufrag(self, loop: RunningLoop) -> str:
        """That of the only transport."""
        slot, _ = loop.peer(bound=False)
        ufrag = make_ufrag(slot, 1, b"12345")
        loop.native.set_ufrags(slot, ufrag, "")
        return ufrag

    def flood(self, loop: RunningLoop, message: bytes) -> Peer:
        """Until some of it is dropped. What was let through has been taken."""
        peer, dropped = Peer(loop.port), loop.native.drops()["stun_flood"]
        loop.peers.append(peer)
        for _ in range(100):
            for _ in range(100):
                peer.socket.send(message)
            loop.native.events(5000)
            if loop.native.drops()["stun_flood"] > dropped:
                return peer
        pytest.fail("nothing was dropped")

    def passes(self, loop: RunningLoop, message: bytes) -> bool:
        """Whether it becomes an event; ``message`` is of somebody new."""
        peer, dropped = Peer(loop.port), loop.native.drops()["stun_flood"]
        loop.peers.append(peer)
        while loop.native.events(5000):
            pass
        peer.socket.send(message)
        taken: list[_native.Event] = []
        wait_until(lambda: taken.extend(loop.native.events()) or taken or loop.native.drops()["stun_flood"] > dropped, "event or drop")
        return any(getattr(event, "address", None) == peer.address for event in taken)

    def test_strangers_cost_nobody_a_check(self, loop: RunningLoop, ufrag: str) -> None:
        self.flood(loop, check(b"nobody:x"))
        priority = struct.pack("!HHI", 0x24, 4, 1)
        assert self.passes(loop, check(f"{ufrag}:x".encode(), priority))

    def test_one_transport_costs_no_other_a_check(self, loop: RunningLoop, ufrag: str) -> None:
        slot, _ = loop.peer(bound=False)
        other = make_ufrag(slot, 2, b"67890")
        loop.native.set_ufrags(slot, other, "")
        self.flood(loop, check(f"{ufrag}:x".encode()))
        assert self.passes(loop, check(f"{other}:x".encode()))
        assert self.passes(loop, check(b"nobody:x"))

    def test_after_a_second_there_is_more(self, loop: RunningLoop, ufrag: str) -> None:
        self.flood(loop, check(b"nobody:x"))
        wait_until(lambda: self.passes(loop, check(b"nobody:x")), "strangers are looked at again")

    def test_both_ufrags_of_a_restart_are_the_transports_and_its_third_is_not(self, loop: RunningLoop, ufrag: str) -> None:
        for current, former in ((make_ufrag(0, 1, b"abcde"), ufrag), (make_ufrag(0, 1, b"fghij"), make_ufrag(0, 1, b"abcde"))):
            loop.native.set_ufrags(0, current, former)
        wait_until(
            lambda: self.flood(loop, check(f"{ufrag}:x".encode())) and not self.passes(loop, check(b"nobody:x")), "a stranger's flood"
        )
        assert self.passes(loop, check(f"{current}:x".encode()))
        assert self.passes(loop, check(f"{former}:x".encode()))

    @pytest.mark.parametrize(
        "name",
        [b"", b":", b"a" * 16, b"a" * 16 + b":", b"7" * 16 + b":x", b"!" * 16 + b":x", make_ufrag(0, 1, b"12345").upper().encode() + b":x"],
        ids=repr,
    )
    def test_whatever_else_is_a_strangers(self, loop: RunningLoop, ufrag: str, name: bytes) -> None:
        self.flood(loop, check(f"{ufrag}:x".encode()))
        assert self.passes(loop, check(name))

    def test_an_attribute_that_goes_too_far_hides_what_follows(self, loop: RunningLoop, ufrag: str) -> None:
        self.flood(loop, check(f"{ufrag}:x".encode()))
        assert self.passes(loop, check(f"{ufrag}:x".encode(), struct.pack("!HH", 0x24, 0xFFFF)))

    def test_a_ufrag_has_its_length(self, loop: RunningLoop) -> None:
        for current, former in (("short", ""), ("a" * 16, "short"), ("a" * 17, ""), ("", "")):
            with pytest.raises(ValueError, match="16 characters"):
                loop.native.set_ufrags(0, current, former)


class TestEvents:
    def test_stun_comes_with_its_source(self, loop: RunningLoop) -> None:
        _, peer = loop.peer(bound=False)
        request = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
        peer.socket.send(request)
        assert loop.events() == [_native.StunReceived(peer.address, request)]

    def test_dtls_comes_with_its_slot(self, loop: RunningLoop) -> None:
        slot, peer = loop.peer(keyed=False)
        peer.socket.send(b"\x16hello")
        assert loop.events() == [_native.DtlsReceived(slot, slot + 1000, b"\x16hello")]

    def test_rtcp_comes_decrypted(self, loop: RunningLoop) -> None:
        slot, peer = loop.peer()
        report = struct.pack("!BBHI", 0x80, 201, 1, 7)
        peer.send_rtcp(report)
        assert loop.events() == [_native.RtcpReceived(slot, slot + 1000, report)]

    def test_unknown_ssrc_comes_with_its_mid(self, loop: RunningLoop) -> None:
        slot, peer = loop.peer()
        peer.send(rtp(1, profile=0xBEDE, extension=bytes([0x41]) + b"12"))
        assert loop.events() == [_native.UnknownSsrc(slot, slot + 1000, SSRC, 111, b"12")]

    def test_first_packet_is_announced_once(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        for i in range(3):
            publisher.send(rtp(i))
            listener.receive()
        assert loop.events() == [_native.FirstPacket(0, 1000, 0)]
        assert loop.native.events() == []

    def test_event_fd_is_readable_again_after_an_empty_read(self, loop: RunningLoop) -> None:
        _, peer = loop.peer(keyed=False)
        for i in range(300):
            assert loop.native.events() == []
            peer.socket.send(b"\x16" + bytes([i & 255]))
            assert select.select([loop.native.event_fd], [], [], 10)[0]
            assert len(loop.events()) == 1

    def test_send_reaches_the_address(self, loop: RunningLoop) -> None:
        _, peer = loop.peer(bound=False)
        loop.native.send(peer.address, b"\x16server hello")
        assert peer.socket.recv(2048) == b"\x16server hello"


class TestLifetime:
    def test_tables_are_empty_when_everything_is_removed(self, loop: RunningLoop) -> None:
        publisher, listeners = call(loop, consumers=5)
        publisher.send(rtp(1))
        for listener in listeners:
            listener.receive()
        assert loop.native.tables() == (6, 1, 5, 6)
        loop.native.set_consumers(0, [])
        for i in range(5):
            loop.native.remove_consumer(i)
        loop.native.remove_track(0)
        for slot in range(6):
            loop.native.remove_transport(slot)
        wait_until(lambda: loop.native.tables() == (0, 0, 0, 0), "empty tables")

    def test_slots_are_reused_thousands_of_times(self, loop: RunningLoop) -> None:
        for _ in range(3000):
            loop.native.add_transport(0, 1)
            loop.native.bind_address(0, ("127.0.0.1", 9))
            loop.native.set_keys(0, GCM, bytes(28), bytes(28), 1, b"c", 4)
            loop.track(0, 0, 1, 2, 3, 4, 5)
            loop.consumer(0, 0, ssrc=1)
            loop.native.set_consumers(0, [0])
            loop.native.remove_track(0)
            loop.native.remove_consumer(0)
            loop.native.remove_transport(0)
        wait_until(lambda: loop.native.tables() == (0, 0, 0, 0), "empty tables")

    def test_removing_a_transport_takes_its_tracks_along(self, loop: RunningLoop) -> None:
        call(loop)
        loop.native.remove_transport(0)
        wait_until(lambda: loop.native.tables().tracks == 0, "no tracks")

    def test_an_ssrc_claimed_twice_goes_to_the_later_track(self, loop: RunningLoop) -> None:
        publisher, (listener,) = call(loop)
        loop.track(1, 0, SSRC)
        loop.native.remove_track(0)
        loop.native.set_consumers(1, [0])
        publisher.send(rtp(1, payload=b"later"))
        assert listener.receive().endswith(b"later")

    def test_thread_has_the_scheduling_that_it_says(self, loop: RunningLoop) -> None:
        policy = os.sched_getscheduler(loop.native.thread_id)
        nice = os.getpriority(os.PRIO_PROCESS, loop.native.thread_id)
        assert loop.native.scheduling == ("realtime" if policy == os.SCHED_RR else f"nice {nice}")

    def test_a_closed_loop_refuses_everything(self) -> None:
        with RunningLoop() as loop:
            pass
        loop.native.close()
        with pytest.raises(RuntimeError, match="closed"):
            loop.native.tables()

    def test_sockets_are_closed_with_the_loop(self) -> None:
        with RunningLoop() as loop:
            port = loop.port
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        again.bind(("127.0.0.1", port))
        again.close()

    def test_impossible_arguments_are_value_errors(self, loop: RunningLoop) -> None:
        with pytest.raises(ValueError, match="1 to 1500"):
            loop.native.send(("127.0.0.1", 9), b"")
        with pytest.raises(ValueError, match="no IP address"):
            loop.native.send(("localhost", 9), b"x")
        with pytest.raises(ValueError, match="no socket"):
            loop.native.send(("::1", 9), b"x")
        with pytest.raises(ValueError, match="out of range"):
            loop.native.add_transport(1 << 24, 0)
        with pytest.raises(ValueError, match="have 28 bytes"):
            loop.native.set_keys(0, GCM, bytes(30), bytes(28), 1, b"c", 0)
        with pytest.raises(ValueError, match="no such SRTP profile"):
            loop.native.set_keys(0, 3, bytes(30), bytes(28), 1, b"c", 0)
        with pytest.raises(OSError, match=r".+"):
            _native.Loop([0])
