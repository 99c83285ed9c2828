"""Bringing control's view of rooms and what a shard holds together, after either has missed something of the other. Sans-IO.

Who is in a room is control's to decide, what is connected is the shard's to know. So, of one shard's account:

* people whom this control has never met are those of an earlier one: they are taken in, with their rooms, and wait to be resumed;
* people whom it has let go, and those of a room that is elsewhere by now, are told to leave;
* people whom it knows and the shard does not are made known again;
* tracks and consumers that are gone are told to clients, those that nobody asked for any more are closed.
"""

from __future__ import annotations

import structlog

from control import kept
from control import messages as m
from control.effects import Effect, Send, Session, Tell
from control.rooms import Participant, Room
from control.sessions import UNSENT, Sessions
from sfu import protocol as p

log = structlog.get_logger("antiphon.adoption")


class Adoption:
    """One account of one shard. ``adopted``: how many people were taken in."""

    def __init__(self, sessions: Sessions, shard: p.ShardId, held: list[p.ParticipantState]) -> None:
        self.adopted = 0
        self._sessions = sessions
        self._shard = shard
        self._held = _merged(held)

    def run(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        known: list[tuple[Room, Participant, p.ParticipantState]] = []
        for state in self._held.values():
            room = self._room_of(state)
            if room is not None and state.user_id in room.participants:
                known.append((room, room.participants[state.user_id], state))
            else:
                effects += self._take_in_or_send_off(state, now)
        for room, participant in self._missing():
            effects += self._sessions.rejoin(participant)
            known.append((room, participant, _empty(participant)))
        for room, participant, state in known:
            effects += self._compare_publisher(room, participant, state)
        for room, participant, state in known:
            effects += self._compare_consumers(room, participant, state)
            effects += self._compare_subscription(room, participant, state)
        if self.adopted:
            log.info("people of an earlier control taken in", shard=self._shard, people=self.adopted)
        return effects

    def _room_of(self, state: p.ParticipantState) -> Room | None:
        """The room that ``state`` is about, if that is, or may be, on this shard."""
        rooms = self._sessions.rooms
        room = rooms.get(state.room_id)
        if room is not None and room.shard is None and room.people:
            rooms.place(room, self._shard)  # it was given up for lost, and nobody else has its rooms: people need not move
        return room if room is not None and room.shard == self._shard else None

    def _take_in_or_send_off(self, state: p.ParticipantState, now: float) -> list[Effect]:
        """Somebody whom this control does not know to be there."""
        rooms = self._sessions.rooms
        session = kept.decode(state.session)
        room = rooms.get(state.room_id)
        elsewhere = room is not None and room.shard not in (None, self._shard)
        if session is None or session.control == self._sessions.instance or elsewhere:
            return [Tell(self._shard, p.LeaveRoom(**UNSENT, room_id=state.room_id, user_id=state.user_id))]
        room = room or rooms.create(now, state.room_id)
        if room.shard is None:
            rooms.place(room, self._shard)
        participant = Participant(state.user_id, state.username, state.room_id, muted=state.muted)
        participant.has_publisher, participant.track_id = state.has_publisher, state.track_id
        participant.has_subscription, participant.subscribed = state.has_subscription, _heard(state.subscribed)
        participant.consumers = _heard(state.consumers)
        rooms.begin_join(room)
        rooms.end_join(room, participant, now)
        self._sessions.take_in(Session(state.user_id, state.username, participant, grants=session.grants), session, now)
        self.adopted += 1
        return self._sessions.rejoin(participant)  # from now on it is this control's

    def _missing(self) -> list[tuple[Room, Participant]]:
        """People of this shard's rooms whom it does not know."""
        rooms = self._sessions.rooms.on_shard(self._shard)
        people = [(room, participant) for room in rooms for participant in room.participants.values()]
        return [(room, participant) for room, participant in people if (room.room_id, participant.user_id) not in self._held]

    def _compare_publisher(self, room: Room, participant: Participant, state: p.ParticipantState) -> list[Effect]:
        effects: list[Effect] = []
        participant.has_publisher = state.has_publisher
        if state.muted != participant.muted:
            mute = p.SetMuted(**UNSENT, room_id=room.room_id, user_id=participant.user_id, muted=participant.muted)
            effects.append(Tell(self._shard, mute))
        if participant.track_id == state.track_id:
            return effects
        if participant.track_id is not None:
            room.drop_consumers_of(participant.user_id)
            effects.append(self._sessions.to_room(room, m.PublisherClosed(user_id=participant.user_id)))
        participant.track_id = state.track_id
        if state.track_id is not None:
            effects += self._sessions.track_up(participant, state.track_id)
        return effects

    def _compare_consumers(self, room: Room, participant: Participant, state: p.ParticipantState) -> list[Effect]:
        effects: list[Effect] = []
        there = {consumer.consumer_id for consumer in state.consumers}
        for consumer_id in [consumer_id for consumer_id in participant.consumers if consumer_id not in there]:
            del participant.consumers[consumer_id]
            effects.append(Send(self._sessions.of([participant]), m.ConsumerClosed(consumer_id=consumer_id, reason="reset")))
        for consumer_id in there - participant.consumers.keys():
            close = p.CloseConsumer(**UNSENT, room_id=room.room_id, user_id=participant.user_id, consumer_id=consumer_id)
            effects.append(Tell(self._shard, close))
        return effects

    def _compare_subscription(self, room: Room, participant: Participant, state: p.ParticipantState) -> list[Effect]:
        room_id, user_id = room.room_id, participant.user_id
        if not participant.has_subscription:
            return [Tell(self._shard, p.CloseSubscription(**UNSENT, room_id=room_id, user_id=user_id))] if state.has_subscription else []
        participant.has_subscription, participant.subscribed = state.has_subscription, _heard(state.subscribed)
        if not state.has_subscription:
            return [Send(self._sessions.of([participant]), m.SubscriptionClosed(reason="reset"))]
        return [Tell(self._shard, p.RepeatOffer(**UNSENT, room_id=room_id, user_id=user_id))]


def _heard(consumers: list[p.ConsumerState]) -> dict[p.ConsumerId, p.UserId]:
    return {consumer.consumer_id: consumer.publisher_user_id for consumer in consumers}


def _merged(held: list[p.ParticipantState]) -> dict[tuple[p.RoomId, p.UserId], p.ParticipantState]:
    """Entries of one participant as one."""
    people: dict[tuple[p.RoomId, p.UserId], p.ParticipantState] = {}
    for state in held:
        earlier = people.setdefault((state.room_id, state.user_id), state)
        if earlier is not state:
            earlier.consumers.extend(state.consumers)
            earlier.subscribed.extend(state.subscribed)
    return people


def _empty(participant: Participant) -> p.ParticipantState:
    """What a shard holds of somebody it has just been told of."""
    return p.ParticipantState(
        room_id=participant.room_id,
        user_id=participant.user_id,
        username=participant.username,
        session=b"",
        muted=participant.muted,
        has_publisher=False,
        track_id=None,
        has_subscription=False,
        consumers=[],
        subscribed=[],
    )
