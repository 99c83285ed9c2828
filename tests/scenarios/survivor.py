"""A person whose client does what control/SIGNALING.md says about things that break: it resumes, compares, and repairs."""

from __future__ import annotations

import asyncio
from typing import Any

from loadtest.peer import Peer
from loadtest.signaling import Closed, Message, Refused, Signaling, TargetError

from .call import Call, packets

RETRY_S = 0.1
COME_BACK_S = 60.0
"""A control that was killed may take this long to be started again: the machine is busy with other tests."""


class Survivor(Peer):
    """``resumptions``: what the server said that it still held, each time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.resumptions: list[Message] = []
        self._token = ""

    async def connect(self) -> Peer:
        await super().connect()
        self._token = self.signaling.received[0]["resume_token"]
        return self

    async def cut(self) -> None:
        """The WebSocket breaks; media goes on."""
        await self.signaling.abort()

    async def resume(self) -> Message:
        """Come back on a new WebSocket, as soon as there is somebody to come back to. Returns what the server still held."""
        signaling, registered = await self._register_again()
        assert registered["resumed"], "the session is not known any more"
        assert registered["user_id"] == self.user_id
        self._token = registered["resume_token"]
        held: Message = (await signaling.expect("room_joined", room_id=self.room_id))["resumed"]
        self.resumptions.append(held)
        self._signaling = signaling
        signaling.on_message = self._take
        for message in list(signaling.received):
            self._take(message)
        if self.publishing is not None and not held["publishing"]:
            await self.publish()
        return held

    def _take(self, message: Message) -> None:
        # After resuming, everyone who publishes is named: those whose consumer has lived on need nothing.
        if message["type"] != "new_publisher" or message["user_id"] not in self.consumers:
            super()._take(message)

    async def _register_again(self) -> tuple[Signaling, Message]:
        async with asyncio.timeout(COME_BACK_S):
            while True:
                try:
                    signaling = await Signaling.open(self.url)
                    return signaling, await signaling.request("register", "registered", username=self.username, resume_token=self._token)
                except (TargetError, Closed, Refused, ConnectionError):
                    await asyncio.sleep(RETRY_S)


async def survivors(call: Call, *names: str) -> list[Survivor]:
    """People in a room of their own, who talk and hear each other."""
    people: list[Survivor] = []
    for name in names:
        person = Survivor(call.server.url, name, frequency_hz=440.0 + 110 * len(call.peers))
        call.peers.append(person)
        await person.connect()
        if people:
            await person.join_room(people[0].room_id)
        else:
            await person.create_room()
        await person.publish()
        people.append(person)
    return people


async def hear_more(people: list[Survivor], count: int = 50, timeout_s: float = 20.0) -> None:
    """Wait until every consumer of ``people`` has received ``count`` packets more than now. 50 are a second of talking."""
    consumers = [consumer for person in people for consumer in person.consumers.values()]
    goals = {consumer: await packets(consumer) + count for consumer in consumers}
    async with asyncio.timeout(timeout_s):
        while short := [consumer for consumer, goal in goals.items() if await packets(consumer) < goal]:
            assert all(consumer.state == "connected" for consumer in short)
            await asyncio.sleep(0.05)
