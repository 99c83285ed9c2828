"""A synthetic participant: where it gathers candidates, what it calls loss, and that it is gone when it says so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from loadtest.peer import Peer, gather_on, route_to
from loadtest.signaling import Refused
from tests.network import ipv6_works
from tests.server import RunningServer


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(shards=1) as running:
        yield running


@pytest.fixture
async def couple(server: RunningServer) -> AsyncIterator[tuple[Peer, Peer]]:
    """Ann talks, Bo listens."""
    ann, bo = Peer(server.url, "Ann", frequency_hz=440), Peer(server.url, "Bo")
    try:
        await ann.connect()
        await ann.create_room()
        await ann.publish()
        await bo.connect()
        await bo.join_room(ann.room_id)
        await bo.hear(ann)
        yield ann, bo
    finally:
        await asyncio.gather(ann.close(), bo.close())


def candidate_hosts(connection: RTCPeerConnection) -> set[str]:
    return set(re.findall(r"^a=candidate:\S+ \d udp \d+ (\S+)", connection.localDescription.sdp, re.MULTILINE))


class TestAddresses:
    def test_loopback_is_reached_from_loopback(self) -> None:
        assert route_to("127.0.0.1", 40000) == "127.0.0.1"

    @pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")
    def test_ipv6_loopback_likewise(self) -> None:
        assert route_to("::1", 40000) == "::1"

    async def test_aiortc_gathers_where_it_is_told_and_nowhere_else(self) -> None:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTransceiver("audio")
        gather_on(connection.getTransceivers()[0].receiver.transport.transport, ["127.0.0.1", "127.0.0.2"])
        await connection.setLocalDescription(await connection.createOffer())
        assert candidate_hosts(connection) == {"127.0.0.1", "127.0.0.2"}
        await connection.close()

    async def test_participants_of_a_loopback_server_stay_on_loopback(self, couple: tuple[Peer, Peer]) -> None:
        ann, bo = couple
        assert ann.publishing is not None
        assert candidate_hosts(ann.publishing.pc) == {"127.0.0.1"}
        assert candidate_hosts(bo.consumers[ann.user_id].pc) == {"127.0.0.1"}


class TestReception:
    async def test_everything_that_was_sent_is_received(self, couple: tuple[Peer, Peer]) -> None:
        ann, bo = couple
        assert ann.publishing is not None
        consumer = bo.consumers[ann.user_id]
        sent, before = await ann.publishing.packets_sent(), await consumer.reception()
        while await ann.publishing.packets_sent() < sent + 50:
            await bo.hear(ann)
        after = await consumer.reception(stopped_is_loss=True)
        assert after.lost == 0
        assert after.packets - before.packets >= 48  # what is on the way at either end is in neither figure
        assert after.jitter_ms < 20

    async def test_stream_that_stops_is_loss_only_where_it_should_go_on(self, couple: tuple[Peer, Peer]) -> None:
        ann, bo = couple
        assert ann.publishing is not None
        await ann.publishing.ice.stop()  # the talker's network is gone
        consumer = bo.consumers[ann.user_id]
        async with asyncio.timeout(10):
            while (await consumer.reception(stopped_is_loss=True)).lost == 0:
                await bo.signaling.request("ping", "pong")
                await asyncio.sleep(0.05)  # the passing of time is what is measured
        assert (await consumer.reception()).lost == 0


class TestGoing:
    async def test_close_says_goodbye_and_may_be_repeated(self, couple: tuple[Peer, Peer], server: RunningServer) -> None:
        for peer in couple:
            await peer.close()
            await peer.close()
        await server.wait_tables_empty_async()

    async def test_second_registration_is_refused_with_its_code(self, couple: tuple[Peer, Peer]) -> None:
        with pytest.raises(Refused, match="already_registered"):
            await couple[0].signaling.request("register", "registered", username="Ann")

    async def test_unconnected_peer_says_so(self) -> None:
        with pytest.raises(RuntimeError, match="not connected"):
            await Peer("http://127.0.0.1:1", "Ann").create_room()
