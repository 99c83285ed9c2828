"""People who are only names: sockets that register and join, without a browser and without sound."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence

from websockets.asyncio.client import ClientConnection, connect


async def _say(socket: ClientConnection, answer: str, **message: object) -> None:
    """Send ``message`` and wait until something of the type ``answer`` comes."""
    await socket.send(json.dumps(message))
    while True:
        said = json.loads(await socket.recv())
        assert said["type"] != "error", said
        if said["type"] == answer:
            return


@contextlib.asynccontextmanager
async def crowd(ws_url: str, room_id: str, names: Sequence[str]) -> AsyncIterator[list[ClientConnection]]:
    """``names`` are in the room until the block ends; each socket can be closed before."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = []
        for name in names:
            socket = await stack.enter_async_context(connect(ws_url, proxy=None))
            await _say(socket, "registered", type="register", username=name)
            await _say(socket, "room_joined", type="join_room", room_id=room_id)
            sockets.append(socket)
        yield sockets


async def mute(socket: ClientConnection, muted: bool = True) -> None:
    """Say that this one is muted."""
    await socket.send(json.dumps({"type": "set_muted", "muted": muted}))
