"""What the log of a call says: ids on every line that concerns somebody, and no secret whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.signaling import Signaling
from tests.scenarios.call import Call
from tests.server import RunningServer

ADMIN, TURN = "admin-token-of-this-test", "turn-secret-of-this-test"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb29tIjoib2YtdGhpcy10ZXN0In0.c2lnbmF0dXJlLW9mLXRoaXMtdGVzdA"
CLIENT_PWD = "ice-password-of-this-test"
IDS: dict[str, set[str]] = {
    "joined": {"room", "user", "shard"},
    "left": {"room", "user", "shard"},
    "connected": {"room", "user", "shard", "transport"},
    "publisher closed": {"room", "user", "shard", "transport", "track"},
    "consumer closed": {"room", "user", "shard", "transport", "consumer", "publisher"},
    "first packet": {"room", "user", "shard", "transport"},
    "socket closed": {"user"},
    "shard up": {"shard"},
    "shard running": {"shard"},
}
"""Fields of each event, beside others."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    environment = {
        **os.environ,
        "ANTIPHON_CONTROL_ADMIN_TOKEN": ADMIN,
        "ANTIPHON_CONTROL_TURN_SECRET": TURN,
        "ANTIPHON_CONTROL_ICE_SERVERS": "turn:turn.example.org:3478",
        "ANTIPHON_CONTROL_LOG_LEVEL": "debug",
        "ANTIPHON_SHARD_LOG_LEVEL": "debug",
    }
    with RunningServer(shards=1, environment=environment) as running:
        yield running


async def misbehave(call: Call, room_id: str) -> list[dict[str, Any]]:
    """Say everything wrong that can be said with a secret in it; returns all that was heard."""
    client = await Signaling.open(call.server.url)
    await client.send("register", username="Eve", token=JWT, resume_token="resume-token-of-this-test")
    await client.expect("registered")
    await client.send("join_room", room_id=room_id)
    await client.expect("room_joined")
    await client.send("create_publisher")
    offer = (await client.expect("publisher_created"))["sdp"]
    for sdp in (f"v=0\r\na=ice-pwd:{CLIENT_PWD}\r\n", offer.replace("a=setup:actpass", f"a=ice-pwd:{CLIENT_PWD}\r\na=setup:x"), JWT):
        await client.send("publish_audio", sdp=sdp)
        await client.expect("error")
    for number in range(25):  # more than are forgiven
        await client.send_raw(f'{{"type": "register", "token": "{JWT}", "sdp": "a=ice-pwd:{CLIENT_PWD}", {number}')
    await client.wait_closed()
    return list(client.received)


def ask_admin(url: str, token: str) -> int:
    request = urllib.request.Request(f"{url}/api/rooms", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def test_a_call_and_an_attack_leave_ids_and_no_secrets(server: RunningServer, call: Call) -> None:
    ann, bo = await call.pair()
    heard = await misbehave(call, ann.room_id)
    assert await asyncio.to_thread(ask_admin, server.url, ADMIN) == 200
    assert await asyncio.to_thread(ask_admin, server.url, "wrong-" + ADMIN[::-1]) == 401
    messages = [*heard, *(message for peer in (ann, bo) for message in peer.signaling.received)]
    for peer in (ann, bo):
        await peer.close()
    server.wait(lambda: server.output.count('"event": "left"') >= 5, 30, lambda: server.output)  # control's and the shard's

    secrets = {ADMIN, TURN, JWT, CLIENT_PWD, "resume-token-of-this-test", ADMIN[::-1]}
    for message in messages:
        secrets |= set(re.findall(r"a=ice-pwd:(\S+)", message.get("sdp", "")))
        secrets |= {message["resume_token"]} if "resume_token" in message else set()
        secrets |= {server["credential"] for server in message.get("ice_servers", [])}
    assert len(secrets) > 12
    assert [secret for secret in secrets if secret in server.output] == []

    lines = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    for event, ids in IDS.items():
        found = [line for line in lines if line["event"] == event]
        assert found, f"no line {event!r} in {server.output}"
        for line in found:
            assert ids <= set(line), line
    everywhere = {"event", "level", "timestamp"}
    assert all(everywhere <= set(line) for line in lines)
