"""People talk through a real shard: real sockets, real aiortc peers, a real ROUTER as control."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sfu import protocol as p
from tests.network import ipv6_works


async def test_two_people_hear_each_others_tone(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    await bo.publish(1000)
    _, from_ann = await bo.consume(ann)
    _, from_bo = await ann.consume(bo)
    heard = await asyncio.gather(hear(from_ann), hear(from_bo))
    assert heard == [pytest.approx(440, abs=10), pytest.approx(1000, abs=10)]
    tables = await shard.router.tables(lambda tables: tables.native_consumers == 2)
    assert (tables.transports, tables.native_transports, tables.tracks, tables.native_tracks) == (4, 4, 2, 2)
    await ann.leave()
    await bo.leave()
    await shard.drained()


async def test_three_people_each_hear_the_right_two(shard: Any, hear: Callable[..., Any]) -> None:
    people = [await shard.person(name) for name in ("ann", "bo", "cy")]
    tones = dict(zip(people, (400, 800, 1200), strict=True))
    for person, hertz in tones.items():
        await person.publish(hertz)
    pairs = [(listener, talker) for listener in people for talker in people if listener is not talker]
    tracks = [(await listener.consume(talker))[1] for listener, talker in pairs]
    heard = await asyncio.gather(*(hear(track) for track in tracks))
    assert heard == [pytest.approx(tones[talker], abs=10) for _, talker in pairs]


async def test_rooms_do_not_hear_each_other(shard: Any) -> None:
    ann = await shard.person("ann", "one")
    bo = await shard.person("bo", "two")
    await ann.publish(440)
    refused = await shard.router.ask(p.CreateConsumer, publisher_user_id=ann.user_id, consumer_id="c", **bo.at)
    assert refused.code == "publisher_not_found"


async def test_muting_stops_and_unmuting_resumes_the_stream(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await shard.router.do(p.SetMuted, muted=True, **ann.at)  # before there is a publisher: it must be remembered
    await ann.publish(440)
    _, track = await bo.consume(ann)
    await shard.router.dropped("paused", 20)
    await shard.router.do(p.SetMuted, muted=False, **ann.at)
    assert await hear(track) == pytest.approx(440, abs=10)
    before = shard.process.loop.drops()["paused"]
    await shard.router.do(p.SetMuted, muted=True, **ann.at)
    await shard.router.dropped("paused", before + 20)


async def test_second_publisher_replaces_the_first(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    await bo.consume(ann)
    await shard.router.do(p.CreatePublisher, **ann.at)
    closed = await shard.router.first(p.PublisherClosed)
    assert (closed.user_id, closed.reason) == (ann.user_id, "replaced")
    tables = await shard.router.tables(lambda tables: tables.transports == 1)
    assert (tables.consumers, tables.native_consumers) == (0, 0)


async def test_second_consumer_of_a_pair_replaces_the_first(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    first, _ = await bo.consume(ann)
    _, track = await bo.consume(ann)
    closed = await shard.router.first(p.ConsumerClosed)
    assert (closed.consumer_id, closed.reason) == (first, "replaced")
    assert await hear(track) == pytest.approx(440, abs=10)


async def test_publisher_that_says_close_notify_is_freed_with_its_consumers(shard: Any) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    await bo.consume(ann)
    await ann.publishing.close()
    closed = await shard.router.first(p.PublisherClosed)
    assert (closed.user_id, closed.reason) == (ann.user_id, "dtls_closed")
    await shard.router.tables(lambda tables: not tables.transports and not tables.native_transports and not tables.native_addresses)


async def test_consumer_that_says_close_notify_is_freed(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    consumer_id, track = await bo.consume(ann)
    await hear(track)
    await bo.close()
    closed = await shard.router.first(p.ConsumerClosed)
    assert (closed.consumer_id, closed.reason) == (consumer_id, "dtls_closed")


async def test_silent_peer_loses_consent(start_shard: Callable[..., Any]) -> None:
    shard = await start_shard(consent_timeout_s=0.5)
    ann = await shard.person("ann")
    await ann.publish(440)
    closed = await shard.router.first(p.PublisherClosed)  # aioice sends checks every 5 s, which is too seldom here
    assert closed.reason == "consent_lost"
    await ann.leave()
    await shard.drained()


async def test_publisher_that_never_starts_its_handshake_times_out(start_shard: Callable[..., Any]) -> None:
    shard = await start_shard(answer_timeout_s=0.2)
    ann = await shard.person("ann")
    await shard.router.do(p.CreatePublisher, **ann.at)
    failed = await shard.router.first(p.PublisherFailed)
    assert failed.reason == "handshake_timeout"
    await shard.router.tables(lambda tables: not tables.transports and not tables.native_transports)


async def test_leaving_sends_close_notify(shard: Any) -> None:
    ann = await shard.person("ann")
    await ann.publish(440)
    dtls = ann.publishing.getTransceivers()[0].sender.transport
    closed = asyncio.Event()
    dtls.on("statechange", lambda: dtls.state == "closed" and closed.set())
    await ann.leave()
    async with asyncio.timeout(5):
        await closed.wait()


async def test_slots_are_used_again(shard: Any, hear: Callable[..., Any]) -> None:
    bo = await shard.person("bo")
    for _ in range(3):
        ann = await shard.person("ann")
        await ann.publish(440)
        _, track = await bo.consume(ann)
        assert await hear(track) == pytest.approx(440, abs=10)
        await ann.leave()
    await bo.leave()
    await shard.drained()


async def test_reset_frees_everything(shard: Any) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    await bo.consume(ann)
    await shard.router.do(p.Reset)
    assert (await shard.router.first(p.PublisherClosed)).reason == "reset"
    await shard.drained()


async def test_account_says_who_is_there_and_what_they_have(shard: Any) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    await bo.consume(ann)
    reported = await shard.router.do(p.ReportState)
    state = await shard.router.first(p.State)
    assert reported.entries == 2
    first, second = state.participants
    assert (first.user_id, second.user_id) == (ann.user_id, bo.user_id)
    assert (first.has_publisher, first.track_id is not None, first.consumers) == (True, True, [])
    assert [consumer.publisher_user_id for consumer in second.consumers] == [ann.user_id]


async def test_account_keeps_what_control_said_last_of_a_participant(shard: Any) -> None:
    who = {"room_id": "r", "user_id": "u"}
    await shard.router.do(p.JoinRoom, **who, username="Ann", session=b"1")
    await shard.router.do(p.SetMuted, **who, muted=True)
    await shard.router.do(p.JoinRoom, **who, username="Anna", session=b"2")
    await shard.router.do(p.ReportState)
    (entry,) = (await shard.router.first(p.State)).participants
    assert (entry.username, entry.session, entry.muted, entry.has_publisher) == ("Anna", b"2", True, False)
    await shard.router.do(p.LeaveRoom, **who)
    assert (await shard.router.do(p.ReportState)).entries == 0


async def test_shutdown_says_goodbye_and_ends(shard: Any) -> None:
    ann = await shard.person("ann")
    await ann.publish(440)
    await shard.router.do(p.Shutdown)
    assert (await shard.router.first(p.Goodbye)).shard_id == "0"
    await shard.running


async def test_shard_without_control_and_participants_ends(start_shard: Callable[..., Any]) -> None:
    shard = await start_shard(orphan_timeout_s=0.2)
    await shard.router.close()
    async with asyncio.timeout(10):
        await shard.running


async def test_shard_forwards_on_without_control(start_shard: Callable[..., Any], hear: Callable[..., Any]) -> None:
    shard = await start_shard(orphan_timeout_s=0.2)
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    _, track = await bo.consume(ann)
    await shard.router.close()
    assert await hear(track, frames=50) == pytest.approx(440, abs=10)
    assert not shard.running.done()


async def test_shard_without_control_ends_after_its_last_connection(start_shard: Callable[..., Any], hear: Callable[..., Any]) -> None:
    shard = await start_shard(orphan_timeout_s=0.2)
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    _, track = await bo.consume(ann)
    await shard.router.close()
    assert await hear(track) == pytest.approx(440, abs=10)
    await ann.close()
    await bo.close()
    async with asyncio.timeout(10):
        await shard.running  # nobody is left to send LeaveRoom


@pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6 loopback address")
async def test_media_flows_over_ipv6(start_shard: Callable[..., Any], hear: Callable[..., Any]) -> None:
    shard = await start_shard(host="::1")
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    _, track = await bo.consume(ann)
    assert await hear(track) == pytest.approx(440, abs=10)


async def test_a_nack_brings_the_packet_again_within_bounds(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo = await shard.person("ann"), await shard.person("bo")
    await ann.publish(440)
    _, track = await bo.consume(ann)
    await hear(track)
    receiver = bo.connections[-1].getReceivers()[0]
    ((ssrc, stream),) = receiver._RTCRtpReceiver__remote_streams.items()
    last = stream.max_seq
    await receiver._send_rtcp_nack(ssrc, [last - 3 & 0xFFFF, last - 1 & 0xFFFF])
    await shard.router.first(p.Heartbeat, lambda message: message.retransmitted == 2)
    await receiver._send_rtcp_nack(ssrc, [last - back & 0xFFFF for back in range(200, 0, -1)])
    await shard.router.dropped("nack_limited", 100)
    assert shard.process.loop.totals().retransmitted <= 2 + 50
