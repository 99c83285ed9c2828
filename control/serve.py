"""``antiphon serve``: puts control together, starts the local shards, and takes everything down in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, cast

import structlog
import uvicorn
import uvloop
import zmq
from aioice.ice import get_host_addresses
from starlette.applications import Starlette

from control import __version__, admin, api
from control.app import build_app
from control.auth import Access, access
from control.binding import (
    BoundFile,
    ShardAddresses,
    StartError,
    bind_http,
    busy_udp_ports,
    raise_file_limit,
    runtime_dir,
    shard_addresses,
    shard_command,
    shard_endpoint,
    udp_ports,
)
from control.clients import networks
from control.config import ControlConfig, is_loopback, shard_count
from control.connections import ConnectionBounds, Connections, http_protocol, websocket_protocol
from control.curve import CurveDoor
from control.dispatch import Dispatcher
from control.files import Files, read_files
from control.leftover import LeftOvers, origin_of
from control.logs import set_up_logs
from control.meters import Meters
from control.metrics import registry
from control.processes import LocalShards
from control.reachability import Reachability
from control.sessions import Limits
from control.shards import Shards, ShardTimes
from control.signaling import Signaling
from control.tls import Tls
from control.webhooks import Hook, Webhooks
from control.websocket import GOING_AWAY, SocketBounds
from sfu.protocol import Hello

log = structlog.get_logger("antiphon.serve")

TICK_S: Final = 1.0
"""How often what has no event of its own is looked after: idle rooms, the certificate's files, new shards' addresses."""

DRAIN_POLL_S: Final = 0.1
FLUSH_S: Final = 2.0
"""How long webhooks of the last moments may take to go out."""
OTHER_FILES: Final = 512
"""File descriptors beside those of signaling sockets: shards, requests for pages and metrics, what Python has open."""


def run(config: ControlConfig, file: Path | None) -> int:
    """Serve until a signal; returns the exit status. ``file``: the configuration file, for the shards."""
    set_up_logs(config.log_level)
    raise_file_limit(config.sockets + OTHER_FILES)
    try:
        files = read_files(config, datetime.datetime.now(datetime.UTC))
        sockets = bind_http(config.host, config.port)
        with contextlib.ExitStack() as stack:
            for bound in sockets:
                stack.callback(bound.close)
            granted = stack.enter_context(access(config, sockets[0].getsockname()[1]))
            addresses = shard_addresses(config, os.environ, file)
            uvloop.run(_control(config, file, Found(sockets, addresses, files, granted)))
    except StartError as error:
        if str(error):
            print(f"antiphon: {error}", file=sys.stderr)
        return 2
    return 0


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What the configuration has come to on this machine. ``sockets``: bound, of HTTP and WebSocket."""

    sockets: list[socket.socket]
    addresses: ShardAddresses
    files: Files
    access: Access


async def _control(config: ControlConfig, file: Path | None, found: Found) -> None:
    await Control(config, file, found).run()


class _HttpServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: :class:`Control` has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Control:
    """One control process. ``file``: the configuration file, for the shards."""

    def __init__(self, config: ControlConfig, file: Path | None, found: Found) -> None:
        self._config = config
        self._file = file
        self._sockets = found.sockets
        self._addresses = found.addresses
        self._access = found.access
        self._tls = found.files.tls
        self._ice_servers = found.files.ice_servers
        self._door = CurveDoor(found.files.shard_keys) if found.files.shard_keys is not None else None
        self._port: int = found.sockets[0].getsockname()[1]
        self._stop = asyncio.Event()
        self._draining = asyncio.Event()
        self._serving = False
        self._hook = Hook.of(config)

    async def run(self) -> None:
        """Start, serve until a signal, stop. Raises :class:`StartError`."""
        config = self._config
        loop = asyncio.get_running_loop()
        limits = Limits(**{limit.name: getattr(config, limit.name) for limit in dataclasses.fields(Limits)})
        signaling = Signaling(limits, self._access.gate, lambda user_id: self._ice_servers.given_to(user_id, time.time()))
        dispatcher = Dispatcher(signaling, loop.time)
        shards = Shards(dispatcher, ShardTimes(config.command_timeout_ms / 1000, config.heartbeat_timeout_ms / 1000))
        dispatcher.shards = shards
        ports = udp_ports(config)
        endpoint = self._bind_shards(shards)
        bound = BoundFile(endpoint)
        commands = [self._shard_command(endpoint, index) for index in range(shard_count(config))]
        local = LocalShards(shards, len(commands), lambda index: commands[index])
        left_over = LeftOvers(endpoint, {shard: command[-1] for shard, command in zip(local.shard_ids, commands, strict=True)})
        shards.is_stopped = local.is_stopped
        shards.on_silent = local.kill
        shards.admits = lambda hello: _admits(hello, local, left_over)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, local, number)
        try:
            await self._until_stopped(left_over.settle(config.stop_timeout_s))
            if not self._stop.is_set():
                self._check_ports(ports, local)
                local.start()
            if await self._all_up(shards, local):
                local.started = True
                await self._serve(dispatcher, shards, local)
        finally:
            shards.stopping = True
            left_over.close()
            await local.stop(config.stop_timeout_s)
            await shards.stop()
            bound.remove()

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, or as much of it as there is time for before a signal comes."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _check_ports(self, ports: range, local: LocalShards) -> None:
        """Raises :class:`StartError` where somebody has the UDP port of a shard that is to be started."""
        running = [int(shard) for shard in local.adopted]
        busy = busy_udp_ports([port for index, port in enumerate(ports) if index not in running], self._addresses.bind)
        if busy:
            raise StartError(f"UDP port {busy[0]} is already in use; choose other ports with --udp-port")

    def _shard_command(self, endpoint: str, index: int) -> list[str]:
        command = shard_command(self._config, self._file, self._addresses, endpoint, index)
        return [*command, "--origin", origin_of(command, os.environ, self._file)]

    def _bind_shards(self, shards: Shards) -> str:
        """Listen for shards; where local ones connect to."""
        endpoint = shard_endpoint(self._config, self._port)
        runtime_dir(self._config)
        try:
            shards.start(endpoint)
        except zmq.ZMQError as error:
            raise StartError(f"cannot listen for shards on {endpoint}: {error.strerror}; choose another runtime_dir") from None
        if (joining := self._config.shard_endpoint) != "":
            try:
                joining = shards.listen(joining, self._door)
            except zmq.ZMQError as error:
                raise StartError(f"cannot listen for shards on {joining}: {error.strerror}; choose another shard_endpoint") from None
            log.info("listening for shards", endpoint=joining, keys=self._door is not None)
        return endpoint

    def _on_signal(self, local: LocalShards, number: signal.Signals) -> None:
        """First signal: stop in order; SIGTERM gives people in rooms some time first. Second: at once."""
        if self._stop.is_set() or self._draining.is_set():
            local.kill_all()
            os._exit(130)
        (self._draining if number == signal.SIGTERM and self._serving else self._stop).set()

    async def _drain(self, dispatcher: Dispatcher) -> None:
        """After SIGTERM: wait until nobody is in a room any more, but no longer than the deadline. Then stop."""
        await self._draining.wait()
        seconds = self._config.drain_deadline_s
        deadline = asyncio.get_running_loop().time() + seconds
        if seconds and dispatcher.in_rooms:
            log.info("draining", people=dispatcher.in_rooms, deadline_s=seconds)
            dispatcher.apply(dispatcher.operator.close(seconds))
        while dispatcher.in_rooms and (left := deadline - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 - of any socket
            await asyncio.sleep(min(left, DRAIN_POLL_S))
        self._stop.set()

    async def _all_up(self, shards: Shards, local: LocalShards) -> bool:
        """Wait for every local shard. False if told to stop meanwhile. Raises :class:`StartError`."""
        stopped = asyncio.create_task(self._stop.wait())
        deadline = asyncio.get_running_loop().time() + self._config.shard_start_timeout_s
        try:
            while missing := set(local.shard_ids) - {link.shard_id for link in shards.up}:
                if local.shard_ids[0] not in missing:
                    local.start_rest()
                changed = asyncio.create_task(shards.wait_for_change())
                left = deadline - asyncio.get_running_loop().time()
                waiting: list[asyncio.Future[Any]] = [stopped, changed, local.died_at_start]
                await asyncio.wait(waiting, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if self._stop.is_set():
                    return False
                if local.died_at_start.done():
                    shard, status = local.died_at_start.result()
                    # Exit status 2: it has said why in one line of its own.
                    raise StartError("" if status == 2 else f"shard {shard} ended while it was being started (exit status {status})")
                if asyncio.get_running_loop().time() >= deadline:
                    raise StartError(f"the shards did not report within {self._config.shard_start_timeout_s:g} s")
        finally:
            stopped.cancel()
        return True

    async def _serve(self, dispatcher: Dispatcher, shards: Shards, local: LocalShards) -> None:
        config = self._config
        bounds = SocketBounds(**{bound.name: getattr(config, bound.name) for bound in dataclasses.fields(SocketBounds)})
        endpoints = api.mount(admin.Admin(dispatcher, shards, local, self._access).endpoints(), admin.guard(self._access))
        proxies = networks(config.trusted_proxies)
        connections = Connections(ConnectionBounds.of(config.sockets, config.address_sockets, config.http_header_timeout_s, proxies))
        numbers = registry(dispatcher, shards, local, connections, self._tls, self._door)
        meters = Meters(numbers)
        dispatcher.on_join = meters.joined
        app = build_app(dispatcher, shards, local, numbers, bounds, endpoints, config.allowed_origins, proxies)
        server = _HttpServer(http_config(app, config.message_bytes, connections, self._tls))
        serving = asyncio.create_task(server.serve(self._sockets))
        reachability = Reachability()

        def look() -> None:
            if self._tls is not None:
                self._tls.refresh()
            if not is_loopback(config.host):
                reachability.check(link.hello for link in shards.up)

        ticking = asyncio.create_task(_tick(dispatcher, look))
        probing = asyncio.create_task(meters.probe_lag())
        stopped = asyncio.create_task(self._stop.wait())
        draining = asyncio.create_task(self._drain(dispatcher))
        hooks = Webhooks(self._hook, dispatcher.hooked) if self._hook is not None else None
        if hooks is not None:
            dispatcher.hook = hooks.put
        telling = asyncio.create_task(hooks.run() if hooks is not None else asyncio.sleep(0))
        self._serving = True
        self._announce(shards)
        if (drawn := self._access.admin.file) is not None:
            log.info("no admin token is configured: drew one, which commands on this host find by themselves", file=str(drawn))
        await asyncio.wait({serving, stopped, ticking, draining}, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        for task in (ticking, stopped, probing, draining):
            task.cancel()
        dispatcher.close_all(GOING_AWAY, "the server stops")
        server.should_exit = True
        await serving
        if hooks is not None:
            await hooks.flush(FLUSH_S)
        telling.cancel()
        for task in (ticking, draining):
            if task.done() and not task.cancelled():
                task.result()  # raises what ended it

    def _announce(self, shards: Shards) -> None:
        links = sorted(shards.up, key=lambda link: link.shard_id)
        host = self._config.host
        shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        ports = ", ".join(str(link.hello.udp_port) for link in links)
        lines = [f"Antiphon {__version__}"]
        if links:
            lines.append(f"{len(links)} {'shard' if len(links) == 1 else 'shards'} on UDP {'port' if len(links) == 1 else 'ports'} {ports}")
        else:
            lines.append("no local shards; waiting for others to join")
        if self._config.dev_tls:
            lines.append("The certificate is self-signed: browsers ask once whether to trust it")
        elif self._tls is None and not is_loopback(host):
            lines.append("Browsers give a page the microphone only over HTTPS or on localhost")
        scheme = "http" if self._tls is None else "https"
        lines.append(f"Open {scheme}://{shown}:{self._port} in a browser")
        if host in ("0.0.0.0", "::"):
            found = get_host_addresses(use_ipv4=True, use_ipv6=host == "::")
            elsewhere = [
                f"{scheme}://[{address}]:{self._port}" if ":" in address else f"{scheme}://{address}:{self._port}" for address in found
            ]
            lines.append(f"On other machines: {' or '.join(elsewhere)}")
        lines.append("Ctrl-C ends it")
        print("\n".join(lines), flush=True)


def _admits(hello: Hello, local: LocalShards, left_over: LeftOvers) -> bool:
    """Whether a shard is of use: a local one, as which one of an earlier control counts that fits, or one that joins from elsewhere."""
    if hello.shard_id not in local.shard_ids:
        return not hello.origin  # otherwise it is the local one of a control that had more of them
    if hello.host != socket.gethostname():
        return False
    process = left_over.claim(hello)
    if process is not None:
        local.adopt(hello.shard_id, process)
    return hello.pid == local.pid(hello.shard_id)


def http_config(app: Starlette, message_bytes: int, connections: Connections, tls: Tls | None = None) -> uvicorn.Config:
    """How uvicorn serves Antiphon. ``message_bytes``: longest WebSocket message (longer: close 1009); ``tls``: None for HTTP."""
    return uvicorn.Config(
        cast(Any, app),  # Starlette types ASGI more loosely than uvicorn
        http=http_protocol(connections),
        ws=websocket_protocol(connections),
        ws_max_size=message_bytes,
        ws_per_message_deflate=False,  # messages are small, and a compressor per socket is not
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        ssl_context_factory=(lambda config, default: tls.context) if tls is not None else None,
    )


async def _tick(dispatcher: Dispatcher, look: Callable[[], None]) -> None:
    while True:
        look()
        await asyncio.sleep(TICK_S)
        dispatcher.tick()
