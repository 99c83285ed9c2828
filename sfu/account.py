"""The account that a shard gives of its rooms, cut into messages. Pure.

A room may have more people, and a person more consumers, than fit into one message, so it is a stream of entries: control puts those of
one participant together again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sfu.consumer import Consumer
from sfu.protocol import MAX_MESSAGE_BYTES, ConsumerState, ParticipantState
from sfu.room import Participant, Room

CONSUMERS_PER_ENTRY: Final = 400
"""Of each kind. Ids are UUIDs, so an entry takes 100 KB at most for them."""
MESSAGE_BYTES: Final = MAX_MESSAGE_BYTES // 2
"""Of what :func:`weight` estimates; the rest is for how MessagePack frames it."""


def entries(rooms: Iterable[Room]) -> Iterator[ParticipantState]:
    """Every participant of ``rooms``, in one entry or several."""
    for room in rooms:
        for participant in room.participants.values():
            yield from _entries(room, participant)


def messages(states: Iterable[ParticipantState]) -> Iterator[list[ParticipantState]]:
    """``states`` in their order, in lists that fit into a message each."""
    part: list[ParticipantState] = []
    filled = 0
    for state in states:
        weighs = weight(state)
        if part and filled + weighs > MESSAGE_BYTES:
            yield part
            part, filled = [], 0
        part.append(state)
        filled += weighs
    if part:
        yield part


def weight(state: ParticipantState) -> int:
    """About how many bytes an entry takes."""
    return 350 + 4 * len(state.username) + len(state.session) + 130 * (len(state.consumers) + len(state.subscribed))


def _entries(room: Room, participant: Participant) -> Iterator[ParticipantState]:
    subscription = participant.subscription
    consumers = [_state(consumer) for consumer in participant.consumers.values()]
    subscribed = [_state(consumer) for consumer in subscription.lines if consumer is not None] if subscription is not None else []
    for first in range(0, max(1, len(consumers), len(subscribed)), CONSUMERS_PER_ENTRY):
        yield ParticipantState(
            room_id=room.room_id,
            user_id=participant.user_id,
            username=participant.username,
            session=participant.session,
            muted=participant.muted,
            has_publisher=participant.publisher is not None,
            track_id=participant.track_id,
            has_subscription=participant.subscription is not None,
            consumers=consumers[first : first + CONSUMERS_PER_ENTRY],
            subscribed=subscribed[first : first + CONSUMERS_PER_ENTRY],
        )


def _state(consumer: Consumer) -> ConsumerState:
    return ConsumerState(consumer_id=consumer.id, publisher_user_id=consumer.publisher_id)
