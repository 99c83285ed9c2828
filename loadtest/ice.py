"""The client's half of ICE towards an ICE-lite server (RFC 8445 2.5): one socket, checks that nominate, consent. Sans-IO.

A full agent with one host candidate against a lite one is always controlling (RFC 8445 6.1.1), and each candidate of the server makes one
pair. Pairs are tried one after the other, so that one connected socket is enough.
"""

from __future__ import annotations

import secrets
from typing import Final

from aioice import stun

FIRST_RETRANSMISSION_S: Final = 0.1
"""Doubled each time (RFC 8445 14.3 asks for 500 ms on the open Internet; a check here costs nobody bandwidth)."""
CHECK_TIMEOUT_S: Final = 5.0
"""How long one candidate may take to answer."""
CONSENT_EVERY_S: Final = 5.0
"""RFC 7675 5.1."""
CONSENT_LOST_S: Final = 30.0
PRIORITY: Final = (110 << 24) | (65535 << 8) | 255
"""Peer-reflexive, component 1 (RFC 8445 7.1.1)."""


class IceClient:
    """Credentials of both sides and the check that is under way. Times are seconds of a monotonic clock, passed in as ``now``."""

    def __init__(self, remote_ufrag: str, remote_pwd: str, now: float) -> None:
        self.ufrag = secrets.token_urlsafe(6).replace("-", "+").replace("_", "/")
        self.pwd = secrets.token_urlsafe(18).replace("-", "+").replace("_", "/")
        self.connected = False
        self.last_answer = now
        self._username = f"{remote_ufrag}:{self.ufrag}"
        self._key = remote_pwd.encode()
        self._tie_breaker = secrets.randbits(64)
        self._transaction = b""
        self._wait_s = FIRST_RETRANSMISSION_S
        self.next_at = now
        """When :meth:`request` is due again."""

    def request(self, now: float) -> bytes:
        """A check, or the same one again while it is unanswered; once connected, the request that renews consent."""
        if self.connected or not self._transaction:
            self._transaction = secrets.token_bytes(12)
        self.next_at = now + (CONSENT_EVERY_S if self.connected else self._wait_s)
        self._wait_s *= 2
        attributes = {"USERNAME": self._username, "PRIORITY": PRIORITY, "ICE-CONTROLLING": self._tie_breaker, "USE-CANDIDATE": None}
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, self._transaction, attributes)
        message.add_message_integrity(self._key)
        message.add_fingerprint()
        return bytes(message)

    def restart(self, now: float) -> None:
        """Try the next candidate."""
        self._transaction, self._wait_s, self.next_at = b"", FIRST_RETRANSMISSION_S, now

    def receive(self, data: bytes, now: float) -> bool:
        """Take a STUN datagram; whether it was the server's answer to the latest request."""
        try:
            message = stun.parse_message(data)
        except ValueError:
            return False
        if message.message_class is not stun.Class.RESPONSE or message.transaction_id != self._transaction:
            return False
        if not message.check_message_integrity(self._key):
            return False
        self.last_answer = now
        if not self.connected:
            self.connected, self.next_at = True, now + CONSENT_EVERY_S
        return True

    def consent_lost(self, now: float) -> bool:
        return self.connected and now - self.last_answer > CONSENT_LOST_S
