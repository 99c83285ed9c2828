"""The lightest client that a shard takes for a real one: STUN, DTLS and SRTP on one UDP socket, SDP by search instead of by parser.

Benchmarks use it so that what they measure is the server. It shares no code with sfu.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import struct
from typing import Any, Final

from aioice import stun
from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM, RTCCertificate, certificate_digest
from OpenSSL import SSL
from pylibsrtp import Policy, Session

_UFRAG: Final = re.compile(r"^a=ice-ufrag:(\S+)", re.M)
_PWD: Final = re.compile(r"^a=ice-pwd:(\S+)", re.M)
_CANDIDATE: Final = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", re.M)
_LABEL: Final = b"EXTRACTOR-dtls_srtp"  # RFC 5764 4.2
_KEY: Final = 16
_SALT: Final = 12
_REPEAT_S: Final = 0.25
"""A lost datagram of the handshake is sent again after this time."""
_CONSENT_S: Final = 5.0
"""RFC 7675 5.1: who says nothing for 30 s has gone."""


class Identity:
    """Certificate and TLS context, one of each for all clients of a process."""

    def __init__(self) -> None:
        certificate = RTCCertificate.generateCertificate()
        self.digest = certificate_digest(certificate._cert, "sha-256")
        self.context = certificate._create_ssl_context(srtp_profiles=[SRTP_AEAD_AES_128_GCM])


class Transport(asyncio.DatagramProtocol):
    """One association with a shard. ``connected`` is done with the end of the handshake, ``heard`` with the first packet that decrypts."""

    def __init__(self, identity: Identity, offer: str) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.heard: asyncio.Future[float] = loop.create_future()
        self.packets = 0
        self._identity = identity
        self._loop = loop
        self._ufrag, self._pwd = secrets.token_hex(4), secrets.token_hex(12)
        self._remote_ufrag, self._remote_pwd = _UFRAG.search(offer)[1], _PWD.search(offer)[1]  # type: ignore[index]
        found = _CANDIDATE.search(offer)
        assert found is not None, offer
        self._server = (found[1], int(found[2]))
        self._dtls = SSL.Connection(identity.context)
        self._dtls.set_ciphertext_mtu(1200)
        self._dtls.set_connect_state()
        self._checked = False
        self._timer: asyncio.TimerHandle | None = None
        self._out: Session | None = None
        self._in: Session | None = None

    async def open(self) -> None:
        """Bind a socket and start with the first check: call once the answer is on its way."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        await self._loop.create_datagram_endpoint(lambda: self, sock=sock)

    def answer(self, direction: str, ssrc: int | None = None) -> str:
        """The answer to an offer of one audio section."""
        lines = [
            "v=0",
            f"o=- {secrets.randbits(60)} 1 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "c=IN IP4 0.0.0.0",
            "a=mid:0",
            f"a={direction}",
            "a=rtcp-mux",
            "a=rtpmap:111 opus/48000/2",
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
            f"a=ice-ufrag:{self._ufrag}",
            f"a=ice-pwd:{self._pwd}",
            f"a=fingerprint:sha-256 {self._identity.digest}",
            "a=setup:active",
        ]
        if ssrc is not None:
            lines.append(f"a=ssrc:{ssrc} cname:light")
        return "\r\n".join(lines) + "\r\n"

    def send(self, packet: bytes) -> None:
        """Encrypt and send one RTP packet. Only when connected."""
        assert self._out is not None
        self._transport.sendto(self._out.protect(packet), self._server)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()

    # ------------------------------------------------------------------------------------------ asyncio's protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._repeat()

    def datagram_received(self, data: bytes, address: Any) -> None:
        first = data[0]
        if first < 4:
            self._stun_received()
        elif 20 <= first < 64:
            self._dtls.bio_write(data)
            self._handshake()
        elif 128 <= first < 192 and self._in is not None and not 192 <= data[1] <= 223:
            self._in.unprotect(data)
            self.packets += 1
            if not self.heard.done():
                self.heard.set_result(self._loop.time())

    # ------------------------------------------------------------------------------------------ steps

    def _repeat(self) -> None:
        """Send what has not been answered: the check, then OpenSSL's last flight. Once connected, a check now and then."""
        if not self._checked or self.connected.done():
            self._check()
        else:
            self._dtls.DTLSv1_handle_timeout()
            self._flush()
        self._timer = self._loop.call_later(_CONSENT_S if self.connected.done() else _REPEAT_S, self._repeat)

    def _check(self) -> None:
        username = f"{self._remote_ufrag}:{self._ufrag}"
        attributes = {"USERNAME": username, "PRIORITY": 1, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None}
        check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes=attributes)
        check.add_message_integrity(self._remote_pwd.encode())
        self._transport.sendto(bytes(check), self._server)

    def _stun_received(self) -> None:
        if not self._checked:
            self._checked = True
            self._handshake()

    def _handshake(self) -> None:
        if not self.connected.done():
            try:
                self._dtls.do_handshake()
            except SSL.WantReadError:
                pass
            else:
                self._start_srtp()
                self.connected.set_result(None)
        self._flush()

    def _start_srtp(self) -> None:
        material = self._dtls.export_keying_material(_LABEL, 2 * (_KEY + _SALT))
        keys, salts = material[: 2 * _KEY], material[2 * _KEY :]
        profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
        self._out = Session(Policy(key=keys[:_KEY] + salts[:_SALT], ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
        self._in = Session(Policy(key=keys[_KEY:] + salts[_SALT:], ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))

    def _flush(self) -> None:
        """One flight in as few datagrams as 1200 bytes allow, as browsers send it."""
        stream = b""
        try:
            while True:
                stream += self._dtls.bio_read(16384)
        except SSL.Error:
            pass
        start = end = 0
        while end < len(stream):
            record = 13 + int.from_bytes(stream[end + 11 : end + 13], "big")
            if end + record - start > 1200 and end > start:
                self._transport.sendto(stream[start:end], self._server)
                start = end
            end += record
        if stream:
            self._transport.sendto(stream[start:], self._server)


class Talker:
    """Sends one 20-byte packet every 20 ms on a connected transport."""

    def __init__(self, transport: Transport, ssrc: int) -> None:
        self._transport = transport
        self._ssrc = ssrc
        self._sequence = 0
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._tick()

    def _tick(self) -> None:
        self.say()
        self._due += 0.02
        self._timer = self._loop.call_at(self._due, self._tick)

    def say(self) -> None:
        self._transport.send(speech(self._ssrc, self._sequence))
        self._sequence += 1

    def close(self) -> None:
        self._timer.cancel()


def speech(ssrc: int, sequence: int) -> bytes:
    """An Opus-like packet with audio level and MID (RFC 6464, RFC 8843 15)."""
    extension = struct.pack("!HH4B", 0xBEDE, 1, 0x10, 0x85, 0x40, ord("0"))
    return struct.pack("!BBHII", 0x90, 111, sequence & 0xFFFF, sequence * 960 & 0xFFFFFFFF, ssrc) + extension + bytes(20)
