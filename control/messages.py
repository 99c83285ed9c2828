"""Every JSON message between a browser and control: one frozen struct each, one tagged union per direction.

One WebSocket text frame holds one JSON object whose ``type`` is the snake_case name. Unknown extra fields from a client are
ignored. SIGNALING.md shows an example of each message, and a test decodes those with the types of this file.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

import msgspec
from aioice import Candidate

from sfu.protocol import ConsumerId, RoomId, SubscribedTrack, TrackId, UserId

PROTOCOL_VERSIONS: Final = [1]
"""Versions of the signaling protocol that this server speaks, told in :class:`Registered`."""

MAX_CANDIDATE_CHARS: Final = 1024
"""Longest candidate line that is looked at; real ones have 60 to 200 characters."""

ERROR_CODES: Final[dict[str, str]] = {
    "invalid_message": "The frame is not one JSON object, or a field is missing, of the wrong type or out of bounds.",
    "unknown_type": "The server knows no message of this type.",
    "unauthorized": "The token is missing, wrong or expired, or does not allow this; the message says which.",
    "rate_limited": "More messages a second, or rooms a minute, than allowed; this one was not carried out.",
    "not_registered": "The first message must be `register`.",
    "already_registered": "`register` was sent twice on one socket.",
    "invalid_username": "The name is empty, too long, or has control characters.",
    "not_in_room": "The message needs a room, and this client is in none.",
    "already_in_room": "Leave the room before you enter another one.",
    "room_not_found": "There is no such room, or it was empty for too long and is gone.",
    "room_full": "The room has as many participants as the operator allows.",
    "too_many_rooms": "The server has as many rooms as the operator allows.",
    "too_many_consumers": "This client hears as many people as the operator allows.",
    "publisher_not_found": "This client has no publisher, or the person asked for is not in the room.",
    "not_publishing": "The person asked for is in the room but does not publish.",
    "consumer_not_found": "This client has no such consumer (any more).",
    "not_subscribed": "This client has no subscription (any more): send `subscribe` first.",
    "already_answered": "The connection's offer was answered before.",
    "invalid_sdp": "The SDP answer cannot be read, or does not fit the offer.",
    "invalid_candidate": "The text is not an ICE candidate line.",
    "connection_failed": "A media connection was offered and answered but did not come up, or was lost before its track was.",
    "shard_full": "The media server of this room takes no further connection.",
    "shard_unavailable": "The media server of this room does not answer. Trying again later may help.",
}
"""Every ``code`` of an ``error``, with what it means. SIGNALING.md repeats this table (a test compares them)."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages."""


# ------------------------------------------------------------------------------------------------ client to server


class Register(_Message, frozen=True, kw_only=True, tag="register"):
    """``resume_token``: of an earlier socket's :class:`Registered`; ``token``: a JWT, where the operator requires one."""

    username: str
    resume_token: str | None = None
    token: str | None = None


class CreateRoom(_Message, frozen=True, kw_only=True, tag="create_room"):
    pass


class JoinRoom(_Message, frozen=True, kw_only=True, tag="join_room"):
    room_id: RoomId


class LeaveRoom(_Message, frozen=True, kw_only=True, tag="leave_room"):
    pass


class Ping(_Message, frozen=True, kw_only=True, tag="ping"):
    pass


class CreatePublisher(_Message, frozen=True, kw_only=True, tag="create_publisher"):
    pass


class PublishAudio(_Message, frozen=True, kw_only=True, tag="publish_audio"):
    sdp: str


class ClosePublisher(_Message, frozen=True, kw_only=True, tag="close_publisher"):
    pass


class CreateConsumer(_Message, frozen=True, kw_only=True, tag="create_consumer"):
    publisher_user_id: UserId


class ConsumerAnswer(_Message, frozen=True, kw_only=True, tag="consumer_answer"):
    consumer_id: ConsumerId
    sdp: str


class CloseConsumer(_Message, frozen=True, kw_only=True, tag="close_consumer"):
    consumer_id: ConsumerId


class PublisherIceCandidate(_Message, frozen=True, kw_only=True, tag="publisher_ice_candidate"):
    """Both directions. ``candidate``: a line as the browser gives it; empty means that there are no more."""

    candidate: str


class ConsumerIceCandidate(_Message, frozen=True, kw_only=True, tag="consumer_ice_candidate"):
    """Both directions."""

    consumer_id: ConsumerId
    candidate: str


class Subscribe(_Message, frozen=True, kw_only=True, tag="subscribe"):
    pass


class SubscriptionAnswer(_Message, frozen=True, kw_only=True, tag="subscription_answer"):
    revision: int
    sdp: str


class SubscriptionIceCandidate(_Message, frozen=True, kw_only=True, tag="subscription_ice_candidate"):
    """Both directions."""

    candidate: str


class SetSubscribed(_Message, frozen=True, kw_only=True, tag="set_subscribed", rename={"publisher_user_id": "user_id"}):
    publisher_user_id: UserId
    subscribed: bool


class CloseSubscription(_Message, frozen=True, kw_only=True, tag="close_subscription"):
    pass


class RestartIce(_Message, frozen=True, kw_only=True, tag="restart_ice"):
    """``consumer_id``: of target ``consumer``, and only of that."""

    target: Literal["publisher", "consumer", "subscription"]
    consumer_id: ConsumerId | None = None


class SetMuted(_Message, frozen=True, kw_only=True, tag="set_muted"):
    muted: bool


ClientMessage = (
    Register
    | CreateRoom
    | JoinRoom
    | LeaveRoom
    | Ping
    | CreatePublisher
    | PublishAudio
    | ClosePublisher
    | CreateConsumer
    | ConsumerAnswer
    | CloseConsumer
    | PublisherIceCandidate
    | ConsumerIceCandidate
    | Subscribe
    | SubscriptionAnswer
    | SubscriptionIceCandidate
    | SetSubscribed
    | CloseSubscription
    | RestartIce
    | SetMuted
)
"""Everything that a client may say."""

# ------------------------------------------------------------------------------------------------ server to client


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One participant as the others see it."""

    user_id: UserId
    username: str


class IceServer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of ``RTCConfiguration.iceServers``."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class Registered(_Message, frozen=True, kw_only=True, tag="registered"):
    """``protocol``: versions that the server speaks; ``ice_servers``: what the browser shall give RTCPeerConnection.

    ``resume_token``: secret with which another socket may take this session over; ``resumed``: this one did.
    """

    user_id: UserId
    protocol: list[int]
    ice_servers: list[IceServer]
    resume_token: str
    resumed: bool = False


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer that a client has."""

    consumer_id: ConsumerId
    publisher_user_id: UserId


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the server still holds of a client that has resumed: whether its track is up, and what it is sent. ``subscribed``: whether it
    has a subscriber connection."""

    publishing: bool
    muted: bool
    consumers: list[Heard]
    subscribed: bool = False


class RoomJoined(_Message, frozen=True, kw_only=True, tag="room_joined"):
    """``participants``: everyone in the room, the joiner included, in the order in which they came.

    ``resumed``: only for a client that was in the room all along and has come back on another socket.
    """

    room_id: RoomId
    participants: list[Person]
    resumed: Held | msgspec.UnsetType = msgspec.UNSET


class UserJoined(_Message, frozen=True, kw_only=True, tag="user_joined"):
    user_id: UserId
    username: str


class UserLeft(_Message, frozen=True, kw_only=True, tag="user_left"):
    user_id: UserId
    username: str


class RoomLeft(_Message, frozen=True, kw_only=True, tag="room_left"):
    """``reason``: missing where the client has asked for it."""

    reason: str | msgspec.UnsetType = msgspec.UNSET


class Pong(_Message, frozen=True, kw_only=True, tag="pong"):
    pass


class PublisherCreated(_Message, frozen=True, kw_only=True, tag="publisher_created"):
    sdp: str


class AudioPublished(_Message, frozen=True, kw_only=True, tag="audio_published"):
    track_id: TrackId


class NewPublisher(_Message, frozen=True, kw_only=True, tag="new_publisher"):
    user_id: UserId
    username: str


class PublisherClosed(_Message, frozen=True, kw_only=True, tag="publisher_closed"):
    user_id: UserId


class ConsumerCreated(_Message, frozen=True, kw_only=True, tag="consumer_created"):
    consumer_id: ConsumerId
    publisher_user_id: UserId
    sdp: str


class ConsumerClosed(_Message, frozen=True, kw_only=True, tag="consumer_closed"):
    consumer_id: ConsumerId
    reason: str


class SubscriptionOffer(_Message, frozen=True, kw_only=True, tag="subscription_offer"):
    """``tracks``: whose track each section carries; sections that are not named are inactive."""

    revision: int
    sdp: str
    tracks: list[SubscribedTrack]


class SubscriptionClosed(_Message, frozen=True, kw_only=True, tag="subscription_closed"):
    reason: str


class UserMuted(_Message, frozen=True, kw_only=True, tag="user_muted"):
    user_id: UserId
    muted: bool


class RoomMoved(_Message, frozen=True, kw_only=True, tag="room_moved"):
    reason: str


class ServerDraining(_Message, frozen=True, kw_only=True, tag="server_draining"):
    """``deadline_s``: seconds until the server ends what still runs."""

    deadline_s: float


class Announcement(_Message, frozen=True, kw_only=True, tag="announcement"):
    """``message``: what the operator tells people, plain text."""

    message: str


class Error(_Message, frozen=True, kw_only=True, tag="error"):
    """``message``: a sentence for people; ``code``: one of :data:`ERROR_CODES`; ``request``: the ``type`` that caused it.

    ``consumer_id``, ``publisher_user_id``: what the request named, where it named one; otherwise they are missing.
    """

    message: str
    code: str
    request: str | None = None
    consumer_id: ConsumerId | msgspec.UnsetType = msgspec.UNSET
    publisher_user_id: UserId | msgspec.UnsetType = msgspec.UNSET


ServerMessage = (
    Registered
    | RoomJoined
    | UserJoined
    | UserLeft
    | RoomLeft
    | Pong
    | PublisherCreated
    | AudioPublished
    | NewPublisher
    | PublisherClosed
    | ConsumerCreated
    | ConsumerClosed
    | PublisherIceCandidate
    | ConsumerIceCandidate
    | SubscriptionOffer
    | SubscriptionClosed
    | SubscriptionIceCandidate
    | UserMuted
    | RoomMoved
    | ServerDraining
    | Announcement
    | Error
)
"""Everything that the server may say."""


class BadMessage(Exception):
    """A frame that is no message. ``code`` is ``invalid_message`` or ``unknown_type``; ``request`` its type, if one is known."""

    def __init__(self, code: str, message: str, request: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request = request


class _Head(msgspec.Struct):
    type: str


_client_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_server_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
_head_decoder = msgspec.json.Decoder(_Head)
_encoder = msgspec.json.Encoder()

CLIENT_TYPES: Final[frozenset[str]] = frozenset(str(t.__struct_config__.tag) for t in ClientMessage.__args__)
"""The ``type`` of every client message."""


def decode_client(text: str) -> ClientMessage:
    """Read one frame of a client. Raises :class:`BadMessage` on anything that is not a :data:`ClientMessage`."""
    try:
        return _client_decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        problem = str(error)[:300]
    try:
        kind = _head_decoder.decode(text).type
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise BadMessage("invalid_message", f"This is not a message: {problem}.") from None
    if kind not in CLIENT_TYPES:
        raise BadMessage("unknown_type", f"The server knows no message of type {kind[:64]!r}.", kind[:64])
    raise BadMessage("invalid_message", f"This {kind} message is not valid: {problem}.", kind)


def decode_server(text: str | bytes) -> ServerMessage:
    """Read one frame of a server (tests and tools). Raises :class:`msgspec.MsgspecError`."""
    return _server_decoder.decode(text)


def encode(message: ServerMessage | ClientMessage) -> str:
    """One JSON text frame."""
    return _encoder.encode(message).decode()


def message_type(message: ServerMessage | ClientMessage) -> str:
    """The ``type`` that stands in the JSON."""
    return str(message.__struct_config__.tag)


def clean_username(username: str, max_chars: int) -> str | None:
    """The name without space around it; None if it is empty, longer than ``max_chars`` or not printable.

    Control characters (Cc), line and paragraph separators and lone surrogates are refused: a name is shown on one line. Format
    characters (Cf) stay, because scripts need joiners and direction marks, but there must be something else to see.
    """
    name = username.strip()
    categories = [unicodedata.category(char) for char in name]
    if not 1 <= len(name) <= max_chars or any(category in ("Cc", "Cs", "Zl", "Zp") for category in categories):
        return None
    return name if any(category != "Cf" and category[0] != "Z" for category in categories) else None


def is_candidate(line: str) -> bool:
    """Whether ``line`` is an ICE candidate as browsers write them (RFC 8839 5.1), or empty: there are no more."""
    if not line:
        return True
    if len(line) > MAX_CANDIDATE_CHARS:
        return False
    value = line.removeprefix("a=").removeprefix("candidate:")
    try:
        candidate = Candidate.from_sdp(value)
    except Exception:  # whatever a parser raises on hostile text, the line is not a candidate
        return False
    return 0 <= candidate.port <= 65535 and 1 <= candidate.component <= 256 and value.split()[6] == "typ"
