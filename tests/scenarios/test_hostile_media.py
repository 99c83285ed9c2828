"""Bad input on a shard's UDP port, from strangers and from people in the call: counted by name, and heard by nobody."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from aioice import stun

from loadtest.audio import ToneTrack
from loadtest.peer import Consumer, Peer, Publishing
from tests.scenarios.call import Call, packets
from tests.scenarios.hostile import Accomplice, OfferedTransport, Stranger, binding_request, local_fields
from tests.server import RunningServer

COPIES = 20


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One shard, so that whoever misbehaves does so where the bystanders are."""
    with RunningServer(shards=1) as running:
        yield running


def offer_to(peer: Peer) -> OfferedTransport:
    """What the shard last offered to this publisher."""
    return OfferedTransport.of([m["sdp"] for m in peer.signaling.received if m["type"] == "publisher_created"][-1])


class TestStrangers:
    @pytest.fixture
    def stranger(self, bystanders: Call) -> Iterator[Stranger]:
        with Stranger(offer_to(bystanders.peers[0])) as stranger:
            yield stranger

    @pytest.mark.parametrize(
        ("reason", "datagram"),
        [
            pytest.param("truncated", b"", id="empty"),
            pytest.param("bad_version", b"\x04garbage", id="between_stun_and_dtls"),
            pytest.param("bad_version", b"GET / HTTP/1.1\r\n\r\n", id="http"),
            pytest.param("bad_version", b"\xff" * 100, id="rtp_version_3"),
            pytest.param("unknown_address", b"\x80\x6f\x00\x01", id="rtp_cut_off"),
            pytest.param("unknown_address", b"\x80\x6f\x00\x01" + bytes(60), id="rtp"),
            pytest.param("unknown_address", b"\x80\xc8\x00\x06" + bytes(60), id="rtcp"),
            pytest.param("unknown_address", b"\x16\xfe\xfd" + bytes(60), id="dtls"),
            pytest.param("oversized", b"\x80\x6f" + bytes(9000), id="jumbo"),
            pytest.param("oversized", b"\x00\x01" + bytes(65000), id="largest"),
            pytest.param("bad_stun", b"\x00\x01\x00\x00" + bytes(16), id="stun_without_cookie"),
            pytest.param("bad_stun", b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12), id="stun_longer_than_it_is"),
            pytest.param("stun_no_credentials", b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), id="stun_without_user"),
        ],
    )
    async def test_datagram_is_counted_under_its_name(self, bystanders: Call, stranger: Stranger, reason: str, datagram: bytes) -> None:
        before = await bystanders.drops(reason)
        for _ in range(COPIES):
            stranger.send(datagram)
        await bystanders.wait_drops(reason, before + COPIES)

    async def test_noise_of_every_first_byte_and_length_changes_nothing(self, bystanders: Call, stranger: Stranger) -> None:
        before = await bystanders.drops("oversized")
        for first in range(256):
            for length in (0, 1, 11, 12, 19, 20, 27, 200):
                stranger.send(bytes([first]) + os.urandom(length))
        stranger.send(bytes(3000))
        await bystanders.wait_drops("oversized", before + 1)  # so all that was sent before it has been looked at

    async def test_wrong_integrity_gets_an_error_and_does_not_move_the_publisher(self, bystanders: Call, stranger: Stranger) -> None:
        ann, bo = bystanders.peers[:2]
        assert ann.publishing is not None
        sender, _ = local_fields(ann.publishing)
        before = await bystanders.drops("stun_bad_integrity")
        for _ in range(COPIES):
            stranger.send(bytes(binding_request(offer_to(ann), sender=sender, pwd="wrong" * 6)))
        answer = stun.parse_message(await stranger.receive())
        assert answer.message_class is stun.Class.ERROR
        assert answer.attributes["ERROR-CODE"][0] == 401
        await bystanders.wait_drops("stun_bad_integrity", before + COPIES)
        await bo.hear(ann)

    async def test_unknown_user_gets_an_error_of_no_greater_length(self, bystanders: Call, stranger: Stranger) -> None:
        before = await bystanders.drops("stun_unknown_user")
        request = bytes(binding_request(offer_to(bystanders.peers[0]), ufrag="AAAAAAAAAAAAAAAA"))
        stranger.send(request)
        answer = await stranger.receive()
        assert stun.parse_message(answer).message_class is stun.Class.ERROR
        assert len(answer) <= len(request)
        await bystanders.wait_drops("stun_unknown_user", before + 1)

    async def test_packets_of_a_participant_sent_from_elsewhere_are_not_forwarded(self, bystanders: Call, stranger: Stranger) -> None:
        ann, _ = bystanders.peers[:2]
        assert ann.publishing is not None
        captured = await Accomplice(ann.publishing).wait_captured(COPIES)
        before = await bystanders.drops("unknown_address")
        for packet in captured:
            stranger.send(packet)
        await bystanders.wait_drops("unknown_address", before + COPIES)


class TestInsiders:
    """Eve is in the room, and what she sends comes from her own connection. Ann hears her, and must hear nothing but her tone."""

    @pytest.fixture
    async def eve(self, bystanders: Call) -> AsyncIterator[Peer]:
        ann = bystanders.peers[0]
        eve = await bystanders.guest("Eve", ann.room_id)
        consumer = await ann.hear(eve)
        yield eve
        await ann.hear(eve)
        reception = await consumer.reception()
        assert reception.lost == 0, reception

    async def test_replayed_packets_are_dropped(self, bystanders: Call, eve: Peer) -> None:
        assert eve.publishing is not None
        accomplice = Accomplice(eve.publishing)
        captured = await accomplice.wait_captured(COPIES)
        before = await bystanders.drops("replayed")
        for packet in captured:
            await accomplice.send_raw(packet)
        await bystanders.wait_drops("replayed", before + COPIES)

    async def test_packets_with_a_flipped_bit_are_dropped(self, bystanders: Call, eve: Peer) -> None:
        assert eve.publishing is not None
        accomplice = Accomplice(eve.publishing)
        captured = await accomplice.wait_captured(COPIES)
        before = await bystanders.drops("auth_failed")
        for packet in captured:
            # In the payload, and with a new sequence number, so that it is not a replay before it is a forgery.
            await accomplice.send_raw(packet[:2] + bytes([packet[2] ^ 1]) + packet[3:-1] + bytes([packet[-1] ^ 1]))
        await bystanders.wait_drops("auth_failed", before + COPIES)

    async def test_packets_cut_short_are_dropped(self, bystanders: Call, eve: Peer) -> None:
        assert eve.publishing is not None
        accomplice = Accomplice(eve.publishing)
        (packet,) = await accomplice.wait_captured(1)
        before = await bystanders.drops("truncated")
        for length in range(1, 12):
            await accomplice.send_raw(packet[:length])
        await bystanders.wait_drops("truncated", before + 11)

    async def test_unknown_ssrc_with_a_foreign_payload_type_is_dropped(self, bystanders: Call, eve: Peer) -> None:
        assert eve.publishing is not None
        accomplice = Accomplice(eve.publishing)
        before = await bystanders.drops("unknown_ssrc")
        for sequence in range(COPIES):
            await accomplice.send_rtp(ssrc=accomplice.ssrc ^ 1, payload_type=96, sequence=sequence)
        await bystanders.wait_drops("unknown_ssrc", before + COPIES)

    async def test_foreign_payload_type_of_the_known_ssrc_is_dropped(self, bystanders: Call, eve: Peer) -> None:
        ann = bystanders.peers[0]
        assert eve.publishing is not None
        accomplice = Accomplice(eve.publishing)
        (packet,) = await accomplice.wait_captured(1)
        before = await bystanders.drops("bad_payload_type")
        ahead = (int.from_bytes(packet[2:4], "big") + 1000) % 65536
        await eve.set_muted(True)
        await ann.signaling.expect("user_muted", user_id=eve.user_id)
        await accomplice.send_rtp(ssrc=accomplice.ssrc, payload_type=96, sequence=ahead)
        await bystanders.wait_drops("bad_payload_type", before + 1)
        await eve.set_muted(False)

    async def test_media_of_a_left_participant_reaches_nobody(self, bystanders: Call) -> None:
        ann = bystanders.peers[0]
        eve = await bystanders.guest("Eve", ann.room_id)
        consumer = await ann.hear(eve)
        assert eve.publishing is not None
        accomplice = Accomplice(eve.publishing)
        captured = await accomplice.wait_captured(COPIES)
        _, port = local_fields(eve.publishing)
        await eve.leave_room()
        await ann.signaling.expect("user_left", user_id=eve.user_id)
        await bystanders.wait_transports(4)  # Ann's and Bo's publisher and consumer
        before, heard = await bystanders.drops("unknown_address"), await packets(consumer)
        with Stranger(offer_to(ann), port) as former:
            for packet in captured:
                former.send(packet)
            await bystanders.wait_drops("unknown_address", before + COPIES)
        assert await packets(consumer) == heard


def forged(answer: str) -> str:
    """The answer with other fingerprints: those of no certificate that its sender has."""
    return re.sub(r"(a=fingerprint:sha-\d+ )(..)", lambda found: found[1] + f"{int(found[2], 16) ^ 1:02X}", answer)


class TestHandshake:
    async def test_wrong_fingerprint_fails_the_publisher_and_nobody_hears_of_it(self, bystanders: Call) -> None:
        ann, bo = bystanders.peers[:2]
        eve = await bystanders.person("Eve", hears=False)
        await eve.join_room(ann.room_id)
        eve.publishing = Publishing(ToneTrack(eve.frequency_hz))
        offer = (await eve.signaling.request("create_publisher", "publisher_created"))["sdp"]
        answer = await eve.publishing.answer(offer)
        await eve.signaling.send("publish_audio", sdp=forged(answer))
        error = await eve.signaling.expect("error", code="connection_failed")
        assert error["request"] == "publish_audio"
        assert "fingerprint" in error["message"]
        await ann.signaling.request("ping", "pong")
        for peer in (ann, bo):
            assert eve.user_id not in {m["user_id"] for m in peer.signaling.received if m["type"] == "new_publisher"}
        await eve.publishing.abort()
        eve.publishing = None
        await eve.publish()  # the next try, with the right one
        await ann.hear(eve)

    async def test_wrong_fingerprint_closes_the_consumer(self, bystanders: Call) -> None:
        ann, _ = bystanders.peers[:2]
        eve = await bystanders.person("Eve", hears=False)
        await eve.join_room(ann.room_id)
        created = await eve.signaling.request("create_consumer", "consumer_created", publisher_user_id=ann.user_id)
        connection = Consumer(ann.user_id)
        answer = await connection.answer(created["sdp"])
        await eve.signaling.send("consumer_answer", consumer_id=created["consumer_id"], sdp=forged(answer))
        closed = await eve.signaling.expect("consumer_closed", consumer_id=created["consumer_id"])
        assert closed["reason"] == "fingerprint_mismatch"
        await connection.abort()

    async def test_garbage_inside_the_handshake_is_survived(self, bystanders: Call) -> None:
        eve = await bystanders.host("Eve", publishes=False)
        offered = OfferedTransport.of((await eve.signaling.request("create_publisher", "publisher_created"))["sdp"])
        with Stranger(offered) as attacker:
            attacker.send(bytes(binding_request(offered)))
            assert stun.parse_message(await attacker.receive()).message_class is stun.Class.RESPONSE
            for _ in range(COPIES):
                attacker.send(b"\x16\xfe\xfd" + os.urandom(100))
            attacker.send(b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff" + bytes(200))
        await eve.publish()  # on a new transport
        await bystanders.guest("Flo", eve.room_id, publishes=False)
        await bystanders.peers[-1].hear(eve)
