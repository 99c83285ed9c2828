"""A control without processes, for tests: a real uvicorn, real WebSocket clients, and a shard that the test plays over ZeroMQ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import websockets
import zmq
import zmq.asyncio
from websockets.asyncio.client import ClientConnection

from control import admin, api
from control.admin_token import AdminToken
from control.app import build_app
from control.auth import Access, Keys, TokenGate
from control.connections import ConnectionBounds, Connections
from control.dispatch import Dispatcher
from control.grants import OpenGate
from control.metrics import registry
from control.processes import LocalShards
from control.serve import _HttpServer, http_config
from control.sessions import Limits
from control.shards import Shards, ShardTimes
from control.signaling import Signaling
from control.websocket import SocketBounds
from sfu import protocol as p

Message = dict[str, Any]
ADMIN_TOKEN = "the admin token of tests"
ORIGINS = ("https://friend.example",)
"""Of pages that may connect besides those of the site itself."""


class PlayedShard:
    """Answers every command but those whose kind is in ``silent``; ``commands`` has all that it was sent."""

    def __init__(self, context: zmq.asyncio.Context, endpoint: str) -> None:
        self.silent: set[type] = set()
        self.commands: list[p.Command] = []
        self.arrived = asyncio.Event()
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IDENTITY, b"0")
        self._socket.connect(endpoint)

    async def run(self) -> None:
        hello = {
            "protocol": p.PROTOCOL_VERSION,
            "version": "0",
            "pid": 1,
            "host": "h",
            "udp_port": 1,
            "addresses": [],
            "srtp": "x",
            "scheduling": "nice 0",
        }
        await self.say(p.Hello(shard_id=p.ShardId("0"), instance="i", **hello))  # type: ignore[arg-type]
        try:
            while True:
                command = p.decode_command(await self._socket.recv())
                self.commands.append(command)
                self.arrived.set()
                if type(command) not in self.silent:
                    offers = isinstance(command, p.CreatePublisher | p.CreateConsumer)
                    result = p.Offer(sdp="v=0", candidates=[]) if offers else p.Done()
                    reported = p.Reported(entries=0) if isinstance(command, p.ReportState) else None
                    await self.say(p.Reply(request_id=command.request_id, result=reported or result))
        finally:
            self._socket.close()

    async def say(self, message: p.ShardMessage) -> None:
        await self._socket.send(p.encode(message))

    async def got(self, kind: type) -> Any:
        """The first command of a kind."""
        async with asyncio.timeout(5):
            while not (found := [command for command in self.commands if isinstance(command, kind)]):
                self.arrived.clear()
                await self.arrived.wait()
        return found[0]


class Site:
    """A running control without processes of its own. ``sends``: bytes that the kernel takes for each socket (0: its default)."""

    def __init__(self, bounds: SocketBounds, command_s: float, limits: Limits, access: Access, connections: ConnectionBounds) -> None:
        self.dispatcher = Dispatcher(Signaling(limits, access.gate), asyncio.get_running_loop().time)
        self.shards = Shards(self.dispatcher, ShardTimes(command_s=command_s, silence_s=60))
        self.dispatcher.shards = self.shards
        local = LocalShards(self.shards, 0, lambda index: [])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted sockets inherit it: backpressure comes soon
        self.port = self._socket.getsockname()[1]
        endpoints = api.mount(admin.Admin(self.dispatcher, self.shards, local, access).endpoints(), admin.guard(access))
        self.connections = Connections(connections)
        numbers = registry(self.dispatcher, self.shards, local, self.connections)
        app = build_app(self.dispatcher, self.shards, local, numbers, bounds, endpoints, ORIGINS, connections.proxies)
        self.server = _HttpServer(http_config(app, 65536, self.connections))
        self._context: zmq.asyncio.Context = zmq.asyncio.Context()
        self.shard = PlayedShard(self._context, self.shards.start("tcp://127.0.0.1:*"))
        self._tasks = [asyncio.create_task(self.server.serve([self._socket])), asyncio.create_task(self.shard.run())]

    async def ready(self) -> None:
        while not self.shards.up:
            await self.shards.wait_for_change()

    async def stop(self) -> None:
        self.server.should_exit = True
        await self._tasks[0]
        self._tasks[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[1]
        await self.shards.stop()
        self._context.destroy(linger=0)

    def connect(self, **options: Any) -> Any:
        return websockets.connect(f"ws://127.0.0.1:{self.port}/ws", proxy=None, **options)

    def admin(self, token: str | None = ADMIN_TOKEN) -> httpx.AsyncClient:
        """A client of ``/api`` that sends ``token``."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, trust_env=False)

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
                return response.status, dict(response.headers.items()), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers.items()), error.read()


@contextlib.asynccontextmanager
async def running(
    bounds: SocketBounds | None = None,
    command_s: float = 5.0,
    keys: Keys | None = None,
    limits: Limits | None = None,
    connections: ConnectionBounds | None = None,
) -> AsyncIterator[Site]:
    """A control. ``keys``: those of token mode, None for open mode."""
    access = Access(AdminToken(ADMIN_TOKEN), OpenGate() if keys is None else TokenGate(keys), keys)
    bounds, limits = bounds or SocketBounds(), limits or Limits()
    site = Site(bounds, command_s, limits, access, connections or ConnectionBounds.of(bounds.sockets, bounds.address_sockets, 10.0, ()))
    try:
        await asyncio.wait_for(site.ready(), 5)
        yield site
    finally:
        await site.stop()


async def say(client: ClientConnection, **message: Any) -> None:
    await client.send(json.dumps(message))


async def hear(client: ClientConnection, kind: str) -> Message:
    """The next message of a type."""
    async with asyncio.timeout(5):
        while True:
            message: Message = json.loads(await client.recv())
            if message["type"] == kind:
                return message


async def enter(client: ClientConnection, room: str | None = None) -> str:
    await say(client, type="register", username="Ann")
    await say(client, **({"type": "join_room", "room_id": room} if room else {"type": "create_room"}))
    return str((await hear(client, "room_joined"))["room_id"])


async def eventually(condition: Callable[[], bool]) -> None:
    """Returns when ``condition`` holds. Raises AssertionError if it does not come to that."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")
