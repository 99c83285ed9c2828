"""One synthetic participant: real signaling, whole aiortc peer connections, one connection per publisher and per consumer.

aiortc is used through its public interface, with one exception that :func:`gather_on` explains.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.sdp import SessionDescription
from av import AudioFrame

from loadtest.audio import PACKETS_PER_SECOND, Ear, ToneTrack
from loadtest.signaling import DEFAULT_TIMEOUT_S, Closed, Message, Refused, Signaling


def route_to(host: str, port: int) -> str:
    """The address of this machine from which the kernel would send to ``host``. Sends nothing."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        return str(probe.getsockname()[0])


def gather_on(ice: RTCIceTransport, addresses: Iterable[str]) -> None:
    """Make ``ice`` gather candidates on exactly these local addresses.

    aioice gathers on every address but 127.0.0.1, so a server that announces loopback would be reached from another interface,
    or not at all on a machine that has none. Neither aioice nor aiortc has a setting for it, so the one method
    that is given the addresses is wrapped, for this connection only.
    """
    connection: Any = ice.iceGatherer._connection
    gather = connection.get_component_candidates
    chosen = list(addresses)

    async def gather_there(*, addresses: list[str], **options: Any) -> Any:
        return await gather(addresses=chosen, **options)

    connection.get_component_candidates = gather_there


@dataclass(frozen=True)
class Reception:
    """What one consumer has received since it was made.

    ``packets`` includes duplicates; ``lost`` counts gaps in the sequence numbers (RFC 3550 A.3) and, where the stream has stopped
    while it was expected to go on, the packets that would have come since. ``jitter_ms`` is that of RFC 3550 6.4.1.
    """

    packets: int
    lost: int
    jitter_ms: float

    @property
    def expected(self) -> int:
        return self.packets + self.lost


class Connection:
    """One aiortc peer connection that answers the server's offer: a publisher's or a consumer's."""

    def __init__(self, track: MediaStreamTrack | None = None) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._track = track
        self._changed = asyncio.Event()
        self.pc.on("connectionstatechange", self._changed.set)
        self.connected_at: float | None = None
        """``time.monotonic()`` of the moment when DTLS was up."""

    async def answer(self, offer: str) -> str:
        """Take the server's SDP and return the answer. ICE and DTLS start at once; wait for them with :meth:`connected`."""
        if self._track is not None:
            self.pc.addTrack(self._track)
        await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        candidates = [c for media in SessionDescription.parse(offer).media for c in media.ice_candidates]
        gather_on(self.ice, dict.fromkeys(route_to(c.ip, c.port) for c in candidates))
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        return str(self.pc.localDescription.sdp)

    @property
    def ice(self) -> RTCIceTransport:
        return self.pc.getTransceivers()[0].receiver.transport.transport

    @property
    def state(self) -> str:
        """``new``, ``connecting``, ``connected``, ``failed`` or ``closed``."""
        return str(self.pc.connectionState)

    async def wait_state(self, *states: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
        """Wait for one of ``states``. Raises :class:`TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while self.state not in states:
                self._changed.clear()
                await self._changed.wait()
        return self.state

    async def connected(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Wait for ICE and DTLS. Raises :class:`ConnectionError` when they fail, :class:`TimeoutError` when they do not end."""
        if await self.wait_state("connected", "failed", "closed", timeout_s=timeout_s) != "connected":
            raise ConnectionError(f"the media connection is {self.state}")
        if self.connected_at is None:
            self.connected_at = time.monotonic()

    async def close(self) -> None:
        """Close with RTCP BYE and DTLS close_notify. Harmless when repeated."""
        await self.pc.close()

    async def abort(self) -> None:
        """Close without a word to the server: the sockets go first, so that nothing can be said any more."""
        if self.pc.getTransceivers():
            await self.ice.stop()
        await self.pc.close()


class Publishing(Connection):
    """The connection that sends this participant's tone."""

    def __init__(self, tone: ToneTrack) -> None:
        super().__init__(tone)
        self.track_id = ""

    async def packets_sent(self) -> int:
        stats = await self.pc.getSenders()[0].getStats()
        return sum(entry.packetsSent for entry in stats.values() if entry.type == "outbound-rtp")


class Consumer(Connection):
    """The connection that brings one other participant's sound, and what was heard of it."""

    def __init__(self, user_id: str) -> None:
        super().__init__()
        self.user_id = user_id
        """Whom it brings."""
        self.consumer_id = ""
        self.ear = Ear()
        self.asked_at = time.monotonic()
        self.first_frame_at: float | None = None
        self._heard = asyncio.Condition()
        self._listener: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Start to decode; the server's offer must have been answered."""
        self._listener = asyncio.create_task(self._listen(self.pc.getReceivers()[0].track), name="listen")

    async def _listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                if self.first_frame_at is None:
                    self.first_frame_at = time.monotonic()
                self.ear.hear(frame)
                async with self._heard:
                    self._heard.notify_all()

    async def wait_pitch(self, frequency_hz: float, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Wait until this tone, and no other, is heard. Raises :class:`TimeoutError` that says what was heard instead."""
        try:
            async with asyncio.timeout(timeout_s), self._heard:
                await self._heard.wait_for(lambda: abs((self.ear.pitch_hz or 0) - frequency_hz) <= 10)
        except TimeoutError:
            heard = f"{self.ear.frames} frames, pitch {self.ear.pitch_hz} Hz, {self.ear.level_dbfs:.0f} dBFS, connection {self.state}"
            raise TimeoutError(f"{frequency_hz} Hz was not heard within {timeout_s} s ({heard})") from None

    async def reception(self, *, stopped_is_loss: bool = False) -> Reception:
        """Figures so far. ``stopped_is_loss``: the publisher is known to be talking, so a stream that has been silent for more
        than half a second is missing 50 packets for each second of silence."""
        receiver = self.pc.getReceivers()[0] if self.pc.getReceivers() else None
        stats = (await receiver.getStats()).values() if receiver else []
        inbound = [entry for entry in stats if entry.type == "inbound-rtp"]
        lost = sum(entry.packetsLost for entry in inbound)
        if stopped_is_loss and (silent_s := self._silent_s()) > 0.5:
            lost += int(silent_s * PACKETS_PER_SECOND)
        jitter = max((entry.jitter for entry in inbound), default=0)
        return Reception(sum(entry.packetsReceived for entry in inbound), lost, jitter * 1000 / 48_000)

    def _silent_s(self) -> float:
        """Seconds since the last packet, or since DTLS was up if there was none."""
        sources = self.pc.getReceivers()[0].getSynchronizationSources() if self.pc.getReceivers() else []
        if sources:
            newest = max(source.timestamp for source in sources)
            return (datetime.datetime.now(datetime.UTC) - newest).total_seconds()
        # aiortc forgets a source after ten seconds; then what was decoded last is the best that is known.
        since = self.first_frame_at or self.connected_at or self.asked_at
        return time.monotonic() - since

    async def close(self) -> None:
        await super().close()
        await self._end_listening()

    async def abort(self) -> None:
        await super().abort()
        await self._end_listening()

    async def _end_listening(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener


class Peer:
    """A participant. :meth:`connect`, then :meth:`create_room` or :meth:`join_room`, then :meth:`publish` if it is to talk.

    From joining on it consumes whoever publishes, as the browser client does: :attr:`consumers` has one entry for each
    publisher, by user id.
    """

    def __init__(self, url: str, username: str, *, frequency_hz: float = 440.0, hears: bool = True) -> None:
        self.url = url
        self.username = username
        self.frequency_hz = frequency_hz
        self._hears = hears
        self.user_id = ""
        self.room_id = ""
        self.publishing: Publishing | None = None
        self.consumers: dict[str, Consumer] = {}
        self.failures: list[str] = []
        """What went wrong with consumers, in words; publishing and joining raise instead."""
        self._signaling: Signaling | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._consumers_changed = asyncio.Condition()

    @property
    def signaling(self) -> Signaling:
        """The open WebSocket. Raises RuntimeError before :meth:`connect`."""
        if self._signaling is None:
            raise RuntimeError(f"{self.username} is not connected")
        return self._signaling

    async def connect(self) -> Peer:
        """Open the WebSocket and register."""
        self._signaling = await Signaling.open(self.url)
        self._signaling.on_message = self._take
        self.user_id = (await self._signaling.request("register", "registered", username=self.username))["user_id"]
        return self

    async def create_room(self) -> str:
        """Make a room, join it and return its id."""
        self.room_id = (await self.signaling.request("create_room", "room_joined"))["room_id"]
        return self.room_id

    async def join_room(self, room_id: str) -> list[Message]:
        """Join and return the participants, this one included."""
        joined = await self.signaling.request("join_room", "room_joined", room_id=room_id)
        self.room_id = room_id
        return list(joined["participants"])

    async def leave_room(self) -> None:
        await self.signaling.request("leave_room", "room_left")
        self.room_id = ""
        await self._drop_media(silently=False)

    async def publish(self) -> None:
        """Send the tone. Returns when the server has announced the track; a publisher that there was has then been replaced."""
        replaced, self.publishing = self.publishing, (publishing := Publishing(ToneTrack(self.frequency_hz)))
        offer = (await self.signaling.request("create_publisher", "publisher_created"))["sdp"]
        published = await self.signaling.request("publish_audio", "audio_published", sdp=await publishing.answer(offer))
        publishing.track_id = published["track_id"]
        await publishing.connected()
        if replaced is not None:
            await replaced.close()

    async def stop_publishing(self) -> None:
        """Close the publisher, here and on the server, and stay in the room."""
        await self.signaling.send("close_publisher")
        if self.publishing is not None:
            await self.publishing.close()
            self.publishing = None

    async def set_muted(self, muted: bool) -> None:
        await self.signaling.send("set_muted", muted=muted)

    async def consume(self, user_id: str) -> Consumer:
        """Hear ``user_id`` on a connection of its own; one that exists is replaced. Returns when it is connected."""
        consumer = Consumer(user_id)
        await self._forget(user_id)
        self.consumers[user_id] = consumer
        try:
            created = await self.signaling.request("create_consumer", "consumer_created", publisher_user_id=user_id)
            consumer.consumer_id = created["consumer_id"]
            answer = await consumer.answer(created["sdp"])
            consumer.listen()
            await self.signaling.send("consumer_answer", consumer_id=consumer.consumer_id, sdp=answer)
            await consumer.connected()
        except BaseException:
            if self.consumers.get(user_id) is consumer:
                del self.consumers[user_id]
            await consumer.abort()
            raise
        async with self._consumers_changed:
            self._consumers_changed.notify_all()
        return consumer

    async def hear(self, other: Peer, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Consumer:
        """Wait until ``other``'s tone is what arrives on the consumer made for it, and return that consumer."""
        async with asyncio.timeout(timeout_s):
            async with self._consumers_changed:
                await self._consumers_changed.wait_for(lambda: other.user_id in self.consumers)
            consumer = self.consumers[other.user_id]
            consumer.ear.forget()  # what was heard before now proves nothing
            await consumer.wait_pitch(other.frequency_hz, timeout_s=timeout_s)
        return consumer

    async def close(self) -> None:
        """Leave as a closed tab does: every connection and the WebSocket say goodbye. Harmless when repeated."""
        await self._end_tasks()
        await self._drop_media(silently=False)
        if self._signaling is not None:
            await self._signaling.close()

    async def abort(self) -> None:
        """Vanish: no goodbye on any connection."""
        await self._end_tasks()
        if self._signaling is not None:
            await self._signaling.abort()
        await self._drop_media(silently=True)

    def _take(self, message: Message) -> None:
        """React to what the server says unasked, as the browser client does."""
        match message["type"]:
            case "new_publisher" if self._hears:
                self._start(self._consume_announced(message["user_id"]))
            case "publisher_closed" | "user_left":
                self._start(self._forget(message["user_id"]))
            case "consumer_closed":
                gone = [user for user, consumer in self.consumers.items() if consumer.consumer_id == message["consumer_id"]]
                for user_id in gone:
                    self._start(self._forget(user_id))
            case "room_moved":
                self._start(self._publish_again())

    async def _consume_announced(self, user_id: str) -> None:
        try:
            await self.consume(user_id)
        except Refused as refused:
            # Whoever has left or stopped since the announcement cannot be consumed, and that is no failure.
            if refused.code not in {"publisher_not_found", "not_publishing", "not_in_room"}:
                self.failures.append(str(refused))
        except (Closed, ConnectionError, TimeoutError) as error:
            self.failures.append(f"{self.username} cannot hear {user_id}: {error or type(error).__name__}")

    async def _publish_again(self) -> None:
        """The room's shard is gone: drop all media and publish anew; the others' announcements bring the consumers back."""
        talked = self.publishing is not None
        await self._drop_media(silently=True)
        if talked:
            try:
                await self.publish()
            except (Refused, Closed, ConnectionError, TimeoutError) as error:
                self.failures.append(f"{self.username} could not publish again: {error or type(error).__name__}")

    async def _forget(self, user_id: str) -> None:
        consumer = self.consumers.pop(user_id, None)
        if consumer is not None:
            await consumer.close()

    async def _drop_media(self, *, silently: bool) -> None:
        connections: list[Connection] = [*self.consumers.values()]
        if self.publishing is not None:
            connections.append(self.publishing)
        self.consumers.clear()
        self.publishing = None
        await asyncio.gather(*(connection.abort() if silently else connection.close() for connection in connections))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_tasks(self) -> None:
        if self._signaling is not None:
            self._signaling.on_message = None
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
