"""What the shard uses of aiortc, aioice and pyOpenSSL that is private or undocumented: fails where an upgrade changes it."""

from __future__ import annotations

import importlib.metadata
import inspect
import re

import pytest
from aioice import stun
from aiortc import RTCPeerConnection
from aiortc import rtcdtlstransport as dtls
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtcpPacket
from aiortc.sdp import SessionDescription
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL


def test_versions_are_those_this_was_written_for() -> None:
    assert importlib.metadata.version("aiortc") == "1.16.0"
    assert importlib.metadata.version("pylibsrtp") == "1.0.0"


class TestCertificate:
    def test_key_is_p256_and_the_certificate_is_reachable(self) -> None:
        certificate = dtls.RTCCertificate.generateCertificate()
        assert isinstance(certificate._key.curve, ec.SECP256R1)
        assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", dtls.certificate_digest(certificate._cert, "sha-256"))

    def test_context_takes_profiles_and_modes_before_its_first_use(self) -> None:
        context = dtls.RTCCertificate.generateCertificate()._create_ssl_context(srtp_profiles=[dtls.SRTP_AEAD_AES_128_GCM])
        assert isinstance(context, SSL.Context)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)

    @pytest.mark.parametrize(("profile", "key", "salt"), [(dtls.SRTP_AEAD_AES_128_GCM, 16, 12), (dtls.SRTP_AES128_CM_SHA1_80, 16, 14)])
    def test_keys_are_cut_as_rfc_5764_says(self, profile: dtls.SRTPProtectionProfile, key: int, salt: int) -> None:
        assert (profile.key_length, profile.salt_length) == (key, salt)
        material = bytes(range(2 * (key + salt)))
        assert profile.get_key_and_salt(material, 0) == material[:key] + material[2 * key : 2 * key + salt]
        assert profile.get_key_and_salt(material, 1) == material[key : 2 * key] + material[2 * key + salt :]

    def test_digests_that_answers_may_name_are_known(self) -> None:
        assert set(dtls.X509_DIGEST_ALGORITHMS) == {"sha-256", "sha-384", "sha-512"}


class TestStun:
    def test_message_parts(self) -> None:
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": "a:b", "USE-CANDIDATE": None})
        message.add_message_integrity(b"key")
        read = stun.parse_message(bytes(message))
        assert read.check_message_integrity(b"key")
        assert not read.check_message_integrity(b"other")
        assert read.attributes["USE-CANDIDATE"] is None

    def test_unknown_attributes_are_skipped_without_a_word(self) -> None:
        data = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)) + b"\x70\x01\x00\x00"
        assert stun.parse_message(stun.set_body_length(data, 4)).attributes == {}


class TestSdp:
    @pytest.mark.parametrize(
        ("line", "error"), [("a=setup:x", KeyError), ("a=fmtp:99 x", StopIteration), ("a=mid", type(None)), ("c=x", AssertionError)]
    )
    def test_parser_raises_all_sorts(self, line: str, error: type[BaseException]) -> None:
        sdp = f"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{line}\r\n"
        if error is type(None):
            assert SessionDescription.parse(sdp).media[0].rtp.muxId is None
        else:
            with pytest.raises(error):
                SessionDescription.parse(sdp)


class TestReceiver:
    """Parts by which tests make a peer report (test_calls.py, test_hostile.py)."""

    async def test_streams_and_reports_are_where_they_were(self) -> None:
        connection = RTCPeerConnection()
        receiver = connection.addTransceiver("audio").receiver
        assert receiver._RTCRtpReceiver__remote_streams == {}
        assert list(inspect.signature(receiver._send_rtcp_nack).parameters) == ["media_ssrc", "lost"]
        assert list(inspect.signature(receiver.transport._send_rtp).parameters) == ["data"]
        await connection.close()

    def test_statistics_know_the_last_sequence_number(self) -> None:
        assert StreamStatistics(48000).max_seq is None


def test_rtcp_parser_raises_value_error_on_truncation() -> None:
    with pytest.raises(ValueError, match="truncated"):
        RtcpPacket.parse(b"\x80\xc9\x00\x07")
