"""People come, talk, mute, go and come back: participants, notices and sound are right each time, and nothing is left behind.

That the shards' tables are empty afterwards is asserted by the ``call`` fixture, after every test.
"""

from __future__ import annotations

import asyncio

import pytest

from loadtest.peer import Peer
from loadtest.signaling import Refused
from tests.scenarios.call import Call, all_hear_all, nothing_lost, packets


def names(participants: list[dict[str, str]]) -> list[str]:
    return [person["username"] for person in participants]


async def settle(*people: Peer) -> None:
    """Whatever the server had to say before now has arrived: it answers a client's messages in order."""
    await asyncio.gather(*(peer.signaling.request("ping", "pong") for peer in people))


def said(peer: Peer, type: str) -> list[str]:
    """User ids in all messages of ``type`` that ``peer`` got."""
    return [message["user_id"] for message in peer.signaling.received if message["type"] == type]


async def test_two_people_hear_each_other(call: Call) -> None:
    ann = await call.host("Ann")
    bo = await call.person("Bo")
    assert names(await bo.join_room(ann.room_id)) == ["Ann", "Bo"]
    assert (await ann.signaling.expect("user_joined"))["username"] == "Bo"
    await bo.publish()
    await all_hear_all(ann, bo)
    await settle(ann, bo)
    assert said(ann, "new_publisher") == [bo.user_id]
    assert said(bo, "new_publisher") == [ann.user_id]
    await nothing_lost(ann, bo)


async def test_late_joiner_hears_those_who_talk_already(call: Call) -> None:
    ann, bo = await call.pair()
    cy = await call.person("Cy")
    assert names(await cy.join_room(ann.room_id)) == ["Ann", "Bo", "Cy"]
    await all_hear_all(ann, bo, cy)
    assert sorted(said(cy, "new_publisher")) == sorted([ann.user_id, bo.user_id])
    await cy.publish()
    await all_hear_all(ann, bo, cy)
    await nothing_lost(ann, bo, cy)


async def test_listener_without_a_microphone_hears_and_is_not_announced(call: Call) -> None:
    ann = await call.host("Ann")
    bo = await call.guest("Bo", ann.room_id, publishes=False)
    await all_hear_all(ann, bo)
    await settle(ann)
    assert said(ann, "user_joined") == [bo.user_id]
    assert said(ann, "new_publisher") == []
    with pytest.raises(Refused) as refused:
        await ann.consume(bo.user_id)
    assert refused.value.code == "not_publishing"


async def test_whoever_leaves_is_gone_for_all_and_the_others_go_on(call: Call) -> None:
    ann, bo = await call.pair()
    cy = await call.guest("Cy", ann.room_id)
    await all_hear_all(ann, bo, cy)
    await bo.leave_room()
    for other in (ann, cy):
        assert (await other.signaling.expect("user_left", user_id=bo.user_id))["username"] == "Bo"
    await all_hear_all(ann, cy)
    await nothing_lost(ann, cy)
    with pytest.raises(Refused) as refused:
        await ann.consume(bo.user_id)
    assert refused.value.code == "publisher_not_found"


async def test_rejoining_is_like_joining(call: Call) -> None:
    ann, bo = await call.pair()
    for _ in range(2):
        room = bo.room_id
        mark = len(ann.signaling.received)
        await bo.leave_room()
        await ann.signaling.expect("user_left", after=mark, user_id=bo.user_id)
        assert names(await bo.join_room(room)) == ["Ann", "Bo"]
        await bo.publish()
        await ann.signaling.expect("new_publisher", after=mark, user_id=bo.user_id)
        await all_hear_all(ann, bo)


async def test_room_that_everybody_left_can_be_joined_again(call: Call) -> None:
    ann = await call.host("Ann")
    room = ann.room_id
    await ann.leave_room()
    assert names(await ann.join_room(room)) == ["Ann"]
    await ann.publish()
    await all_hear_all(ann, await call.guest("Bo", room))


async def test_closed_tab_is_a_leave(call: Call) -> None:
    ann, bo = await call.pair()
    await bo.close()
    await ann.signaling.expect("user_left", user_id=bo.user_id)


async def test_client_that_vanishes_without_goodbye_leaves_and_holds_nothing(call: Call) -> None:
    ann, bo = await call.pair()
    await bo.abort()
    await ann.signaling.expect("user_left", user_id=bo.user_id, timeout_s=40)
    cy = await call.guest("Cy", ann.room_id)
    await all_hear_all(ann, cy)
    await ann.close()
    await cy.close()
    await call.server.wait_tables_empty_async()


@pytest.mark.parametrize("count", [3, 8])
async def test_many_people_hear_exactly_each_other(call: Call, count: int) -> None:
    first = await call.host("person 0")
    others = await asyncio.gather(*(call.guest(f"person {n}", first.room_id) for n in range(1, count)))
    everybody = [first, *others]
    await all_hear_all(*everybody)
    await nothing_lost(*everybody)
    for peer in everybody:
        assert sorted(said(peer, "new_publisher")) == sorted(other.user_id for other in everybody if other is not peer)


async def test_muted_person_is_not_forwarded_and_goes_on_without_a_gap(call: Call) -> None:
    ann, bo = await call.pair()
    consumer = await bo.hear(ann)
    paused = await call.drops("paused")

    await ann.set_muted(True)
    assert (await bo.signaling.expect("user_muted", user_id=ann.user_id))["muted"] is True
    await call.wait_drops("paused", paused + 1)  # what was sent before has been forwarded by now
    before = await packets(consumer)
    await call.wait_drops("paused", paused + 100)
    assert await packets(consumer) == before

    mark = len(bo.signaling.received)
    await ann.set_muted(False)
    assert (await bo.signaling.expect("user_muted", after=mark, user_id=ann.user_id))["muted"] is False
    assert await bo.hear(ann) is consumer
    await all_hear_all(ann, bo)
    await nothing_lost(ann, bo)


async def test_newcomer_is_told_who_is_muted(call: Call) -> None:
    ann = await call.host("Ann")
    bo = await call.guest("Bo", ann.room_id)
    await ann.set_muted(True)
    await bo.signaling.expect("user_muted", user_id=ann.user_id)
    cy = await call.guest("Cy", ann.room_id, publishes=False)
    await cy.signaling.expect("user_muted", user_id=ann.user_id, muted=True)
    await ann.set_muted(False)
    await all_hear_all(ann, bo, cy)


async def test_who_stops_publishing_stays_and_can_publish_again(call: Call) -> None:
    ann, bo = await call.pair()
    await ann.stop_publishing()
    await bo.signaling.expect("publisher_closed", user_id=ann.user_id)
    await ann.hear(bo)
    await ann.publish()
    await all_hear_all(ann, bo)


async def test_second_publisher_replaces_the_first(call: Call) -> None:
    ann, bo = await call.pair()
    old, mark = bo.consumers[ann.user_id], len(bo.signaling.received)
    await ann.publish()
    await bo.signaling.expect("publisher_closed", after=mark, user_id=ann.user_id)
    await bo.signaling.expect("new_publisher", after=mark, user_id=ann.user_id)
    await all_hear_all(ann, bo)
    assert bo.consumers[ann.user_id] is not old


async def test_media_connection_that_closes_ends_its_publisher(call: Call) -> None:
    ann, bo = await call.pair()
    assert ann.publishing is not None
    await ann.publishing.close()  # DTLS close_notify, while the WebSocket stays
    await bo.signaling.expect("publisher_closed", user_id=ann.user_id)
    await ann.publish()
    await all_hear_all(ann, bo)
