"""The load tester's signaling client against a small server that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from loadtest.signaling import Closed, Refused, Signaling, TargetError, websocket_url


@asynccontextmanager
async def speaking_with(handler: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[Signaling]:
    """A client whose server runs ``handler``."""
    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = await Signaling.open(f"http://127.0.0.1:{port}")
        try:
            yield client
        finally:
            await client.close()


class TestAddresses:
    @pytest.mark.parametrize(
        ("typed", "used"),
        [
            ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws"),
            ("127.0.0.1:8080", "ws://127.0.0.1:8080/ws"),
            ("https://example.org/", "wss://example.org/ws"),
            ("https://example.org/voice/", "wss://example.org/voice/ws"),
            ("ws://[::1]:8080/ws", "ws://[::1]:8080/ws"),
        ],
    )
    def test_what_people_type_becomes_the_websocket(self, typed: str, used: str) -> None:
        assert websocket_url(typed) == used

    @pytest.mark.parametrize("typed", ["", "ftp://example.org", "http://", "127.0.0.1:port", "http://host:99999"])
    def test_nonsense_is_refused_with_one_line(self, typed: str) -> None:
        with pytest.raises(TargetError, match="is not an address") as caught:
            websocket_url(typed)
        assert "\n" not in str(caught.value)

    async def test_server_that_is_no_websocket_server_is_one_line(self) -> None:
        async with serve(
            lambda socket: socket.wait_closed(), "127.0.0.1", 0, process_request=lambda c, r: c.respond(404, "no\n")
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            with pytest.raises(TargetError, match="404") as caught:
                await Signaling.open(f"http://127.0.0.1:{port}")
        assert "\n" not in str(caught.value)


async def test_request_returns_its_answer_and_keeps_what_came_before() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"type": "user_joined", "user_id": "x", "username": "X"}))
        await socket.send(json.dumps({"type": "room_joined", "room_id": "r"}))

    async with speaking_with(handler) as client:
        assert (await client.request("create_room", "room_joined"))["room_id"] == "r"
        assert (await client.expect("user_joined", user_id="x"))["username"] == "X"


async def test_error_to_a_request_is_raised_and_an_error_to_another_is_not() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"type": "error", "code": "other", "message": "", "request": "ping"}))
        await socket.send(json.dumps({"type": "error", "code": "room_not_found", "message": "no", "request": "join_room"}))

    async with speaking_with(handler) as client:
        with pytest.raises(Refused) as caught:
            await client.request("join_room", "room_joined", room_id="r")
        assert caught.value.code == "room_not_found"


async def test_closing_server_ends_a_wait_with_code_and_reason() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.close(1008, "too many errors")

    async with speaking_with(handler) as client:
        with pytest.raises(Closed, match="too many errors") as caught:
            await client.expect("registered")
        assert caught.value.code == 1008


@pytest.mark.parametrize("frame", ["[]", "{", '{"kind": 1}', b"\xff"])
async def test_server_that_sends_no_messages_is_left(frame: str | bytes) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send(frame)
        await socket.wait_closed()

    async with speaking_with(handler) as client:
        assert (await client.wait_closed()).code == 1002


async def test_silent_server_is_a_timeout_that_says_what_was_missed() -> None:
    async with speaking_with(lambda socket: socket.wait_closed()) as client:
        with pytest.raises(TimeoutError, match="no registered"):
            await client.expect("registered", timeout_s=0.05)
