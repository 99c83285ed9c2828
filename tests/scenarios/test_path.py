"""``GET /api/rooms/{room}/path`` and ``antiphon why``: every hop between two real people, broken on purpose, one after the other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

from control.console import AdminClient
from loadtest.light import Hub
from loadtest.participant import Directory, Participant, Target
from loadtest.peer import Connection, Peer
from tests.server import ROOT, RunningServer

from .call import Call, all_hear_all
from .survivor import Survivor, survivors


def why(server: RunningServer, room: str, speaker: str, listener: str, *flags: str) -> tuple[int, str]:
    """Exit status and output of the command."""
    command = [sys.executable, "-m", "control", "why", room, speaker, listener, "--url", server.url, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


async def path(server: RunningServer, speaker: Any, listener: Any) -> dict[str, Any]:
    address = f"/api/rooms/{speaker.room_id}/path?from={speaker.user_id}&to={listener.user_id}"
    with closing(AdminClient(None, server.url)) as client:
        answer: dict[str, Any] = await asyncio.to_thread(client.get, address)
    return answer


async def until(server: RunningServer, speaker: Any, listener: Any, hop: str | None, words: str = "") -> dict[str, Any]:
    """Ask until this is the first hop that fails: what was broken takes a moment to show."""
    async with asyncio.timeout(40):
        while True:  # each look takes a second
            answer = await path(server, speaker, listener)
            if answer["failed_hop"] == hop and words in answer["verdict"]:
                return answer


def block(connection: Connection, *, media_out: bool = False, media_in: bool = False) -> None:
    """Let a firewall drop media packets of a connection, and nothing else: ICE and DTLS go through."""
    transport: Any = connection.ice._connection
    send, receive = transport.sendto, transport.recvfrom

    def is_media(data: bytes) -> bool:
        return 128 <= data[0] <= 191 and not 200 <= data[1] <= 206  # RFC 7983, RFC 5761 4: RTP, not RTCP

    async def send_some(data: bytes, component: int) -> None:
        if not (media_out and is_media(data)):
            await send(data, component)

    async def receive_some() -> Any:
        while True:
            data, component = await receive()
            if not (media_in and is_media(data)):
                return data, component

    transport.sendto, transport.recvfrom = send_some, receive_some


@pytest.fixture
async def pair(call: Call) -> tuple[Survivor, Survivor]:
    ann, bo = await survivors(call, "Ann", "Bo")
    await all_hear_all(ann, bo)
    return ann, bo


class TestOwnConnections:
    async def test_each_hop_broken_on_purpose(self, pair: tuple[Survivor, Survivor], server: RunningServer) -> None:
        ann, bo = pair
        answer = await until(server, ann, bo, None, "every hop is in order")
        figures = {hop["name"]: hop["figures"] for hop in answer["hops"]}
        assert 25 < figures["packets_in"]["packets_per_s"] < 100  # 50, where the machine has time for the one who speaks
        assert 25 < figures["packets_out"]["packets_per_s"] < 100
        assert figures["ice"]["address"].startswith("127.0.0.1:")
        assert "GCM" in figures["dtls"]["cipher"]
        assert figures["reception"]["reports"] > 0
        assert figures["reception"]["rtt_ms"] is not None

        await ann.set_muted(True)
        await until(server, ann, bo, "level", "Ann is muted.")
        status, output = await asyncio.to_thread(why, server, ann.room_id, "Ann", "Bo", "--json")
        assert (status, json.loads(output)["failed_hop"]) == (2, "level")
        await ann.set_muted(False)

        await ann.cut()
        answer = await until(server, ann, bo, "signaling", "WebSocket was lost")
        assert answer["verdict"].endswith("Still, Bo hears Ann.")
        await ann.resume()

        await bo.signaling.request("close_consumer", "consumer_closed", consumer_id=bo.consumers[ann.user_id].consumer_id)
        await until(server, ann, bo, "consumer", "no consumer")
        await bo.consume(ann.user_id)
        await until(server, ann, bo, None)

        block(bo.consumers[ann.user_id], media_in=True)
        await until(server, ann, bo, "reception", "do not arrive")
        await bo.consume(ann.user_id)

        assert ann.publishing is not None
        block(ann.publishing, media_out=True)
        await until(server, ann, bo, "packets_in", "No media packet has come from Ann")

        await ann.stop_publishing()
        await until(server, ann, bo, "ice", "does not publish")

    async def test_an_offer_that_was_never_answered(self, call: Call, server: RunningServer) -> None:
        ann, bo = await call.host("Ann"), await call.person("Bo", hears=False)
        await bo.join_room(ann.room_id)
        await bo.signaling.request("create_consumer", "consumer_created", publisher_user_id=ann.user_id)
        await until(server, ann, bo, "consumer", "has not taken")
        await bo.signaling.request("create_publisher", "publisher_created")
        await until(server, bo, ann, "ice", "has not answered the offer")

    async def test_people_are_found_by_name_and_mistakes_are_one_line(
        self, pair: tuple[Peer, Peer], server: RunningServer, call: Call
    ) -> None:
        ann, bo = pair
        await until(server, ann, bo, None)
        status, output = await asyncio.to_thread(why, server, ann.room_id, "Ann", "Bo")
        assert status == 0
        assert "packets a second come from Ann" in output
        await call.guest("Bo", ann.room_id)  # another one
        for room, speaker, listener, words in (
            (ann.room_id, "Ann", "Bo", "2 people in the room are called Bo"),
            (ann.room_id, "Ann", "Cy", "Nobody in the room is 'Cy'"),
            (ann.room_id, "Ann", ann.user_id, "the same person"),
            ("nowhere", "Ann", "Bo", "no such room"),
        ):
            status, output = await asyncio.to_thread(why, server, room, speaker, listener)
            assert status == 1
            assert words in output
            assert len(output.splitlines()) == 1


@asynccontextmanager
async def on_subscriptions(server: RunningServer) -> AsyncIterator[tuple[Participant, Participant]]:
    """Ann and Bo, who hear the room on one connection each."""
    hub = Hub(endpoints=16, talkers=2, meters=16, groups=1)
    directory, target = Directory(), Target(server.url)
    people = [
        Participant(hub, target, directory, name, number=n, group=0, talker=hub.traffic.open_talker(100 * n), hearing="subscription")
        for n, name in enumerate(("Ann", "Bo"))
    ]
    try:
        for person in people:
            await person.connect()
        await people[1].join_room(await people[0].create_room())
        for person in people:
            await person.publish()
        yield people[0], people[1]
    finally:
        await asyncio.gather(*(person.close() for person in people))
        hub.close()


class TestSubscriptions:
    async def test_the_consumer_on_a_subscription_is_a_hop_as_well(self, call: Call, server: RunningServer) -> None:
        async with on_subscriptions(server) as (ann, bo):
            await asyncio.to_thread(server.wait, lambda: bo.note_heard() == 1, 20, lambda: "Bo never heard Ann")
            answer = await path(server, ann, bo)
            consumer = next(hop for hop in answer["hops"] if hop["name"] == "consumer")
            assert (consumer["state"], consumer["figures"]["on_subscription"]) == ("ok", True)
            await bo.signaling.send("set_subscribed", user_id=ann.user_id, subscribed=False)
            await until(server, ann, bo, "consumer", "has chosen not to hear Ann")
            await bo.signaling.send("set_subscribed", user_id=ann.user_id, subscribed=True)
            await bo.signaling.request("close_subscription", "subscription_closed")
            await until(server, ann, bo, "consumer", "no consumer")
