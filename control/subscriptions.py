"""The part of signaling that is about hearing a room on one connection, and about restarting ICE. Sans-IO.

The shard knows the tracks of a room and decides what is offered when; control passes offers and answers on, and keeps of them only which
consumer id means whom.
"""

from __future__ import annotations

from typing import TypedDict

from control import messages as m
from control.effects import Call, Effect, Outcome, Send, Session, Tell, Unanswered
from control.rooms import Participant
from control.sessions import UNSENT, Request, Sessions
from sfu import protocol as p

SubscriptionMessage = m.Subscribe | m.SubscriptionAnswer | m.SubscriptionIceCandidate | m.SetSubscribed | m.CloseSubscription


class _Who(TypedDict):
    room_id: p.RoomId
    user_id: p.UserId


class Subscriptions:
    """Handles the messages of :data:`SubscriptionMessage`, ``restart_ice``, and what shards tell of subscriptions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def receive(self, session: Session, participant: Participant, shard: p.ShardId, message: SubscriptionMessage) -> list[Effect]:
        if isinstance(message, m.Subscribe):
            return self._subscribe(session, participant, shard)
        if not participant.has_subscription:
            return self._sessions.error(session, "not_subscribed", message)
        match message:
            case m.SubscriptionAnswer():
                answer = p.AnswerSubscription(**UNSENT, **_who(participant), revision=message.revision, sdp=message.sdp)
                return self._pass_on(session, participant, shard, answer, message)
            case m.SetSubscribed():
                return self._set_subscribed(session, participant, shard, message)
            case m.CloseSubscription():
                return self._close(session, participant, shard)
            case m.SubscriptionIceCandidate():
                # RFC 8445 2.5: a lite agent makes no checks of its own, so the client's candidates are of no use to the shard.
                return [] if m.is_candidate(message.candidate) else self._sessions.error(session, "invalid_candidate", message)

    def restart_ice(self, session: Session, participant: Participant, shard: p.ShardId, message: m.RestartIce) -> list[Effect]:
        """New ICE credentials: the answer is the message with which the connection was offered at first."""
        missing = _why_not_restarted(participant, message)
        if missing is not None:
            return self._sessions.error(session, missing, message)

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, message)
            if instead is not None or not isinstance(outcome, p.Offer):
                return instead or []
            return [Send((session,), answer) for answer in _offered_again(participant, message, outcome)]

        restart = p.RestartIce(**UNSENT, **_who(participant), target=message.target, consumer_id=message.consumer_id)
        return [Call(shard, restart, then)]

    def close_consumer(self, session: Session, participant: Participant, shard: p.ShardId, message: m.CloseConsumer) -> list[Effect]:
        """``close_consumer`` with the id of a subscribed track: that person is not to be heard any more."""
        heard = participant.subscribed[message.consumer_id]
        unwanted = p.SetSubscribed(**UNSENT, **_who(participant), publisher_user_id=heard, subscribed=False)
        closed = m.ConsumerClosed(consumer_id=message.consumer_id, reason="closed")
        return self._pass_on(session, participant, shard, unwanted, message, [Send((session,), closed)])

    def resumed(self, participant: Participant, shard: p.ShardId | None) -> list[Effect]:
        """The client has a new socket: an offer that was said on the old one may not have reached it."""
        if shard is None or not participant.has_subscription:
            return []
        return [Tell(shard, p.RepeatOffer(**UNSENT, **_who(participant)))]

    # ------------------------------------------------------------------------------------------ what shards tell

    def offered(self, participant: Participant, event: p.SubscriptionOffer) -> list[Effect]:
        participant.has_subscription = True  # one that it had before may have ended while this one was asked for
        participant.subscribed = {track.consumer_id: track.user_id for track in event.tracks}
        offer = m.SubscriptionOffer(revision=event.revision, sdp=event.sdp, tracks=event.tracks)
        candidates = [m.SubscriptionIceCandidate(candidate=line) for line in event.candidates]
        said: list[m.ServerMessage] = [offer, *candidates]
        return [Send(self._sessions.of([participant]), message) for message in said]

    def closed(self, participant: Participant, event: p.SubscriptionClosed) -> list[Effect]:
        if not participant.has_subscription:
            return []  # closed by this client
        _forget(participant)
        return [Send(self._sessions.of([participant]), m.SubscriptionClosed(reason=event.reason))]

    # ------------------------------------------------------------------------------------------ internals

    def _subscribe(self, session: Session, participant: Participant, shard: p.ShardId) -> list[Effect]:
        participant.has_subscription = True  # the shard's offer comes before its answer

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, "subscribe")
            if instead is None:
                return []
            if session.participant is participant:
                _forget(participant)
                close = p.CloseSubscription(**UNSENT, **_who(participant))
                return [Tell(shard, close), *instead] if isinstance(outcome, Unanswered) else instead
            return instead

        return [Call(shard, p.Subscribe(**UNSENT, **_who(participant)), then)]

    def _set_subscribed(self, session: Session, participant: Participant, shard: p.ShardId, message: m.SetSubscribed) -> list[Effect]:
        heard = message.publisher_user_id
        if heard == participant.user_id or heard not in self._sessions.room_of(participant).participants:
            return self._sessions.error(session, "publisher_not_found", message)
        wish = p.SetSubscribed(**UNSENT, **_who(participant), publisher_user_id=heard, subscribed=message.subscribed)
        return self._pass_on(session, participant, shard, wish, message)

    def _close(self, session: Session, participant: Participant, shard: p.ShardId) -> list[Effect]:
        close = p.CloseSubscription(**UNSENT, **_who(participant))

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, "close_subscription")
            if instead is not None:
                repeat = isinstance(outcome, Unanswered) and session.participant is participant
                return [Tell(shard, close), *instead] if repeat else instead
            _forget(participant)
            return [Send((session,), m.SubscriptionClosed(reason="closed"))]

        return [Call(shard, close, then)]

    def _pass_on(
        self,
        session: Session,
        participant: Participant,
        shard: p.ShardId,
        command: p.Command,
        request: Request,
        done: list[Effect] | None = None,
    ) -> list[Effect]:
        """Send a command of which only a failure changes anything here; ``done``: what follows otherwise."""

        def then(outcome: Outcome, now: float) -> list[Effect]:
            instead = self._sessions.settled(session, participant, shard, outcome, request)
            return (done or []) if instead is None else instead

        return [Call(shard, command, then)]


def _who(participant: Participant) -> _Who:
    return {"room_id": participant.room_id, "user_id": participant.user_id}


def _forget(participant: Participant) -> None:
    participant.has_subscription = False
    participant.subscribed = {}


def _why_not_restarted(participant: Participant, message: m.RestartIce) -> str | None:
    """The error code for a connection that is not there; None where it is."""
    match message.target:
        case "publisher":
            return None if participant.has_publisher else "publisher_not_found"
        case "subscription":
            return None if participant.has_subscription else "not_subscribed"
        case "consumer":
            return None if message.consumer_id in participant.consumers else "consumer_not_found"


def _offered_again(participant: Participant, message: m.RestartIce, offer: p.Offer) -> list[m.ServerMessage]:
    if message.consumer_id is None:
        return [m.PublisherCreated(sdp=offer.sdp)]
    heard = participant.consumers.get(message.consumer_id)
    if heard is None:
        return []  # gone meanwhile, of which the client is told
    return [m.ConsumerCreated(consumer_id=message.consumer_id, publisher_user_id=heard, sdp=offer.sdp)]
