"""ZeroMQ adapter of a shard: one DEALER to control, watched by the event loop.

It knows frames and whether control is connected; what the messages mean is sfu/shard.py's business. Nothing waits in here:
what cannot be sent now is counted and gone. A control that hears Hello, because it is new or the connection broke, asks for the State of
the rooms and goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

from sfu import protocol as p
from sfu.keys import LinkKeys
from sfu.metrics import Metrics

log = structlog.get_logger("sfu.link")

_HIGH_WATER: Final = 10_000
"""Messages that ZeroMQ may hold in each direction."""
_BATCH: Final = 64
"""Commands carried out before media events get their turn."""
_REFUSED: Final = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_CHANGES: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_AGAIN_S: Final = 1.0
"""Time to the next try after a refusal, which ZeroMQ takes for the last word."""


class Link:
    """The connection to control.

    ``on_command(body)`` is called for each message, ``on_change(connected)`` when the connection comes or goes. With ``keys`` both ends
    prove theirs first.
    """

    def __init__(
        self,
        endpoint: str,
        shard_id: str,
        metrics: Metrics,
        on_command: Callable[[bytes], None],
        on_change: Callable[[bool], None],
        keys: LinkKeys | None = None,
    ) -> None:
        self.connected = False
        self._endpoint = endpoint
        self._keys = keys
        self._refused_for = ""
        self._again: asyncio.TimerHandle | None = None
        self._metrics = metrics
        self._on_command = on_command
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context(io_threads=1)
        self._socket = self._open(shard_id)
        self._monitor = self._socket.get_monitor_socket(_REFUSED | _CHANGES)
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
        if self._keys is not None:
            opened.setsockopt(zmq.CURVE_SERVERKEY, self._keys.control)
            opened.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.public)
            opened.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)
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
        if self._again is not None:
            self._again.cancel()
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
            if event & _REFUSED:
                self._note_refusal(event)
            if not event & _CHANGES:
                continue
            connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if connected != self.connected:
                self.connected = connected
                self._refused_for = ""
                log.info("control connected" if connected else "control lost")
                self._on_change(connected)

    def _note_refusal(self, event: int) -> None:
        """One end did not let the other in. Keys are mended on either side while this one waits."""
        self._metrics.drop("control_refused")
        if self._keys is None:
            reason = "control asks for a key and this shard has none (key_file)"
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            reason = "control does not know this shard's key (shard_public_keys)"
        else:
            reason = "control does not have the key that control_public_key names"
        if reason != self._refused_for:
            self._refused_for = reason
            log.error("no connection to control", endpoint=self._endpoint, problem=reason)
        if self._again is None:
            self._again = self._loop.call_later(_AGAIN_S, self._connect_again)

    def _connect_again(self) -> None:
        self._again = None
        if not self.connected:
            with contextlib.suppress(zmq.ZMQError):  # where it has given up already
                self._socket.disconnect(self._endpoint)
            self._socket.connect(self._endpoint)
            self._poll_soon()


def _has_message(opened: zmq.Socket[bytes]) -> bool:
    """Asking costs a third of the exception that receiving raises where there is none."""
    return bool(int(opened.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
