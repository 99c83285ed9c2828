"""Light participants against a real server: they hear each other, aiortc hears them, and what they measure adds up."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from loadtest.dtls import DtlsClient, DtlsError
from loadtest.ice import CONSENT_EVERY_S, CONSENT_LOST_S, IceClient
from loadtest.light import Hub, LightConnection
from loadtest.participant import Directory, Kind, Participant, Target, check_protocol
from loadtest.peer import Peer
from loadtest.reach import Reach
from loadtest.sdp import OfferError, read_offer
from loadtest.signaling import TargetError
from tests.server import RunningServer

OFFER = "\r\n".join(
    [
        *("v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=ice-lite", "a=group:BUNDLE 0"),
        *("m=audio 4000 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 {0}", "a=mid:0", "a=sendonly", "a=rtcp-mux", "a=rtpmap:111 opus/48000/2"),
        *("a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=fingerprint:sha-256 AA:BB", "a=setup:actpass"),
        *("a=candidate:1 1 udp 2130706431 {0} 4000 typ host", "a=end-of-candidates", ""),
    ]
)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(shards=1) as running:
        yield running


class People:
    """Participants of one room, who are gone at the end with all they held."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.hub = Hub(endpoints=64, talkers=16, meters=64, groups=2)
        self.everybody: list[Participant] = []
        self.directory = Directory()
        self.room = ""

    async def person(self, kind: Kind) -> Participant:
        number = len(self.everybody)
        talker = None if kind == "listener" else self.hub.traffic.open_talker(0, slot=number, native=kind == "light")
        target = Target(self.server.url)
        person = Participant(self.hub, target, self.directory, f"{kind} {number}", number=number, group=0, kind=kind, talker=talker)
        self.everybody.append(person)
        await person.connect()
        if self.room:
            await person.join_room(self.room)
        else:
            self.room = await person.create_room()
        if talker is not None:
            await person.publish()
        return person

    async def hear(self, person: Participant, others: int) -> None:
        await until(lambda: person.note_heard() == others)


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the native counters tell nobody when they change
            await asyncio.sleep(0.02)


@pytest.fixture
async def people(server: RunningServer) -> AsyncIterator[People]:
    made = People(server)
    try:
        yield made
        assert [failure for person in made.everybody for failure in person.failures] == []
    finally:
        await asyncio.gather(*(person.leave() for person in made.everybody))
        made.hub.close()
    await server.wait_tables_empty_async()


async def test_all_kinds_hear_each_other_and_nothing_is_missing(people: People) -> None:
    kinds: list[Kind] = ["light", "aiortc", "light", "listener"]
    ann, bo, cy, dee = [await people.person(kind) for kind in kinds]
    for person, others in ((ann, 2), (bo, 2), (cy, 2), (dee, 3)):
        await people.hear(person, others)
    traffic = people.hub.traffic
    await until(lambda: all(traffic.meter(pair.meter).received >= 20 for p in people.everybody for pair in p.pairs.values()))
    for person in people.everybody:
        person.finish_hearing()
    figures = [pair.meter for person in people.everybody for pair in person.pairs.values()]
    await until(lambda: all(traffic.meter(meter).received == traffic.meter(meter).expected for meter in figures))
    assert len(figures) == 9
    for meter in map(traffic.meter, figures):
        assert (meter.duplicates, meter.reordered, meter.muted, meter.silence_ns) == (0, 0, 0, 0)
        assert 0 < meter.latency_sum_us / meter.received < 1_000_000
    assert ann.setup.started < ann.setup.open < ann.setup.registered < ann.setup.joined < ann.setup.media.ice < ann.setup.media.dtls
    assert bo.setup.media.offered < bo.setup.media.ice < bo.setup.media.dtls <= bo.setup.published


async def test_a_whole_peer_decodes_a_light_talker(people: People, server: RunningServer) -> None:
    await people.person("light")
    peer = await Peer(server.url, "Whole").connect()
    try:
        await peer.join_room(people.room)
        await until(lambda: any(c.ear.level_dbfs > -50 for c in peer.consumers.values()))
    finally:
        await peer.close()


async def test_what_is_said_while_muted_is_neither_heard_nor_missed(people: People) -> None:
    ann, bo = await people.person("light"), await people.person("listener")
    await people.hear(bo, 1)
    meter, traffic = bo.pairs[ann.user_id].meter, people.hub.traffic
    await ann.set_muted(True)
    spoken = traffic.talker(ann.talker or 0)
    await until(lambda: traffic.talker(ann.talker or 0).sent > spoken.sent + 1)  # it goes on sending; the server is to hold it back
    traffic.mark_meter(meter)
    await ann.set_muted(False)
    await until(lambda: traffic.meter(meter).resumed_after_ns >= 0)
    await until(lambda: traffic.talker(ann.talker or 0).spoken > spoken.spoken)
    bo.finish_hearing()
    await until(lambda: traffic.meter(meter).received == traffic.meter(meter).expected)
    assert traffic.meter(meter).muted == 0


async def test_figures_of_a_pair_go_on_after_a_cut(people: People) -> None:
    ann, bo = await people.person("light"), await people.person("listener")
    await people.hear(bo, 1)
    meter = bo.pairs[ann.user_id].meter
    await until(lambda: people.hub.traffic.meter(meter).received > 5)
    before = people.hub.traffic.meter(meter)
    bo.cut_off()
    people.hub.traffic.mark_meter(meter)
    await until(lambda: people.hub.traffic.meter(meter).resumed_after_ns >= 0)
    assert bo.pairs[ann.user_id].meter == meter
    assert people.hub.traffic.meter(meter).expected > before.expected


async def test_a_broken_websocket_is_resumed_and_costs_no_packet(people: People) -> None:
    ann, bo = await people.person("light"), await people.person("listener")
    await people.hear(bo, 1)
    meter, traffic = bo.pairs[ann.user_id].meter, people.hub.traffic
    await asyncio.gather(ann.signaling.abort(), bo.signaling.abort())
    await until(lambda: len(ann.reconnected_after_s) == len(bo.reconnected_after_s) == 1)
    before = traffic.meter(meter).received
    await until(lambda: traffic.meter(meter).received > before + 5)
    bo.finish_hearing()
    await until(lambda: traffic.meter(meter).received == traffic.meter(meter).expected)
    assert [person.interruptions for person in (ann, bo)] == [["WebSocket closed (1006 )"]] * 2
    assert len(people.hub.traffic.endpoint(bo.connections()[0].endpoint)) > 0  # the same connections all the time


class TestOffers:
    """What a server may say, and what follows of it."""

    @pytest.mark.parametrize("sdp", ["", "v=0\r\n", OFFER.format("127.0.0.1").replace("a=ice-pwd", "a=x"), "m=audio x"])
    def test_unusable_offers_are_one_error(self, sdp: str) -> None:
        with pytest.raises(OfferError):
            read_offer(sdp)

    async def test_media_go_nowhere_but_to_the_addresses_given(self) -> None:
        hub = Hub(endpoints=1, talkers=1, meters=1, groups=1, reach=Reach(["127.0.0.1"]))
        try:
            with pytest.raises(OfferError, match=r"198\.51\.100\.7"):
                LightConnection(hub, listener=0).answer(OFFER.format("198.51.100.7"))
        finally:
            hub.close()

    def test_reach_is_hosts_networks_and_this_machine_for_loopback(self) -> None:
        reach = Reach(["127.0.0.1"], ["192.0.2.0/24"])
        assert reach.allows("127.0.0.9")
        assert reach.allows("192.0.2.77")
        assert not reach.allows("192.0.3.1")
        assert not reach.allows("nonsense")
        assert not Reach(["192.0.2.1"]).allows("127.0.0.1")
        with pytest.raises(ValueError, match="nonsense"):
            Reach([], ["nonsense"])

    async def test_a_server_that_answers_no_check_is_said_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("loadtest.light.CHECK_TIMEOUT_S", 0.3)
        hub = Hub(endpoints=1, talkers=1, meters=1, groups=1)
        try:
            connection = LightConnection(hub, listener=0)
            connection.answer(OFFER.format("127.0.0.1"))
            with pytest.raises(ConnectionError, match="no candidate"):
                await connection.connected()
        finally:
            hub.close()

    def test_another_version_is_one_line(self) -> None:
        check_protocol("http://x", {"protocol": [1, 2]})
        with pytest.raises(TargetError, match="speaks version 2"):
            check_protocol("http://x", {"protocol": [2]})


class TestIce:
    def test_an_unanswered_check_is_repeated_ever_more_slowly(self) -> None:
        ice, now, times = IceClient("u", "p", 0.0), 0.0, []
        for _ in range(4):
            ice.request(now)
            times.append(ice.next_at - now)
            now = ice.next_at
        assert times == pytest.approx([0.1, 0.2, 0.4, 0.8])

    def test_only_the_authentic_answer_to_the_latest_check_counts(self) -> None:
        from aioice import stun

        def answer(request: bytes, key: bytes) -> bytes:
            message = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request[8:20], {"XOR-MAPPED-ADDRESS": ("127.0.0.1", 1)})
            message.add_message_integrity(key)
            return bytes(message)

        ice = IceClient("u", "password", 0.0)
        request = ice.request(0.0)
        assert not ice.receive(b"\x00\x01nonsense", 1.0)
        assert not ice.receive(answer(request, b"other"), 1.0)
        assert ice.receive(answer(request, b"password"), 1.0)
        assert ice.connected
        assert ice.next_at == 1.0 + CONSENT_EVERY_S
        ice.request(2.0)
        assert not ice.receive(answer(request, b"password"), 3.0)
        assert not ice.consent_lost(1.0 + CONSENT_LOST_S)
        assert ice.consent_lost(1.1 + CONSENT_LOST_S)


def test_dtls_refuses_garbage_and_unknown_certificates() -> None:
    client = DtlsClient()
    assert client.start()
    assert client.receive(b"\x16garbage") == []
    with pytest.raises(DtlsError, match="certificate"):
        client.keys([("sha-256", "AA")])


def test_multicast_is_no_address_of_this_machine() -> None:
    from loadtest.reach import is_of_this_machine

    def own(address: str) -> Any:
        return is_of_this_machine(ipaddress.ip_address(address))

    assert own("127.3.2.1")
    assert not own("224.0.0.1")
    assert not own("0.0.0.0")
