"""One socket and the pages beside it: a real uvicorn, real WebSocket clients, and a shard that the test plays over ZeroMQ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from control.websocket import SocketBounds
from sfu import protocol as p
from tests.control.sites import Message, Site, enter, hear, running, say


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as result:
        yield result


def narrow_socket(port: int) -> socket.socket:
    """A client's socket that takes little of what nobody reads."""
    result = socket.socket()
    result.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    result.connect(("127.0.0.1", port))
    result.setblocking(False)
    return result


async def enter_as(client: ClientConnection, room: str) -> Message:
    """Bo comes into ``room``; what he was told when he registered."""
    await say(client, type="register", username="Bo")
    registered = await hear(client, "registered")
    await say(client, type="join_room", room_id=room)
    await hear(client, "room_joined")
    return registered


async def until(client: ClientConnection, kind: str) -> list[Message]:
    """Everything up to the next message of a type."""
    messages: list[Message] = []
    async with asyncio.timeout(5):
        while not messages or messages[-1]["type"] != kind:
            messages.append(json.loads(await client.recv()))
    return messages


async def closed(client: ClientConnection) -> tuple[int, str]:
    """How the server closes the socket; reads what comes before."""
    try:
        async with asyncio.timeout(5):
            while True:
                await client.recv()
    except websockets.ConnectionClosed as error:
        return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")


class TestFrames:
    async def test_plain_text_ping_gets_plain_text_pong(self, site: Site) -> None:
        async with site.connect() as client:
            await client.send("ping")
            assert await client.recv() == "pong"

    @pytest.mark.parametrize("frame", ["", "{", b"\x00\x01", '{"type":"nope"}', '{"type":"join_room"}', "\ufeff{}"])
    async def test_a_bad_frame_is_an_error_and_the_socket_stays(self, site: Site, frame: str | bytes) -> None:
        async with site.connect() as client:
            await client.send(frame)
            assert (await hear(client, "error"))["code"] in ("invalid_message", "unknown_type")
            await say(client, type="ping")
            await hear(client, "pong")

    async def test_text_that_is_no_utf_8_closes_with_1007(self, site: Site) -> None:
        async with site.connect() as client:
            await client.send(b"\xff\xfe", text=True)
            assert (await closed(client))[0] == 1007

    async def test_messages_are_answered_in_their_order(self, site: Site) -> None:
        async with site.connect() as client:
            for message in ("register", "create_room", "create_publisher", "leave_room", "ping"):
                await say(client, type=message, username="Ann")
            heard = [json.loads(await client.recv())["type"] for _ in range(5)]
            assert heard == ["registered", "room_joined", "publisher_created", "room_left", "pong"]


class TestLimits:
    async def test_a_message_over_64_kib_closes_with_1009(self, site: Site) -> None:
        async with site.connect() as client:
            await client.send('{"type":"ping","x":"' + "x" * (65536 - 22) + '"}')
            await hear(client, "pong")
            await client.send("x" * 65537)
            assert (await closed(client))[0] == 1009

    async def test_twenty_errors_in_a_row_close_with_1008(self, site: Site) -> None:
        async with site.connect() as client:
            for _ in range(20):
                await client.send("{")
            assert await closed(client) == (1008, "too many errors in a row")

    async def test_a_flood_is_refused_and_then_closes_with_1008(self, site: Site) -> None:
        async with site.connect() as client:
            for _ in range(100):
                await say(client, type="ping")
            for _ in range(200):
                with contextlib.suppress(websockets.ConnectionClosed):
                    await say(client, type="ping")
            assert await closed(client) == (1008, "too many messages")
        assert site.dispatcher.signaling.sessions.errors["rate_limited"] == 20

    async def test_rooms_made_too_fast_count_as_errors(self, site: Site) -> None:
        async with site.connect() as client:
            await say(client, type="register", username="Ann")
            for _ in range(40):
                await say(client, type="create_room")
                await say(client, type="leave_room")
            await hear(client, "error")
            assert await closed(client) == (1008, "too many errors in a row")

    async def test_a_client_that_reads_nothing_is_closed_and_nobody_waits(self) -> None:
        bounds = SocketBounds(messages_per_s=1e6, message_burst=1e6, queue_bytes=65536)
        async with running(bounds) as site, site.connect(sock=narrow_socket(site.port), max_queue=1) as deaf, site.connect() as other:
            room = await enter(deaf)
            deaf.transport.pause_reading()
            await enter(other, room)
            left = False
            while not left:
                for _ in range(100):  # each is a notice for the deaf one
                    await say(other, type="set_muted", muted=True)
                await say(other, type="ping")
                while (message := json.loads(await asyncio.wait_for(other.recv(), 5)))["type"] != "pong":
                    left = left or message["type"] == "user_left"
            deaf.transport.resume_reading()
            assert (await closed(deaf))[0] in (1008, 1006)


class TestHowManySockets:
    async def test_one_too_many_is_closed_with_1013_until_another_ends(self) -> None:
        async with running(SocketBounds(sockets=1)) as site, site.connect() as first:
            async with site.connect() as second:
                assert await closed(second) == (1013, "the server has as many connections as it takes")
            await enter(first)
            await first.close()
            assert "antiphon_websockets_turned_away_total 1.0" in (await site.get("/metrics"))[2].decode().splitlines()
            async with asyncio.timeout(5):
                while True:
                    with contextlib.suppress(websockets.ConnectionClosed):  # the server may not have seen yet that one has ended
                        async with site.connect() as third:
                            await enter(third)
                            break

    async def test_one_that_is_turned_away_and_does_not_answer_is_cut(self) -> None:
        async with running(SocketBounds(sockets=1)) as site, site.connect():
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22 + "=="
            writer.write(f"GET /ws HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n\r\n".encode())
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    while await reader.read(1000):
                        pass
            writer.close()

    async def test_one_that_does_not_register_in_time_is_closed_with_1008(self) -> None:
        async with running(SocketBounds(register_timeout_s=0.3)) as site, site.connect() as ann:
            await enter(ann)
            async with site.connect() as stranger:
                await stranger.send("ping")
                assert await closed(stranger) == (1008, "not registered in time")
            await say(ann, type="ping")
            await hear(ann, "pong")


class TestLeaving:
    @pytest.mark.parametrize("code", [1000, 1001, 3999])
    async def test_a_socket_that_is_closed_in_order_is_a_leave_at_once(self, site: Site, code: int) -> None:
        async with site.connect() as ann, site.connect() as bo:
            room = await enter(ann)
            await enter(bo, room)
            await bo.close(code)
            await hear(ann, "user_left")
            assert (await site.shard.got(p.LeaveRoom)).room_id == room

    async def test_a_socket_that_ends_while_the_shard_thinks_is_a_leave_at_once(self, site: Site) -> None:
        site.shard.silent = {p.CreatePublisher}
        async with site.connect() as ann, site.connect() as bo:
            room = await enter(ann)
            await enter(bo, room)
            await say(bo, type="create_publisher")
            await site.shard.got(p.CreatePublisher)
            await bo.close()
            await hear(ann, "user_left")
            await site.shard.got(p.LeaveRoom)


class TestResuming:
    @staticmethod
    async def come_back(client: ClientConnection, token: str) -> Message:
        await say(client, type="register", username="Bo", resume_token=token)
        return await hear(client, "registered")

    @pytest.mark.parametrize("how", ["cut", "closed with 4000"])
    async def test_who_lost_its_socket_comes_back_as_the_same_person_and_the_others_notice_nothing(self, site: Site, how: str) -> None:
        async with site.connect() as ann, site.connect() as bo:
            room = await enter(ann)
            first = await enter_as(bo, room)
            if how == "cut":
                bo.transport.abort()
            else:
                await bo.close(4000)
            async with site.connect() as again:
                registered = await self.come_back(again, first["resume_token"])
                assert registered["resumed"]
                assert registered["user_id"] == first["user_id"]
                assert (await hear(again, "room_joined"))["resumed"] == {
                    "publishing": False,
                    "muted": False,
                    "consumers": [],
                    "subscribed": False,
                }
                await say(again, type="set_muted", muted=True)  # it can speak for itself
                assert [message["type"] for message in await until(ann, "user_muted")] == ["user_joined", "user_muted"]
            assert not [command for command in site.shard.commands if isinstance(command, p.LeaveRoom)]

    async def test_a_second_socket_takes_over_and_the_first_is_closed_with_4001(self, site: Site) -> None:
        async with site.connect() as ann, site.connect() as bo:
            room = await enter(ann)
            first = await enter_as(bo, room)
            async with site.connect() as again:
                assert (await self.come_back(again, first["resume_token"]))["user_id"] == first["user_id"]
                assert await closed(bo) == (4001, "this session goes on on another connection")
                await say(again, type="ping")
                await hear(again, "pong")
                assert not [command for command in site.shard.commands if isinstance(command, p.LeaveRoom)]

    async def test_what_was_under_way_is_settled_before_the_client_is_told_where_it_stands(self, site: Site) -> None:
        site.shard.silent = {p.SetMuted}
        async with site.connect() as ann, site.connect() as bo:
            room = await enter(ann)
            first = await enter_as(bo, room)
            await say(bo, type="set_muted", muted=True)
            command = await site.shard.got(p.SetMuted)
            bo.transport.abort()
            async with site.connect() as again, site.connect() as once_more:
                await say(again, type="register", username="Bo", resume_token=first["resume_token"])
                await say(once_more, type="register", username="Bo", resume_token=first["resume_token"])
                await say(ann, type="ping")
                await hear(ann, "pong")
                await site.shard.say(p.Reply(request_id=command.request_id, result=p.Done()))
                for client in (again, once_more):  # in whichever order: each finds the session as it is
                    assert (await hear(client, "room_joined"))["resumed"]["muted"]

    async def test_a_socket_that_is_registered_takes_nobody_over(self, site: Site) -> None:
        async with site.connect() as ann, site.connect() as bo:
            room = await enter(ann)
            first = await enter_as(bo, room)
            await say(ann, type="register", username="Ann", resume_token=first["resume_token"])
            assert (await hear(ann, "error"))["code"] == "already_registered"
            await say(bo, type="ping")
            await hear(bo, "pong")


class TestShardThatDoesNotAnswer:
    async def test_is_an_error_and_keeps_only_its_caller_waiting(self) -> None:
        async with running(command_s=1.0) as site, site.connect() as ann, site.connect() as bo:
            site.shard.silent = {p.CreatePublisher}
            await enter(ann)
            await enter(bo)
            await say(ann, type="create_publisher")
            await site.shard.got(p.CreatePublisher)
            await say(ann, type="ping")
            await say(bo, type="set_muted", muted=True)
            await say(bo, type="ping")
            await hear(bo, "pong")
            error = json.loads(await ann.recv())
            assert (error["code"], error["request"]) == ("shard_unavailable", "create_publisher")
            await hear(ann, "pong")
            await site.shard.got(p.ClosePublisher)


class TestPages:
    async def test_the_page_comes_with_the_headers_that_protect_it(self, site: Site) -> None:
        status, headers, body = await site.get("/?room=x")
        assert status == 200
        assert b"<html" in body
        assert headers["content-type"].startswith("text/html")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-cache"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy

    @pytest.mark.parametrize(
        ("path", "mime"),
        [
            ("/client/index.js", "text/javascript"),
            ("/app/styles/tokens.css", "text/css"),
            ("/example.html", "text/html"),
            ("/sw.js", "text/javascript"),
            ("/app/manifest.webmanifest", "application/manifest+json"),
        ],
    )
    async def test_files_are_served_with_types_that_browsers_take(self, site: Site, path: str, mime: str) -> None:
        status, headers, _ = await site.get(path)
        assert (status, headers["content-type"].split(";")[0]) == (200, mime)

    @pytest.mark.parametrize(
        "path",
        [
            "/app/../../pyproject.toml",
            "/app/%2e%2e/%2e%2e/pyproject.toml",
            "/client/..%2f..%2fpyproject.toml",
            "/app//etc/passwd",
            "/app/%00",
            "/app/" + "x" * 5000,
            "/app/",
            "/nothing",
        ],
    )
    async def test_nothing_else_is_served(self, site: Site, path: str) -> None:
        status, headers, _ = await site.get(path)
        assert status == 404
        assert headers["x-content-type-options"] == "nosniff"

    async def test_healthz_tells_how_many_shards_answer(self, site: Site) -> None:
        status, _, body = await site.get("/healthz")
        assert status == 200
        assert json.loads(body)["shards"] == {"total": 1, "up": 1}

    async def test_metrics_show_control_and_the_shards_heartbeat(self, site: Site) -> None:
        tables = p.ShardTables(
            rooms=1,
            participants=2,
            transports=3,
            tracks=4,
            consumers=5,
            native_transports=6,
            native_tracks=7,
            native_consumers=8,
            native_addresses=9,
        )
        figures = {
            "packets_in": 10,
            "packets_out": 20,
            "bytes_in": 30,
            "bytes_out": 40,
            "lag_ms": 1.5,
            "bad_messages": 1,
            "expired_commands": 2,
            "retransmitted": 5,
            "forwarding_cpu_ns": 1_500_000_000,
            "latency": (1, 2, 3),
            "latency_bounds_ns": (2048, 2560),
            "latency_sum_ns": 250_000_000,
        }
        beat = p.Heartbeat(shard_id=p.ShardId("0"), instance="i", tables=tables, drops={"replayed": 3}, **figures)  # type: ignore[arg-type]
        async with site.connect() as client:
            await enter(client)
            await site.shard.say(beat)
            await say(client, type="set_muted", muted=True)  # answered behind the heartbeat
            await say(client, type="ping")
            await hear(client, "pong")
            text = (await site.get("/metrics"))[2].decode()
        for line in (
            "antiphon_rooms 1.0",
            "antiphon_participants 1.0",
            "antiphon_websockets 1.0",
            'antiphon_signaling_messages_total{type="register"} 1.0',
            'antiphon_signaling_errors_total{code="rate_limited"} 0.0',
            'antiphon_shard_up{shard="0"} 1.0',
            'antiphon_shard_table{shard="0",table="native_addresses"} 9.0',
            'antiphon_shard_packets_total{direction="out",shard="0"} 20.0',
            'antiphon_shard_bytes_total{direction="in",shard="0"} 30.0',
            'antiphon_shard_drops_total{reason="replayed",shard="0"} 3.0',
            'antiphon_shard_lag_seconds{shard="0"} 0.0015',
            'antiphon_shard_bad_messages_total{shard="0"} 1.0',
            'antiphon_shard_retransmitted_total{shard="0"} 5.0',
            'antiphon_shard_rejected_commands_total{shard="0"} 0.0',
            'antiphon_shard_forwarding_cpu_seconds_total{shard="0"} 1.5',
            'antiphon_shard_forwarding_latency_seconds_bucket{le="2.048e-06",shard="0"} 1.0',
            'antiphon_shard_forwarding_latency_seconds_bucket{le="+Inf",shard="0"} 6.0',
            'antiphon_shard_forwarding_latency_seconds_sum{shard="0"} 0.25',
            'antiphon_zmq_bad_messages_total{reason="undecodable"} 0.0',
        ):
            assert line in text.splitlines(), line
