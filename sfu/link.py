"""ZeroMQ adapter of a shard: one DEALER to control, watched by the event loop.

It knows frames and whether control is connected; what the messages mean is sfu/shard.py's business. Nothing waits in here:
what cannot be sent now is counted and gone. A control that hears Hello, because it is new or the connection broke, asks for the State of
the rooms and goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

from sfu import protocol as p
from sfu.metrics import Metrics

log = structlog.get_logger("sfu.link")

_HIGH_WATER: Final = 10_000
"""Messages that ZeroMQ may hold in each direction."""
_BATCH: Final = 64
"""Commands carried out before media events get their turn."""
_WATCHED: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class Link:
    """The connection to control.

    ``on_command(body)`` is called for each message, ``on_change(connected)`` when the connection comes or goes.
    """

    def __init__(
        self, endpoint: str, shard_id: str, metrics: Metrics, on_command: Callable[[bytes], None], on_change: Callable[[bool], None]
    ) -> None:
        self.connected = False
        self._metrics = metrics
        self._on_command = on_command
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context(io_threads=1)
        self._socket = self._open(shard_id)
        self._monitor = self._socket.get_monitor_socket(_WATCHED)
        self._watched = [int(self._socket.getsockopt(zmq.FD)), int(self._monitor.getsockopt(zmq.FD))]
        self._scheduled = False
        self._polling = False
        self._socket.connect(endpoint)
        for descriptor, poll in zip(self._watched, (self._poll, self._read_monitor), strict=True):
            self._loop.add_reader(descriptor, poll)
        self._poll_soon()
        self._loop.call_soon(self._read_monitor)

    def _open(self, shard_id: str) -> zmq.Socket[bytes]:
        opened = self._context.socket(zmq.DEALER)
        opened.setsockopt(zmq.ROUTING_ID, shard_id.encode())
        opened.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        opened.setsockopt(zmq.RCVHWM, _HIGH_WATER)
        opened.setsockopt(zmq.MAXMSGSIZE, p.MAX_MESSAGE_BYTES)
        opened.setsockopt(zmq.IMMEDIATE, 1)  # nothing is kept for a control that is not there
        opened.setsockopt(zmq.LINGER, 500)
        opened.setsockopt(zmq.RECONNECT_IVL, 100)
        opened.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        opened.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        opened.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
        return opened

    def send(self, message: p.ShardMessage) -> bool:
        """Hand ``message`` to ZeroMQ. False where no connection took it (counted)."""
        try:
            self._socket.send(p.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            self._metrics.drop("control_unreachable")
            return False
        finally:
            if not self._polling:
                self._poll_soon()  # the descriptor is edge-triggered, and sending may have taken the edge
        return True

    def close(self) -> None:
        """Send what is waiting (half a second at most) and end."""
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
        self._watched = []
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()
        self._context.term()

    def _poll_soon(self) -> None:
        if not self._scheduled and self._watched:
            self._scheduled = True
            self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        self._scheduled = False
        self._polling = True
        try:
            for _ in range(_BATCH):
                if not self._watched or not _has_message(self._socket):
                    return
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
                if len(frames) == 1:
                    self._on_command(frames[0])
                else:
                    self._metrics.bad_messages += 1
        finally:
            self._polling = False
        self._poll_soon()

    def _read_monitor(self) -> None:
        while self._watched and _has_message(self._monitor):
            event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
            if event not in (zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED):
                continue
            connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if connected != self.connected:
                self.connected = connected
                log.info("control connected" if connected else "control lost")
                self._on_change(connected)


def _has_message(opened: zmq.Socket[bytes]) -> bool:
    """Asking costs a third of the exception that receiving raises where there is none."""
    return bool(int(opened.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
