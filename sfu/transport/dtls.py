"""DTLS endpoint of one transport, server side, event-driven and without I/O (RFC 5763, RFC 5764).

The only file that touches private parts of aiortc (held by tests/sfu/test_aiortc_contract.py). OpenSSL reads the clock itself for its
retransmission timer; everything else comes in by argument: a datagram in, datagrams out.
"""

from __future__ import annotations

import contextlib
import enum
import struct
from typing import Final, NamedTuple

from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    RTCCertificate,
    SRTPProtectionProfile,
    certificate_digest,
)
from OpenSSL import SSL

MTU_BYTES: Final = 1200
"""Longest UDP payload of ours: fits every path that carries IPv6 (RFC 8200 5: 1280 bytes) with room for a tunnel."""

PROFILES: Final = (SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80)
"""SRTP protection profiles in order of preference. The server chooses (RFC 5764 4.1.1)."""

PROFILE_NUMBERS: Final = {SRTP_AEAD_AES_128_GCM.openssl_profile: 7, SRTP_AES128_CM_SHA1_80.openssl_profile: 1}
"""Numbers of the profiles in the IANA registry, as the native loop takes them (RFC 5764 4.1.2, RFC 7714 14.2)."""

_STRENGTH: Final = ("sha-256", "sha-384", "sha-512")  # the weakest first
_EXPORTER_LABEL: Final = b"EXTRACTOR-dtls_srtp"  # RFC 5764 4.2
_RECORD_HEADER: Final = 13  # RFC 6347 4.1: type, version, epoch, sequence number, length
_READ_BYTES: Final = 16 * 1024


class Fingerprint(NamedTuple):
    """Digest of a certificate. ``algorithm``: sha-256, sha-384 or sha-512; ``value``: upper-case hex pairs with colons (RFC 8122 5)."""

    algorithm: str
    value: str


class SrtpKeys(NamedTuple):
    """Keying material of one association. ``rx_key`` and ``tx_key``: master key followed by master salt. Never to be logged."""

    profile: int
    rx_key: bytes
    tx_key: bytes


class DtlsState(enum.Enum):
    HANDSHAKING = "handshaking"
    ESTABLISHED = "established"
    CLOSED = "closed"
    FAILED = "failed"


class DtlsIdentity:
    """Certificate (P-256) and TLS context, one of each per shard."""

    def __init__(self) -> None:
        certificate = RTCCertificate.generateCertificate()
        self.fingerprint = Fingerprint("sha-256", certificate_digest(certificate._cert, "sha-256"))
        self.context = certificate._create_ssl_context(srtp_profiles=list(PROFILES))
        self.context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 10 of 75 KiB per association
        self.context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)


class DtlsEndpoint:
    """The passive side of one DTLS association.

    ``state`` changes only inside :meth:`receive`, :meth:`retransmit` and :meth:`close`.
    """

    def __init__(self, identity: DtlsIdentity) -> None:
        self.state = DtlsState.HANDSHAKING
        self._connection = SSL.Connection(identity.context)
        self._connection.set_ciphertext_mtu(MTU_BYTES)
        self._connection.set_accept_state()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take one datagram; returns those to send."""
        if self.state in (DtlsState.CLOSED, DtlsState.FAILED) or not datagram:
            return []
        self._connection.bio_write(datagram)
        if self.state is DtlsState.HANDSHAKING:
            self._handshake()
        if self.state is DtlsState.ESTABLISHED:
            self._read()
        return self._flush()

    def retransmit(self) -> list[bytes]:
        """Let OpenSSL repeat its last flight if that is due (RFC 6347 4.2.4)."""
        if self.state in (DtlsState.CLOSED, DtlsState.FAILED):
            return []
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self.state = DtlsState.FAILED  # RFC 6347 4.2.4.1: too many flights were lost
        return self._flush()

    def retransmit_in(self) -> float | None:
        """Seconds until :meth:`retransmit` is due, or None."""
        if self.state in (DtlsState.CLOSED, DtlsState.FAILED):
            return None
        timeout: float | None = self._connection.DTLSv1_get_timeout()
        return timeout

    def close(self) -> list[bytes]:
        """Say close_notify. Returns the datagrams to send; harmless when repeated."""
        if self.state in (DtlsState.CLOSED, DtlsState.FAILED):
            return []
        if self.state is DtlsState.ESTABLISHED:
            with contextlib.suppress(SSL.Error):
                self._connection.shutdown()
        self.state = DtlsState.CLOSED
        return self._flush()

    def release(self) -> None:
        """Free the TLS object, 75 KiB, at once: what refers to this endpoint is part of cycles that wait for the garbage collector.
        Call it after :meth:`close`; only :attr:`state` is of use afterwards. Harmless when repeated."""
        if self.state is not DtlsState.FAILED:
            self.state = DtlsState.CLOSED
        self.__dict__.pop("_connection", None)

    def matches(self, fingerprints: tuple[Fingerprint, ...]) -> bool:
        """Whether the peer's certificate has one of those ``fingerprints`` that are of the strongest hash among them (RFC 8122 5: there
        may be one for each of several certificates, and weaker hashes for peers that know no better). False where there is none."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or not fingerprints:
            return False
        strongest = max((fingerprint.algorithm for fingerprint in fingerprints), key=_STRENGTH.index)
        digest = certificate_digest(certificate, strongest)
        return any(fingerprint == (strongest, digest) for fingerprint in fingerprints)

    def keys(self) -> SrtpKeys | None:
        """SRTP keys of an established association, or None where no SRTP profile was agreed on."""
        chosen = self._connection.get_selected_srtp_profile()
        for profile in PROFILES:
            if profile.openssl_profile == chosen:
                return self._export(profile)
        return None

    def describe(self) -> str:
        """Version and cipher, for the log."""
        return f"{self._connection.get_protocol_version_name()} {self._connection.get_cipher_name()}"

    def _export(self, profile: SRTPProtectionProfile) -> SrtpKeys:
        length = 2 * (profile.key_length + profile.salt_length)
        material = self._connection.export_keying_material(_EXPORTER_LABEL, length)
        # RFC 5764 4.2: client key, server key, client salt, server salt. The peer is the client.
        client, server = (profile.get_key_and_salt(material, index) for index in (0, 1))
        return SrtpKeys(PROFILE_NUMBERS[profile.openssl_profile], rx_key=client, tx_key=server)

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error:
            self.state = DtlsState.FAILED  # the alert that says why is among the datagrams
        else:
            self.state = DtlsState.ESTABLISHED

    def _read(self) -> None:
        """Drain what the peer sent after the handshake: alerts, its last flight again, application data (none is agreed on yet)."""
        try:
            while self._connection.recv(_READ_BYTES):
                pass
        except SSL.WantReadError:
            return
        except SSL.ZeroReturnError:
            with contextlib.suppress(SSL.Error):
                self._connection.shutdown()  # answer close_notify with ours (RFC 5246 7.2.1)
            self.state = DtlsState.CLOSED
        except SSL.Error:
            self.state = DtlsState.FAILED

    def _flush(self) -> list[bytes]:
        output = bytearray()
        with contextlib.suppress(SSL.Error):
            while True:
                output += self._connection.bio_read(_READ_BYTES)
        return split_records(bytes(output))


def split_records(stream: bytes) -> list[bytes]:
    """Cut what OpenSSL wrote into datagrams of whole records, each at most :data:`MTU_BYTES` long where records allow.

    The memory BIO is a stream of bytes and forgets where one datagram ended.
    """
    datagrams: list[bytes] = []
    start = position = 0
    while position + _RECORD_HEADER <= len(stream):
        end = position + _RECORD_HEADER + int(struct.unpack_from("!H", stream, position + 11)[0])
        if end - start > MTU_BYTES and position > start:
            datagrams.append(stream[start:position])
            start = position
        position = end
    if start < len(stream):
        datagrams.append(stream[start:])
    return datagrams
