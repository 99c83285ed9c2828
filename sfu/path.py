"""What there is between one who speaks and one who is to hear it, as :class:`sfu.protocol.PathFigures`. Reads, changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sfu.protocol import ConsumerFigures, PathFigures, PathTrack, TransportFigures, UserId
from sfu.transport.webrtc import State

if TYPE_CHECKING:
    from sfu.connection import Connection
    from sfu.consumer import Consumer
    from sfu.forwarding._native import Loop
    from sfu.publisher import Track
    from sfu.room import Participant, Room

_DTLS = {State.OFFERED: "waiting", State.CONNECTING: "waiting", State.VERIFYING: "verifying", State.CONNECTED: "connected"}
_CYCLE = 1 << 16


def figures(room: Room | None, publisher_id: UserId, listener_id: UserId, loop: Loop, now: float) -> PathFigures:
    """``room``: None where there is no such room. ``now``: seconds, monotonic."""
    people = room.participants if room is not None else {}
    speaker, listener = people.get(publisher_id), people.get(listener_id)
    publisher = speaker.publisher if speaker is not None else None
    track = next((track for track in publisher.tracks if track.active), None) if publisher is not None else None
    consumer = _consumer_of(listener, publisher_id) if listener is not None else None
    riding = _listening_connection(listener, consumer)
    return PathFigures(
        publisher_known=speaker is not None,
        listener_known=listener is not None,
        muted=speaker is not None and speaker.muted,
        publisher_transport=_transport(publisher.connection, loop, now) if publisher is not None else None,
        track=_track(track, loop) if track is not None else None,
        consumer=_consumer(consumer, loop, now) if consumer is not None else None,
        listener_transport=_transport(riding, loop, now) if riding is not None else None,
    )


def _consumer_of(listener: Participant, publisher_id: UserId) -> Consumer | None:
    """The consumer by which ``listener`` hears a person: the one on a connection of its own, or else that on the subscription."""
    for consumer in listener.consumers.values():
        if consumer.publisher_id == publisher_id:
            return consumer
    lines = listener.subscription.lines if listener.subscription is not None else []
    return next((consumer for consumer in lines if consumer is not None and consumer.publisher_id == publisher_id), None)


def _listening_connection(listener: Participant | None, consumer: Consumer | None) -> Connection | None:
    if consumer is not None:
        return consumer.connection
    return listener.subscription.connection if listener is not None and listener.subscription is not None else None


def _transport(connection: Connection, loop: Loop, now: float) -> TransportFigures:
    association = connection.association
    counters = loop.transport_counters(connection.slot)
    address = association.ice.address
    return TransportFigures(
        answered=connection.answer is not None,
        address=None if address is None else f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}",
        heard_s=now - association.ice.last_valid,
        dtls=_DTLS.get(association.state, association.state.value),
        cipher=association.describe() if association.state is State.CONNECTED else "",
        packets_in=counters.packets_in,
        packets_out=counters.packets_out,
        auth_failed=counters.auth_failed,
        replayed=counters.replayed,
    )


def _track(track: Track, loop: Loop) -> PathTrack:
    counters = loop.track_counters(track.index)
    last_ns = counters.last_packet_ns
    return PathTrack(
        announced=track.publisher.announced,
        packets=counters.packets,
        lost=counters.lost,
        jitter_ms=1000 * counters.jitter / track.codec.clock_rate,
        audio_level=counters.audio_level,
        silent_s=(time.monotonic_ns() - last_ns) / 1e9 if last_ns else None,  # the native loop reads the clock itself
    )


def _consumer(consumer: Consumer, loop: Loop, now: float) -> ConsumerFigures:
    reception, packets = consumer.reception, loop.consumer_counters(consumer.index).packets
    return ConsumerFigures(
        consumer_id=consumer.id,
        on_subscription=consumer.connection.subscription is not None,
        accepted=consumer.accepted,
        wanted=consumer.wanted,
        age_s=now - consumer.created_at,
        packets=packets,
        reports=reception.reports,
        report_s=now - reception.at if reception.reports else None,
        unreported=_unreported(consumer, packets) if reception.reports else None,
        fraction_lost=reception.fraction_lost,
        lost=reception.lost,
        jitter_ms=1000 * reception.jitter / consumer.track.codec.clock_rate,
        rtt_ms=1000 * reception.rtt_s if reception.rtt_s is not None else None,
        nacks=reception.nacks,
    )


def _unreported(consumer: Consumer, packets: int) -> int:
    """Packets newer than the one that was reported as the newest.

    By the low 16 bits, since a listener that came late counts the cycles from its own first packet; 11 minutes of voice go into them.
    """
    newest = consumer.first_sequence + packets - 1
    behind = (newest - consumer.reception.highest) % _CYCLE
    return behind if behind < _CYCLE // 2 else 0
