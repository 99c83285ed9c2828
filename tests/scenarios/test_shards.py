"""Rooms on two shards: they land on both, and no sound, notice or consumer crosses from one room into another."""

from __future__ import annotations

import asyncio
import re

import pytest

from loadtest.signaling import Refused
from tests.scenarios.call import Call, all_hear_all, nothing_lost


def udp_port(offer: str) -> int:
    """Where the server wants the media of this offer."""
    found = re.search(r"^a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+) typ host", offer, re.MULTILINE)
    assert found, offer
    return int(found[1])


async def test_rooms_land_on_both_shards_and_nobody_hears_another_room(call: Call) -> None:
    rooms = []
    for number in range(2):
        first = await call.host(f"room {number} person 0")
        others = [await call.guest(f"room {number} person {n}", first.room_id) for n in (1, 2)]
        rooms.append([first, *others])

    await asyncio.gather(*(all_hear_all(*room) for room in rooms))  # the right pitch from each, and no consumer besides
    for shard in ("0", "1"):
        await call.wait_metric(f'antiphon_shard_table{{shard="{shard}",table="rooms"}}', lambda rooms: rooms == 1)
        await call.wait_metric(f'antiphon_shard_table{{shard="{shard}",table="native_consumers"}}', lambda consumers: consumers == 6)

    for room in rooms:
        strangers = {peer.user_id for other in rooms if other is not room for peer in other}
        for peer in room:
            mentioned = {message.get("user_id") for message in peer.signaling.received}
            assert not mentioned & strangers
        with pytest.raises(Refused) as refused:
            await room[0].consume(next(iter(strangers)))
        assert refused.value.code == "publisher_not_found"
    for room in rooms:
        await nothing_lost(*room)


async def test_each_room_keeps_to_the_port_of_one_shard(call: Call) -> None:
    ports = []
    for name in ("Ann", "Bo"):
        peer = await call.host(name)
        guest = await call.guest(f"{name}'s guest", peer.room_id)
        await all_hear_all(peer, guest)
        offers = [m["sdp"] for p in (peer, guest) for m in p.signaling.received if m["type"] in ("publisher_created", "consumer_created")]
        assert len(offers) == 4
        assert len({udp_port(offer) for offer in offers}) == 1
        ports.append(udp_port(offers[0]))
    assert ports[0] != ports[1]


async def test_empty_shards_share_many_rooms_evenly(call: Call) -> None:
    for number in range(6):
        await call.host(f"person {number}", publishes=False)
    for shard in ("0", "1"):
        await call.wait_metric(f'antiphon_shard_table{{shard="{shard}",table="rooms"}}', lambda rooms: rooms == 3)
