"""The part of signaling that is about connections: publishers, consumers, and what shards tell of them. Sans-IO."""

from __future__ import annotations

import uuid

import structlog

from control import messages as m
from control.effects import Call, Effect, Outcome, Send, Session, Tell, Unanswered
from control.rooms import Participant, Room
from control.sessions import UNSENT, Request, Sessions, request_type
from control.subscriptions import Subscriptions
from sfu import protocol as p

log = structlog.get_logger("antiphon.signaling")


class Media:
    """Handles every message that needs a room, but for leaving and muting."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.subscriptions = Subscriptions(sessions)

    def receive(self, session: Session, participant: Participant, message: m.ClientMessage) -> list[Effect]:
        kind = m.message_type(message)
        match message:
            case m.PublisherIceCandidate():
                return self._publisher_candidate(session, participant, message)
            case m.ConsumerIceCandidate():
                return self._consumer_candidate(session, participant, message)
        shard = self._sessions.room_of(participant).shard
        if shard is None:
            text = "The room waits for a media server; you are told by room_moved when it has one."
            return self._sessions.error(session, "shard_unavailable", message, text)
        match message:
            case m.CreatePublisher():
                return self._create_publisher(session, participant, shard)
            case m.PublishAudio():
                return self._publish_audio(session, participant, shard, message)
            case m.ClosePublisher():
                return self._close_publisher(session, participant, shard)
            case m.CreateConsumer():
                return self._create_consumer(session, participant, shard, message)
            case m.ConsumerAnswer():
                return self._consumer_answer(session, participant, shard, message)
            case m.CloseConsumer():
                if message.consumer_id in participant.subscribed:
                    return self.subscriptions.close_consumer(session, participant, shard, message)
                return self._close_consumer(session, participant, shard, message)
            case m.RestartIce():
                return self.subscriptions.restart_ice(session, participant, shard, message)
            case m.Subscribe() | m.SubscriptionAnswer() | m.SubscriptionIceCandidate() | m.SetSubscribed() | m.CloseSubscription():
                return self.subscriptions.receive(session, participant, shard, message)
        raise AssertionError(f"no handler for {kind}")

    def shard_event(self, event: p.ShardMessage) -> list[Effect]:
        """Something that a shard said unasked. What is about people or rooms that are gone is ignored: it was under way."""
        match event:
            case (
                p.TrackPublished()
                | p.PublisherClosed()
                | p.PublisherFailed()
                | p.ConsumerClosed()
                | p.SubscriptionOffer()
                | p.SubscriptionClosed()
            ):
                room = self._sessions.rooms.get(event.room_id)
                participant = room.participants.get(event.user_id) if room is not None else None
                if room is None or participant is None or room.shard != event.shard_id:
                    return []
            case _:
                return []
        match event:
            case p.TrackPublished():
                return self._track_published(participant, event)
            case p.PublisherClosed():
                return self._publisher_closed(room, participant, event)
            case p.PublisherFailed():
                return self._publisher_failed(participant, event)
            case p.ConsumerClosed():
                return self._consumer_closed(participant, event)
            case p.SubscriptionOffer():
                return self.subscriptions.offered(participant, event)
            case p.SubscriptionClosed():
                return self.subscriptions.closed(participant, event)

    # ------------------------------------------------------------------------------------------ publisher

    def _create_publisher(self, session: Session, participant: Participant, shard: p.ShardId) -> list[Effect]:
        request = "create_publisher"
        room_id, user_id = participant.room_id, participant.user_id

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, request)
            if isinstance(outcome, p.Offer) and instead is None:
                participant.has_publisher = True
                candidates = [m.PublisherIceCandidate(candidate=line) for line in outcome.candidates]
                answers: list[m.ServerMessage] = [m.PublisherCreated(sdp=outcome.sdp), *candidates]
                return [Send((session,), answer) for answer in answers]
            if isinstance(outcome, Unanswered) and session.participant is participant:
                # The old publisher may be replaced or not: end both, so that the client starts from nothing.
                participant.has_publisher = False
                return [Tell(shard, p.ClosePublisher(**UNSENT, room_id=room_id, user_id=user_id)), *(instead or [])]
            return instead if instead is not None else self._unexpected(session, outcome, request)

        return [Call(shard, p.CreatePublisher(**UNSENT, room_id=room_id, user_id=user_id), then)]

    def _publish_audio(self, session: Session, participant: Participant, shard: p.ShardId, message: m.PublishAudio) -> list[Effect]:
        if not participant.has_publisher:
            return self._no_publisher(session, "publish_audio")

        def then(outcome: Outcome, now: float) -> list[Effect]:
            return self._sessions.settled(session, participant, shard, outcome, "publish_audio") or []

        answer = p.AnswerPublisher(**UNSENT, room_id=participant.room_id, user_id=participant.user_id, sdp=message.sdp)
        return [Call(shard, answer, then)]

    def _close_publisher(self, session: Session, participant: Participant, shard: p.ShardId) -> list[Effect]:
        if not participant.has_publisher:
            return self._no_publisher(session, "close_publisher")
        announced = participant.track_id is not None

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, "close_publisher")
            if instead is not None:
                if isinstance(outcome, Unanswered) and session.participant is participant:
                    return [Tell(shard, close), *instead]
                return instead
            participant.has_publisher = False
            # Where a track had been announced, the shard's PublisherClosed tells everyone, this client included.
            return [] if announced else [Send((session,), m.PublisherClosed(user_id=participant.user_id))]

        close = p.ClosePublisher(**UNSENT, room_id=participant.room_id, user_id=participant.user_id)
        return [Call(shard, close, then)]

    def _publisher_candidate(self, session: Session, participant: Participant, message: m.PublisherIceCandidate) -> list[Effect]:
        if not participant.has_publisher:
            return self._no_publisher(session, "publisher_ice_candidate")
        return self._check_candidate(session, message.candidate, "publisher_ice_candidate")

    def _no_publisher(self, session: Session, request: str) -> list[Effect]:
        return self._sessions.error(session, "publisher_not_found", request, "There is no publisher: send create_publisher first.")

    # ------------------------------------------------------------------------------------------ consumers

    def _create_consumer(self, session: Session, participant: Participant, shard: p.ShardId, message: m.CreateConsumer) -> list[Effect]:
        heard, room = message.publisher_user_id, self._sessions.room_of(participant)
        missing = _why_not_heard(room, heard)
        if missing is not None:
            return self._sessions.error(session, missing, message)
        if len(participant.consumers) >= self._sessions.limits.user_consumers and heard not in participant.consumers.values():
            return self._sessions.error(session, "too_many_consumers", message)
        room_id, user_id = participant.room_id, participant.user_id
        consumer_id = p.ConsumerId(str(uuid.uuid4()))

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, message)
            if isinstance(outcome, Unanswered) and session.participant is participant:
                close = p.CloseConsumer(**UNSENT, room_id=room_id, user_id=user_id, consumer_id=consumer_id)
                return [Tell(shard, close), *(instead or [])]
            if instead is not None:
                return instead
            missing = _why_not_heard(room, heard)
            if missing is not None:  # gone meanwhile, and the consumer with it
                return self._sessions.error(session, missing, message)
            if not isinstance(outcome, p.Offer):
                return self._unexpected(session, outcome, message)
            participant.consumers[consumer_id] = heard
            created = m.ConsumerCreated(consumer_id=consumer_id, publisher_user_id=heard, sdp=outcome.sdp)
            candidates = [m.ConsumerIceCandidate(consumer_id=consumer_id, candidate=line) for line in outcome.candidates]
            answers: list[m.ServerMessage] = [created, *candidates]
            return [Send((session,), answer) for answer in answers]

        create = p.CreateConsumer(**UNSENT, room_id=room_id, user_id=user_id, publisher_user_id=heard, consumer_id=consumer_id)
        return [Call(shard, create, then)]

    def _consumer_answer(self, session: Session, participant: Participant, shard: p.ShardId, message: m.ConsumerAnswer) -> list[Effect]:
        if message.consumer_id not in participant.consumers:
            return self._sessions.error(session, "consumer_not_found", message)

        def then(outcome: Outcome, now: float) -> list[Effect]:
            return self._sessions.settled(session, participant, shard, outcome, message) or []

        room_id, user_id = participant.room_id, participant.user_id
        answer = p.AnswerConsumer(**UNSENT, room_id=room_id, user_id=user_id, consumer_id=message.consumer_id, sdp=message.sdp)
        return [Call(shard, answer, then)]

    def _close_consumer(self, session: Session, participant: Participant, shard: p.ShardId, message: m.CloseConsumer) -> list[Effect]:
        consumer_id = message.consumer_id
        if consumer_id not in participant.consumers:
            return self._sessions.error(session, "consumer_not_found", message)

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, message)
            if instead is not None:
                if isinstance(outcome, Unanswered) and session.participant is participant:
                    return [Tell(shard, close), *instead]
                return instead
            participant.consumers.pop(consumer_id, None)
            return [Send((session,), m.ConsumerClosed(consumer_id=consumer_id, reason="closed"))]

        room_id, user_id = participant.room_id, participant.user_id
        close = p.CloseConsumer(**UNSENT, room_id=room_id, user_id=user_id, consumer_id=consumer_id)
        return [Call(shard, close, then)]

    def _consumer_candidate(self, session: Session, participant: Participant, message: m.ConsumerIceCandidate) -> list[Effect]:
        if message.consumer_id not in participant.consumers:
            return self._sessions.error(session, "consumer_not_found", message)
        return self._check_candidate(session, message.candidate, message)

    def _check_candidate(self, session: Session, line: str, request: Request) -> list[Effect]:
        # RFC 8445 2.5: a lite agent makes no checks of its own, so the client's candidates are of no use to the shard.
        return [] if m.is_candidate(line) else self._sessions.error(session, "invalid_candidate", request)

    def _unexpected(self, session: Session, outcome: Outcome, request: Request) -> list[Effect]:
        log.error(
            "shard answered with a result of the wrong kind",
            **self._sessions.about(session),
            request=request_type(request),
            result=type(outcome).__name__,
        )
        return self._sessions.error(session, "shard_unavailable", request)

    # ------------------------------------------------------------------------------------------ what shards tell

    def _track_published(self, participant: Participant, event: p.TrackPublished) -> list[Effect]:
        participant.has_publisher = True
        participant.track_id = event.track_id
        return self._sessions.track_up(participant, event.track_id)

    def _publisher_closed(self, room: Room, participant: Participant, event: p.PublisherClosed) -> list[Effect]:
        participant.track_id = None
        room.drop_consumers_of(participant.user_id)
        notice = m.PublisherClosed(user_id=participant.user_id)
        if event.reason == "replaced":  # the client has asked for it and holds, or is about to get, the new one
            return [self._sessions.to_others(participant, notice)]
        participant.has_publisher = False
        return [self._sessions.to_room(room, notice)]

    def _publisher_failed(self, participant: Participant, event: p.PublisherFailed) -> list[Effect]:
        participant.has_publisher = False
        text = f"The connection for your microphone did not come up ({event.reason})."
        effects: list[Effect] = []
        for session in self._sessions.of([participant]):
            effects += self._sessions.error(session, "connection_failed", "publish_audio", text)
        return effects

    def _consumer_closed(self, participant: Participant, event: p.ConsumerClosed) -> list[Effect]:
        if participant.consumers.pop(event.consumer_id, None) is None:
            return []  # closed by this client, or never told to it
        closed = m.ConsumerClosed(consumer_id=event.consumer_id, reason=event.reason)
        return [Send(self._sessions.of([participant]), closed)]


def _why_not_heard(room: Room, publisher: p.UserId) -> str | None:
    """The error code for consuming ``publisher`` in ``room``; None if it can be consumed."""
    person = room.participants.get(publisher)
    if person is None:
        return "publisher_not_found"
    return None if person.track_id is not None else "not_publishing"
