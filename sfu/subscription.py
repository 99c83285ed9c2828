"""Hearing a whole room on one connection: what is offered when, and what of it the listener has taken.

A :class:`Subscription` is a connection with one ``sendonly`` section for each track of the room. It follows the room by itself: what
changes is gathered for a moment and offered as the next revision, one at a time. A section whose track is gone is used again for the next
one, so there are never more sections than there were tracks at one time; one is there from the start, inactive where nobody publishes,
so that ICE and DTLS are done before somebody speaks.

    changed ── gathered ──▶ offered ── answered ──▶ settled ── track comes or goes ──▶ changed
                               └── no answer in time ──▶ closed, the client is told

Packets of a consumer flow once its section was answered: before that a browser does not know whose they are, and would play them as those
of whoever had the section before.
"""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sfu.connection import Connection
from sfu.consumer import Consumer
from sfu.errors import PeerError
from sfu.negotiation import Answer, Section, Source
from sfu.protocol import (
    MAX_MESSAGE_BYTES,
    ConsumerId,
    RoomId,
    ShardMessage,
    SubscribedTrack,
    SubscriptionClosed,
    SubscriptionOffer,
    TrackId,
    UserId,
)

if TYPE_CHECKING:
    from sfu.publisher import Track
    from sfu.room import Participant, ShardContext

_QUIET_SHARE: Final = 8
"""Changes are offered when none has come for this part of the longest time that they are gathered."""
_REMOVAL_S: Final = 2.0
"""A track that is gone is silent at once, so its empty section may wait for a track to come: one revision then tells both."""


_SECTION_BYTES: Final = 1024
_CANDIDATE_BYTES: Final = 128
"""What one section adds to a :class:`SubscriptionOffer` at most, beside its candidates, and each of these."""


class SubscriptionLimits(NamedTuple):
    """``sections``: most of one connection; ``gather_s``: longest time that changes wait for further ones; ``answer_s``: time to answer."""

    sections: int
    gather_s: float
    answer_s: float


def most_sections(addresses: int) -> int:
    """How many sections fit into one message to control, where each has so many candidates."""
    return MAX_MESSAGE_BYTES // (_SECTION_BYTES + addresses * _CANDIDATE_BYTES)


class Subscription:
    """One participant's connection to hear the room on.

    ``lines``: what each section carries now, by mid; ``offered``: what it carried in the last offer. ``offer``: the one that is not
    answered yet. ``waiting``: tracks that found no section, oldest first. ``alarm_at`` is kept by :class:`Alarms`.
    """

    def __init__(self, owner: Subscriptions, connection: Connection, limits: SubscriptionLimits) -> None:
        self.owner = owner
        self.connection = connection
        self.lines: list[Consumer | None] = [None]
        self.offered: list[Consumer | None] = []
        self.offer: SubscriptionOffer | None = None
        self.waiting: dict[TrackId, tuple[Track, UserId]] = {}
        self.restart = False
        self.alarm_at: float | None = None
        self._limits = limits
        self._offered_at = 0.0
        self._due_at: float | None = None
        self._added_at: float | None = None

    def free_line(self) -> int | None:
        """A section for one more track, or None where there are as many as may be."""
        for number, consumer in enumerate(self.lines):
            if consumer is None:
                return number
        return len(self.lines) if len(self.lines) < self._limits.sections else None

    def put(self, number: int, consumer: Consumer | None) -> None:
        self.lines[number : number + 1] = [consumer]

    def sections(self) -> list[Section]:
        cname = self.connection.cname
        return [
            Section(consumer.mid, "audio", "sendonly", consumer.track.codec, _source(consumer, cname))
            if consumer is not None
            else Section(str(number), "audio", "inactive")
            for number, consumer in enumerate(self.lines)
        ]

    def tracks(self) -> list[SubscribedTrack]:
        return [
            SubscribedTrack(mid=one.mid, consumer_id=one.id, user_id=one.publisher_id, track_id=one.track.id, kind=one.track.kind)
            for one in self.lines
            if one is not None
        ]

    def note_added(self, now: float) -> None:
        """Somebody is to be heard: soon, but together with who else comes in the same moment."""
        if self._added_at is None:
            self._added_at = now
        gather_s = self._limits.gather_s
        self._due_at = min(self._added_at + gather_s, now + gather_s / _QUIET_SHARE)

    def note_removed(self, now: float) -> None:
        if self._due_at is None:
            self._due_at = now + _REMOVAL_S

    def note_offered(self, offer: SubscriptionOffer, now: float) -> None:
        self.offer, self.offered, self._offered_at = offer, list(self.lines), now
        self._due_at = self._added_at = None
        self.restart = False

    def is_due(self, now: float) -> bool:
        """Whether the next revision is to be offered."""
        return self.offer is None and (self.restart or (self._due_at is not None and now >= self._due_at))

    def is_overdue(self, now: float) -> bool:
        """Whether the answer to a later offer is missing. The first one's is missed by the association."""
        return self.offer is not None and self.connection.answer is not None and now >= self._offered_at + self._limits.answer_s

    def deadline(self) -> float | None:
        if self.offer is not None:
            return self._offered_at + self._limits.answer_s if self.connection.answer is not None else None
        return self._due_at


def _source(consumer: Consumer, cname: str) -> Source:
    return Source(consumer.ssrc, cname, str(consumer.publisher_id), str(consumer.track.id))


class Alarms:
    """When which subscription wants to be looked at; one live alarm for each."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Subscription]] = []
        self._numbers = itertools.count()

    def schedule(self, subscription: Subscription) -> None:
        """A later deadline than the alarm that is set is found when that goes off."""
        deadline = subscription.deadline()
        if deadline is not None and (subscription.alarm_at is None or deadline < subscription.alarm_at):
            subscription.alarm_at = deadline
            heapq.heappush(self._heap, (deadline, next(self._numbers), subscription))

    def take_due(self, now: float) -> Subscription | None:
        while self._heap and self._heap[0][0] <= now:
            at, _, subscription = heapq.heappop(self._heap)
            if subscription.alarm_at == at:
                subscription.alarm_at = None
                return subscription
        return None

    def next_deadline(self) -> float | None:
        return self._heap[0][0] if self._heap else None


class Subscriptions:
    """Those of one room; the :class:`~sfu.connection.Owner` of their connections. ``participants`` are the room's own, by reference."""

    def __init__(self, room_id: RoomId, participants: dict[UserId, Participant], shard: ShardContext, log: Any) -> None:
        self.room_id = room_id
        self._participants = participants
        self._shard = shard
        self._log = log

    # ------------------------------------------------------------------------------------------------ what clients ask

    def subscribe(self, participant: Participant, now: float) -> None:
        """Make the connection and offer it with every track there is. Raises :class:`PeerError` ("shard_full")."""
        connection = self._shard.connections.open(self, participant.user_id, now)
        self.close(participant, "replaced", now)
        participant.subscription = connection.subscription = Subscription(self, connection, self._shard.subscription_limits)
        try:
            for track, publisher_id in self._tracks(participant):
                self._hear(participant, participant.subscription, track, publisher_id, now)
            self._offer(participant, participant.subscription, now)
        except BaseException:
            self.close(participant, "failed", now)
            raise

    def answer(self, participant: Participant, revision: int, sdp: str, now: float) -> None:
        subscription = self._subscription(participant)
        if revision < participant.revision:
            return  # there was a later offer, which the client answers as well
        if revision > participant.revision:
            raise PeerError("invalid_sdp", f"Revision {revision} was not offered.")
        if subscription.offer is None:
            raise PeerError("already_answered", f"Revision {revision} has been answered already.")
        connection = subscription.connection
        answer = self._shard.connections.read_answer(connection, sdp)
        if not all(section.accepted for section in answer.sections):
            # RFC 8829 5.3.1: a section with port 0 may only be used again under another mid.
            raise PeerError(
                "invalid_sdp", "The SDP answer is not usable: it rejects a media section; set_subscribed is for not hearing one."
            )
        subscription.offer = None
        self._take(subscription, answer)
        self._shard.connections.accept(connection, answer, now)
        if participant.subscription is subscription:
            self.look_at(subscription, now)

    def set_subscribed(self, participant: Participant, publisher_id: UserId, subscribed: bool) -> None:
        subscription = self._subscription(participant)
        if publisher_id not in self._participants or publisher_id == participant.user_id:
            raise PeerError("publisher_not_found", "That person is not in this room.")
        if subscribed:
            participant.unwanted.discard(publisher_id)
        else:
            participant.unwanted.add(publisher_id)
        for consumer in subscription.lines:
            if consumer is not None and consumer.publisher_id == publisher_id and consumer.want(self._shard.loop, subscribed):
                consumer.track.compile(self._shard.loop)

    def repeat_offer(self, participant: Participant) -> None:
        offer = self._subscription(participant).offer
        if offer is not None:
            self._shard.tell(offer)

    def restart_ice(self, participant: Participant, now: float) -> None:
        subscription = self._subscription(participant)
        subscription.restart = True
        self.look_at(subscription, now)

    def close(self, participant: Participant, reason: str, now: float) -> None:
        """Free the connection and all that rides on it. Harmless where there is none."""
        subscription, participant.subscription = participant.subscription, None
        if subscription is None:
            return
        connection, loop = subscription.connection, self._shard.loop
        for consumer in list(connection.consumers.values()):
            consumer.track.consumers.remove(consumer)
            consumer.track.compile(loop)
            consumer.free(loop, self._shard.consumers, self._log, reason, now)
        connection.subscription = None
        self._shard.connections.close(connection)

    # ------------------------------------------------------------------------------------------- what becomes of the room

    def track_published(self, track: Track, publisher_id: UserId, now: float) -> None:
        for participant in self._participants.values():
            subscription = participant.subscription
            if subscription is not None and participant.user_id != publisher_id:
                self._hear(participant, subscription, track, publisher_id, now)
                subscription.note_added(now)
                self._shard.alarms.schedule(subscription)

    def track_ended(self, track: Track) -> None:
        """Before its consumers are freed."""
        for participant in self._participants.values():
            if participant.subscription is not None:
                participant.subscription.waiting.pop(track.id, None)

    def consumer_freed(self, consumer: Consumer, now: float) -> None:
        """The track of a consumer that rode on one of these connections is gone."""
        subscription = consumer.connection.subscription
        if subscription is None:
            return
        subscription.put(int(consumer.mid), None)
        subscription.note_removed(now)
        if subscription.waiting:
            participant = self._participants[consumer.connection.user_id]
            self._hear(participant, subscription, *subscription.waiting.pop(next(iter(subscription.waiting))), now)
            subscription.note_added(now)
        self._shard.alarms.schedule(subscription)

    def look_at(self, subscription: Subscription, now: float) -> None:
        """Do what is due."""
        participant = self._participants.get(subscription.connection.user_id)
        if participant is None or participant.subscription is not subscription:
            return
        if subscription.is_overdue(now):
            self.connection_over(subscription.connection, "answer_timeout", now)
            return
        if subscription.is_due(now):
            self._offer(participant, subscription, now)
        self._shard.alarms.schedule(subscription)

    # --------------------------------------------------------------------------------- what connections tell (Owner)

    def connection_up(self, connection: Connection, now: float) -> None:
        self._log.info("connected", **connection.about, dtls=connection.association.describe())
        for consumer in connection.consumers.values():
            if consumer.flowing:
                consumer.track.compile(self._shard.loop)

    def connection_over(self, connection: Connection, reason: str, now: float) -> None:
        participant = self._participants[connection.user_id]
        if participant.subscription is not connection.subscription:
            self._shard.connections.close(connection)
            return
        self.close(participant, reason, now)
        self._event(SubscriptionClosed, user_id=connection.user_id, reason=reason)

    # ------------------------------------------------------------------------------------------------------- internals

    def _tracks(self, listener: Participant) -> Iterator[tuple[Track, UserId]]:
        """What there is to hear for ``listener``, in the order in which people came."""
        for participant in self._participants.values():
            publisher = participant.publisher
            if participant is not listener and publisher is not None and publisher.announced:
                yield from ((track, participant.user_id) for track in publisher.tracks if track.active)

    def _subscription(self, participant: Participant) -> Subscription:
        if participant.subscription is None:
            raise PeerError("not_subscribed", "There is no subscription: send subscribe first.")
        return participant.subscription

    def _hear(self, participant: Participant, subscription: Subscription, track: Track, publisher_id: UserId, now: float) -> None:
        """Give ``track`` a section; it waits for one where there is none, or the shard takes no further consumer."""
        number = subscription.free_line()
        try:
            index = self._shard.consumers.take() if number is not None else None
        except PeerError:
            index = None
        if number is None or index is None:
            subscription.waiting[track.id] = (track, publisher_id)
            self._log.warning("no section for a track", **subscription.connection.about, track=track.id, waiting=len(subscription.waiting))
            return
        connection = subscription.connection
        consumer = Consumer(ConsumerId(str(uuid.uuid4())), index, track, publisher_id, connection, str(number), now)
        consumer.wanted = publisher_id not in participant.unwanted
        consumer.add(self._shard.loop)
        connection.consumers[consumer.ssrc] = consumer
        track.consumers.append(consumer)
        subscription.put(number, consumer)

    def _offer(self, participant: Participant, subscription: Subscription, now: float) -> None:
        connections, connection = self._shard.connections, subscription.connection
        connection.sections = subscription.sections()
        new_transport = subscription.restart or not connection.offers
        offer = connections.restart(connection) if subscription.restart else connections.offer(connection)
        participant.revision += 1
        event = self._event(
            SubscriptionOffer,
            user_id=participant.user_id,
            revision=participant.revision,
            sdp=offer.sdp,
            tracks=subscription.tracks(),
            candidates=offer.candidates if new_transport else [],
        )
        assert isinstance(event, SubscriptionOffer)
        subscription.note_offered(event, now)
        self._shard.alarms.schedule(subscription)

    def _take(self, subscription: Subscription, answer: Answer) -> None:
        """Let flow what the answer takes. What has left its section since it was offered is not in ``lines`` any more."""
        loop = self._shard.loop
        for offered, now_there, section in zip(subscription.offered, subscription.lines, answer.sections, strict=False):
            if offered is None or offered is not now_there:
                continue
            flowed = offered.flowing
            if section.direction == "recvonly":
                offered.accept(loop, section)
            else:
                offered.accepted = False
            if offered.flowing != flowed:
                offered.track.compile(loop)

    def _event(self, message: Callable[..., ShardMessage], /, **fields: Any) -> ShardMessage:
        return self._shard.event(message, room_id=self.room_id, **fields)
