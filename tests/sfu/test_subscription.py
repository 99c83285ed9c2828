"""One connection on which somebody hears a whole room: whole aiortc peers at a real shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamTrack

from sfu import protocol as p
from tests.sfu.conftest import WAIT_S, answer


class Listener:
    """A participant with a subscription: answers each offer, knows whose track each section carries."""

    def __init__(self, person: Any) -> None:
        self.person = person
        self.router = person.router
        self.connection: RTCPeerConnection = person.connection()
        self.offers: list[p.SubscriptionOffer] = []
        self._task: asyncio.Task[None] | None = None

    async def subscribe(self) -> Listener:
        await self.router.do(p.Subscribe, **self.person.at)
        return self

    async def offer(self, such: Callable[[p.SubscriptionOffer], bool] = lambda offer: True) -> p.SubscriptionOffer:
        """The next offer that is ``such``."""
        seen = self.offers[-1].revision if self.offers else 0
        found = await self.router.first(
            p.SubscriptionOffer, lambda offer: offer.user_id == self.person.user_id and offer.revision > seen and such(offer)
        )
        self.offers.append(found)
        return found

    async def take(self) -> p.SubscriptionOffer:
        """Answer the next offer."""
        offer = await self.offer()
        sdp = await answer(self.connection, offer.sdp)
        await self.router.do(p.AnswerSubscription, revision=offer.revision, sdp=sdp, **self.person.at)
        return offer

    def track(self, user_id: str) -> MediaStreamTrack:
        """What carries ``user_id`` according to the last offer."""
        mid = next(track.mid for track in self.offers[-1].tracks if track.user_id == user_id)
        return next(one.receiver.track for one in self.connection.getTransceivers() if one.mid == mid)

    async def received(self) -> tuple[int, int]:
        """Packets that came on the whole connection, and how many are missing."""
        reports = [report for one in self.connection.getReceivers() for report in (await one.getStats()).values()]
        inbound = [report for report in reports if report.type == "inbound-rtp"]
        return sum(report.packetsReceived for report in inbound), sum(report.packetsLost for report in inbound)

    async def receives(self, more: int = 25) -> None:
        """Wait for ``more`` packets."""
        wanted = (await self.received())[0] + more
        async with asyncio.timeout(WAIT_S):
            while True:
                if (await self.received())[0] >= wanted:
                    return
                await asyncio.sleep(0.05)


def participant(shard: Any, person: Any) -> Any:
    return shard.process.shard.rooms["room"].participants[person.user_id]


async def talks(shard: Any, person: Any) -> None:
    """Wait until some more packets have come in from ``person``."""
    index = participant(shard, person).publisher.tracks[0].index
    wanted = shard.process.loop.track_counters(index).packets + 10
    async with asyncio.timeout(WAIT_S):
        while True:
            if shard.process.loop.track_counters(index).packets >= wanted:
                return
            await asyncio.sleep(0.02)


async def test_a_newcomer_gets_everybody_in_the_first_offer(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo, cy = [await shard.person(name) for name in ("ann", "bo", "cy")]
    await ann.publish(400)
    await bo.publish(800)
    listener = await Listener(cy).subscribe()
    offer = await listener.take()
    assert [(track.mid, track.user_id) for track in offer.tracks] == [("0", ann.user_id), ("1", bo.user_id)]
    heard = await asyncio.gather(hear(listener.track(ann.user_id)), hear(listener.track(bo.user_id)))
    assert heard == [pytest.approx(400, abs=10), pytest.approx(800, abs=10)]
    tables = await shard.router.tables(lambda tables: tables.native_consumers == 2)
    assert tables.native_transports == 3
    await cy.leave()
    await shard.router.tables(lambda tables: tables.native_transports == 2 and not tables.native_consumers)


async def test_who_comes_and_goes_is_heard_in_sections_that_are_used_again(shard: Any, hear: Callable[..., Any]) -> None:
    cy = await shard.person("cy")
    listener = await Listener(cy).subscribe()
    first = await listener.take()
    assert first.tracks == []
    assert first.sdp.count("a=inactive") == 1
    for hertz in (400, 800, 1200):
        ann = await shard.person("ann")
        await ann.publish(hertz)
        offer = await listener.take()
        assert [(track.mid, track.user_id) for track in offer.tracks] == [("0", ann.user_id)]
        assert offer.sdp.count("m=audio") == 1
        assert await hear(listener.track(ann.user_id)) == pytest.approx(hertz, abs=10)
        await ann.leave()


async def test_one_who_is_not_wanted_sends_nothing_and_resumes_without_a_gap(shard: Any, hear: Callable[..., Any]) -> None:
    ann, cy = await shard.person("ann"), await shard.person("cy")
    await ann.publish(440)
    listener = await Listener(cy).subscribe()
    await listener.take()
    await listener.receives()
    index = next(iter(participant(shard, cy).subscription.connection.consumers.values())).index
    for _ in range(3):
        await shard.router.do(p.SetSubscribed, publisher_user_id=ann.user_id, subscribed=False, **cy.at)
        await talks(shard, ann)  # the wish may have been under way for a packet
        sent = shard.process.loop.consumer_counters(index).packets
        await talks(shard, ann)
        assert shard.process.loop.consumer_counters(index).packets == sent
        await shard.router.do(p.SetSubscribed, publisher_user_id=ann.user_id, subscribed=True, **cy.at)
        await listener.receives()
    assert (await listener.received())[1] == 0
    assert await hear(listener.track(ann.user_id)) == pytest.approx(440, abs=10)


async def test_one_who_publishes_again_is_heard_again(shard: Any, hear: Callable[..., Any]) -> None:
    ann, cy = await shard.person("ann"), await shard.person("cy")
    await ann.publish(440)
    listener = await Listener(cy).subscribe()
    await listener.take()
    await ann.publish(880)
    offer = await listener.take()
    while [track.user_id for track in offer.tracks] != [ann.user_id]:
        offer = await listener.take()
    assert [track.mid for track in offer.tracks] == ["0"]
    assert await hear(listener.track(ann.user_id)) == pytest.approx(880, abs=10)


async def test_a_subscription_and_a_connection_for_one_person_are_heard_side_by_side(shard: Any, hear: Callable[..., Any]) -> None:
    ann, bo, cy = [await shard.person(name) for name in ("ann", "bo", "cy")]
    await ann.publish(440)
    await bo.publish(880)
    listener = await Listener(cy).subscribe()
    await listener.take()
    _, alone = await cy.consume(ann)
    heard = await asyncio.gather(hear(alone), hear(listener.track(ann.user_id)), hear(listener.track(bo.user_id)))
    assert heard == [pytest.approx(440, abs=10), pytest.approx(440, abs=10), pytest.approx(880, abs=10)]


async def test_a_listener_that_says_close_notify_is_freed_and_told(shard: Any) -> None:
    ann, cy = await shard.person("ann"), await shard.person("cy")
    await ann.publish(440)
    listener = await Listener(cy).subscribe()
    await listener.take()
    await listener.receives()
    await listener.connection.close()
    closed = await shard.router.first(p.SubscriptionClosed)
    assert (closed.user_id, closed.reason) == (cy.user_id, "dtls_closed")
    await shard.router.tables(lambda tables: tables.native_transports == 1 and not tables.native_consumers)
