"""One connection on which somebody hears a whole room: whole aiortc peers at a real shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamTrack

from sfu import protocol as p
from tests.sfu.conftest import answer


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
