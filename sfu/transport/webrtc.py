"""One ICE + DTLS + SRTP association: what happens to it, and what follows. Sans-IO.

States and what moves them (:data:`TRANSITIONS`)::

                     answered                 handshake_done
        OFFERED ──────────────▶ CONNECTING ──────────────────▶ CONNECTED
           │                                                    ▲   │
           └── handshake_done ──▶ VERIFYING ─────── answered ───┘   │
        any of them ─────────────────────────────────── closed ─────┴──▶ CLOSED

STUN and DTLS often arrive before the answer, so the DTLS endpoint exists from the offer on; the certificate is compared with
the answer's fingerprints as soon as both are there, and no SRTP key leaves this file before that.

Methods take what happened and ``now`` (seconds, monotonic) and return the effects, in order.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from sfu.transport.dtls import DtlsEndpoint, DtlsIdentity, DtlsState, Fingerprint, SrtpKeys
from sfu.transport.ice_lite import Address, IceLite, StunResult


class State(enum.Enum):
    OFFERED = "offered"
    CONNECTING = "connecting"
    VERIFYING = "verifying"
    CONNECTED = "connected"
    CLOSED = "closed"


class Happening(enum.Enum):
    ANSWERED = "answered"
    HANDSHAKE_DONE = "handshake_done"
    CLOSED = "closed"


TRANSITIONS: Final[dict[State, dict[Happening, State]]] = {
    State.OFFERED: {
        Happening.ANSWERED: State.CONNECTING,
        Happening.HANDSHAKE_DONE: State.VERIFYING,
        Happening.CLOSED: State.CLOSED,
    },
    State.CONNECTING: {Happening.HANDSHAKE_DONE: State.CONNECTED, Happening.CLOSED: State.CLOSED},
    State.VERIFYING: {Happening.ANSWERED: State.CONNECTED, Happening.CLOSED: State.CLOSED},
    State.CONNECTED: {Happening.CLOSED: State.CLOSED},
    State.CLOSED: {},
}
"""Anything that is not listed is an error of the caller (KeyError)."""


class Limits(NamedTuple):
    """Patience with a peer, in seconds.

    ``handshake_s``: from the answer to the end of the DTLS handshake; ``answer_s``: from the offer to the answer;
    ``consent_s``: since the last authenticated STUN request (RFC 7675 5.1).
    """

    handshake_s: float = 10.0
    answer_s: float = 30.0
    consent_s: float = 30.0


class RemoteParameters(NamedTuple):
    """What a peer's answer says of its side of the association."""

    ufrag: str
    pwd: str
    fingerprints: tuple[Fingerprint, ...]


class SendDatagram(NamedTuple):
    address: Address
    data: bytes


class BindAddress(NamedTuple):
    """The peer is at ``address`` from now on."""

    address: Address


class StartSrtp(NamedTuple):
    """The peer is who the answer says. Comes before our last flight: a peer may send media as soon as it has that."""

    keys: SrtpKeys


class Connected(NamedTuple):
    """Both sides have keys; media may flow. Comes after our last flight, without which the peer cannot read any."""


class Closed(NamedTuple):
    """The association is over. ``reason``: dtls_closed, dtls_failed, fingerprint_mismatch, handshake_timeout, consent_lost."""

    reason: str


Effect = SendDatagram | BindAddress | StartSrtp | Connected | Closed


class Association:
    """One peer's transport. ``ice`` holds its address and credentials; ``state`` is one of :class:`State`."""

    def __init__(self, slot: int, generation: int, identity: DtlsIdentity, limits: Limits, now: float) -> None:
        self.slot = slot
        self.generation = generation
        self.state = State.OFFERED
        self.created_at = now
        self.ice = IceLite(slot, generation, now)
        self._dtls = DtlsEndpoint(identity)
        self._limits = limits
        self._handshake_deadline = now + limits.answer_s
        self._retransmit_at: float | None = None
        self._fingerprints: tuple[Fingerprint, ...] = ()

    def stun_accepted(self, result: StunResult) -> list[Effect]:
        """An authenticated STUN request came (its response is in ``result``, to be sent once the effects have been applied)."""
        if result.bind and self.state is not State.CLOSED and self.ice.address is not None:
            return [BindAddress(self.ice.address)]
        return []

    def answered(self, remote: RemoteParameters, now: float) -> list[Effect]:
        """The peer's answer. Call once."""
        after = TRANSITIONS[self.state][Happening.ANSWERED]
        self.ice.remote_ufrag = remote.ufrag
        self._fingerprints = remote.fingerprints
        self._handshake_deadline = now + self._limits.handshake_s
        if after is State.CONNECTED:
            return self._verify([])
        self.state = after
        return []

    def dtls_received(self, datagram: bytes, now: float) -> list[Effect]:
        """A DTLS datagram from the bound address."""
        if self.state is State.CLOSED:
            return []
        return self._after_dtls(self._dtls.receive(datagram), now)

    def timer(self, now: float) -> list[Effect]:
        """Whatever is due at ``now``; may be called early."""
        if self.state is State.CLOSED:
            return []
        if self.state is State.CONNECTED:
            if now >= self.ice.last_valid + self._limits.consent_s:
                return self._close("consent_lost")
        elif now >= self._handshake_deadline:
            return self._close("handshake_timeout")
        if self._retransmit_at is not None and now >= self._retransmit_at:
            return self._after_dtls(self._dtls.retransmit(), now)
        return []

    def deadline(self) -> float | None:
        """When :meth:`timer` should be called next, or None once closed."""
        if self.state is State.CLOSED:
            return None
        due = self.ice.last_valid + self._limits.consent_s if self.state is State.CONNECTED else self._handshake_deadline
        return due if self._retransmit_at is None else min(due, self._retransmit_at)

    def close(self) -> list[Effect]:
        """End it from our side (close_notify). No :class:`Closed` follows, since the caller knows."""
        if self.state is State.CLOSED:
            return []
        effects = self._datagrams(self._dtls.close())
        self._dtls.release()
        self.state = TRANSITIONS[self.state][Happening.CLOSED]
        return effects

    def describe(self) -> str:
        """DTLS version and cipher, for the log; nothing once it is closed."""
        return self._dtls.describe() if self.state is not State.CLOSED else ""

    def _after_dtls(self, datagrams: list[bytes], now: float) -> list[Effect]:
        effects = self._datagrams(datagrams)
        match self._dtls.state:
            case DtlsState.ESTABLISHED if self.state in (State.OFFERED, State.CONNECTING):
                after = TRANSITIONS[self.state][Happening.HANDSHAKE_DONE]
                if after is State.CONNECTED:
                    effects = self._verify(effects)
                else:
                    self.state = after
            case DtlsState.CLOSED:
                effects += self._close("dtls_closed")
            case DtlsState.FAILED:
                effects += self._close("dtls_failed")
        wait = self._dtls.retransmit_in()
        self._retransmit_at = None if wait is None else now + max(wait, 0.01)
        return effects

    def _verify(self, flight: list[Effect]) -> list[Effect]:
        """Both the certificate and the fingerprints are known (RFC 5763 5). ``flight``: the end of our handshake, not sent yet."""
        if not self._dtls.matches(self._fingerprints):
            return [*flight, *self._close("fingerprint_mismatch")]
        keys = self._dtls.keys()
        if keys is None:
            return [*flight, *self._close("dtls_failed")]
        self.state = State.CONNECTED
        return [StartSrtp(keys), *flight, Connected()]

    def _close(self, reason: str) -> list[Effect]:
        effects = self.close()
        return [*effects, Closed(reason)]

    def _datagrams(self, datagrams: list[bytes]) -> list[Effect]:
        address = self.ice.address
        return [] if address is None else [SendDatagram(address, data) for data in datagrams]
