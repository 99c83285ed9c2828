"""The client's half of DTLS-SRTP (RFC 5764), event-driven and without I/O: a datagram in, datagrams out.

Code of its own: the load tester must not share the server's mistakes. From aiortc come the certificate and the layout of SRTP keys.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from typing import Any, Final, NamedTuple

from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80, RTCCertificate, certificate_digest
from OpenSSL import SSL

from loadtest.native import _traffic

MTU_BYTES: Final = 1200
PROFILES: Final = (SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80)
_NUMBERS: Final = {
    SRTP_AEAD_AES_128_GCM.openssl_profile: _traffic.AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80.openssl_profile: _traffic.AES128_CM_SHA1_80,
}
_RECORD_HEADER: Final = 13  # RFC 6347 4.1
_CHUNK: Final = 16 * 1024


class Keys(NamedTuple):
    """Master keys, each with its salt. Never to be logged."""

    profile: int
    rx: bytes
    tx: bytes


class DtlsError(Exception):
    """The handshake failed, or the server is not who its offer said."""


@functools.cache
def identity() -> tuple[SSL.Context, str]:
    """One certificate for all participants, since making one takes longer than a handshake. Context and SHA-256 fingerprint."""
    certificate = RTCCertificate.generateCertificate()
    context = certificate._create_ssl_context(srtp_profiles=list(PROFILES))
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
    return context, certificate_digest(certificate._cert, "sha-256")


class DtlsClient:
    """One handshake. ``established`` and ``closed`` change only inside its methods."""

    def __init__(self) -> None:
        self.established = False
        self.closed = False
        self._connection = SSL.Connection(identity()[0])
        self._connection.set_ciphertext_mtu(MTU_BYTES)
        self._connection.set_connect_state()

    def start(self) -> list[bytes]:
        """The first flight."""
        return self._handshake()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram. Raises :class:`DtlsError` where the handshake has failed."""
        if self.closed:
            return []
        self._connection.bio_write(datagram)
        if not self.established:
            return self._handshake()
        try:
            while self._connection.recv(_CHUNK):
                pass
        except SSL.WantReadError:
            pass
        except SSL.Error:  # close_notify, or an alert
            self.closed = True
        return self._flush()

    def retransmit_in(self) -> float | None:
        """Seconds until :meth:`retransmit` is due."""
        timeout: float | None = None if self.closed or self.established else self._connection.DTLSv1_get_timeout()
        return timeout

    def retransmit(self) -> list[bytes]:
        with contextlib.suppress(SSL.Error):
            self._connection.DTLSv1_handle_timeout()
        return self._flush()

    def keys(self, fingerprints: list[tuple[str, str]]) -> Keys:
        """SRTP keys, if the server's certificate has one of the ``fingerprints`` (algorithm, value) of its offer.

        Raises :class:`DtlsError`.
        """
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or all(certificate_digest(certificate, name) != value.upper() for name, value in fingerprints):
            raise DtlsError("the server's certificate is not the one of its offer")
        chosen = self._connection.get_selected_srtp_profile()
        profile: Any = next((p for p in PROFILES if p.openssl_profile == chosen), None)
        if profile is None:
            raise DtlsError("no SRTP profile was agreed on")
        material = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (profile.key_length + profile.salt_length))
        # RFC 5764 4.2: client key, server key, client salt, server salt. We are the client.
        client, server = (profile.get_key_and_salt(material, index) for index in (0, 1))
        return Keys(_NUMBERS[chosen], rx=server, tx=client)

    def close(self) -> list[bytes]:
        """Say close_notify."""
        if self.closed:
            return []
        self.closed = True
        with contextlib.suppress(SSL.Error):
            self._connection.shutdown()
        return self._flush()

    def _handshake(self) -> list[bytes]:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.closed = True
            raise DtlsError(f"the DTLS handshake failed: {error}") from error
        else:
            self.established = True
        return self._flush()

    def _flush(self) -> list[bytes]:
        """What OpenSSL wrote, cut into datagrams of whole records (the memory BIO forgets where one ended)."""
        output = bytearray()
        with contextlib.suppress(SSL.Error):
            while True:
                output += self._connection.bio_read(_CHUNK)
        return _datagrams(bytes(output))


def _datagrams(stream: bytes) -> list[bytes]:
    found: list[bytes] = []
    start = position = 0
    while position + _RECORD_HEADER <= len(stream):
        (length,) = struct.unpack_from("!H", stream, position + 11)
        if position > start and position + _RECORD_HEADER + length - start > MTU_BYTES:
            found.append(stream[start:position])
            start = position
        position += _RECORD_HEADER + length
    return [*found, stream[start:]] if start < len(stream) else found
