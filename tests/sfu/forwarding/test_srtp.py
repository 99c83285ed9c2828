"""SRTP protection against published vectors (RFC 7714, RFC 3711), against an independent AES-GCM, and against libsrtp."""

from __future__ import annotations

import hmac
import os
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi

from sfu.forwarding import _native

GCM = _native.AEAD_AES_128_GCM
CM = _native.AES128_CM_SHA1_80


def derive(master_key: bytes, master_salt: bytes, label: int, size: int) -> bytes:
    """RFC 3711 4.3.1 with key derivation rate 0; a 12 byte salt is padded (RFC 7714 11)."""
    block = bytearray(master_salt.ljust(14, b"\0") + b"\0\0")
    block[7] ^= label
    return Cipher(algorithms.AES(master_key), modes.CTR(bytes(block))).encryptor().update(bytes(size))


def oracle(key: bytes, packet: bytes, header_length: int, index: int) -> bytes:
    """RFC 7714 8.1 and 9.1 by the cryptography package."""
    session_key, salt = derive(key[:16], key[16:], 0, 16), derive(key[:16], key[16:], 2, 14)[:12]
    nonce = b"\0\0" + packet[8:12] + struct.pack("!IH", index >> 16, index & 0xFFFF)
    nonce = bytes(a ^ b for a, b in zip(nonce, salt, strict=True))
    return packet[:header_length] + AESGCM(session_key).encrypt(nonce, packet[header_length:], packet[:header_length])


def test_key_derivation_oracle_matches_rfc_3711_appendix_b_3() -> None:
    key, salt = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derive(key, salt, 0, 16) == bytes.fromhex("C61E7A93744F39EE10734AFE3FF7A087")
    assert derive(key, salt, 2, 14) == bytes.fromhex("30CBBC08863D8C85D49DB34A9AE1")


def test_evp_is_used_with_the_pinned_pylibsrtp() -> None:
    """The native module runs RFC 7714 16.1.1 and RFC 3711 B.3 when it loads; ``libsrtp`` here means that one of them failed."""
    _native.protect(GCM, bytes(28), bytes([0x80]) + bytes(20), 12, 0, use_evp=True)
    assert _native.protect(GCM, bytes(28), bytes([0x80]) + bytes(20), 12, 5 << 16, use_evp=True) != _native.protect(
        GCM, bytes(28), bytes([0x80]) + bytes(20), 12, 0, use_evp=True
    ), "index was ignored: not the EVP path"


def oracle_cm(key: bytes, packet: bytes, header_length: int, index: int) -> bytes:
    """RFC 3711 4.1.1 and 4.2 by the cryptography package and hmac."""
    session_key, salt = derive(key[:16], key[16:], 0, 16), derive(key[:16], key[16:], 2, 14)
    counter = b"\0" * 4 + packet[8:12] + struct.pack("!IH", index >> 16, index & 0xFFFF) + b"\0\0"
    counter = bytes(a ^ b for a, b in zip(counter, salt + b"\0\0", strict=True))
    encrypted = packet[:header_length] + Cipher(algorithms.AES(session_key), modes.CTR(counter)).encryptor().update(packet[header_length:])
    tag = hmac.digest(derive(key[:16], key[16:], 1, 20), encrypted + struct.pack("!I", index >> 16), "sha1")
    return encrypted + tag[:10]


@settings(max_examples=200, deadline=None)
@given(
    key=st.binary(min_size=28, max_size=28),
    body=st.binary(min_size=11, max_size=1500),
    csrcs=st.integers(0, 15),
    index=st.integers(0, (1 << 48) - 1),
)
def test_evp_protects_as_the_oracle_does_at_any_rollover_count(key: bytes, body: bytes, csrcs: int, index: int) -> None:
    header_length = 12 + 4 * csrcs
    packet = bytes([0x80 | csrcs]) + body + bytes(max(0, header_length - len(body) - 1))
    assert _native.protect(GCM, key, packet, header_length, index, use_evp=True) == oracle(key, packet, header_length, index)
    assert _native.protect(CM, key + b"ab", packet, header_length, index, use_evp=True) == oracle_cm(
        key + b"ab", packet, header_length, index
    )


@pytest.mark.parametrize(("profile", "policy"), [(GCM, Policy.SRTP_PROFILE_AEAD_AES_128_GCM), (CM, Policy.SRTP_PROFILE_AES128_CM_SHA1_80)])
@pytest.mark.parametrize("use_evp", [True, False])
def test_libsrtp_reads_what_was_protected(profile: int, policy: int, use_evp: bool) -> None:
    key = os.urandom(28 if profile == GCM else 30)
    packet = struct.pack("!BBHII", 0x80, 111, 40, 960, 77) + os.urandom(160)
    receiver = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=policy))
    assert receiver.unprotect(_native.protect(profile, key, packet, 12, 40, use_evp=use_evp)) == packet


@pytest.mark.parametrize(("profile", "policy"), [(GCM, Policy.SRTP_PROFILE_AEAD_AES_128_GCM), (CM, Policy.SRTP_PROFILE_AES128_CM_SHA1_80)])
@pytest.mark.parametrize("use_evp", [True, False])
@pytest.mark.parametrize("size", [8, 28, 52, 300])
def test_libsrtp_reads_rtcp_that_was_protected(profile: int, policy: int, use_evp: bool, size: int) -> None:
    key = os.urandom(28 if profile == GCM else 30)
    packet = struct.pack("!BBHI", 0x80, 200, size // 4 - 1, 77) + os.urandom(size - 8)
    receiver = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=policy))
    assert receiver.unprotect_rtcp(_native.protect(profile, key, packet, 0, 0, use_evp=use_evp)) == packet


def test_srtp_policy_has_the_layout_that_srtp_c_declares() -> None:
    fields = {name: field.offset for name, field in ffi.typeof("srtp_policy_t").fields}
    assert ffi.sizeof("srtp_policy_t") == 128
    assert fields == {"ssrc": 0, "rtp": 8, "rtcp": 32, "key": 56, "window_size": 88, "allow_repeat_tx": 96}
    assert ffi.sizeof("srtp_crypto_policy_t") == 24


@pytest.mark.parametrize("key", [b"", bytes(27), bytes(30)])
def test_key_of_a_wrong_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="wrong length"):
        _native.protect(GCM, key, bytes(20), 12, 0, use_evp=True)
