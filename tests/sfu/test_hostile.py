"""Bad input at a shard's two doors. Each gets its documented error or named counter, and the call beside it goes on."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aioice import stun
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket, RtcpRtpfbPacket

from sfu import protocol as p
from sfu.forwarding._native import RtcpReceived


@pytest.fixture
async def call(shard: Any, hear: Callable[..., Any]) -> Any:
    """Ann talks to Bo. The test fails if Bo does not hear her at its end."""
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    _, track = await bo.consume(ann)
    assert await hear(track) == pytest.approx(440, abs=10)
    yield shard
    assert await hear(track) == pytest.approx(440, abs=10)
    assert shard.process.metrics.dropped("internal_error") == 0


def throw(shard: Any, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thrower:
        for datagram in datagrams:
            thrower.sendto(datagram, ("127.0.0.1", shard.process.udp_port))


def binding_request(username: str, key: bytes, **attributes: Any) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": username, "PRIORITY": 1, **attributes})
    message.add_message_integrity(key)
    return bytes(message)


class TestUdp:
    async def test_garbage_is_counted(self, call: Any) -> None:
        throw(call, b"", b"\x00", b"\xff" * 50, bytes(1500), b"\x16" * 40, b"\x80\x6f" + bytes(30), b"\x80", bytes(9000), b"\x40" * 64)
        await call.router.dropped("unknown_address", 2)
        assert sum(call.process.loop.drops().values()) >= 6

    async def test_malformed_stun_is_counted(self, call: Any) -> None:
        request = bytearray(binding_request("a:b", b"x" * 24))
        request[-1] ^= 1  # the fingerprint no longer fits
        throw(call, bytes(request))
        await call.router.dropped("stun_malformed")

    async def test_stun_of_unknown_user_is_counted(self, call: Any) -> None:
        throw(call, binding_request("aaaaaaaaaaaaaaaa:b", b"x" * 24))
        await call.router.dropped("stun_unknown_user")

    async def test_stun_with_wrong_integrity_moves_no_address(self, call: Any) -> None:
        connection = call.process.shard.connections._by_slot[0]
        before = connection.association.ice.address
        username = f"{connection.association.ice.local_ufrag}:{connection.association.ice.remote_ufrag}"
        throw(call, binding_request(username, b"wrong", **{"USE-CANDIDATE": None, "ICE-CONTROLLING": 1}))
        await call.router.dropped("stun_bad_integrity")
        assert connection.association.ice.address == before

    async def test_dtls_from_an_unbound_address_reaches_nobody(self, call: Any) -> None:
        throw(call, b"\x16\xfe\xfd" + bytes(60))
        await call.router.dropped("unknown_address")

    async def test_replayed_srtp_is_heard_once(self, call: Any) -> None:
        ice = call.people[0].publishing.getTransceivers()[0].sender.transport.transport
        send = ice._send

        async def send_twice(data: bytes) -> None:
            await send(data)
            await send(data)

        ice._send = send_twice
        await call.router.dropped("replayed", 20)


class TestRtcp:
    async def test_maximal_nacks_are_not_read_beyond_the_budget(self, call: Any) -> None:
        connection = next(one for one in call.process.shard.connections._by_slot.values() if one.consumers)
        (ssrc,) = connection.consumers
        nack = bytes(RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=ssrc, lost=list(range(0, 17 * 300, 17))))
        for _ in range(1000):
            call.process.shard.handle(RtcpReceived(connection.slot, connection.generation, nack), 1e9, 0.0)
        assert len(nack) > 1200
        assert connection.consumers[ssrc].reception.nacks <= 10
        assert call.process.metrics.dropped("rtcp_limited") >= 990

    async def test_reports_that_come_as_they_should_are_all_read(self, call: Any) -> None:
        connection = next(one for one in call.process.shard.connections._by_slot.values() if one.consumers)
        (ssrc,) = connection.consumers
        report = bytes(RtcpRrPacket(ssrc=1, reports=[RtcpReceiverInfo(ssrc, 0, 0, 0, 0, 0, 0)]))
        before = connection.consumers[ssrc].reception.reports
        for number in range(200):
            call.process.shard.handle(RtcpReceived(connection.slot, connection.generation, report), 1e9 + number / 10, 0.0)
        assert connection.consumers[ssrc].reception.reports == before + 200
        assert call.process.metrics.dropped("rtcp_limited") == 0

    async def test_reports_of_ever_new_senders_are_bounded(self, call: Any) -> None:
        transport = call.people[1].connections[-1].getReceivers()[0].transport
        for number in range(300):
            await transport._send_rtp(bytes(RtcpRrPacket(ssrc=1000 + number)))

        def bounded(heartbeat: p.Heartbeat) -> bool:
            return heartbeat.drops.get("too_many_ssrcs", 0) + heartbeat.drops["rtcp_limited"] >= 150

        await call.router.first(p.Heartbeat, bounded)


class TestZeroMq:
    @pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"\x81\xa4type\xa4nope", b"\x91" * 5000, bytes(100_000)])
    async def test_message_that_does_not_decode_is_counted(self, call: Any, body: bytes) -> None:
        before = call.process.metrics.bad_messages
        await call.router.raw(body)
        await call.router.first(p.Heartbeat, lambda message: message.bad_messages == before + 1)

    async def test_message_of_several_frames_is_counted(self, call: Any) -> None:
        await call.router.raw(b"a", b"b")
        await call.router.first(p.Heartbeat, lambda message: message.bad_messages == 1)

    async def test_expired_command_is_dropped_unanswered(self, call: Any) -> None:
        body = p.encode(p.Reset(request_id=p.RequestId(999), deadline_unix_ms=1))
        await call.router.raw(body)
        await call.router.first(p.Heartbeat, lambda message: message.expired_commands == 1)
        assert not [message for message in call.router.messages if getattr(message, "request_id", None) == 999]


class TestCommands:
    async def test_commands_out_of_order_are_refused(self, call: Any) -> None:
        stranger = {"room_id": "room", "user_id": "nobody"}
        bo = call.people[1]
        for command, fields, code in [
            (p.CreatePublisher, stranger, "not_in_room"),
            (p.CreatePublisher, {"room_id": "nowhere", "user_id": "x"}, "not_in_room"),
            (p.AnswerPublisher, {**stranger, "sdp": ""}, "not_in_room"),
            (p.AnswerPublisher, {**bo.at, "sdp": ""}, "publisher_not_found"),
            (p.CreateConsumer, {**bo.at, "publisher_user_id": "nobody", "consumer_id": "c"}, "publisher_not_found"),
            (p.CreateConsumer, {**bo.at, "publisher_user_id": bo.user_id, "consumer_id": "c"}, "not_publishing"),
            (p.AnswerConsumer, {**bo.at, "consumer_id": "c", "sdp": ""}, "consumer_not_found"),
            (p.SetMuted, {**stranger, "muted": True}, "not_in_room"),
            (p.AnswerPublisher, {**call.people[0].at, "sdp": ""}, "already_answered"),
        ]:
            answer = await call.router.ask(command, **fields)
            assert (command, answer.code) == (command, code)

    async def test_ending_what_is_not_there_is_done(self, call: Any) -> None:
        stranger = {"room_id": "nowhere", "user_id": "nobody"}
        for command, fields in [(p.LeaveRoom, {}), (p.ClosePublisher, {}), (p.CloseConsumer, {"consumer_id": "c"})]:
            assert await call.router.do(command, **stranger, **fields) == p.Done()

    async def test_broken_answer_is_refused_and_a_good_one_taken_afterwards(self, call: Any) -> None:
        cy = await call.person("cy")
        with pytest.raises(AssertionError, match="invalid_sdp"):
            await publish(cy, lambda sdp: sdp.replace("a=setup:active", "a=setup:passive"))

    async def test_wrong_fingerprint_never_becomes_a_publisher(self, call: Any) -> None:
        cy = await call.person("cy")
        await publish(cy, lambda sdp: re.sub(r"(a=fingerprint:\S+) \S\S", r"\1 00", sdp))
        failed = await call.router.first(p.PublisherFailed)
        assert (failed.user_id, failed.reason) == (cy.user_id, "fingerprint_mismatch")
        await call.router.tables(lambda tables: tables.transports == tables.native_transports == 2)
        assert not [event for event in call.router.messages if isinstance(event, p.TrackPublished) and event.user_id == cy.user_id]


class TestLimits:
    async def test_full_shard_says_so(self, start_shard: Callable[..., Any]) -> None:
        shard = await start_shard(max_transports=1)
        ann, bo = await shard.person("ann"), await shard.person("bo")
        await ann.publish(440)
        assert (await shard.router.ask(p.CreatePublisher, **bo.at)).code == "shard_full"
        refused = await shard.router.ask(p.CreateConsumer, publisher_user_id=ann.user_id, consumer_id="c", **bo.at)
        assert refused.code == "shard_full"
        await asyncio.gather(ann.leave(), bo.leave())
        await shard.drained()


async def publish(person: Any, change: Callable[[str], str]) -> None:
    """Publish with an answer that was tampered with."""
    from aiortc import RTCSessionDescription

    offer = await person.router.do(p.CreatePublisher, **person.at)
    connection = person.connection()
    connection.addTransceiver("audio", direction="sendonly")
    await connection.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    await person.router.do(p.AnswerPublisher, sdp=change(connection.localDescription.sdp), **person.at)


class TestForgedAddress:
    async def test_whose_address_was_taken_gets_it_back_with_the_next_nomination(self, call: Any) -> None:
        """A participant that can forge Ann's source address binds it to a transport of its own, perhaps over another address of ours."""
        ann = call.process.shard.connections._by_slot[0]
        cy = await call.person("cy")
        await call.router.do(p.CreatePublisher, **cy.at)
        thief = next(one for one in call.process.shard.connections._by_slot.values() if one.user_id == cy.user_id)
        address = ann.association.ice.address
        for connection, source in ((thief, (*address[:2], "127.0.0.1")), (ann, address)):
            ice = connection.association.ice
            username = f"{ice.local_ufrag}:{ice.remote_ufrag}"
            data = binding_request(username, ice.local_pwd.encode(), **{"USE-CANDIDATE": None, "ICE-CONTROLLING": 1})
            call.process.shard.connections.stun_received(source, data, asyncio.get_running_loop().time())
        assert (ann.bound, thief.bound, thief.association.ice.address) == (address, None, None)
        await cy.leave()
