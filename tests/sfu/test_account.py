"""The account that a shard gives of its rooms, as messages."""

from __future__ import annotations

import uuid

from sfu import protocol as p
from sfu.account import CONSUMERS_PER_ENTRY, messages


def entry(number: int, consumers: int = 0, name: str = "n") -> p.ParticipantState:
    ids = [(p.ConsumerId(str(uuid.uuid4())), p.UserId(str(uuid.uuid4()))) for _ in range(consumers)]
    heard = [p.ConsumerState(consumer_id=consumer, publisher_user_id=publisher) for consumer, publisher in ids]
    return p.ParticipantState(
        room_id=p.RoomId(str(uuid.uuid4())),
        user_id=p.UserId(str(number)),
        username=name,
        session=bytes(200),
        muted=False,
        has_publisher=True,
        track_id=p.TrackId(str(uuid.uuid4())),
        has_subscription=True,
        consumers=heard,
        subscribed=heard,
    )


def body(part: list[p.ParticipantState]) -> bytes:
    return p.encode(p.State(shard_id=p.ShardId("0"), instance="0" * 16, request_id=p.RequestId(2**40), participants=part))


def test_entries_keep_their_order_and_none_is_lost() -> None:
    states = [entry(number, number % 7) for number in range(3000)]
    parts = list(messages(states))
    assert len(parts) > 1
    assert [state for part in parts for state in part] == states


def test_no_message_is_longer_than_either_side_reads() -> None:
    full = [entry(number, CONSUMERS_PER_ENTRY, "\U0001f511" * 64) for number in range(5)]
    small = [entry(number, name="\U0001f511" * 64) for number in range(2000)]
    assert all(len(body(part)) <= p.MAX_MESSAGE_BYTES for part in messages([*full, *small, *full]))


def test_an_empty_shard_needs_no_message() -> None:
    assert list(messages([])) == []
