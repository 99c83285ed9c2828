"""The shard itself: carries out control's commands and hands the native loop's events to whom they concern.

Sans-IO but for the native loop: commands, events and ``now`` come in by argument (``now``: seconds, monotonic), what control shall
hear goes out through ``tell``. sfu/process.py feeds it from sockets and clocks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, assert_never

import structlog

from sfu import protocol as p
from sfu.account import entries, messages
from sfu.budget import TokenBucket
from sfu.config import ShardConfig
from sfu.connection import Connection, Connections
from sfu.errors import PeerError
from sfu.feedback import Nack, read_rtcp
from sfu.figures import room_figures
from sfu.forwarding._native import DtlsReceived, FirstPacket, RtcpReceived, StunReceived, UnknownSsrc
from sfu.indices import Indices
from sfu.metrics import Metrics
from sfu.path import figures
from sfu.room import Room, ShardContext
from sfu.subscription import Subscription, SubscriptionLimits, most_sections
from sfu.transport.dtls import DtlsIdentity
from sfu.transport.webrtc import Limits

if TYPE_CHECKING:
    from sfu.forwarding._native import Event, Loop

log = structlog.get_logger("sfu.shard")

_TRACEBACKS_AT_ONCE: Final = 5
_TRACEBACKS_PER_S: Final = 5 / 60
"""A peer that has found a defect of ours must not fill the log with it, nor the signaling thread with writing that."""


class Shard:
    """Rooms and connections of one shard process.

    ``addresses`` and ``port`` are those put into offers. ``stopping`` becomes True with :class:`~sfu.protocol.Shutdown`.
    """

    def __init__(
        self,
        config: ShardConfig,
        loop: Loop,
        addresses: tuple[str, ...],
        port: int,
        tell: Callable[[p.ShardMessage], None],
        metrics: Metrics,
    ) -> None:
        self.instance = secrets.token_hex(8)
        self.shard_id = p.ShardId(config.shard_id)
        self.metrics = metrics
        self.stopping = False
        self.rooms: dict[p.RoomId, Room] = {}
        limits = Limits(config.handshake_timeout_s, config.answer_timeout_s, config.consent_timeout_s)
        self.connections = Connections(loop, DtlsIdentity(), limits, metrics, addresses, port, config.max_transports)
        self._loop = loop
        self._tracebacks = TokenBucket(_TRACEBACKS_PER_S, _TRACEBACKS_AT_ONCE)
        self._tracks = Indices(config.max_tracks, "tracks")
        self._consumers = Indices(config.max_consumers, "consumers")
        sections = min(config.max_sections, most_sections(len(addresses)))
        if sections < config.max_sections:
            log.warning("offers of max_sections would be too long for control", max_sections=config.max_sections, used=sections)
        subscribing = SubscriptionLimits(sections, config.gather_ms / 1000, config.answer_timeout_s)
        self._context = ShardContext(self.connections, self._tracks, self._consumers, self.shard_id, self.instance, tell, subscribing)

    # ------------------------------------------------------------------------------------------------------- commands

    def execute(self, command: p.Command, now: float) -> p.Reply | p.Failed:
        """Carry out one command; its answer. Never raises."""
        try:
            result = self._execute(command, now)
        except PeerError as error:
            return p.Failed(request_id=command.request_id, code=error.code, message=error.message)
        except Exception:
            # One command must not end the calls of everybody else.
            self._note_fault("command failed", now, command=type(command).__name__, **p.about(command))
            return p.Failed(request_id=command.request_id, code="internal_error", message="The media server failed at this request.")
        return p.Reply(request_id=command.request_id, result=result)

    def _execute(self, command: p.Command, now: float) -> p.Result:
        match command:
            case p.JoinRoom():
                self._open_room(command.room_id).join(command.user_id, command.username, command.session, now)
            case p.LeaveRoom():
                self._leave(command.room_id, command.user_id, now)
            case p.CreatePublisher():
                return self._room(command.room_id).create_publisher(command.user_id, now)
            case p.AnswerPublisher():
                self._room(command.room_id).answer_publisher(command.user_id, command.sdp, now)
            case p.ClosePublisher():
                if command.room_id in self.rooms:
                    self.rooms[command.room_id].close_publisher(command.user_id, now)
            case p.CreateConsumer():
                room = self._room(command.room_id)
                return room.create_consumer(command.user_id, command.publisher_user_id, command.consumer_id, now)
            case p.AnswerConsumer():
                self._room(command.room_id).answer_consumer(command.user_id, command.consumer_id, command.sdp, now)
            case p.CloseConsumer():
                if command.room_id in self.rooms:
                    self.rooms[command.room_id].close_consumer(command.user_id, command.consumer_id, now)
            case p.Subscribe():
                self._room(command.room_id).subscribe(command.user_id, now)
            case p.AnswerSubscription():
                self._room(command.room_id).answer_subscription(command.user_id, command.revision, command.sdp, now)
            case p.SetSubscribed():
                self._room(command.room_id).set_subscribed(command.user_id, command.publisher_user_id, command.subscribed)
            case p.CloseSubscription():
                if command.room_id in self.rooms:
                    self.rooms[command.room_id].close_subscription(command.user_id, now)
            case p.RepeatOffer():
                self._room(command.room_id).repeat_offer(command.user_id)
            case p.RestartIce():
                room = self._room(command.room_id)
                return room.restart_ice(command.user_id, command.target, command.consumer_id, now) or p.Done()
            case p.SetMuted():
                self._room(command.room_id).set_muted(command.user_id, command.muted)
            case p.InspectPath():
                room_there = self.rooms.get(command.room_id)
                return figures(room_there, command.publisher_user_id, command.user_id, self._loop, now)
            case p.ReportState():
                return self._report(command.request_id)
            case p.MeasureRoom():
                return room_figures(self._room(command.room_id), self._loop, now)
            case p.Reset():
                self.close_rooms("reset", now)
            case p.Shutdown():
                self.stopping = True
            case _:
                assert_never(command)
        return p.Done()

    def close_rooms(self, reason: str, now: float) -> None:
        """Free everything; every peer gets a close_notify."""
        for room in list(self.rooms.values()):
            room.close(reason, now)
        self.rooms.clear()

    def _report(self, request_id: p.RequestId) -> p.Reported:
        """Tell control who and what is in the rooms."""
        states = list(entries(self.rooms.values()))
        for part in messages(states):
            self._context.event(p.State, request_id=request_id, participants=part)
        return p.Reported(entries=len(states))

    def _open_room(self, room_id: p.RoomId) -> Room:
        if room_id not in self.rooms:
            self.rooms[room_id] = Room(room_id, self._context)
        return self.rooms[room_id]

    def _leave(self, room_id: p.RoomId, user_id: p.UserId, now: float) -> None:
        room = self.rooms.get(room_id)
        if room is not None:
            room.leave(user_id, now)
            if not room.participants:
                del self.rooms[room_id]

    def _room(self, room_id: p.RoomId) -> Room:
        room = self.rooms.get(room_id)
        if room is None:
            raise PeerError("not_in_room", "You are not in this room.")
        return room

    # --------------------------------------------------------------------------------------------------------- events

    def handle(self, event: Event, now: float, unix_s: float) -> None:
        """Take one event of the native loop. Never raises: what fails costs the peer it concerns, and nobody else."""
        try:
            self._handle(event, now, unix_s)
        except Exception:
            connection = None if isinstance(event, StunReceived) else self.connections.get(event.slot, event.generation)
            about = connection.about if connection is not None else {}
            self._note_fault("event failed", now, event_kind=type(event).__name__, **about)
            self._give_up(connection, now)

    def run_timers(self, now: float) -> float | None:
        """Do what is due; returns when the next thing is."""
        while (connection := self.connections.take_due(now)) is not None:
            try:
                self.connections.fire(connection, now)
            except Exception:
                self._note_fault("timer failed", now, **connection.about)
                self._give_up(connection, now)
        while (subscription := self._context.alarms.take_due(now)) is not None:
            self._look_at(subscription, now)
        deadlines = (self.connections.next_deadline(), self._context.alarms.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _look_at(self, subscription: Subscription, now: float) -> None:
        try:
            subscription.owner.look_at(subscription, now)
        except Exception:
            self._note_fault("renegotiation failed", now, **subscription.connection.about)
            self._give_up(subscription.connection, now)

    def _handle(self, event: Event, now: float, unix_s: float) -> None:
        match event:
            case StunReceived():
                self.connections.stun_received(event.address, event.data, now)
            case DtlsReceived():
                self.connections.dtls_received(event.slot, event.generation, event.data, now)
            case RtcpReceived():
                self._rtcp_received(event, now, unix_s)
            case UnknownSsrc():
                self._unknown_ssrc(event)
            case FirstPacket():
                connection = self.connections.get(event.slot, event.generation)
                log.debug("first packet", track=event.track, **(connection.about if connection is not None else {}))
            case _:
                assert_never(event)

    def _rtcp_received(self, event: RtcpReceived, now: float, unix_s: float) -> None:
        connection = self.connections.get(event.slot, event.generation)
        if connection is None:
            self.metrics.drop("rtcp_unknown")
            return
        if not connection.may_report(len(event.data), now):
            self.metrics.drop("rtcp_limited")
            return
        reports = read_rtcp(event.data, unix_s)
        if reports is None:
            self.metrics.drop("rtcp_malformed")
            return
        for report in reports:
            consumer = connection.consumers.get(report.ssrc)
            if consumer is not None:
                consumer.reception.note(report, now)
                if isinstance(report, Nack):
                    self.metrics.drop("nack_limited", report.further + consumer.retransmit(self._loop, report.sequences, now))

    def _unknown_ssrc(self, event: UnknownSsrc) -> None:
        connection = self.connections.get(event.slot, event.generation)
        publisher = connection.publisher if connection is not None else None
        track = publisher.track_of(event.payload_type, event.mid) if publisher is not None else None
        if track is None:
            self.metrics.drop("ssrc_unmatched")
        else:
            track.claim(self._loop, event.ssrc)

    def _give_up(self, connection: Connection | None, now: float) -> None:
        """Close a connection whose handling failed."""
        if connection is None:
            return
        try:
            connection.owner.connection_over(connection, "internal_error", now)
        except Exception:
            self._note_fault("closing a failed connection failed", now, **connection.about)

    def _note_fault(self, what: str, now: float, **context: Any) -> None:
        """Count the exception that is being handled. The log shows the first few and what they have come to."""
        self.metrics.drop("internal_error")
        if self._tracebacks.spend(1, now):
            log.exception(what, internal_errors=self.metrics.dropped("internal_error"), **context)

    # -------------------------------------------------------------------------------------------------------- numbers

    def tables(self) -> p.ShardTables:
        native = self._loop.tables()
        return p.ShardTables(
            rooms=len(self.rooms),
            participants=sum(len(room.participants) for room in self.rooms.values()),
            transports=len(self.connections),
            tracks=sum(room.tracks for room in self.rooms.values()),
            consumers=len(self._consumers),
            native_transports=native.transports,
            native_tracks=native.tracks,
            native_consumers=native.consumers,
            native_addresses=native.addresses,
        )

    def heartbeat(self) -> p.Heartbeat:
        return self.metrics.heartbeat(self.shard_id, self.instance, self.tables(), self._loop)
