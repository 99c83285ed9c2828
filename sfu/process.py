"""One shard process: sockets, clocks and the event loop round :class:`~sfu.shard.Shard`. A thin adapter, no decisions."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from typing import Final

import msgspec
import structlog

from sfu import __version__
from sfu import protocol as p
from sfu.addresses import advertised, open_sockets
from sfu.config import ShardConfig
from sfu.forwarding._native import Loop
from sfu.keys import read_keys
from sfu.link import Link
from sfu.metrics import Metrics
from sfu.shard import Shard

log = structlog.get_logger("sfu.process")

_LAG_PROBE_S: Final = 0.1
_EVENTS_AT_ONCE: Final = 256
"""Native events handled before commands and timers get their turn."""

_HOST_CHARS: Final = 58
"""Of a host's name in a shard's; with the port there are 64 at most."""
_ROUNDS_BEFORE_TIMERS: Final = 32
"""A flood of STUN must not keep timers from running."""


class ShardProcess:
    """Runs one shard on the running event loop until :meth:`stop` or a Shutdown. Construct, then await :meth:`run`."""

    def __init__(self, config: ShardConfig) -> None:
        keys = read_keys(config)
        self.metrics = Metrics()
        self._asyncio = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        """The deadline that the timer is set for, where there is one."""
        self._probe: asyncio.TimerHandle | None = None
        self._heart: asyncio.TimerHandle | None = None
        sockets = open_sockets(config.host, config.udp_port, config.socket_buffer_bytes)
        self.udp_port: int = sockets[0].getsockname()[1]
        self.config = config = _named(config, self.udp_port)
        self.addresses = advertised(config.advertise, sockets)
        self.loop = self._start_loop(sockets)
        self.shard = Shard(config, self.loop, self.addresses, self.udp_port, self._tell, self.metrics)
        self._needed_at = time.monotonic()
        """When there was last a control or a connection."""
        self.link = Link(config.control, config.shard_id, self.metrics, self._on_command, self._on_link, keys)
        self._asyncio.add_reader(self.loop.event_fd, self._on_events)

    def _start_loop(self, sockets: list[socket.socket]) -> Loop:
        config = self.config
        limits = {"max_transports": config.max_transports, "max_tracks": config.max_tracks, "max_consumers": config.max_consumers}
        return Loop([opened.detach() for opened in sockets], **limits)

    async def run(self) -> None:
        """Work until told to end; then say goodbye to peers and control, and free everything."""
        log.info(
            "shard running",
            shard=self.config.shard_id,
            udp_port=self.udp_port,
            addresses=list(self.addresses),
            srtp=self.loop.srtp_implementation,
            scheduling=self.loop.scheduling,
        )
        if self.loop.scheduling == "nice 0":
            log.info("the forwarding thread runs at normal priority: latency suffers while Python is busy (CAP_SYS_NICE raises it)")
        self._beat()
        self._probe_lag(self._asyncio.time() + _LAG_PROBE_S)
        try:
            await self._done.wait()
        finally:
            self._end()

    def stop(self) -> None:
        """End in order. Harmless when repeated."""
        self._done.set()

    def _end(self) -> None:
        for handle in (self._timer, self._probe, self._heart):
            if handle is not None:
                handle.cancel()
        self._asyncio.remove_reader(self.loop.event_fd)
        self.shard.close_rooms("closed", time.monotonic())
        self._tell(p.Goodbye(shard_id=self.shard.shard_id, instance=self.shard.instance))
        self.loop.close()
        self.link.close()
        log.info("shard ended", shard=self.config.shard_id)

    # ------------------------------------------------------------------------------------------------- what comes in

    def _on_events(self) -> None:
        events = self.loop.events(_EVENTS_AT_ONCE)
        now, unix_s = time.monotonic(), time.time()
        for event in events:
            self.shard.handle(event, now, unix_s)
        if events:
            self._asyncio.call_soon(self._more_events)
        self._set_timer(now)

    def _more_events(self) -> None:
        if not self._done.is_set():
            self._on_events()

    def _on_timer(self) -> None:
        self._timer = None
        # After a pause of this process (SIGSTOP, suspend) the proofs of life that came meanwhile go before the verdict.
        for _ in range(_ROUNDS_BEFORE_TIMERS):
            events = self.loop.events(_EVENTS_AT_ONCE)
            for event in events:
                self.shard.handle(event, time.monotonic(), time.time())
            if not events:
                break
        else:
            self._asyncio.call_soon(self._more_events)
        self._set_timer(time.monotonic())

    def _set_timer(self, now: float) -> None:
        """Run what is due and wake up when the next thing is."""
        deadline = self.shard.run_timers(now)
        if self._timer is not None:
            if deadline == self._timer_due:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer_due = deadline
            self._timer = self._asyncio.call_later(max(0.0, deadline - now) + 0.001, self._on_timer)

    def _on_command(self, body: bytes) -> None:
        try:
            command = p.decode_command(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            self.metrics.bad_messages += 1
            return
        if command.deadline_unix_ms < time.time() * 1000:
            self.metrics.expired_commands += 1
            return
        now = time.monotonic()
        self._tell(self.shard.execute(command, now))
        self._set_timer(now)
        if self.shard.stopping:
            self.stop()

    # -------------------------------------------------------------------------------------------------- what goes out

    def _tell(self, message: p.ShardMessage) -> None:
        self.link.send(message)

    def _on_link(self, connected: bool) -> None:
        self._needed_at = time.monotonic()
        if connected:
            self._hello()

    def _hello(self) -> bool:
        return self.link.send(
            p.Hello(
                shard_id=self.shard.shard_id,
                instance=self.shard.instance,
                protocol=p.PROTOCOL_VERSION,
                version=__version__,
                pid=os.getpid(),
                host=socket.gethostname(),
                udp_port=self.udp_port,
                addresses=list(self.addresses),
                srtp=self.loop.srtp_implementation,
                scheduling=self.loop.scheduling,
                origin=self.config.origin,
            )
        )

    def _beat(self) -> None:
        self._heart = self._asyncio.call_later(self.config.heartbeat_ms / 1000, self._beat)
        now = time.monotonic()
        if self.link.connected:
            self._tell(self.shard.heartbeat())
        # Not by the rooms: only control takes people out of those, and they outlive it when it is killed.
        if self.link.connected or len(self.shard.connections):
            self._needed_at = now
        elif now - self._needed_at > self.config.orphan_timeout_s:
            log.warning("no control and no connections: ending", seconds=self.config.orphan_timeout_s)
            self.stop()

    def _probe_lag(self, due_at: float) -> None:
        now = self._asyncio.time()
        self.metrics.note_lag(max(0.0, now - due_at))
        self._probe = self._asyncio.call_at(now + _LAG_PROBE_S, self._probe_lag, now + _LAG_PROBE_S)


def _named(config: ShardConfig, udp_port: int) -> ShardConfig:
    """With a name of its own where it was given none."""
    if config.shard_id:
        return config
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:_HOST_CHARS]
    named = config.model_copy(update={"shard_id": f"{host}-{udp_port}"})
    structlog.contextvars.bind_contextvars(shard=named.shard_id)
    return named


async def run(config: ShardConfig) -> None:
    """Run one shard until SIGTERM, SIGINT, Shutdown or its orphan timeout. Raises :class:`ShardError` where it cannot start."""
    process = ShardProcess(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop)
    await process.run()
