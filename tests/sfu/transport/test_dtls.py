from __future__ import annotations

import asyncio
import struct

import pytest
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    certificate_digest,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from sfu.transport.dtls import MTU_BYTES, DtlsEndpoint, DtlsIdentity, DtlsState, Fingerprint, split_records

IDENTITY = DtlsIdentity()
CERTIFICATE = RTCCertificate.generateCertificate()


class Client:
    """The active side, on plain pyOpenSSL."""

    def __init__(self, profiles: list = [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]) -> None:  # noqa: B006 - never changed
        self.connection = SSL.Connection(CERTIFICATE._create_ssl_context(srtp_profiles=profiles))
        self.connection.set_connect_state()
        self.done = False

    def step(self, datagrams: list[bytes]) -> list[bytes]:
        for datagram in datagrams:
            self.connection.bio_write(datagram)
        try:
            self.connection.do_handshake()
            self.done = True
        except SSL.WantReadError:
            pass
        return self.flush()

    def flush(self) -> list[bytes]:
        output = b""
        try:
            while True:
                output += self.connection.bio_read(4096)
        except SSL.Error:
            return split_records(output)


def handshake(client: Client, server: DtlsEndpoint) -> None:
    to_client: list[bytes] = []
    for _ in range(10):
        to_server = client.step(to_client)
        to_client = [reply for datagram in to_server for reply in server.receive(datagram)]
        if client.done and server.state is not DtlsState.HANDSHAKING:
            return


def fingerprint(algorithm: str = "sha-256") -> Fingerprint:
    return Fingerprint(algorithm, certificate_digest(CERTIFICATE._cert, algorithm))


class TestHandshake:
    def test_both_sides_get_the_same_keys(self) -> None:
        client, server = Client(), DtlsEndpoint(IDENTITY)
        handshake(client, server)
        assert server.state is DtlsState.ESTABLISHED
        keys = server.keys()
        assert keys is not None
        assert keys.profile == 7
        material = client.connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 56)
        assert keys.rx_key == material[0:16] + material[32:44]  # RFC 5764 4.2: the client writes with the first
        assert keys.tx_key == material[16:32] + material[44:56]

    def test_aes_cm_is_taken_where_gcm_is_missing(self) -> None:
        client, server = Client([SRTP_AES128_CM_SHA1_80]), DtlsEndpoint(IDENTITY)
        handshake(client, server)
        keys = server.keys()
        assert keys is not None
        assert (keys.profile, len(keys.rx_key), len(keys.tx_key)) == (1, 30, 30)

    def test_server_prefers_gcm(self) -> None:
        client, server = Client([SRTP_AES128_CM_SHA1_80, SRTP_AEAD_AES_128_GCM]), DtlsEndpoint(IDENTITY)
        handshake(client, server)
        keys = server.keys()
        assert keys is not None
        assert keys.profile == 7

    def test_rfc_8122_any_fingerprint_of_the_strongest_hash_matches(self) -> None:
        client, server = Client(), DtlsEndpoint(IDENTITY)
        handshake(client, server)
        known = tuple(fingerprint(algorithm) for algorithm in ("sha-256", "sha-384", "sha-512"))
        sha_256, _, sha_512 = known
        other_256, other_512 = Fingerprint("sha-256", "00:" * 31 + "00"), Fingerprint("sha-512", "00:" * 63 + "00")
        assert server.matches(known)
        assert all(server.matches((fingerprint,)) for fingerprint in known)
        assert server.matches((other_256, sha_256))  # one for each of two certificates
        assert server.matches((sha_512, other_512, other_256))
        assert not server.matches(())
        assert not server.matches((other_256,))
        assert not server.matches((sha_256, other_512))  # the stronger hash decides

    def test_lost_flight_is_repeated(self) -> None:
        client, server = Client(), DtlsEndpoint(IDENTITY)
        lost = [reply for datagram in client.step([]) for reply in server.receive(datagram)]
        assert lost
        assert server.retransmit_in() == pytest.approx(1.0, abs=0.2)
        assert server.retransmit() == []  # not due yet
        handshake(client, server)  # the client repeats nothing either: nothing arrives
        assert server.state is DtlsState.HANDSHAKING

    def test_datagrams_fit_the_path(self) -> None:
        client, server = Client(), DtlsEndpoint(IDENTITY)
        replies = [reply for datagram in client.step([]) for reply in server.receive(datagram)]
        assert all(len(reply) <= MTU_BYTES for reply in replies)


class TestClose:
    def test_close_notify_of_the_peer_is_answered(self) -> None:
        client, server = Client(), DtlsEndpoint(IDENTITY)
        handshake(client, server)
        client.connection.shutdown()
        replies = [reply for datagram in client.flush() for reply in server.receive(datagram)]
        assert server.state is DtlsState.CLOSED
        assert len(replies) == 1

    def test_our_close_notify_reaches_the_peer(self) -> None:
        client, server = Client(), DtlsEndpoint(IDENTITY)
        handshake(client, server)
        (datagram,) = server.close()
        client.connection.bio_write(datagram)
        with pytest.raises(SSL.ZeroReturnError):
            client.connection.recv(100)
        assert server.close() == []
        assert server.receive(b"\x16" * 50) == []


class TestHostileBytes:
    @settings(deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
    def test_any_bytes_are_survived(self, datagrams: list[bytes]) -> None:
        server = DtlsEndpoint(IDENTITY)
        for datagram in datagrams:
            server.receive(datagram)
        assert server.state is not DtlsState.ESTABLISHED

    @settings(deadline=None, max_examples=50)
    @given(st.integers(0, 150), st.integers(1, 255))
    def test_mutated_client_hello_is_survived(self, at: int, change: int) -> None:
        server = DtlsEndpoint(IDENTITY)
        for datagram in Client().step([]):
            mutated = bytearray(datagram)
            mutated[at % len(mutated)] ^= change
            server.receive(bytes(mutated))

    def test_garbage_after_the_handshake_changes_nothing(self) -> None:
        client, server = Client(), DtlsEndpoint(IDENTITY)
        handshake(client, server)
        for datagram in (
            b"\x16",
            b"\x17\xfe\xfd" + bytes(30),
            b"\x15\xfe\xfd" + struct.pack("!HIHH", 1, 0, 9, 2) + b"\x01\x00",
            bytes(100),
        ):
            server.receive(datagram)
        assert server.state is DtlsState.ESTABLISHED

    def test_plain_alert_before_encryption_does_not_raise(self) -> None:
        server = DtlsEndpoint(IDENTITY)
        server.receive(b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28")


class TestSplitRecords:
    def record(self, length: int) -> bytes:
        return b"\x16\xfe\xfd" + bytes(8) + struct.pack("!H", length) + bytes(length)

    def test_records_stay_whole_and_datagrams_short(self) -> None:
        stream = b"".join(self.record(length) for length in (500, 500, 500, 1100, 10, 10))
        datagrams = split_records(stream)
        assert b"".join(datagrams) == stream
        assert [len(datagram) for datagram in datagrams] == [1026, 513, 1113 + 23 + 23]

    @given(st.binary(max_size=100))
    def test_nothing_is_lost_of_any_bytes(self, stream: bytes) -> None:
        assert b"".join(split_records(stream)) == stream


class FakeIce:
    """What RTCDtlsTransport needs of its ICE transport, in memory."""

    role = "controlling"

    def __init__(self, server: DtlsEndpoint) -> None:
        self.server = server
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def _recv(self) -> bytes:
        return await self.queue.get()

    async def _send(self, data: bytes) -> None:
        for reply in self.server.receive(data):
            self.queue.put_nowait(reply)


async def test_handshake_with_aiortc() -> None:
    server = DtlsEndpoint(IDENTITY)
    transport = RTCDtlsTransport(FakeIce(server), [CERTIFICATE])  # type: ignore[arg-type]
    transport._set_role("client")
    await transport.start(RTCDtlsParameters([RTCDtlsFingerprint(*IDENTITY.fingerprint)]))
    assert (transport.state, server.state) == ("connected", DtlsState.ESTABLISHED)
    assert server.matches((fingerprint(),))
    await transport.stop()
    assert server.state is DtlsState.CLOSED
