"""TCP connections that say nothing, and too many of them: a real uvicorn and plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from control.clients import networks
from control.connections import ConnectionBounds
from control.websocket import SocketBounds
from tests.control.sites import Site, eventually, hear, running, say


@contextlib.asynccontextmanager
async def connected(site: Site) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def bounds(most: int = 100, most_of_address: int = 100, header_timeout_s: float = 30.0, proxies: tuple[str, ...] = ()) -> ConnectionBounds:
    return ConnectionBounds(most, most_of_address, header_timeout_s, networks(proxies))


class TestSilence:
    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
    async def test_a_connection_that_sends_no_request_is_cut(self, sent: bytes) -> None:
        async with running(connections=bounds(header_timeout_s=0.3)) as site, connected(site) as (reader, writer):
            writer.write(sent)
            assert await rest(reader) == b""
            assert site.connections.cut["header_timeout"] == 1

    async def test_one_that_sends_a_byte_now_and_then_is_cut_as_well(self) -> None:
        async with running(connections=bounds(header_timeout_s=0.5)) as site, connected(site) as (reader, writer):
            ended = asyncio.create_task(rest(reader))
            with contextlib.suppress(OSError):
                for byte in b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000:
                    if ended.done():
                        break
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.02)
            assert await ended == b""

    @pytest.mark.parametrize("more", [b"GET / HT", b""])
    async def test_so_is_one_that_was_answered_before(self, more: bytes) -> None:
        async with running(connections=bounds(header_timeout_s=0.3)) as site, connected(site) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + more)
            assert b"200 OK" in await rest(reader)

    async def test_a_body_that_nobody_waits_for_buys_no_time(self) -> None:
        async with running(connections=bounds(header_timeout_s=0.3)) as site, connected(site) as (reader, writer):
            writer.write(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
            assert b"405" in await rest(reader)

    async def test_a_signaling_socket_may_be_silent(self) -> None:
        async with running(connections=bounds(header_timeout_s=0.2)) as site, site.connect() as client:
            await asyncio.sleep(0.5)  # longer than a request may take to come
            await say(client, type="ping")
            await hear(client, "pong")


class TestHowMany:
    async def test_beyond_the_bound_of_all_a_connection_is_cut_and_one_that_ends_makes_room(self) -> None:
        async with running(connections=bounds(most=2)) as site, site.connect():
            async with connected(site) as (_, _), connected(site) as (reader, _):
                assert await rest(reader) == b""
            assert site.connections.cut["too_many"] == 1
            await eventually(lambda: len(site.connections) == 1)
            assert (await site.get("/healthz"))[0] == 200

    async def test_one_address_has_only_its_share_unless_it_is_a_trusted_proxy(self) -> None:
        async with running(connections=bounds(most_of_address=1)) as site, site.connect(), connected(site) as (reader, _):
            assert await rest(reader) == b""
            assert site.connections.cut["too_many_of_address"] == 1
        async with running(connections=bounds(most_of_address=1, proxies=("127.0.0.0/8",))) as site, site.connect():
            assert (await site.get("/healthz"))[0] == 200

    async def test_sockets_of_one_address_are_bounded_behind_a_proxy_too(self) -> None:
        def forwarded(address: str) -> dict[str, str]:
            return {"X-Forwarded-For": address}

        proxied = bounds(proxies=("127.0.0.1",))
        async with running(SocketBounds(address_sockets=1), connections=proxied) as site:
            async with site.connect(additional_headers=forwarded("192.0.2.1")), site.connect(additional_headers=forwarded("192.0.2.2")):
                async with site.connect(additional_headers=forwarded("192.0.2.1")) as third:
                    await third.wait_closed()
                    assert (third.close_code, third.close_reason) == (1013, "your address has as many connections as it may")
                assert site.dispatcher.turned_away == 1
            await eventually(lambda: not site.dispatcher.of_address)
