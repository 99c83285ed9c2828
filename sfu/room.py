"""One room: who is in it, who publishes, who consumes, and the forwarding tables that follow from that.

Every change ends in the native loop: a track's list holds exactly the consumers whose transport is connected. The order of
freeing matters and is kept here: first out of every list, then the consumer, then the track, then the transport.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import structlog

from sfu.connection import Connection, Connections
from sfu.consumer import Consumer
from sfu.errors import PeerError
from sfu.indices import Indices
from sfu.negotiation import Answer, Section, Source
from sfu.protocol import (
    ConsumerClosed,
    ConsumerId,
    Offer,
    PublisherClosed,
    PublisherFailed,
    RoomId,
    ShardId,
    ShardMessage,
    TrackId,
    TrackPublished,
    UserId,
)
from sfu.publisher import Publisher, Track
from sfu.subscription import Alarms, Subscription, SubscriptionLimits, Subscriptions

if TYPE_CHECKING:
    from sfu.forwarding._native import Loop

log = structlog.get_logger("sfu.room")


class Participant:
    """One person in the room.

    ``consumers``: what this person hears on connections of their own; ``subscription``: the connection for the whole room, ``revision``:
    of its last offer, ``unwanted``: who is not to be heard on it; ``username``, ``session``: kept for control.
    """

    def __init__(self, user_id: UserId, now: float) -> None:
        self.user_id = user_id
        self.username = ""
        self.session = b""
        self.muted = False
        self.publisher: Publisher | None = None
        self.consumers: dict[ConsumerId, Consumer] = {}
        self.subscription: Subscription | None = None
        self.revision = 0
        self.unwanted: set[UserId] = set()
        self.joined_at = now

    @property
    def track_id(self) -> TrackId | None:
        """Of its track that can be consumed."""
        if self.publisher is None or not self.publisher.announced:
            return None
        return next((track.id for track in self.publisher.tracks if track.active), None)


class ShardContext:
    """What all rooms of a shard share: the native loop, its tables and the way to tell control something."""

    def __init__(
        self,
        connections: Connections,
        tracks: Indices,
        consumers: Indices,
        shard_id: ShardId,
        instance: str,
        tell: Callable[[ShardMessage], None],
        subscription_limits: SubscriptionLimits,
    ) -> None:
        self.connections = connections
        self.tracks = tracks
        self.consumers = consumers
        self.tell = tell
        self.alarms = Alarms()
        self.subscription_limits = subscription_limits
        self._shard_id = shard_id
        self._instance = instance

    @property
    def loop(self) -> Loop:
        return self.connections.loop

    def event(self, message: Callable[..., ShardMessage], /, **fields: Any) -> ShardMessage:
        """Tell control: ``message`` is the class of the event, ``fields`` are its fields beside those of the shard."""
        event = message(shard_id=self._shard_id, instance=self._instance, **fields)
        self.tell(event)
        return event


class Room:
    """Participants, publishers and consumers of one room. Raises :class:`PeerError` with the codes that sfu/protocol.py documents."""

    def __init__(self, room_id: RoomId, shard: ShardContext) -> None:
        self.room_id = room_id
        self.participants: dict[UserId, Participant] = {}
        self._shard = shard
        self._log = log.bind(room=room_id)
        self._subscriptions = Subscriptions(room_id, self.participants, shard, self._log)

    @property
    def tracks(self) -> int:
        """Tracks that the native loop knows."""
        publishers = [participant.publisher for participant in self.participants.values() if participant.publisher is not None]
        return sum(track.active for publisher in publishers for track in publisher.tracks)

    # ------------------------------------------------------------------------------------------------- participants

    def join(self, user_id: UserId, username: str, session: bytes, now: float) -> None:
        if user_id not in self.participants:
            self.participants[user_id] = Participant(user_id, now)
            self._log.info("joined", user=user_id)
        participant = self.participants[user_id]
        participant.username, participant.session = username, session

    def leave(self, user_id: UserId, now: float) -> None:
        """Free all that ``user_id`` held. Others learn of it from control, so there is no :class:`PublisherClosed`."""
        participant = self.participants.get(user_id)
        if participant is None:
            return
        if participant.publisher is not None:
            self._end_publisher(participant, "left", now, tell=False)
        for consumer in list(participant.consumers.values()):
            self._end_consumer(consumer, "left", now)
        self._subscriptions.close(participant, "left", now)
        del self.participants[user_id]
        for other in self.participants.values():
            other.unwanted.discard(user_id)
        self._log.info("left", user=user_id, seconds=round(now - participant.joined_at, 1))

    def close(self, reason: str, now: float) -> None:
        """Free everything. Control is told of each published track that ends by it."""
        for participant in list(self.participants.values()):
            if participant.publisher is not None:
                self._end_publisher(participant, reason, now, tell=True)
        for user_id in list(self.participants):
            self.leave(user_id, now)

    def set_muted(self, user_id: UserId, muted: bool) -> None:
        participant = self._participant(user_id)
        participant.muted = muted
        if participant.publisher is not None:
            for track in participant.publisher.tracks:
                if track.active:
                    self._shard.loop.set_paused(track.index, muted)

    # ----------------------------------------------------------------------------------------------------- publishers

    def create_publisher(self, user_id: UserId, now: float) -> Offer:
        participant = self._participant(user_id)
        with self._opened(self._shard.tracks, user_id, now) as (index, connection):
            section = Section("0", "audio", "recvonly")
            connection.sections.append(section)
            offer = self._shard.connections.offer(connection)
            if participant.publisher is not None:
                self._end_publisher(participant, "replaced", now, tell=True)
            publisher = Publisher(connection, now)
            publisher.tracks.append(Track(publisher, index, section))
            participant.publisher = publisher
        return offer

    def answer_publisher(self, user_id: UserId, sdp: str, now: float) -> None:
        participant = self._participant(user_id)
        publisher = participant.publisher
        if publisher is None:
            raise PeerError("publisher_not_found", "There is no publisher connection to answer.")
        connection = publisher.connection
        answer = self._read_answer(connection, sdp, "sendonly")
        if connection.answer is not None:
            self._shard.connections.accept(connection, answer, now)  # only ICE was restarted
            return
        sections = {section.mid: section for section in answer.sections if section.direction == "sendonly"}
        for track in publisher.tracks:
            if track.mid in sections:
                track.start(self._shard.loop, sections[track.mid], participant.muted)
        self._shard.connections.accept(connection, answer, now)

    def close_publisher(self, user_id: UserId, now: float) -> None:
        participant = self.participants.get(user_id)
        if participant is not None and participant.publisher is not None:
            self._end_publisher(participant, "closed", now, tell=participant.publisher.announced)

    # ------------------------------------------------------------------------------------------------------ consumers

    def create_consumer(self, user_id: UserId, publisher_id: UserId, consumer_id: ConsumerId, now: float) -> Offer:
        participant = self._participant(user_id)
        track = self._published_track(publisher_id)
        with self._opened(self._shard.consumers, user_id, now) as (index, connection):
            consumer = Consumer(consumer_id, index, track, publisher_id, connection, "0", now)
            source = Source(consumer.ssrc, connection.cname, str(publisher_id), str(track.id))
            connection.sections.append(Section(consumer.mid, "audio", "sendonly", track.codec, source))
            offer = self._shard.connections.offer(connection)
            self._replace_consumer(participant, publisher_id, consumer_id, now)
            consumer.add(self._shard.loop)
            connection.consumers[consumer.ssrc] = consumer
            participant.consumers[consumer_id] = consumer
            track.consumers.append(consumer)
        return offer

    def answer_consumer(self, user_id: UserId, consumer_id: ConsumerId, sdp: str, now: float) -> None:
        consumer = self._participant(user_id).consumers.get(consumer_id)
        if consumer is None:
            raise PeerError("consumer_not_found", "There is no such consumer to answer.")
        connection = consumer.connection
        answer = self._read_answer(connection, sdp, "recvonly")
        if connection.answer is not None:
            self._shard.connections.accept(connection, answer, now)  # only ICE was restarted
            return
        sections = {section.mid: section for section in answer.sections if section.direction == "recvonly"}
        for riding in connection.consumers.values():
            if riding.mid in sections:
                riding.accept(self._shard.loop, sections[riding.mid])
        self._shard.connections.accept(connection, answer, now)

    def close_consumer(self, user_id: UserId, consumer_id: ConsumerId, now: float) -> None:
        participant = self.participants.get(user_id)
        consumer = participant.consumers.get(consumer_id) if participant is not None else None
        if consumer is not None:
            self._end_consumer(consumer, "closed", now)

    # ---------------------------------------------------------------------------------- one subscriber connection, ICE

    def subscribe(self, user_id: UserId, now: float) -> None:
        self._subscriptions.subscribe(self._participant(user_id), now)

    def answer_subscription(self, user_id: UserId, revision: int, sdp: str, now: float) -> None:
        self._subscriptions.answer(self._participant(user_id), revision, sdp, now)

    def set_subscribed(self, user_id: UserId, publisher_id: UserId, subscribed: bool) -> None:
        self._subscriptions.set_subscribed(self._participant(user_id), publisher_id, subscribed)

    def repeat_offer(self, user_id: UserId) -> None:
        self._subscriptions.repeat_offer(self._participant(user_id))

    def close_subscription(self, user_id: UserId, now: float) -> None:
        participant = self.participants.get(user_id)
        if participant is not None:
            self._subscriptions.close(participant, "closed", now)

    def restart_ice(self, user_id: UserId, target: str, consumer_id: ConsumerId | None, now: float) -> Offer | None:
        """New ICE credentials for one connection; the offer, unless it comes as the next revision of the subscription."""
        participant = self._participant(user_id)
        if target == "subscription":
            self._subscriptions.restart_ice(participant, now)
            return None
        if target == "publisher":
            if participant.publisher is None:
                raise PeerError("publisher_not_found", "There is no publisher connection to restart.")
            return self._shard.connections.restart(participant.publisher.connection)
        consumer = participant.consumers.get(consumer_id) if consumer_id is not None else None
        if consumer is None:
            raise PeerError("consumer_not_found", "There is no such consumer to restart.")
        return self._shard.connections.restart(consumer.connection)

    # --------------------------------------------------------------------------------- what connections tell (Owner)

    def connection_up(self, connection: Connection, now: float) -> None:
        self._log.info("connected", **connection.about, dtls=connection.association.describe())
        publisher = connection.publisher
        if publisher is not None:
            publisher.announced = True
            for track in publisher.tracks:
                if track.active:
                    self._event(TrackPublished, user_id=connection.user_id, track_id=track.id, kind=track.kind)
                    self._subscriptions.track_published(track, connection.user_id, now)
        for track in {consumer.track for consumer in connection.consumers.values()}:
            track.compile(self._shard.loop)

    def connection_over(self, connection: Connection, reason: str, now: float) -> None:
        participant = self.participants[connection.user_id]
        if connection.publisher is not None:
            self._end_publisher(participant, reason, now, tell=True)
        for consumer in list(connection.consumers.values()):
            self._end_consumer(consumer, reason, now)
            self._event(ConsumerClosed, user_id=connection.user_id, consumer_id=consumer.id, reason=reason)

    # ------------------------------------------------------------------------------------------------------- internals

    @contextlib.contextmanager
    def _opened(self, indices: Indices, user_id: UserId, now: float) -> Iterator[tuple[int, Connection]]:
        """One of ``indices`` and a new connection for what the body makes of them. Both are given back if that fails."""
        index = indices.take()
        try:
            connection = self._shard.connections.open(self, user_id, now)
            try:
                yield index, connection
            except BaseException:
                self._shard.connections.close(connection)
                raise
        except BaseException:
            indices.give_back(index)
            raise

    def _participant(self, user_id: UserId) -> Participant:
        participant = self.participants.get(user_id)
        if participant is None:
            raise PeerError("not_in_room", "You are not in this room.")
        return participant

    def _published_track(self, publisher_id: UserId) -> Track:
        participant = self.participants.get(publisher_id)
        if participant is None:
            raise PeerError("publisher_not_found", "That person is not in this room.")
        publisher = participant.publisher
        track = next((track for track in publisher.tracks if track.active), None) if publisher is not None and publisher.announced else None
        if track is None:
            raise PeerError("not_publishing", "That person is not publishing.")
        return track

    def _read_answer(self, connection: Connection, sdp: str, direction: str) -> Answer:
        if connection.answer is not None and not connection.restarting:
            raise PeerError("already_answered", "This connection has been answered already.")
        answer = self._shard.connections.read_answer(connection, sdp)
        if not any(section.direction == direction for section in answer.sections):
            raise PeerError("invalid_sdp", f"The SDP answer is not usable: no media section is {direction}.")
        return answer

    def _replace_consumer(self, participant: Participant, publisher_id: UserId, consumer_id: ConsumerId, now: float) -> None:
        for old in list(participant.consumers.values()):
            if old.publisher_id == publisher_id or old.id == consumer_id:
                self._end_consumer(old, "replaced", now)
                self._event(ConsumerClosed, user_id=participant.user_id, consumer_id=old.id, reason="replaced")

    def _end_publisher(self, participant: Participant, reason: str, now: float, *, tell: bool) -> None:
        """Free a publisher, its tracks and every consumer of those. ``tell``: control does not know by itself."""
        publisher = participant.publisher
        assert publisher is not None
        participant.publisher = None
        for track in publisher.tracks:
            self._subscriptions.track_ended(track)
            consumers, track.consumers = track.consumers, []
            track.compile(self._shard.loop)
            for consumer in consumers:
                self._free_consumer(consumer, "publisher_closed", now)
            self._log_publisher_end(participant, publisher, track, reason, now)
            if track.active:
                self._shard.loop.remove_track(track.index)
            self._shard.tracks.give_back(track.index)
        publisher.connection.publisher = None
        self._shard.connections.close(publisher.connection)
        if not tell:
            return
        if publisher.announced:
            self._event(PublisherClosed, user_id=participant.user_id, reason=reason)
        elif reason not in ("replaced", "reset", "closed"):
            self._event(PublisherFailed, user_id=participant.user_id, reason=reason)

    def _end_consumer(self, consumer: Consumer, reason: str, now: float) -> None:
        """Take one consumer out of its track's list and free it."""
        consumer.track.consumers.remove(consumer)
        consumer.track.compile(self._shard.loop)
        self._free_consumer(consumer, reason, now)

    def _free_consumer(self, consumer: Consumer, reason: str, now: float) -> None:
        """Free a consumer that is in no list any more, and its transport if nothing else rides on that."""
        connection = consumer.connection
        consumer.free(self._shard.loop, self._shard.consumers, self._log, reason, now)
        if connection.subscription is not None:
            self._subscriptions.consumer_freed(consumer, now)
            return
        del self.participants[connection.user_id].consumers[consumer.id]
        if not connection.consumers and connection.publisher is None:
            self._shard.connections.close(connection)

    def _log_publisher_end(self, participant: Participant, publisher: Publisher, track: Track, reason: str, now: float) -> None:
        counters = self._shard.loop.track_counters(track.index) if track.active else None
        self._log.info(
            "publisher closed",
            **publisher.connection.about,
            track=track.id,
            reason=reason,
            seconds=round(now - publisher.created_at, 1),
            packets=counters.packets if counters else 0,
            lost=counters.lost if counters else 0,
        )

    def _event(self, message: Callable[..., ShardMessage], /, **fields: Any) -> None:
        self._shard.event(message, room_id=self.room_id, **fields)
