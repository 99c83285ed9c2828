"""Every message between control and a shard, one frozen struct each, one tagged union per direction.

Wire format: one ZeroMQ frame holding one MessagePack map (msgspec, tag field ``type``). Control binds a ROUTER, every
shard connects a DEALER whose routing id is its :data:`ShardId` in UTF-8, so control sees ``[shard id, body]`` and a shard
sees ``[body]``. Everything here is a value: no message carries a handle into another process.

Conversation:

* Control sends a :data:`Command`; the shard answers each with exactly one :class:`Reply` or :class:`Failed` that repeats
  its ``request_id``. A command whose ``deadline_unix_ms`` has passed when the shard reads it is dropped and counted
  (control has given up on it and has told its client ``shard_unavailable``).
* Unasked, a shard sends :class:`Hello` whenever it has connected, :class:`Heartbeat` at a fixed interval, and events.
* ``instance`` is drawn at random by every shard process at its start. Control discards what carries another instance than
  the one it knows for that shard id, so late words of a dead process change nothing.

This is the only module of ``sfu`` that ``control`` imports.
"""

from __future__ import annotations

from typing import Final, Literal, NewType

import msgspec

ShardId = NewType("ShardId", str)
"""Name of a shard: "0", "1", ... for those that control starts itself, any unique name for one that joins."""
RoomId = NewType("RoomId", str)
"""Unguessable name of a room (UUID), chosen by control."""
UserId = NewType("UserId", str)
"""Name of one participant (UUID), chosen by control."""
ConsumerId = NewType("ConsumerId", str)
"""Name of one consumer (UUID), chosen by control, so that it can close one whose creation was never answered."""
TrackId = NewType("TrackId", str)
"""Name of one published track (UUID), chosen by the shard."""
RequestId = NewType("RequestId", int)
"""Number of one command, unique within a control process."""

PROTOCOL_VERSION: Final = 2
"""Raised on every change that an older peer could not decode. :class:`Hello` carries it; control refuses another one."""

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Longest body that either side reads (ZMQ_MAXMSGSIZE); the longest real message is the offer of a subscriber connection, about 1 KiB
for each of its sections."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=False):
    """Base of all messages. Unknown fields are ignored, so that a newer peer may add some."""


# ---------------------------------------------------------------------------------------------- control to shard


class _Command(_Message, frozen=True, kw_only=True):
    """What every command carries.

    ``deadline_unix_ms``: wall clock of control, milliseconds since 1970; hosts are expected to agree within a second.
    """

    request_id: RequestId
    deadline_unix_ms: int


class JoinRoom(_Command, frozen=True, kw_only=True, tag="join_room"):
    """Makes the participant known; opens the room if it is the first. Answer: :class:`Done`. Repeating it is harmless.

    ``username`` and ``session`` are kept for control, which learns them back from :class:`State`; the last ones count. The shard never
    reads ``session``: it is whatever control needs to go on with this participant.
    """

    room_id: RoomId
    user_id: UserId
    username: str
    session: bytes = b""


class LeaveRoom(_Command, frozen=True, kw_only=True, tag="leave_room"):
    """Frees all that the participant held, and the room with its last participant. Answer: :class:`Done`, also when
    unknown."""

    room_id: RoomId
    user_id: UserId


class CreatePublisher(_Command, frozen=True, kw_only=True, tag="create_publisher"):
    """Makes the participant's client-to-server connection, replacing one it has. Answer: :class:`Offer`.
    Errors: ``not_in_room``, ``shard_full``."""

    room_id: RoomId
    user_id: UserId


class AnswerPublisher(_Command, frozen=True, kw_only=True, tag="answer_publisher"):
    """The client's SDP answer for its publisher. Answer: :class:`Done`; :class:`TrackPublished` follows when media can
    flow. Errors: ``not_in_room``, ``publisher_not_found``, ``invalid_sdp``, ``already_answered``."""

    room_id: RoomId
    user_id: UserId
    sdp: str


class ClosePublisher(_Command, frozen=True, kw_only=True, tag="close_publisher"):
    """Ends the publisher and every consumer of its tracks. Answer: :class:`Done`, also when there is none.
    :class:`PublisherClosed` is sent if a track had been published."""

    room_id: RoomId
    user_id: UserId


class CreateConsumer(_Command, frozen=True, kw_only=True, tag="create_consumer"):
    """Makes a connection that carries ``publisher_user_id``'s audio to ``user_id``. An older consumer of the same pair is
    replaced (:class:`ConsumerClosed` with reason ``replaced``). Answer: :class:`Offer`.
    Errors: ``not_in_room``, ``publisher_not_found``, ``not_publishing``, ``shard_full``."""

    room_id: RoomId
    user_id: UserId
    publisher_user_id: UserId
    consumer_id: ConsumerId


class AnswerConsumer(_Command, frozen=True, kw_only=True, tag="answer_consumer"):
    """The client's SDP answer for a consumer. Answer: :class:`Done`.
    Errors: ``not_in_room``, ``consumer_not_found``, ``invalid_sdp``, ``already_answered``."""

    room_id: RoomId
    user_id: UserId
    consumer_id: ConsumerId
    sdp: str


class CloseConsumer(_Command, frozen=True, kw_only=True, tag="close_consumer"):
    """Ends one consumer. Answer: :class:`Done`, also when unknown; no event follows."""

    room_id: RoomId
    user_id: UserId
    consumer_id: ConsumerId


class Subscribe(_Command, frozen=True, kw_only=True, tag="subscribe"):
    """Makes the one connection on which ``user_id`` hears everybody in the room, replacing one it has (no event follows for that).
    Answer: :class:`Done`; :class:`SubscriptionOffer` has gone before it. Errors: ``not_in_room``, ``shard_full``."""

    room_id: RoomId
    user_id: UserId


class AnswerSubscription(_Command, frozen=True, kw_only=True, tag="answer_subscription"):
    """The client's SDP answer to one revision; that to an earlier one is ignored. Answer: :class:`Done`.
    Errors: ``not_in_room``, ``not_subscribed``, ``invalid_sdp``, ``already_answered``."""

    room_id: RoomId
    user_id: UserId
    revision: int
    sdp: str


class SetSubscribed(_Command, frozen=True, kw_only=True, tag="set_subscribed"):
    """Stops or resumes hearing one person on the subscriber connection, also under that person's later publishers. Answer: :class:`Done`.
    Errors: ``not_in_room``, ``not_subscribed``, ``publisher_not_found`` (nobody of that name is in the room)."""

    room_id: RoomId
    user_id: UserId
    publisher_user_id: UserId
    subscribed: bool


class CloseSubscription(_Command, frozen=True, kw_only=True, tag="close_subscription"):
    """Ends the subscriber connection. Answer: :class:`Done`, also when there is none; no event follows."""

    room_id: RoomId
    user_id: UserId


class RepeatOffer(_Command, frozen=True, kw_only=True, tag="repeat_offer"):
    """Says the :class:`SubscriptionOffer` again that is not answered yet, if there is one: the client may never have got it.
    Answer: :class:`Done`. Errors: ``not_in_room``, ``not_subscribed``."""

    room_id: RoomId
    user_id: UserId


class RestartIce(_Command, frozen=True, kw_only=True, tag="restart_ice"):
    """New ICE credentials for a connection that is otherwise kept (RFC 8445 9). Answer: :class:`Offer`, to be answered as the first one
    was; for ``subscription`` :class:`Done`, and the credentials are in the next revision. ``consumer_id``: of target ``consumer``.
    Errors: ``not_in_room``, ``publisher_not_found``, ``consumer_not_found``, ``not_subscribed``."""

    room_id: RoomId
    user_id: UserId
    target: Literal["publisher", "consumer", "subscription"]
    consumer_id: ConsumerId | None = None


class SetMuted(_Command, frozen=True, kw_only=True, tag="set_muted"):
    """Stops or resumes forwarding of the participant's tracks, those of a later publisher included.
    Answer: :class:`Done`. Errors: ``not_in_room``."""

    room_id: RoomId
    user_id: UserId
    muted: bool


class ReportState(_Command, frozen=True, kw_only=True, tag="report_state"):
    """Say who and what is in the rooms: control is new, or has lost touch. Answer: :class:`Reported`, after as many :class:`State` as it
    takes. What the shard says from then on is about what has changed since."""


class MeasureRoom(_Command, frozen=True, kw_only=True, tag="measure_room"):
    """Say what comes in from the people of a room now. Answer: :class:`RoomFigures`. Errors: ``not_in_room`` for an unknown room."""

    room_id: RoomId


class InspectPath(_Command, frozen=True, kw_only=True, tag="inspect_path"):
    """Say what there is between ``publisher_user_id`` and ``user_id``, who is to hear it. Answer: :class:`PathFigures`, also where either
    is unknown."""

    room_id: RoomId
    user_id: UserId
    publisher_user_id: UserId


class Reset(_Command, frozen=True, kw_only=True, tag="reset"):
    """Frees every room. Sent to a shard that cannot give an account of its rooms. Answer: :class:`Done`."""


class Shutdown(_Command, frozen=True, kw_only=True, tag="shutdown"):
    """Close every transport (DTLS close_notify) and end the process. Answer: :class:`Done`, then :class:`Goodbye`."""


Command = (
    JoinRoom
    | LeaveRoom
    | CreatePublisher
    | AnswerPublisher
    | ClosePublisher
    | CreateConsumer
    | AnswerConsumer
    | CloseConsumer
    | Subscribe
    | AnswerSubscription
    | SetSubscribed
    | CloseSubscription
    | RepeatOffer
    | RestartIce
    | SetMuted
    | ReportState
    | MeasureRoom
    | InspectPath
    | Reset
    | Shutdown
)
"""Everything that control may say to a shard."""

# ---------------------------------------------------------------------------------------------- shard to control


class Done(_Message, frozen=True, kw_only=True, tag="done"):
    """The command was carried out and has no result."""


class Offer(_Message, frozen=True, kw_only=True, tag="offer"):
    """SDP offer of a new connection, and its candidates once more as browsers write them (``candidate:...``)."""

    sdp: str
    candidates: list[str]


class Reported(_Message, frozen=True, kw_only=True, tag="reported"):
    """The end of an account. ``entries``: how many the :class:`State` messages before it had in all."""

    entries: int


class TrackFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One incoming track since its beginning. ``lost``: cumulative (RFC 3550 A.3), ``jitter_ms``: as there (A.8); ``level_dbov``: of the
    last packet, 0 is the loudest, -127 silence (RFC 6464)."""

    user_id: UserId
    track_id: TrackId
    packets: int
    payload_bytes: int
    lost: int
    jitter_ms: float
    level_dbov: int


class RoomFigures(_Message, frozen=True, kw_only=True, tag="room_figures"):
    """``at_ms``: when, on the shard's own monotonic clock; ``more``: tracks there was no room for in the answer."""

    at_ms: int
    tracks: list[TrackFigures]
    more: int


class TransportFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One transport now. ``answered``: the peer's SDP answer is here; ``address``: the peer's, None before a check has nominated one;
    ``heard_s``: since its last authenticated STUN request, or since the offer; ``dtls``: ``waiting``, ``verifying`` (the answer is
    missing), ``connected``; ``cipher``: its version and cipher suite. Counters as in forwarding/_native.pyi, totals of its life."""

    answered: bool
    address: str | None
    heard_s: float
    dtls: str
    cipher: str
    packets_in: int
    packets_out: int
    auth_failed: int
    replayed: int


class PathTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A published track. ``announced``: it can be consumed; ``audio_level``: of its last packet, -dBov (127 is silence; RFC 6464);
    ``silent_s``: since that, None before the first; ``lost`` and ``jitter_ms``: on the way to the shard."""

    announced: bool
    packets: int
    lost: int
    jitter_ms: float
    audio_level: int
    silent_s: float | None


class ConsumerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer of that track. ``on_subscription``: it rides on the subscriber connection; ``accepted``: the answer took it; ``wanted``:
    its listener wants to hear it at the moment.

    The rest is what the listener reports (RFC 3550 6.4.1): ``report_s``: since the last report, None before the first;
    ``unreported``: how many packets sent by now are newer than the newest one that it had received then, None before the first.
    """

    consumer_id: ConsumerId
    on_subscription: bool
    accepted: bool
    wanted: bool
    age_s: float
    packets: int
    reports: int
    report_s: float | None
    unreported: int | None
    fraction_lost: float
    lost: int
    jitter_ms: float
    rtt_ms: float | None
    nacks: int


class PathFigures(_Message, frozen=True, kw_only=True, tag="path_figures"):
    """What there is between two people, in the order in which a packet goes; None: there is none. ``listener_transport``: where the
    consumer rides, or would."""

    publisher_known: bool
    listener_known: bool
    muted: bool
    publisher_transport: TransportFigures | None
    track: PathTrack | None
    consumer: ConsumerFigures | None
    listener_transport: TransportFigures | None


Result = Done | Offer | Reported | RoomFigures | PathFigures


class Reply(_Message, frozen=True, kw_only=True, tag="reply"):
    request_id: RequestId
    result: Result


class Failed(_Message, frozen=True, kw_only=True, tag="failed"):
    """The command was refused and changed nothing.

    ``code``: stable, snake_case, one of those that the command documents, or ``internal_error`` (a defect of the shard, see its log);
    ``message``: a sentence for people.
    """

    request_id: RequestId
    code: str
    message: str


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """First word of a shard on every connection to control, so also after control was started again.

    ``udp_port``: the port in use; ``addresses``: those put into SDP; ``srtp``: what protects AES-GCM packets, ``evp``
    or ``libsrtp`` (see forwarding/README.md); ``scheduling``: of the forwarding thread, ``realtime`` or
    ``nice N``; ``origin``: what the shard was started with (sfu/config.py), empty for one that control did not start.
    """

    shard_id: ShardId
    instance: str
    protocol: int
    version: str
    pid: int
    host: str
    udp_port: int
    addresses: list[str]
    srtp: str
    scheduling: str
    origin: str = ""


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer of a participant, connected or not."""

    consumer_id: ConsumerId
    publisher_user_id: UserId


class ParticipantState(msgspec.Struct, frozen=True, kw_only=True):
    """One participant as the shard knows it. ``username`` and ``session``: of its last :class:`JoinRoom`; ``has_publisher``: a connection
    was offered; ``track_id``: of its track, if that can be consumed; ``has_subscription``: a subscriber connection was offered;
    ``consumers``: those on connections of their own; ``subscribed``: those on the subscriber connection."""

    room_id: RoomId
    user_id: UserId
    username: str
    session: bytes
    muted: bool
    has_publisher: bool
    track_id: TrackId | None
    has_subscription: bool
    consumers: list[ConsumerState]
    subscribed: list[ConsumerState]


class State(_Message, frozen=True, kw_only=True, tag="state"):
    """A part of the answer to the :class:`ReportState` ``request_id``: so many participants as fit into one message, in the order in which
    they came. One with more consumers than fit has several entries, which differ in nothing else."""

    shard_id: ShardId
    instance: str
    request_id: RequestId
    participants: list[ParticipantState]


class ShardTables(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each thing the shard holds now. All zero when nobody is in a room.

    ``native_*`` are counted by the forwarding thread itself, the others by Python; after every change has settled
    transports and consumers are equal on both sides.
    """

    rooms: int
    participants: int
    transports: int
    tracks: int
    consumers: int
    native_transports: int
    native_tracks: int
    native_consumers: int
    native_addresses: int


SETUP_BOUNDS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of :class:`Setups`, seconds; a last one is everything longer."""


class Setups(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that have come up, by the time from their offer to their SRTP keys. ``counts``: not cumulative; ``sum_s``: of all."""

    counts: tuple[int, ...]
    sum_s: float


class Heartbeat(_Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Sent every ``heartbeat_ms``. Totals since the process started; ``drops`` is by reason (forwarding/README.md).

    ``lag_ms``: longest delay of a due timer on the signaling thread since the last heartbeat.
    ``latency``: packets by added latency (kernel receive time to send returned); ``latency[i]`` counts those from the bound before
    up to ``latency_bounds_ns[i]``, the last one all longer ones. ``latency_sum_ns``: their sum. ``forwarding_cpu_ns``: CPU time of the
    forwarding thread, ``signaling_cpu_ns`` of the signaling thread.
    ``retransmitted``: packets sent again on a NACK, ``rejected_commands``: 0, or the shard has a defect.
    ``bad_messages``: ZeroMQ messages that did not decode; ``expired_commands``: those past their deadline.
    ``setups``: by what rides on the connection when it comes up, ``publisher`` or ``consumer``.
    """

    shard_id: ShardId
    instance: str
    tables: ShardTables
    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int
    drops: dict[str, int]
    retransmitted: int = 0
    forwarding_cpu_ns: int = 0
    signaling_cpu_ns: int = 0
    setups: dict[str, Setups] = {}
    latency: tuple[int, ...] = ()
    latency_bounds_ns: tuple[int, ...] = ()
    latency_sum_ns: int = 0
    rejected_commands: int = 0
    lag_ms: float
    bad_messages: int
    expired_commands: int


class TrackPublished(_Message, frozen=True, kw_only=True, tag="track_published"):
    """The publisher's transport is connected and its track can be consumed. ``kind``: ``audio`` (later ``video``)."""

    shard_id: ShardId
    instance: str
    room_id: RoomId
    user_id: UserId
    track_id: TrackId
    kind: str


class PublisherClosed(_Message, frozen=True, kw_only=True, tag="publisher_closed"):
    """A publisher whose track had been announced is gone, and with it every consumer of that track (no
    :class:`ConsumerClosed` for those). Not sent when the participant leaves.

    ``reason``: ``closed`` (asked for, or the shard ends), ``replaced``, ``dtls_closed``, ``dtls_failed``, ``consent_lost``, ``reset``,
    ``internal_error`` (a defect of the shard, see its log).
    """

    shard_id: ShardId
    instance: str
    room_id: RoomId
    user_id: UserId
    reason: str


class PublisherFailed(_Message, frozen=True, kw_only=True, tag="publisher_failed"):
    """A publisher ended by itself before its track was up. ``reason``: ``dtls_failed``, ``fingerprint_mismatch``,
    ``handshake_timeout``, ``dtls_closed``, ``internal_error``."""

    shard_id: ShardId
    instance: str
    room_id: RoomId
    user_id: UserId
    reason: str


class ConsumerClosed(_Message, frozen=True, kw_only=True, tag="consumer_closed"):
    """One consumer ended by itself. ``reason``: as for :class:`PublisherClosed` and :class:`PublisherFailed`."""

    shard_id: ShardId
    instance: str
    room_id: RoomId
    user_id: UserId
    consumer_id: ConsumerId
    reason: str


class SubscribedTrack(msgspec.Struct, frozen=True, kw_only=True):
    """What one section of a :class:`SubscriptionOffer` carries: a track of ``user_id``. ``kind``: ``audio``."""

    mid: str
    consumer_id: ConsumerId
    user_id: UserId
    track_id: TrackId
    kind: str


class SubscriptionOffer(_Message, frozen=True, kw_only=True, tag="subscription_offer"):
    """The subscriber connection of ``user_id`` shall become this. At most one is not answered at a time.

    ``revision`` rises by one with each, also over a new connection of the same participant, which another session id (``o=``) shows.
    ``tracks``: the whole mapping; sections that are not in it are inactive. ``candidates``: as in :class:`Offer`,
    where the connection or its ICE credentials are new.
    """

    shard_id: ShardId
    instance: str
    room_id: RoomId
    user_id: UserId
    revision: int
    sdp: str
    tracks: list[SubscribedTrack]
    candidates: list[str]


class SubscriptionClosed(_Message, frozen=True, kw_only=True, tag="subscription_closed"):
    """The subscriber connection ended by itself, and with it its consumers. ``reason``: as for :class:`ConsumerClosed`, or
    ``answer_timeout``: a later offer was not answered in time."""

    shard_id: ShardId
    instance: str
    room_id: RoomId
    user_id: UserId
    reason: str


class Goodbye(_Message, frozen=True, kw_only=True, tag="goodbye"):
    """Last word of a shard that ends in order; all its rooms are gone."""

    shard_id: ShardId
    instance: str


ShardMessage = (
    Reply
    | Failed
    | Hello
    | State
    | Heartbeat
    | TrackPublished
    | PublisherClosed
    | PublisherFailed
    | ConsumerClosed
    | SubscriptionOffer
    | SubscriptionClosed
    | Goodbye
)
"""Everything that a shard may say to control."""


def about(message: Command | ShardMessage) -> dict[str, str]:
    """What a message is about, as lines of the log call it: room, user and consumer, where it names them."""
    names = {"room": "room_id", "user": "user_id", "consumer": "consumer_id"}
    return {name: value for name, field in names.items() if (value := getattr(message, field, None)) is not None}


_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_shard_message_decoder: msgspec.msgpack.Decoder[ShardMessage] = msgspec.msgpack.Decoder(ShardMessage)


def encode(message: Command | ShardMessage) -> bytes:
    """Body of ``message`` as MessagePack."""
    return _encoder.encode(message)


def decode_command(body: bytes) -> Command:
    """Read what control said. Raises :class:`msgspec.MsgspecError` on anything else (also on trailing bytes)."""
    return _command_decoder.decode(body)


def decode_shard_message(body: bytes) -> ShardMessage:
    """Read what a shard said. Raises :class:`msgspec.MsgspecError` on anything else (also on trailing bytes)."""
    return _shard_message_decoder.decode(body)
