"""Bad input on the WebSocket: each gets its documented error, and two bystanders on the same shard notice nothing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest

from loadtest.audio import ToneTrack
from loadtest.peer import Consumer, Peer, Publishing
from loadtest.signaling import Refused, Signaling
from tests.scenarios.call import Call
from tests.server import RunningServer


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One shard, so that whoever misbehaves does so where the bystanders are."""
    with RunningServer(shards=1) as running:
        yield running


@pytest.fixture
async def stranger(server: RunningServer) -> AsyncIterator[Signaling]:
    """A WebSocket on which nothing was said yet."""
    socket = await Signaling.open(server.url)
    yield socket
    await socket.close()


async def error_to(socket: Signaling, frame: str | bytes) -> tuple[str, str | None]:
    """Code and request of the error that ``frame`` gets. The socket must still be usable after it."""
    mark = len(socket.received)
    await socket.send_raw(frame)
    error = await socket.expect("error", after=mark)
    assert error["message"]
    await socket.request("ping", "pong")
    assert [message["type"] for message in socket.received[mark:]] == ["error", "pong"]
    return error["code"], error.get("request")


NO_MESSAGES: tuple[str | bytes, ...] = (
    "",
    "{",
    "[]",
    "null",
    "17",
    '"register"',
    "{}",
    '{"type": 5}',
    '{"type": null}',
    '{"type": ["register"]}',
    '{"type": "ping"} {"type": "ping"}',
    "[" * 20_000,
    '{"type":' * 5_000,
    '{"type": "register"}',
    '{"type": "register", "username": 5}',
    '{"type": "register", "username": null}',
    '{"type": "register", "username": ["Ann"]}',
    '{"type": "register", "username": "\\ud800"}',
    b'{"type": "ping"}',
    b"\x00\xff\xfe",
)


class TestFrames:
    @pytest.mark.parametrize("frame", NO_MESSAGES, ids=lambda frame: repr(frame[:30]))
    async def test_what_is_no_message_is_invalid(self, stranger: Signaling, frame: str | bytes) -> None:
        code, _ = await error_to(stranger, frame)
        assert code == "invalid_message"

    @pytest.mark.parametrize("name", ["", "nonsense", "room_joined", "PING", "x" * 10_000])
    async def test_unknown_type_is_named_as_such(self, stranger: Signaling, name: str) -> None:
        code, _ = await error_to(stranger, json.dumps({"type": name}))
        assert code == "unknown_type"

    @pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\nb", "a\x00b", "\x1b[31m"])
    async def test_impossible_username(self, stranger: Signaling, name: str) -> None:
        assert await error_to(stranger, json.dumps({"type": "register", "username": name})) == ("invalid_username", "register")

    async def test_unknown_fields_are_ignored_and_plain_ping_is_answered(self, stranger: Signaling) -> None:
        await stranger.request("register", "registered", username="Ann", colour="blue", nested={"deep": [1, 2]})
        await stranger.send_raw("ping")
        await stranger.expect("plain_pong")

    async def test_frame_over_the_limit_closes_with_1009(self, stranger: Signaling) -> None:
        await stranger.send_raw(json.dumps({"type": "register", "username": "x" * 70_000}))
        assert (await stranger.wait_closed()).code == 1009

    async def test_frame_just_under_the_limit_is_an_ordinary_error(self, stranger: Signaling) -> None:
        code, _ = await error_to(stranger, json.dumps({"type": "register", "username": "x" * 65_000}))
        assert code == "invalid_username"


FIELDS: dict[str, dict[str, object]] = {
    "join_room": {"room_id": "nowhere"},
    "publish_audio": {"sdp": "v=0"},
    "create_consumer": {"publisher_user_id": "nobody"},
    "set_muted": {"muted": True},
    "consumer_answer": {"consumer_id": "none", "sdp": "v=0"},
    "close_consumer": {"consumer_id": "none"},
    "publisher_ice_candidate": {"candidate": ""},
    "consumer_ice_candidate": {"consumer_id": "none", "candidate": ""},
}
"""What each message needs so that it is wrong only in being out of order."""


class TestOrder:
    NEED_REGISTRATION = ("create_room", "join_room", "leave_room", "create_publisher", "publish_audio", "create_consumer", "set_muted")

    def message(self, type: str) -> str:
        return json.dumps({"type": type, **FIELDS.get(type, {})})

    @pytest.mark.parametrize("type", NEED_REGISTRATION)
    async def test_before_registering(self, stranger: Signaling, type: str) -> None:
        assert await error_to(stranger, self.message(type)) == ("not_registered", type)

    @pytest.mark.parametrize("type", sorted({*NEED_REGISTRATION[2:], *FIELDS} - {"join_room"}))
    async def test_before_joining(self, stranger: Signaling, type: str) -> None:
        await stranger.request("register", "registered", username="Eve")
        assert await error_to(stranger, self.message(type)) == ("not_in_room", type)

    @pytest.mark.parametrize(
        ("type", "code"),
        [
            ("register", "already_registered"),
            ("create_room", "already_in_room"),
            ("join_room", "already_in_room"),
            ("publish_audio", "publisher_not_found"),
            ("close_publisher", "publisher_not_found"),
            ("publisher_ice_candidate", "publisher_not_found"),
            ("create_consumer", "publisher_not_found"),
            ("consumer_answer", "consumer_not_found"),
            ("close_consumer", "consumer_not_found"),
            ("consumer_ice_candidate", "consumer_not_found"),
        ],
    )
    async def test_in_a_room(self, stranger: Signaling, type: str, code: str) -> None:
        await stranger.request("register", "registered", username="Eve")
        await stranger.request("create_room", "room_joined")
        fields = {"username": "Eve"} if type == "register" else FIELDS.get(type, {})
        assert await error_to(stranger, json.dumps({"type": type, **fields})) == (code, type)

    async def test_room_that_does_not_exist(self, stranger: Signaling) -> None:
        await stranger.request("register", "registered", username="Eve")
        for room_id in ("", "nowhere", "../../etc/passwd", "x" * 10_000, "\x00"):
            assert await error_to(stranger, json.dumps({"type": "join_room", "room_id": room_id})) == ("room_not_found", "join_room")

    async def test_somebody_in_another_room_cannot_be_consumed(self, bystanders: Call, stranger: Signaling) -> None:
        await stranger.request("register", "registered", username="Eve")
        await stranger.request("create_room", "room_joined")
        message = json.dumps({"type": "create_consumer", "publisher_user_id": bystanders.peers[0].user_id})
        assert await error_to(stranger, message) == ("publisher_not_found", "create_consumer")


class TestPersistence:
    async def test_bystanders_notice_nothing_of_any_bad_frame(self, bystanders: Call, stranger: Signaling) -> None:
        await stranger.request("register", "registered", username="Eve")
        await stranger.request("join_room", "room_joined", room_id=bystanders.peers[0].room_id)
        await stranger.request("ping", "pong")  # behind the notices of who publishes
        for frame in NO_MESSAGES:
            await error_to(stranger, frame)

    async def test_twenty_errors_in_a_row_close_with_1008(self, stranger: Signaling) -> None:
        for _ in range(20):
            await stranger.send_raw("{")
        closed = await stranger.wait_closed()
        assert (closed.code, closed.reason) == (1008, "too many errors in a row")
        assert [message["code"] for message in stranger.received] == ["invalid_message"] * 20

    async def test_flood_is_refused_then_closed_with_1008(self, bystanders: Call, stranger: Signaling) -> None:
        for _ in range(1000):
            await stranger.send_raw('{"type": "ping"}')
            if stranger.closed:
                break
        assert (await stranger.wait_closed()).code == 1008
        assert "rate_limited" in {message.get("code") for message in stranger.received}

    async def test_errors_are_counted_by_code(self, stranger: Signaling, call: Call) -> None:
        name = 'antiphon_signaling_errors_total{code="unknown_type"}'
        before = await call.metric(name)
        await error_to(stranger, '{"type": "nonsense"}')
        assert await call.metric(name) == before + 1

    async def test_hundred_sockets_that_vanish_leave_none_behind(self, bystanders: Call, server: RunningServer) -> None:
        before = await bystanders.metric("antiphon_websockets")
        sockets = await asyncio.gather(*(Signaling.open(server.url) for _ in range(100)))
        await asyncio.gather(*(socket.send("register", username="Eve") for socket in sockets))
        await asyncio.gather(*(socket.abort() for socket in sockets))
        await bystanders.wait_metric("antiphon_websockets", lambda open: open == before)


class TestSdp:
    async def right_answer(self, peer: Peer) -> str:
        """Let the peer be offered a publisher; returns the answer without sending it."""
        peer.publishing = Publishing(ToneTrack(peer.frequency_hz))
        offer = (await peer.signaling.request("create_publisher", "publisher_created"))["sdp"]
        return await peer.publishing.answer(offer)

    @staticmethod
    def broken(answer: str) -> Iterator[str]:
        """The right answer, broken in one way each."""
        yield from ("", "garbage", "v=0\r\n", "\x00" * 100, "v=0\r\n" + "a=x\r\n" * 5_000, "💥" * 1000)
        yield answer.replace("m=audio", "m=video")
        yield answer.replace("m=audio ", "m=audio x")
        yield answer.replace("a=setup:active", "a=setup:nonsense")
        yield answer.replace("a=setup:active", "a=setup:passive")
        yield answer.replace("a=fingerprint:", "a=fingerprnt:")
        yield answer.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz")
        yield answer.replace("a=ice-ufrag:", "a=ice-ufrag:\u00fc")
        yield answer.replace("a=ice-pwd:", "a=ice-pw:")
        yield re.sub("a=(sendonly|recvonly)", lambda m: "a=recvonly" if m[1] == "sendonly" else "a=sendonly", answer)
        yield answer.replace("opus/48000/2", "PCMU/8000")
        yield answer + answer[answer.index("m=audio") :]
        yield answer[: answer.index("m=audio")]
        yield answer.replace("a=mid:", "a=mid:other")

    async def test_broken_answers_are_refused_and_the_right_one_still_works(self, bystanders: Call) -> None:
        ann, _ = bystanders.peers[:2]
        eve = await bystanders.person("Eve", hears=False)
        await eve.join_room(ann.room_id)
        answer = await self.right_answer(eve)
        variants = list(self.broken(answer))
        assert len({*variants, answer}) == len(variants) + 1
        for sdp in variants:
            with pytest.raises(Refused) as refused:
                await eve.signaling.request("publish_audio", "audio_published", sdp=sdp)
            assert refused.value.code == "invalid_sdp", sdp
            await eve.signaling.request("ping", "pong")
        assert ann.user_id not in eve.consumers
        assert eve.user_id not in ann.consumers
        await eve.signaling.request("publish_audio", "audio_published", sdp=answer)
        await ann.hear(eve)

    async def test_broken_consumer_answers_likewise(self, bystanders: Call) -> None:
        ann, _ = bystanders.peers[:2]
        eve = await bystanders.person("Eve", hears=False)
        await eve.join_room(ann.room_id)
        consumer = eve.consumers[ann.user_id] = Consumer(ann.user_id)
        created = await eve.signaling.request("create_consumer", "consumer_created", publisher_user_id=ann.user_id)
        answer = await consumer.answer(created["sdp"])
        fields = {"consumer_id": created["consumer_id"]}
        for sdp in self.broken(answer):
            with pytest.raises(Refused) as refused:
                await eve.signaling.request("consumer_answer", sdp=sdp, **fields)
            assert refused.value.code == "invalid_sdp", sdp
            await eve.signaling.request("ping", "pong")
        consumer.listen()
        await eve.signaling.send("consumer_answer", sdp=answer, **fields)
        await consumer.wait_pitch(ann.frequency_hz)

    async def test_second_answer_is_refused(self, bystanders: Call) -> None:
        ann, _ = bystanders.peers[:2]
        eve = await bystanders.guest("Eve", ann.room_id)
        assert eve.publishing is not None
        with pytest.raises(Refused) as refused:
            await eve.signaling.request("publish_audio", "audio_published", sdp=eve.publishing.pc.localDescription.sdp)
        assert refused.value.code == "already_answered"
        await ann.hear(eve)

    async def test_candidate_that_is_none_is_refused(self, call: Call) -> None:
        eve = await call.host("Eve", publishes=False)
        await self.right_answer(eve)
        await eve.signaling.request("ping", "pong")  # the server's own candidates have come by now
        for line in ("nonsense", "candidate:", "candidate:1 1 udp x 127.0.0.1 5 typ host", "x" * 5000, "\x00"):
            message = json.dumps({"type": "publisher_ice_candidate", "candidate": line})
            assert await error_to(eve.signaling, message) == ("invalid_candidate", "publisher_ice_candidate")
