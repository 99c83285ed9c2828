from __future__ import annotations

import contextlib

import pytest
from aioice import stun
from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM, RTCCertificate, certificate_digest
from OpenSSL import SSL

from sfu.transport.dtls import DtlsIdentity, Fingerprint
from sfu.transport.ice_lite import respond
from sfu.transport.webrtc import (
    TRANSITIONS,
    Association,
    BindAddress,
    Closed,
    Connected,
    Effect,
    Happening,
    Limits,
    RemoteParameters,
    SendDatagram,
    StartSrtp,
    State,
)

IDENTITY = DtlsIdentity()
CERTIFICATE = RTCCertificate.generateCertificate()
PEER = ("192.0.2.1", 5000)
GOOD = Fingerprint("sha-256", certificate_digest(CERTIFICATE._cert, "sha-256"))
BAD = Fingerprint("sha-256", "00:" * 31 + "00")
LIMITS = Limits(handshake_s=10, answer_s=30, consent_s=30)


class Peer:
    """A browser in virtual time: STUN and DTLS, no sockets."""

    def __init__(self) -> None:
        self.association = Association(1, 1, IDENTITY, LIMITS, 0.0)
        self.dtls = SSL.Connection(CERTIFICATE._create_ssl_context(srtp_profiles=[SRTP_AEAD_AES_128_GCM]))
        self.dtls.set_connect_state()
        self.effects: list[Effect] = []

    def check(self, now: float, source: tuple[str, int] = PEER) -> None:
        ice = self.association.ice
        attributes = {"USERNAME": f"{ice.local_ufrag}:peer", "PRIORITY": 1, "USE-CANDIDATE": None, "ICE-CONTROLLING": 1}
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes=attributes)
        message.add_message_integrity(ice.local_pwd.encode())
        self.effects += self.association.stun_accepted(respond(bytes(message), source, now, lambda slot: ice))

    def answer(self, now: float, fingerprint: Fingerprint = GOOD) -> None:
        self.effects += self.association.answered(RemoteParameters("peer", "p" * 22, (fingerprint,)), now)

    def shake(self, now: float) -> None:
        """Whole DTLS handshake."""
        for _ in range(6):
            with contextlib.suppress(SSL.WantReadError):
                self.dtls.do_handshake()
            try:
                effects = self.association.dtls_received(self.dtls.bio_read(4096), now)
            except SSL.WantReadError:
                return
            self.effects += effects
            for effect in effects:
                if isinstance(effect, SendDatagram):
                    self.dtls.bio_write(effect.data)

    def kinds(self) -> list[type]:
        return [type(effect) for effect in self.effects if not isinstance(effect, SendDatagram)]


@pytest.fixture
def peer() -> Peer:
    return Peer()


class TestOrder:
    def test_answer_before_the_handshake(self, peer: Peer) -> None:
        peer.answer(1)
        assert peer.association.state is State.CONNECTING
        peer.check(1)
        peer.shake(1)
        assert peer.association.state is State.CONNECTED
        assert peer.kinds() == [BindAddress, StartSrtp, Connected]

    def test_keys_come_before_our_last_flight_and_media_after_it(self, peer: Peer) -> None:
        peer.answer(1)
        peer.check(1)
        peer.shake(1)
        start = next(index for index, effect in enumerate(peer.effects) if isinstance(effect, StartSrtp))
        kinds = [type(effect) for effect in peer.effects[start:]]
        assert kinds == [StartSrtp, *[SendDatagram] * (len(kinds) - 2), Connected]
        assert len(kinds) > 2

    def test_handshake_before_the_answer_gives_no_keys_until_then(self, peer: Peer) -> None:
        peer.check(1)
        peer.shake(1)
        assert (peer.association.state, peer.kinds()) == (State.VERIFYING, [BindAddress])
        peer.answer(2)
        assert (peer.association.state, peer.kinds()) == (State.CONNECTED, [BindAddress, StartSrtp, Connected])

    def test_every_state_can_be_closed(self) -> None:
        assert all(row[Happening.CLOSED] is State.CLOSED for state, row in TRANSITIONS.items() if state is not State.CLOSED)

    def test_second_answer_is_an_error_of_the_caller(self, peer: Peer) -> None:
        peer.answer(1)
        with pytest.raises(KeyError):
            peer.answer(1)


class TestRfc5763Fingerprint:
    @pytest.mark.parametrize("answer_first", [True, False])
    def test_mismatch_closes_and_gives_no_keys(self, peer: Peer, answer_first: bool) -> None:
        peer.check(1)
        steps = [lambda: peer.answer(1, BAD), lambda: peer.shake(1)]
        for step in steps if answer_first else reversed(steps):
            step()
        assert peer.effects[-1] == Closed("fingerprint_mismatch")
        assert not {StartSrtp, Connected} & set(peer.kinds())


class TestTime:
    def test_unanswered_offer_times_out(self, peer: Peer) -> None:
        assert peer.association.deadline() == 30
        assert peer.association.timer(29.9) == []
        assert peer.association.timer(30) == [Closed("handshake_timeout")]
        assert peer.association.deadline() is None

    def test_handshake_that_never_starts_times_out_after_the_answer(self, peer: Peer) -> None:
        peer.answer(5)
        assert peer.association.deadline() == 15
        assert peer.association.timer(15) == [Closed("handshake_timeout")]

    def test_silent_peer_loses_consent(self, peer: Peer) -> None:
        peer.answer(1)
        peer.check(1)
        peer.shake(1)
        peer.check(20)
        assert peer.association.timer(31) == []
        assert peer.association.deadline() == 50
        effects = peer.association.timer(50)
        assert effects[-1] == Closed("consent_lost")
        assert isinstance(effects[0], SendDatagram)  # close_notify, in case it hears us

    def test_moving_peer_keeps_its_association(self, peer: Peer) -> None:
        peer.answer(1)
        peer.check(1)
        peer.shake(1)
        peer.check(2, ("198.51.100.1", 1234))
        assert peer.effects[-1] == BindAddress(("198.51.100.1", 1234))
        assert peer.association.state is State.CONNECTED


class TestClose:
    def test_close_notify_of_the_peer_closes(self, peer: Peer) -> None:
        peer.answer(1)
        peer.check(1)
        peer.shake(1)
        peer.dtls.shutdown()
        effects = peer.association.dtls_received(peer.dtls.bio_read(4096), 2)
        assert effects[-1] == Closed("dtls_closed")

    def test_closed_association_does_nothing_more(self, peer: Peer) -> None:
        peer.association.close()
        assert peer.association.close() == []
        assert peer.association.timer(1000) == []
        assert peer.association.dtls_received(b"\x16" * 20, 1) == []
