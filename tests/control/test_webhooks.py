"""Webhooks against a receiver that fails first: signed, in order, tried again, bounded, and nobody waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from control.binding import StartError
from control.config import ControlConfig
from control.webhooks import Hook, Webhooks, signature
from tests.control.sites import enter, eventually, running

SECRET = b"a secret of webhooks"


class Receiver:
    """An HTTP server that answers with ``statuses`` one after another (0: hangs up, -1: never answers), then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = deque(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                self.got.append((headers, body))
                status = self.statuses.popleft() if self.statuses else 200
                if status == 0:
                    break
                if status > 0:
                    writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\nLocation: /elsewhere\r\n\r\nok".encode())
        writer.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"
        return self

    async def __aexit__(self, *args: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()


@contextlib.asynccontextmanager
async def delivering(url: str, **options: Any) -> AsyncIterator[Webhooks]:
    hooks = Webhooks(Hook(url, SECRET, **{"first_delay_s": 0.01, "longest_delay_s": 0.05, **options}), Counter())
    running = asyncio.create_task(hooks.run())
    try:
        yield hooks
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class TestDelivery:
    async def test_what_fails_is_tried_again_and_the_order_stays(self) -> None:
        async with Receiver(500, 0, 429, 301) as receiver, delivering(receiver.url) as hooks:
            for number in range(3):
                hooks.put("room_started", {"room_id": str(number)})
            await eventually(lambda: hooks.counted["delivered"] == 3)
            assert [event["room_id"] for event in receiver.events] == ["0"] * 5 + ["1", "2"]
            assert len({event["id"] for event in receiver.events}) == 3  # each attempt of one has the same
            assert (hooks.counted["retried"], hooks.counted["refused"], hooks.counted["dropped"]) == (4, 0, 0)

    async def test_each_attempt_is_signed_over_its_time_and_body(self) -> None:
        async with Receiver(500) as receiver, delivering(receiver.url) as hooks:
            hooks.put("room_ended", {"room_id": "r"})
            await eventually(lambda: hooks.counted["delivered"] == 1)
            for headers, body in receiver.got:
                assert headers["antiphon-signature"] == signature(SECRET, headers["antiphon-timestamp"], body)
                assert headers["antiphon-signature"] != signature(b"another secret", headers["antiphon-timestamp"], body)
                assert headers["content-type"] == "application/json"

    async def test_a_refusal_is_not_repeated_and_the_next_one_goes_out(self) -> None:
        async with Receiver(400) as receiver, delivering(receiver.url) as hooks:
            hooks.put("room_started", {"room_id": "1"})
            hooks.put("room_started", {"room_id": "2"})
            await eventually(lambda: hooks.counted["delivered"] == 1)
            assert hooks.counted["refused"] == 1
            assert [event["room_id"] for event in receiver.events] == ["1", "2"]

    async def test_after_its_time_it_is_given_up(self) -> None:
        async with Receiver(*[503] * 1000) as receiver, delivering(receiver.url, give_up_s=0.1) as hooks:
            hooks.put("room_started", {"room_id": "1"})
            await eventually(lambda: hooks.counted["given_up"] == 1)

    async def test_a_receiver_that_is_not_there_costs_only_what_the_queue_has_no_room_for(self) -> None:
        async with delivering("http://127.0.0.1:1/", queue=10) as hooks:
            for number in range(1000):
                hooks.put("room_started", {"room_id": str(number)})
            assert hooks.counted["dropped"] == 990
            await eventually(lambda: hooks.counted["retried"] >= 2)

    async def test_what_waits_at_the_end_gets_a_little_time(self) -> None:
        async with Receiver() as receiver, delivering(receiver.url) as hooks:
            hooks.put("room_ended", {"room_id": "1"})
            await hooks.flush(10)
            assert hooks.counted["delivered"] == 1
        async with delivering("http://127.0.0.1:1/") as hooks:
            hooks.put("room_ended", {"room_id": "1"})
            await hooks.flush(0.05)


class TestSignaling:
    async def test_a_receiver_that_never_answers_keeps_nobody_waiting_and_is_told_when_it_does(self) -> None:
        async with Receiver(-1) as receiver, delivering(receiver.url) as hooks, running() as site:
            site.dispatcher.hook = hooks.put
            async with site.connect() as ann:
                room = await enter(ann)
            await eventually(lambda: not site.dispatcher.sockets)
            assert [event["event"] for event in receiver.events] == ["room_started"]
        async with Receiver() as receiver, delivering(receiver.url) as hooks, running() as site:
            site.dispatcher.hook = hooks.put
            async with site.connect() as ann:
                room = await enter(ann)
            await eventually(lambda: hooks.counted["delivered"] == 4)
            assert [event["event"] for event in receiver.events] == ["room_started", "participant_joined", "participant_left", "room_ended"]
            assert {event["room_id"] for event in receiver.events} == {room}
            assert receiver.events[1]["username"] == "Ann"


class TestConfiguration:
    def test_a_secret_is_needed(self) -> None:
        with pytest.raises(StartError, match="webhook_secret"):
            Hook.of(ControlConfig(webhook_url="https://example.org/hook", webhook_secret=SecretStr("short")))
        assert Hook.of(ControlConfig()) is None
        hook = Hook.of(ControlConfig(webhook_url="https://example.org/hook", webhook_secret=SecretStr(SECRET.decode())))
        assert hook is not None
        assert hook.secret == SECRET
