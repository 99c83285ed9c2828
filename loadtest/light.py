"""Light participants' media connections: ICE and DTLS in Python, everything that comes after them native.

A connection has one socket. The native traffic reads it from the first moment on, so that no media packet is lost between the end of the
handshake and the keys; STUN and DTLS come back from there as events.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from dataclasses import dataclass

from loadtest import speech
from loadtest.dtls import DtlsClient, DtlsError, identity
from loadtest.ice import CHECK_TIMEOUT_S, IceClient
from loadtest.native._traffic import Traffic
from loadtest.reach import Reach
from loadtest.sdp import Offer, OfferError, Section, read_offer, write_answer

CONNECT_TIMEOUT_S = 15.0
RECEIVE_BUFFER_BYTES = 1 << 20
"""The kernel halves what it was asked for and then counts its own overhead; this is about a second of 20 talkers."""


@dataclass
class Steps:
    """When a connection got how far, by ``time.monotonic()``; 0.0: not yet."""

    offered: float = 0.0
    ice: float = 0.0
    dtls: float = 0.0


class Hub:
    """The native traffic of a run and its connections. Make it where an event loop runs, and close it last."""

    def __init__(
        self, *, endpoints: int = 4096, talkers: int = 1024, meters: int = 65536, groups: int = 1024, reach: Reach | None = None
    ) -> None:
        self.run = secrets.randbits(32)
        self.reach = reach or Reach()
        self.traffic = Traffic(self.run, endpoints=endpoints, talkers=talkers, meters=meters, groups=groups)
        for frame in speech.frames():
            self.traffic.add_frame(frame.packet, frame.level, frame.silent)
        self._connections: dict[tuple[int, int], LightConnection] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.traffic.event_fd, self._dispatch)

    def close(self) -> None:
        """Close every connection without a word, and end the thread."""
        for connection in list(self._connections.values()):
            connection.abort()
        self._loop.remove_reader(self.traffic.event_fd)
        self.traffic.close()

    def _dispatch(self) -> None:
        for event in self.traffic.events():
            connection = self._connections.get((event.endpoint, event.generation))
            if connection is not None:
                connection.receive(event.data)

    def add(self, connection: LightConnection, listener: int | None) -> tuple[int, int]:
        found = self.traffic.open_endpoint(connection.socket.fileno(), listener)
        self._connections[found] = connection
        return found

    def remove(self, found: tuple[int, int]) -> None:
        del self._connections[found]
        self.traffic.close_endpoint(found[0])


class LightConnection:
    """One connection that answers the server's offer, to send, to receive, or both.

    ``listener``: the number of whose ears it is; ``talker``: who speaks over it once it is up. Both are the caller's numbers in
    :class:`~loadtest.native._traffic.Traffic`.
    """

    def __init__(self, hub: Hub, *, listener: int | None = None, talker: int | None = None) -> None:
        self.steps = Steps()
        self.failure = ""
        self._hub = hub
        self._listener = listener
        self._talker = talker
        self._offer: Offer | None = None
        self._candidates: list[tuple[str, int]] = []
        self._ice: IceClient | None = None
        self._dtls: DtlsClient | None = None
        self._found: tuple[int, int] | None = None
        self._ssrc = secrets.randbits(32) if talker is not None else None
        self._timer: asyncio.TimerHandle | None = None
        self._check_ends = 0.0
        self._up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.socket: socket.socket

    # ------------------------------------------------------------------------------------------------ life

    def answer(self, sdp: str) -> str:
        """Take an offer and return the answer. The first one opens the socket and starts ICE at once; a later one may have other
        sections, or other ICE credentials (a restart). Raises :class:`OfferError` where it cannot be used."""
        offer = read_offer(sdp)
        known, self._offer = self._offer, offer
        if known is None:
            self.steps.offered = time.monotonic()
            self._open(offer)
        elif (known.ufrag, known.pwd) != (offer.ufrag, offer.pwd):
            self._start_ice(offer)
        assert self._ice is not None
        return write_answer(offer, ufrag=self._ice.ufrag, pwd=self._ice.pwd, fingerprint=identity()[1], ssrc=self._ssrc)

    def continues(self, sdp: str) -> bool:
        """Whether an offer is about this connection and not a new one: it has the same ICE credentials."""
        offer = read_offer(sdp)
        return self._offer is not None and (self._offer.ufrag, self._offer.pwd) == (offer.ufrag, offer.pwd)

    @property
    def endpoint(self) -> int:
        """Its number in the native traffic. Raises :class:`RuntimeError` where it is not open."""
        if self._found is None:
            raise RuntimeError("the connection is not open")
        return self._found[0]

    @property
    def is_connected(self) -> bool:
        return self._up.done() and not self._up.cancelled() and self._up.exception() is None and self._found is not None

    async def connected(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Wait for ICE and DTLS. Raises :class:`ConnectionError` that says what failed, :class:`TimeoutError` where nothing came."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._up)
        except TimeoutError:
            raise TimeoutError(f"{'DTLS' if self.steps.ice else 'ICE'} did not end within {timeout_s:.0f} s") from None

    def close(self) -> None:
        """Say close_notify and close. Harmless when repeated."""
        if self._found is not None and self._dtls is not None and self._dtls.established:
            self._send(self._dtls.close())
        self.abort()

    def abort(self) -> None:
        """Close without a word."""
        if self._timer is not None:
            self._timer.cancel()
        if self._found is not None:
            found, self._found = self._found, None
            self._hub.remove(found)
            self.socket.close()
        if not self._up.done():
            self._up.cancel()

    def _fail(self, why: str) -> None:
        self.failure = why
        if not self._up.done():
            self._up.set_exception(ConnectionError(why))
            self._up.exception()  # seen: perhaps nobody waits
        if self._timer is not None:
            self._timer.cancel()

    # ------------------------------------------------------------------------------------------------ ICE

    def _open(self, offer: Offer) -> None:
        allowed = [candidate for candidate in offer.candidates if self._hub.reach.allows(candidate[0])]
        if not allowed:
            there = ", ".join(host for host, _ in offer.candidates)
            raise OfferError(f"the server announces media at {there}, which is none of the addresses given; allow it with --media")
        family = _family(allowed[0][0])
        self._candidates = [candidate for candidate in allowed if _family(candidate[0]) == family]
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        try:
            self.socket.connect(self._candidates[0])
            self._found = self._hub.add(self, self._listener)
        except BaseException:
            self.socket.close()
            raise
        self._start_ice(offer)

    def _start_ice(self, offer: Offer) -> None:
        now = time.monotonic()
        self._ice = IceClient(offer.ufrag, offer.pwd, now)
        self._check_ends = now + CHECK_TIMEOUT_S
        self._tick()

    def _tick(self) -> None:
        """Whatever is due: a check, consent, a flight of DTLS again."""
        assert self._ice is not None
        self._timer = None
        now = time.monotonic()
        if not self._ice.connected and now > self._check_ends and not self._next_candidate(now):
            self._fail("no candidate of the server answered an ICE check")
            return
        if self._ice.consent_lost(now):
            self._fail("the server answers no ICE check any more")
            return
        if now >= self._ice.next_at:
            self._send([self._ice.request(now)])
        due = self._ice.next_at
        if self._dtls is not None and self._ice.connected and (wait_s := self._dtls.retransmit_in()) is not None:
            if wait_s <= 0:
                self._send(self._dtls.retransmit())
                wait_s = self._dtls.retransmit_in() or 1.0
            due = min(due, now + wait_s)
        self._timer = asyncio.get_running_loop().call_later(max(0.01, due - now), self._tick)

    def _next_candidate(self, now: float) -> bool:
        assert self._ice is not None
        self._candidates = self._candidates[1:]
        if not self._candidates:
            return False
        self.socket.connect(self._candidates[0])
        self._ice.restart(now)
        self._check_ends = now + CHECK_TIMEOUT_S
        return True

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            # A port that is closed for a moment, or a full buffer: all of these are sent again.
            with contextlib.suppress(OSError):
                self.socket.send(datagram)

    # ------------------------------------------------------------------------------------------------ what arrives

    def receive(self, datagram: bytes) -> None:
        """A STUN or DTLS datagram came."""
        assert self._ice is not None
        now = time.monotonic()
        if datagram[0] <= 3:
            if self._ice.receive(datagram, now) and self._dtls is None:
                self.steps.ice = now
                self._start_dtls()
            return
        if self._dtls is None:
            return  # we speak first
        try:
            self._send(self._dtls.receive(datagram))
            if self._dtls.established and not self._up.done():
                self._established(now)
        except DtlsError as error:
            self._fail(str(error))
        if self._dtls.closed and not self.failure:
            self._fail("the server closed the connection")

    def _start_dtls(self) -> None:
        self._dtls = DtlsClient()
        try:
            self._send(self._dtls.start())
        except DtlsError as error:
            self._fail(str(error))
            return
        if self._timer is not None:
            self._timer.cancel()
        self._tick()

    def _established(self, now: float) -> None:
        assert self._dtls is not None
        assert self._offer is not None
        assert self._found is not None
        keys = self._dtls.keys(self._offer.fingerprints)
        if self._talker is not None:
            self._speak(next(section for section in self._offer.sections if not section.rejected))
        self._hub.traffic.set_keys(self._found[0], keys.profile, keys.rx, keys.tx)
        self.steps.dtls = now
        self._up.set_result(None)

    def _speak(self, section: Section) -> None:
        assert self._talker is not None
        assert self._ssrc is not None
        self._hub.traffic.connect_talker(
            self._talker,
            self.endpoint,
            ssrc=self._ssrc,
            timestamp=secrets.randbits(32),
            sequence=secrets.randbits(15),
            payload_type=section.payload_type,
            level_id=section.level_id,
            mid_id=section.mid_id,
            mid=section.mid.encode(),
        )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
