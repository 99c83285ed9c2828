"""One subscriber connection through the whole server: control, shard, and a whole aiortc peer that answers every offer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from loadtest.peer import Peer
from loadtest.signaling import Message, Signaling
from tests.scenarios.call import Call
from tests.scenarios.processes import shard_pid
from tests.server import RunningServer
from tests.sfu.conftest import pitch

WAIT_S = 30.0


class Listener:
    """Hears a room on a subscription. ``answering``: whether it answers offers; ``offers``: those that came, oldest first."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self.answering = True
        self.offers: list[Message] = []
        self.registered: Message = {}
        self.joined: Message = {}
        self._connections: dict[str, RTCPeerConnection] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()
        self._answered: set[str] = set()
        """SDP of the offers; another session begins its revisions anew."""
        self.signaling: Signaling

    async def enter(self, room_id: str) -> Listener:
        await self.connect()
        await self.signaling.request("join_room", "room_joined", room_id=room_id)
        await self.signaling.send("subscribe")
        return self

    async def connect(self, **fields: str) -> None:
        self.signaling = await Signaling.open(self._server.url)
        self.signaling.on_message = self._take
        self.registered = await self.signaling.request("register", "registered", username="Listener", **fields)

    def _take(self, message: Message) -> None:
        if message["type"] == "room_joined":
            self.joined = message
        if message["type"] == "room_moved":
            self._start(self.signaling.send("subscribe"))
        if message["type"] == "subscription_offer":
            self.offers.append(message)
            self._start(self._answer(message) if self.answering else self._note())

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _answer(self, offer: Message) -> None:
        session = offer["sdp"].splitlines()[1].split()[1]
        if session not in self._connections:
            self._connections[session] = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection = connection = self._connections[session]
        await connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        await self.signaling.send("subscription_answer", revision=offer["revision"], sdp=connection.localDescription.sdp)
        self._answered.add(offer["sdp"])
        await self._note()

    async def wait_offer(self, *names: Peer) -> Message:
        """The last offer, once that is of these people, in any order."""
        wanted = sorted(peer.user_id for peer in names)

        def there() -> bool:
            return bool(self.offers) and sorted(track["user_id"] for track in self.offers[-1]["tracks"]) == wanted

        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(there)
        return self.offers[-1]

    async def hears(self, *talkers: Peer) -> None:
        """Wait until exactly these are offered, and the tone of each comes in its section."""
        await self.hears_of(await self.wait_offer(*talkers), *talkers)

    async def hears_of(self, offer: Message, *talkers: Peer) -> None:
        """Wait until ``offer`` is answered, then for the tones of some who are in it."""
        mids = {track["user_id"]: track["mid"] for track in offer["tracks"]}
        async with asyncio.timeout(WAIT_S):
            async with self._changed:
                await self._changed.wait_for(lambda: offer["sdp"] in self._answered)
            tracks = {one.mid: one.receiver.track for one in self.connection.getTransceivers()}
            heard = await asyncio.gather(*(pitch(tracks[mids[talker.user_id]]) for talker in talkers))
        for talker, hertz in zip(talkers, heard, strict=True):
            assert abs(hertz - talker.frequency_hz) < 15, (talker.username, hertz, talker.frequency_hz)

    async def close(self) -> None:
        self.signaling.on_message = None
        await asyncio.gather(*self._work, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self._connections.values()))
        await self.signaling.close()


@contextlib.asynccontextmanager
async def listening(server: RunningServer, room_id: str) -> AsyncIterator[Listener]:
    listener = Listener(server)
    try:
        yield await listener.enter(room_id)
    finally:
        await listener.close()


async def test_a_room_is_followed_beside_people_who_use_a_connection_for_each(call: Call, server: RunningServer) -> None:
    ann, bo = await call.pair()
    async with listening(server, ann.room_id) as listener:
        await listener.hears(ann, bo)
        section_of_bo = next(track["mid"] for track in listener.offers[-1]["tracks"] if track["user_id"] == bo.user_id)
        await bo.leave_room()
        cleo = await call.guest("Cleo", ann.room_id)
        offer = await listener.wait_offer(ann, cleo)
        assert [track["mid"] for track in offer["tracks"] if track["user_id"] == cleo.user_id] == [section_of_bo]
        # aiortc knows no MID, so of several sections it plays none that has got another SSRC: browsers do (tests/browser).
        await listener.hears_of(offer, ann)
        await ann.hear(cleo)


async def test_an_offer_that_was_lost_with_the_socket_comes_again(call: Call, server: RunningServer) -> None:
    ann = await call.host("Ann")
    async with listening(server, ann.room_id) as listener:
        await listener.hears(ann)
        listener.answering = False
        bo = await call.guest("Bo", ann.room_id)
        lost = await listener.wait_offer(ann, bo)
        await listener.signaling.abort()
        listener.answering = True
        listener.offers.clear()
        await listener.connect(resume_token=listener.registered["resume_token"])
        await listener.hears(ann, bo)
        assert listener.offers[0] == lost
        assert listener.joined["resumed"]["subscribed"]


async def test_a_room_that_moves_is_heard_again_after_subscribing_again() -> None:
    async with RunningServer(shards=2) as server, Call(server) as call:
        ann = await call.host("Ann")
        async with listening(server, ann.room_id) as listener:
            await listener.hears(ann)
            listener.offers.clear()
            os.kill(shard_pid(server.pid, await call.wait_shard_with_rooms()), signal.SIGKILL)
            await listener.hears(ann)
