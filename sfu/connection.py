"""Connections: transports with their SDP state, their slots in the native loop and their timers.

:class:`Connections` carries out what :class:`~sfu.transport.webrtc.Association` decides. It knows nothing of rooms: whoever opened
a connection is told through :class:`Owner` when it is up and when it is over, and frees it by :meth:`Connections.close`.
"""

from __future__ import annotations

import heapq
import secrets
from typing import TYPE_CHECKING, Final, Protocol

from sfu.budget import TokenBucket
from sfu.errors import PeerError
from sfu.indices import Indices
from sfu.metrics import Metrics
from sfu.negotiation import Answer, AnswerReader, LocalParameters, Section, candidates, write_offer
from sfu.protocol import Offer, RoomId, UserId
from sfu.transport.dtls import DtlsIdentity
from sfu.transport.ice_lite import Address, IceLite, respond
from sfu.transport.webrtc import Association, BindAddress, Closed, Connected, Effect, Limits, SendDatagram, StartSrtp

if TYPE_CHECKING:
    from sfu.consumer import Consumer
    from sfu.forwarding._native import Loop
    from sfu.publisher import Publisher
    from sfu.subscription import Subscription


_REPORTS_PER_S: Final = 20
_REPORTS_AT_ONCE: Final = 40
_REPORT_BYTES: Final = 256
"""Compound RTCP packets that are read of one peer, for each consumer on its connection. Browsers send a few a second, of 150 bytes at most.
A longer one counts for several: reading a full NACK takes 0.4 ms of the signaling thread, and how long it is was the peer's choice."""


class Owner(Protocol):
    """Who is told what becomes of a connection."""

    room_id: RoomId

    def connection_up(self, connection: Connection, now: float) -> None:
        """SRTP keys are set: media may flow."""

    def connection_over(self, connection: Connection, reason: str, now: float) -> None:
        """The peer is gone. The owner must take it out of every list and call :meth:`Connections.close`."""


class Connection:
    """One transport of ``user_id`` and what was negotiated on it.

    ``publisher`` is set where the peer sends, ``subscription`` where it hears the room; ``consumers`` are those that ride on this
    transport, by their SSRC. ``rtcp_ssrc`` is what our receiver reports come from, ``cname`` names the transport in SDES (RFC 7022).
    ``offers``: how many were written; ``restarting``: one with new ICE credentials is not answered yet.
    """

    def __init__(self, owner: Owner, user_id: UserId, association: Association, now: float) -> None:
        self.opened_at = now
        self.owner = owner
        self.user_id = user_id
        self.association = association
        self.slot = association.slot
        self.generation = association.generation
        self.publisher: Publisher | None = None
        self.subscription: Subscription | None = None
        self.consumers: dict[int, Consumer] = {}
        self.sections: list[Section] = []
        self.reader = AnswerReader()
        self.answer: Answer | None = None
        self.offers = 0
        self.restarting = False
        self.up = False
        self.rtcp_ssrc = secrets.randbits(32)
        self.cname = secrets.token_urlsafe(12)
        self.session_id = secrets.randbits(62)
        self.due_at: float | None = None
        self.bound: Address | None = None
        self._reports = TokenBucket(_REPORTS_PER_S, _REPORTS_AT_ONCE)
        self._last_ssrc = secrets.randbits(32)
        self._ssrc_step = secrets.randbits(32) | 1

    @property
    def about(self) -> dict[str, str]:
        """What it is called on lines of the log. The generation tells apart what used one slot in turn."""
        return {"room": self.owner.room_id, "user": self.user_id, "transport": f"{self.slot}.{self.generation}"}

    def may_report(self, length: int, now: float) -> bool:
        """Whether an RTCP packet of ``length`` bytes is within what this peer may have read."""
        return self._reports.spend(1 + length // _REPORT_BYTES, now, scale=max(1, len(self.consumers)))

    def new_ssrc(self) -> int:
        """A random SSRC that nothing on this transport has (RFC 3550 8.1), or had: under the same key, the packets of one that comes again
        could repeat a nonce. An odd step goes through all 2^32 before it comes back to the first."""
        while True:
            self._last_ssrc = (self._last_ssrc + self._ssrc_step) & 0xFFFFFFFF
            if self._last_ssrc not in (0, self.rtcp_ssrc):
                return self._last_ssrc


class Connections:
    """All connections of a shard. ``addresses`` and ``port`` go into offers."""

    def __init__(
        self, loop: Loop, identity: DtlsIdentity, limits: Limits, metrics: Metrics, addresses: tuple[str, ...], port: int, maximum: int
    ) -> None:
        self.loop = loop
        self.metrics = metrics
        self.addresses = addresses
        self.port = port
        self._identity = identity
        self._limits = limits
        self._slots = Indices(maximum, "transports")
        self._by_slot: dict[int, Connection] = {}
        self._by_address: dict[tuple[str, int], Connection] = {}
        self._generation = 0
        self._timers: list[tuple[float, int, int]] = []

    def __len__(self) -> int:
        return len(self._by_slot)

    def get(self, slot: int, generation: int) -> Connection | None:
        """The connection at ``slot``, unless that was an earlier one."""
        connection = self._by_slot.get(slot)
        return connection if connection is not None and connection.generation == generation else None

    def open(self, owner: Owner, user_id: UserId, now: float) -> Connection:
        """A new connection, known to the native loop. Raises :class:`PeerError` ("shard_full")."""
        slot = self._slots.take()
        self._generation = (self._generation + 1) & 0x7FFFFFFF
        association = Association(slot, self._generation, self._identity, self._limits, now)
        connection = Connection(owner, user_id, association, now)
        try:
            self.loop.add_transport(slot, self._generation)
            self.loop.set_ufrags(slot, association.ice.local_ufrag, association.ice.former_ufrag)
        except BaseException:
            self._slots.give_back(slot)
            raise
        self._by_slot[slot] = connection
        self._schedule(connection)
        return connection

    def offer(self, connection: Connection) -> Offer:
        """The offer of ``connection.sections``."""
        ice = connection.association.ice
        connection.offers += 1
        local = LocalParameters(ice.local_ufrag, ice.local_pwd, self._identity.fingerprint, self.addresses, self.port)
        sdp = write_offer(local, connection.sections, connection.session_id, connection.offers)
        return Offer(sdp=sdp, candidates=candidates(local))

    def restart(self, connection: Connection) -> Offer:
        """The offer again, with new ICE credentials (RFC 8445 9) where the last one was answered."""
        if connection.answer is not None:
            ice = connection.association.ice
            ice.restart()
            self.loop.set_ufrags(ice.slot, ice.local_ufrag, ice.former_ufrag)
            connection.restarting = True
        return self.offer(connection)

    def read_answer(self, connection: Connection, sdp: str) -> Answer:
        """Check an answer without taking it yet. Raises :class:`PeerError` ("invalid_sdp")."""
        answer, first = connection.reader.read(sdp, connection.sections), connection.answer
        if first is not None:
            # RFC 8842 5.5: other fingerprints would be another DTLS association, for which there would have to be an offer.
            if answer.remote.fingerprints != first.remote.fingerprints:
                raise PeerError("invalid_sdp", "The SDP answer is not usable: the fingerprints are not those of the first answer.")
            if answer.remote != first.remote and not connection.restarting:
                raise PeerError("invalid_sdp", "The SDP answer is not usable: new ICE credentials answer an offer without any.")
        return answer

    def accept(self, connection: Connection, answer: Answer, now: float) -> None:
        """Take an answer: what it says of the transport matters in the first one and after a restart."""
        first, connection.answer, connection.restarting = connection.answer is None, answer, False
        if first:
            self._apply(connection, connection.association.answered(answer.remote, now), now)
        else:
            connection.association.ice.remote_ufrag = answer.remote.ufrag

    def close(self, connection: Connection) -> None:
        """Say close_notify and forget it. Its tracks and consumers must be gone already; harmless when repeated."""
        if self._by_slot.get(connection.slot) is not connection:
            return
        for effect in connection.association.close():
            if isinstance(effect, SendDatagram):
                self._send(effect.address, effect.data)
        connection.up = False
        self._release_address(connection)
        del self._by_slot[connection.slot]
        self.loop.remove_transport(connection.slot)
        self._slots.give_back(connection.slot)

    # ------------------------------------------------------------------------------------------------ what comes in

    def stun_received(self, source: Address, data: bytes, now: float) -> None:
        if source[1] == 0:
            self.metrics.drop("unreachable_address")  # before it can be nominated
            return
        result = respond(data, source, now, self._agent)
        if result.drop is not None:
            self.metrics.drop(result.drop.value)
        if result.agent is not None and result.bind:
            connection = self._by_slot[result.agent.slot]
            self._apply(connection, connection.association.stun_accepted(result), now)
        if result.response is not None:
            self._send(source, result.response)  # after binding: a peer on this machine has its ClientHello here at once

    def dtls_received(self, slot: int, generation: int, data: bytes, now: float) -> None:
        connection = self.get(slot, generation)
        if connection is None:
            self.metrics.drop("dtls_unknown")
            return
        self._apply(connection, connection.association.dtls_received(data, now), now)

    def take_due(self, now: float) -> Connection | None:
        """A connection that has something to do at ``now``: to be given to :meth:`fire`."""
        while self._timers and self._timers[0][0] <= now:
            due_at, slot, generation = heapq.heappop(self._timers)
            connection = self.get(slot, generation)
            if connection is not None and connection.due_at == due_at:
                connection.due_at = None
                return connection
        return None

    def fire(self, connection: Connection, now: float) -> None:
        """Do what is due for ``connection``."""
        self._apply(connection, connection.association.timer(now), now)

    def next_deadline(self) -> float | None:
        """When :meth:`take_due` has something, at the earliest."""
        return self._timers[0][0] if self._timers else None

    # ---------------------------------------------------------------------------------------------------- internals

    def _agent(self, slot: int) -> IceLite | None:
        connection = self._by_slot.get(slot)
        return connection.association.ice if connection is not None else None

    def _apply(self, connection: Connection, effects: list[Effect], now: float) -> None:
        for effect in effects:
            match effect:
                case SendDatagram():
                    self._send(effect.address, effect.data)
                case BindAddress():
                    self._bind(connection, effect.address)
                case StartSrtp():
                    self._start_srtp(connection, effect)
                case Connected():
                    connection.up = True
                    self.metrics.note_setup("consumer" if connection.publisher is None else "publisher", now - connection.opened_at)
                    connection.owner.connection_up(connection, now)
                case Closed():
                    connection.owner.connection_over(connection, effect.reason, now)
        self._schedule(connection)

    def _bind(self, connection: Connection, address: Address) -> None:
        """Take packets from ``address`` for ``connection``.

        An address means one transport. Whoever had it so far binds again with its next nomination: without that, a participant that can
        forge another's source address would cut that one off for good.
        """
        former = self._by_address.pop(address[:2], None)
        if former is not None and former is not connection:
            former.association.ice.address = former.bound = None
        self._release_address(connection)
        self._by_address[address[:2]] = connection
        connection.bound = address
        self.loop.bind_address(connection.slot, address)

    def _release_address(self, connection: Connection) -> None:
        if connection.bound is not None:
            self._by_address.pop(connection.bound[:2], None)
            connection.bound = None

    def _start_srtp(self, connection: Connection, effect: StartSrtp) -> None:
        answer = connection.answer
        assert answer is not None  # an association connects only after the answer
        mid_extension = next((section.mid_extension for section in answer.sections if section.accepted), 0)
        profile, rx_key, tx_key = effect.keys
        self.loop.set_keys(connection.slot, profile, rx_key, tx_key, connection.rtcp_ssrc, connection.cname.encode(), mid_extension)

    def _send(self, address: Address, data: bytes) -> None:
        try:
            self.loop.send(address, data)
        except BufferError:
            self.metrics.drop("send_ring_full")  # STUN and DTLS are repeated by whoever misses an answer
        except ValueError:
            self.metrics.drop("unreachable_address")

    def _schedule(self, connection: Connection) -> None:
        """Keep one live timer per connection; a later deadline is found when the earlier one fires."""
        deadline = connection.association.deadline()
        if deadline is None or (connection.due_at is not None and connection.due_at <= deadline):
            return
        connection.due_at = deadline
        heapq.heappush(self._timers, (deadline, connection.slot, connection.generation))
