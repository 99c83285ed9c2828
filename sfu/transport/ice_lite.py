"""STUN responder of an ICE-lite agent (RFC 8445 2.5, RFC 8489), sans-IO.

A shard never gathers, never sends a check and has one UDP port. All it does for ICE is to answer Binding requests and
to learn from the authenticated ones where its peer is. The local username fragment carries the slot of the transport,
so that a request finds its transport without a search; it is opaque to peers.

This file owns: the wire format of ufrags, authentication, the decision which address is the peer's, consent.
It must not know: sockets, DTLS, SDP.
"""

from __future__ import annotations

import base64
import binascii
import enum
import secrets
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aioice import stun

Address = tuple[str, int] | tuple[str, int, str]
"""Numeric host and port of a peer, and which of our addresses it came to, where the socket is bound to all: what goes there leaves from
that one (RFC 8445 7.2.5.2.1)."""

UFRAG_LENGTH: Final = 16
"""Characters of a local ufrag: base32 of slot (3 bytes), generation (2 bytes) and 5 random bytes. RFC 8445 5.3 asks for
24 random bits at least."""

_UFRAG: Final = struct.Struct("!I H 5s")
_FIRST_OPTIONAL_ATTRIBUTE: Final = 0x8000  # RFC 8489 14: types below must be understood
_MESSAGE_INTEGRITY: Final = 0x0008
_UNKNOWN_ATTRIBUTES: Final = 0x000A
_UNDERSTOOD: Final = frozenset({0x0006, 0x0008, 0x0024, 0x0025})
"""Comprehension-required attributes that a Binding request of ICE may carry: USERNAME, MESSAGE-INTEGRITY, PRIORITY,
USE-CANDIDATE."""

NOMINATION_STALE_S: Final = 2.5
"""A nominated address that was silent for so long loses against any other nomination. RFC 8445 14: checks of a
running connection come at least this often from browsers (Chromium 2.5 s on a stable pair)."""


class StunDrop(enum.StrEnum):
    """Why a STUN message led to nothing but perhaps an error response. Names of drop counters."""

    MALFORMED = "stun_malformed"
    NOT_A_REQUEST = "stun_not_a_request"
    NO_CREDENTIALS = "stun_no_credentials"
    UNKNOWN_USER = "stun_unknown_user"
    BAD_INTEGRITY = "stun_bad_integrity"
    UNKNOWN_ATTRIBUTE = "stun_unknown_attribute"
    ROLE_CONFLICT = "stun_role_conflict"


class StunResult(NamedTuple):
    """What one STUN datagram led to.

    ``response``: datagram for the address it came from, or None. ``agent``: who accepted it, or None.
    ``bind``: the source address is the peer's from now on. ``drop``: named reason where it was not accepted.
    """

    response: bytes | None = None
    agent: IceLite | None = None
    bind: bool = False
    drop: StunDrop | None = None


def make_ufrag(slot: int, generation: int, randomness: bytes) -> str:
    """Local ufrag of a transport. ``slot`` below 2^24, ``randomness`` 5 bytes."""
    packed = _UFRAG.pack(slot, generation & 0xFFFF, randomness)
    return base64.b32encode(packed[1:]).decode("ascii").lower()


def slot_of_ufrag(ufrag: str) -> int | None:
    """Slot that a local ufrag names, or None if it is none of ours."""
    if len(ufrag) != UFRAG_LENGTH:
        return None
    try:
        packed = base64.b32decode(ufrag.encode("ascii").upper())
    except (binascii.Error, UnicodeEncodeError):
        return None
    return int.from_bytes(packed[:3], "big")


class Credentials:
    """What one ICE session goes by: ours are drawn here, ``remote_ufrag`` is the peer's, unknown before its answer."""

    def __init__(self, slot: int, generation: int) -> None:
        self.local_ufrag = make_ufrag(slot, generation, secrets.token_bytes(5))
        self.local_pwd = secrets.token_urlsafe(18).replace("-", "+").replace("_", "/")  # 24 ice-chars, 144 bits
        self.remote_ufrag: str | None = None
        self.key = self.local_pwd.encode("ascii")

    def fit(self, username: str) -> bool:
        """Whether ``username`` is that of a check in this session."""
        # RFC 8445 7.2.2: the receiver's ufrag, a colon, the sender's. Ours must match whole; the sender's is unknown before the answer.
        local, colon, remote = username.partition(":")
        return local == self.local_ufrag and bool(colon) and (self.remote_ufrag is None or remote == self.remote_ufrag)


class IceLite:
    """ICE state of one transport: credentials, the peer's address and when it last proved its consent.

    ``credentials`` are those of the last offer. After :meth:`restart` the ones before stay good until a check comes with the new ones, so
    that media goes on meanwhile (RFC 8445 9). ``address`` is None until a check nominated one. Times are seconds of a monotonic clock.
    """

    def __init__(self, slot: int, generation: int, now: float) -> None:
        self.slot = slot
        self.generation = generation
        self.credentials = Credentials(slot, generation)
        self.address: Address | None = None
        self.last_valid = now
        self._former: Credentials | None = None
        self._priority = 0
        self._heard_from_address = now
        self._challenger: tuple[Address, bytes] | None = None

    @property
    def local_ufrag(self) -> str:
        return self.credentials.local_ufrag

    @property
    def local_pwd(self) -> str:
        return self.credentials.local_pwd

    @property
    def former_ufrag(self) -> str:
        """The local ufrag before :meth:`restart`, as long as that is good; else empty."""
        return self._former.local_ufrag if self._former is not None else ""

    @property
    def remote_ufrag(self) -> str | None:
        return self.credentials.remote_ufrag

    @remote_ufrag.setter
    def remote_ufrag(self, ufrag: str) -> None:
        self.credentials.remote_ufrag = ufrag

    def restart(self) -> None:
        """Draw new credentials for the next offer (RFC 8445 9). Those that nobody has used yet are forgotten."""
        if self._former is None:
            self._former = self.credentials
        self.credentials = Credentials(self.slot, self.generation)

    def request(self, message: stun.Message, data: bytes, source: Address, now: float) -> StunResult:
        """Answer a Binding request whose USERNAME names this transport.

        RFC 8489 9.1.3 (authentication) comes before RFC 8489 6.3.1 (unknown attributes) and RFC 8445 7.3.1.1 (roles), so that
        only the peer itself can make us send anything longer than what we received.
        """
        credentials = self._credentials_of(message.attributes["USERNAME"])
        if credentials is None:
            return _error(message, data, 401, "Unauthorized", StunDrop.UNKNOWN_USER)
        if not message.check_message_integrity(credentials.key):
            return _error(message, data, 401, "Unauthorized", StunDrop.BAD_INTEGRITY)
        unknown = unknown_attributes(data)
        if unknown:
            extra = struct.pack(f"!HH{len(unknown)}H", _UNKNOWN_ATTRIBUTES, 2 * len(unknown), *unknown) + bytes(2 * (len(unknown) % 2))
            return StunResult(_signed_error(message, credentials.key, 420, "Unknown Attribute", extra), drop=StunDrop.UNKNOWN_ATTRIBUTE)
        if "ICE-CONTROLLED" in message.attributes:
            # RFC 8445 7.3.1.1 and 6.1.1: a lite agent is controlled whatever the tie-breakers say.
            return StunResult(_signed_error(message, credentials.key, 487, "Role Conflict"), drop=StunDrop.ROLE_CONFLICT)
        self.last_valid = now
        if credentials is self.credentials and self._former is not None:
            # The peer has begun the new session: what it nominates there holds, whatever was nominated before.
            self._former, self._challenger, self._priority = None, None, 0
        bind = self._nominate(message, source, now)
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id, {"XOR-MAPPED-ADDRESS": source})
        response.add_message_integrity(credentials.key)
        return StunResult(bytes(response), self, bind)

    def _credentials_of(self, username: str) -> Credentials | None:
        if self.credentials.fit(username):
            return self.credentials
        return self._former if self._former is not None and self._former.fit(username) else None

    def _nominate(self, message: stun.Message, source: Address, now: float) -> bool:
        """Whether ``source`` becomes the peer's address.

        A peer may nominate several pairs at the same time (RFC 5245 aggressive nomination, which Firefox does): then the one
        with the highest priority counts (RFC 5245 8.1.1.2). A peer that moves on purpose (Chromium, which repeats USE-CANDIDATE
        on the pair in use) nominates a lower one again and again, or stops using the old one.
        """
        if source == self.address:
            self._heard_from_address = now
        if "USE-CANDIDATE" not in message.attributes:
            return False
        priority = message.attributes.get("PRIORITY", 0)
        if source == self.address:
            self._priority = priority
            self._challenger = None
            return False
        insists = self._challenger is not None and self._challenger[0] == source and self._challenger[1] != message.transaction_id
        stale = now - self._heard_from_address > NOMINATION_STALE_S
        if self.address is not None and priority < self._priority and not insists and not stale:
            self._challenger = (source, message.transaction_id)
            return False
        self.address, self._priority, self._heard_from_address, self._challenger = source, priority, now, None
        return True


def respond(data: bytes, source: Address, now: float, find: Callable[[int], IceLite | None]) -> StunResult:
    """Answer one datagram that looked like STUN.

    ``find`` returns the agent at a slot. Never raises, whatever ``data`` holds. A response to someone who has not
    proved to be the peer is never longer than the request (no amplification, RFC 8489 16.1.1).
    """
    message = _parse(data)
    if message is None:
        return StunResult(drop=StunDrop.MALFORMED)
    if message.message_class is not stun.Class.REQUEST or message.message_method is not stun.Method.BINDING:
        # RFC 8445 11: an indication is a keepalive of the path and no consent (RFC 7675 5.1).
        return StunResult(drop=StunDrop.NOT_A_REQUEST)
    username = message.attributes.get("USERNAME")
    if username is None or "MESSAGE-INTEGRITY" not in message.attributes:
        return _error(message, data, 400, "Bad Request", StunDrop.NO_CREDENTIALS)  # RFC 8489 9.1.3
    slot = slot_of_ufrag(username.partition(":")[0])
    agent = find(slot) if slot is not None else None
    if agent is None:
        return _error(message, data, 401, "Unauthorized", StunDrop.UNKNOWN_USER)
    return agent.request(message, data, source, now)


def unknown_attributes(data: bytes) -> list[int]:
    """Types of the authenticated comprehension-required attributes that ICE does not know. ``data`` has been parsed before."""
    found: list[int] = []
    position = stun.HEADER_LENGTH
    while position <= len(data) - 4:
        kind, length = struct.unpack_from("!HH", data, position)
        if kind == _MESSAGE_INTEGRITY:
            break  # RFC 8489 14.5: what follows is to be ignored
        if kind < _FIRST_OPTIONAL_ATTRIBUTE and kind not in _UNDERSTOOD and kind not in found:
            found.append(kind)
        position += 4 + length + stun.padding_length(length)
    return found[:16]


def _parse(data: bytes) -> stun.Message | None:
    try:
        return stun.parse_message(data)
    except (ValueError, struct.error, LookupError, TypeError, OverflowError):
        # aioice lets through whatever its attribute readers raise on short or ill-formed values.
        return None


def _signed_error(request: stun.Message, key: bytes, code: int, reason: str, extra: bytes = b"") -> bytes:
    """Error response to a request that was authenticated with ``key``. ``extra``: an encoded attribute."""
    response = stun.Message(stun.Method.BINDING, stun.Class.ERROR, request.transaction_id, {"ERROR-CODE": (code, reason)})
    data = bytes(response) + extra
    data += struct.pack("!HH", _MESSAGE_INTEGRITY, 20) + stun.message_integrity(data, key)
    data = stun.set_body_length(data, len(data) - stun.HEADER_LENGTH + stun.FINGERPRINT_LENGTH)
    return data + struct.pack("!HHI", 0x8028, 4, stun.message_fingerprint(data))


def _error(request: stun.Message, data: bytes, code: int, reason: str, drop: StunDrop) -> StunResult:
    """Unauthenticated error response, unless it would be longer than the request."""
    attributes: dict[str, Any] = {"ERROR-CODE": (code, reason)}
    response = stun.Message(request.message_method, stun.Class.ERROR, request.transaction_id, attributes)
    response.add_fingerprint()
    encoded = bytes(response)
    return StunResult(encoded if len(encoded) <= len(data) else None, drop=drop)
