"""What hostile clients do that aiortc never would: raw datagrams, forged STUN, and packets under a real client's own keys."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Any, NamedTuple

from aioice import stun
from aiortc.rtp import RtpPacket

from loadtest.peer import Connection, Publishing

OPUS_SILENCE = b"\xfc\xff\xfe"
"""A valid Opus packet: 20 ms of nothing."""


class OfferedTransport(NamedTuple):
    """Where and as whom a shard wants to be addressed, from its offer."""

    host: str
    port: int
    ufrag: str
    pwd: str

    @classmethod
    def of(cls, offer: str) -> OfferedTransport:
        def field(pattern: str) -> tuple[str, ...]:
            found = re.search(pattern, offer, re.MULTILINE)
            assert found, f"{pattern} is not in {offer}"
            return found.groups()

        host, port = field(r"^a=candidate:\S+ 1 udp \d+ (127\.0\.0\.1) (\d+) typ host")
        return cls(host, int(port), *field(r"^a=ice-ufrag:(\S+)"), *field(r"^a=ice-pwd:(\S+)"))


class Stranger:
    """A UDP socket that no transport knows; ``port`` may be one that somebody has left."""

    def __init__(self, target: OfferedTransport, port: int = 0) -> None:
        self._target = (target.host, target.port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._socket.setblocking(False)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """One datagram to the shard."""
        self._socket.sendto(data, self._target)

    async def receive(self, timeout_s: float = 5.0) -> bytes:
        """The next datagram from the shard. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65536)


def local_fields(connection: Connection) -> tuple[str, int]:
    """The client's own ICE ufrag and UDP port."""
    sdp = connection.pc.localDescription.sdp
    ufrag, port = re.search(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE), re.search(r"^m=audio (\d+)", sdp, re.MULTILINE)
    assert ufrag
    assert port
    return ufrag[1].strip(), int(port[1])


def binding_request(target: OfferedTransport, *, sender: str = "evil", pwd: str | None = None, ufrag: str | None = None) -> stun.Message:
    """A request as an ICE agent with the ufrag ``sender`` would send it to nominate its address.

    ``pwd`` and ``ufrag``: used instead of the right ones of the shard.
    """
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{ufrag or target.ufrag}:{sender}"
    request.attributes["PRIORITY"] = 2**31 - 1
    request.attributes["ICE-CONTROLLING"] = 1
    request.attributes["USE-CANDIDATE"] = None
    request.add_message_integrity((pwd or target.pwd).encode())
    return request


class Accomplice:
    """A publisher that is really connected, seen from inside: sends what it likes from its own socket, under its own keys.

    aiortc has no interface for this, so its private parts are used; the tests of this folder are the only ones that need them.
    """

    def __init__(self, publishing: Publishing) -> None:
        self._dtls: Any = publishing.pc.getSenders()[0].transport
        self._sender: Any = publishing.pc.getSenders()[0]
        self.captured: list[bytes] = []
        """SRTP packets as they left the client, the last hundred, oldest first."""
        self._arrived = asyncio.Condition()
        send = self._dtls.transport._send

        async def capture(data: bytes) -> None:
            if 128 <= data[0] < 192 and not 192 <= data[1] < 224:  # RFC 7983 7: RTP; RFC 5761 4: and not RTCP
                self.captured.append(data)
                del self.captured[:-100]
                async with self._arrived:
                    self._arrived.notify_all()
            await send(data)

        self._dtls.transport._send = capture
        self._send = send

    @property
    def ssrc(self) -> int:
        return int(self._sender._ssrc)

    async def wait_captured(self, count: int) -> list[bytes]:
        """Wait until the client has sent ``count`` packets, and return the first of them."""
        async with asyncio.timeout(5), self._arrived:
            await self._arrived.wait_for(lambda: len(self.captured) >= count)
        return self.captured[:count]

    async def send_raw(self, data: bytes) -> None:
        """Send a datagram as it is from the client's bound address."""
        await self._send(data)

    async def send_rtp(self, *, ssrc: int, payload_type: int, sequence: int) -> None:
        """Send a well-formed packet, protected with the client's own keys."""
        packet = RtpPacket(
            payload_type=payload_type, sequence_number=sequence, timestamp=sequence * 960, ssrc=ssrc, payload=b"\xfc\xff\xfe"
        )
        await self._send(self._dtls._tx_srtp.protect(packet.serialize()))
