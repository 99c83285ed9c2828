"""Why can't A hear B? From figures of a path, hop by hop, to a verdict. Sans-IO: figures go in, hops and a sentence come out.

A *path* is what a packet goes through from the microphone of one person to the ears of another, in this order (:data:`HOPS`). Each hop is
``ok``, ``failed`` or ``unknown``; the verdict names the first that failed. Counters only say something as rates, so there are two looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from sfu.protocol import ConsumerFigures, PathFigures, PathTrack, RoomId, ShardId, TransportFigures, UserId

HOPS: Final = (
    "signaling",
    "shard",
    "ice",
    "dtls",
    "packets_in",
    "level",
    "track",
    "consumer",
    "listener_transport",
    "packets_out",
    "reception",
)

STUN_LATE_S: Final = 12.0
"""Browsers check a pair every 2.5 s (RFC 7675 5.1: 4 to 6 s are usual); after 30 s the shard gives the transport up."""
REPORT_LATE_S: Final = 12.0
"""Browsers report on audio every 5 s or more often (RFC 3550 6.2: with a random factor of up to 1.5)."""
BEHIND_S: Final = 3.0
"""The newest packet that a listener has is this much older than its report: nothing has arrived for so long."""
HEAVY_LOSS: Final = 0.2
"""Of the packets between two reports. Opus hides a tenth; a fifth is heard as gaps."""
SILENCE_DBOV: Final = 127

State = Literal["ok", "failed", "unknown"]
Value = str | float | int | bool | None


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """``says``: a sentence for people; ``figures``: what it is based on, totals and ages in seconds, rates per second."""

    name: str
    state: State
    says: str
    figures: dict[str, Value] = {}


class PathReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every hop from ``from_name`` to ``to_name``. ``verdict``: one sentence; ``failed_hop``: the first that failed, or null."""

    room_id: RoomId
    from_user_id: UserId
    from_name: str
    to_user_id: UserId
    to_name: str
    verdict: str
    failed_hop: str | None
    hops: list[Hop]


@dataclass(frozen=True, slots=True)
class Signaling:
    """How somebody stands with control. ``attached``: has a WebSocket; ``lost_s``: else, since when it has none, None if unknown."""

    user_id: UserId
    name: str
    attached: bool
    lost_s: float | None = None


@dataclass(frozen=True, slots=True)
class Looks:
    """What is known of a path. ``first`` and ``second`` are ``apart_s`` from each other; None: the shard did not answer.

    ``shard``: None where the room waits for one.
    """

    room_id: RoomId
    speaker: Signaling
    listener: Signaling
    shard: ShardId | None
    first: PathFigures | None
    second: PathFigures | None
    apart_s: float


def report(looks: Looks) -> PathReport:
    """The verdict."""
    hops = [Hop(name=name, **_JUDGES[name](looks)) for name in HOPS]
    failed = next((hop for hop in hops if hop.state == "failed"), None)
    return PathReport(
        room_id=looks.room_id,
        from_user_id=looks.speaker.user_id,
        from_name=looks.speaker.name,
        to_user_id=looks.listener.user_id,
        to_name=looks.listener.name,
        verdict=_verdict(looks, hops, failed),
        failed_hop=failed.name if failed is not None else None,
        hops=hops,
    )


def _verdict(looks: Looks, hops: list[Hop], failed: Hop | None) -> str:
    speaker, listener = looks.speaker.name, looks.listener.name
    if failed is not None:
        later = [hop for hop in hops[hops.index(failed) + 1 :] if hop.state != "ok"]
        all_the_same = f" Still, {listener} hears {speaker}." if failed.name == "signaling" and not later else ""
        return f"{failed.says}{all_the_same}"
    unsure = next((hop for hop in hops if hop.state == "unknown"), None)
    if unsure is not None:
        return f"Nothing is known to fail between {speaker} and {listener}, but not everything is known: {unsure.says}"
    return f"{listener} receives {speaker}: every hop is in order."


# ------------------------------------------------------------------------------------------------ the hops, in their order

Judged = dict[str, Any]


def _judged(state: State, says: str, **figures: Value) -> Judged:
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    return {"state": state, "says": says, "figures": rounded}


def _unknown(says: str) -> Judged:
    return _judged("unknown", says)


def _signaling(looks: Looks) -> Judged:
    speaker = looks.speaker
    if speaker.attached:
        return _judged("ok", f"{speaker.name}'s WebSocket is open.")
    since = "" if speaker.lost_s is None else f" {speaker.lost_s:.0f} s ago"
    return _judged("failed", f"{speaker.name}'s WebSocket was lost{since} and has not come back.", lost_s=speaker.lost_s)


def _shard(looks: Looks) -> Judged:
    if looks.shard is None:
        return _judged("failed", "The room has no media server at the moment.")
    now = looks.second
    if now is None:
        return _judged("failed", f"Media server {looks.shard} does not answer.", shard_id=looks.shard)
    for person, known in ((looks.speaker, now.publisher_known), (looks.listener, now.listener_known)):
        if not known:
            return _judged("failed", f"Media server {looks.shard} does not know {person.name}.", shard_id=looks.shard)
    return _judged("ok", f"Media server {looks.shard} has both in the room.", shard_id=looks.shard)


def _ice(looks: Looks) -> Judged:
    if looks.second is None:
        return _unknown("The media server says nothing.")
    transport = looks.second.publisher_transport
    if transport is None:
        return _judged("failed", f"{looks.speaker.name} has no connection to send on: it does not publish.")
    return _reached(looks.speaker.name, "to send on", transport)


def _reached(name: str, purpose: str, transport: TransportFigures) -> Judged:
    figures: dict[str, Value] = {"answered": transport.answered, "address": transport.address, "heard_s": transport.heard_s}
    if not transport.answered:
        return _judged("failed", f"{name}'s client has not answered the offer of its connection {purpose}.", **figures)
    if transport.address is None:
        return _judged(
            "failed", f"No ICE check of {name}'s connection {purpose} has come through: a firewall, or a wrong address.", **figures
        )
    if transport.heard_s > STUN_LATE_S:
        return _judged("failed", f"{name}'s connection {purpose} has sent no ICE check for {transport.heard_s:.0f} s.", **figures)
    return _judged("ok", f"{name} is at {transport.address}.", **figures)


def _dtls(looks: Looks) -> Judged:
    transport = looks.second.publisher_transport if looks.second is not None else None
    if transport is None:
        return _unknown("There is no connection.")
    return _keyed(looks.speaker.name, transport)


def _keyed(name: str, transport: TransportFigures) -> Judged:
    if transport.dtls != "connected":
        return _judged("failed", f"The DTLS handshake with {name} is not done ({transport.dtls}).", dtls=transport.dtls)
    return _judged("ok", f"DTLS is up with {name}.", dtls=transport.dtls, cipher=transport.cipher)


def _packets_in(looks: Looks) -> Judged:
    track, before, name = _track_of(looks.second), _track_of(looks.first), looks.speaker.name
    if track is None or looks.second is None:
        return _unknown(f"{name} has no track whose packets could be counted.")
    rate = _rate(track.packets, before.packets if before is not None else None, looks.apart_s)
    transport = looks.second.publisher_transport
    figures: dict[str, Value] = {
        "packets": track.packets,
        "packets_per_s": rate,
        "silent_s": track.silent_s,
        "lost": track.lost,
        "jitter_ms": track.jitter_ms,
        "auth_failed": transport.auth_failed if transport is not None else None,
    }
    if rate:
        return _judged("ok", f"{rate:.0f} packets a second come from {name}.", **figures)
    if looks.second.muted:
        return _judged("unknown", f"{name} is muted, and sends nothing.", **figures)
    since = f"for {track.silent_s:.0f} s" if track.silent_s is not None else "at all"
    return _judged("failed", f"No media packet has come from {name} {since}.", **figures)


def _level(looks: Looks) -> Judged:
    track, before, name = _track_of(looks.second), _track_of(looks.first), looks.speaker.name
    if looks.second is not None and looks.second.muted:
        return _judged("failed", f"{name} is muted.", muted=True)
    if track is None:
        return _unknown(f"{name} has no track whose level could be read.")
    figures: dict[str, Value] = {"muted": False, "audio_level_dbov": -track.audio_level}
    if track.audio_level >= SILENCE_DBOV and (before is None or before.audio_level >= SILENCE_DBOV):
        return _judged("unknown", f"What {name} sends is silence, or has no level: the microphone may be off.", **figures)
    return _judged("ok", f"{name} is not muted, and at {-track.audio_level} dBov.", **figures)


def _track(looks: Looks) -> Judged:
    track = _track_of(looks.second)
    if track is None or not track.announced:
        return _judged("failed", f"{looks.speaker.name} has no track that can be heard.") if looks.second else _unknown("Nothing is known.")
    return _judged("ok", f"{looks.speaker.name}'s track can be heard.")


def _consumer(looks: Looks) -> Judged:
    speaker, listener = looks.speaker.name, looks.listener.name
    if looks.second is None:
        return _unknown("Nothing is known.")
    consumer = looks.second.consumer
    if consumer is None:
        return _judged("failed", f"{listener} has no consumer for {speaker}: its client has not asked for one, or has closed it.")
    figures: dict[str, Value] = {
        "consumer_id": consumer.consumer_id,
        "on_subscription": consumer.on_subscription,
        "accepted": consumer.accepted,
        "wanted": consumer.wanted,
    }
    if not consumer.wanted:
        return _judged("failed", f"{listener} has chosen not to hear {speaker}.", **figures)
    if not consumer.accepted:
        return _judged("failed", f"{listener}'s client has not taken {speaker}'s track: its answer is missing, or refuses it.", **figures)
    return _judged("ok", f"{listener} has a consumer for {speaker}.", **figures)


def _listener_transport(looks: Looks) -> Judged:
    transport = looks.second.listener_transport if looks.second is not None else None
    name = looks.listener.name
    if transport is None:
        return _unknown(f"{name} has no connection to hear {looks.speaker.name} on.")
    reached, keyed = _reached(name, "to listen on", transport), _keyed(name, transport)
    worse = reached if reached["state"] != "ok" else keyed
    return {**worse, "figures": {**reached["figures"], **keyed["figures"]}}


def _packets_out(looks: Looks) -> Judged:
    consumer, before = _consumer_of(looks.second), _consumer_of(looks.first)
    name = looks.listener.name
    if consumer is None or before is None or before.consumer_id != consumer.consumer_id:
        return _unknown(f"There is nothing that could be counted on the way to {name}.")
    rate = _rate(consumer.packets, before.packets, looks.apart_s)
    figures: dict[str, Value] = {"packets": consumer.packets, "packets_per_s": rate}
    if rate:
        return _judged("ok", f"{rate:.0f} packets a second go to {name}.", **figures)
    coming = _packets_in(looks)["state"] == "ok" and looks.second is not None and not looks.second.muted
    return _judged("failed" if coming else "unknown", f"No media packet goes to {name}.", **figures)


def _reception(looks: Looks) -> Judged:
    consumer, name = _consumer_of(looks.second), looks.listener.name
    if consumer is None:
        return _unknown(f"{name} reports nothing.")
    figures: dict[str, Value] = {
        "reports": consumer.reports,
        "report_s": consumer.report_s,
        "fraction_lost": consumer.fraction_lost,
        "lost": consumer.lost,
        "jitter_ms": consumer.jitter_ms,
        "rtt_ms": consumer.rtt_ms,
        "unreported": consumer.unreported,
        "nacks": consumer.nacks,
    }
    state, says = _received(looks, consumer)
    return _judged(state, says, **figures)


def _received(looks: Looks, consumer: ConsumerFigures) -> tuple[State, str]:
    speaker, listener = looks.speaker.name, looks.listener.name
    if consumer.report_s is None:
        late = consumer.age_s > REPORT_LATE_S and consumer.packets > 0
        return ("failed" if late else "unknown"), f"{listener} has never reported that anything of {speaker} arrives."
    if consumer.report_s > REPORT_LATE_S:
        return "failed", f"{listener} has not reported for {consumer.report_s:.0f} s what arrives of {speaker}."
    before = _consumer_of(looks.first)
    rate = _rate(consumer.packets, before.packets if before is not None else None, looks.apart_s)
    if rate and consumer.unreported is not None and consumer.unreported / rate - consumer.report_s > BEHIND_S:
        return "failed", f"The packets that go to {listener} do not arrive: the newest that it has is {consumer.unreported} packets old."
    if consumer.fraction_lost > HEAVY_LOSS:
        return "failed", f"{listener} loses {consumer.fraction_lost:.0%} of {speaker}'s packets."
    rtt = f", a round trip takes {consumer.rtt_ms:.0f} ms" if consumer.rtt_ms is not None else ""
    return "ok", f"{listener} receives {speaker}: {consumer.fraction_lost:.0%} lost, jitter {consumer.jitter_ms:.0f} ms{rtt}."


_JUDGES: Final[dict[str, Callable[[Looks], Judged]]] = {
    "signaling": _signaling,
    "shard": _shard,
    "ice": _ice,
    "dtls": _dtls,
    "packets_in": _packets_in,
    "level": _level,
    "track": _track,
    "consumer": _consumer,
    "listener_transport": _listener_transport,
    "packets_out": _packets_out,
    "reception": _reception,
}


def _track_of(figures: PathFigures | None) -> PathTrack | None:
    return figures.track if figures is not None else None


def _consumer_of(figures: PathFigures | None) -> ConsumerFigures | None:
    return figures.consumer if figures is not None else None


def _rate(now: int, before: int | None, apart_s: float) -> float | None:
    """Per second; None where there was no first look. A counter that has begun anew counts from nothing."""
    if before is None or apart_s <= 0:
        return None
    return (now - before if now >= before else now) / apart_s
