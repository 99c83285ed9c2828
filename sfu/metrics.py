"""The numbers a shard tells control (:class:`sfu.protocol.Heartbeat`)."""

from __future__ import annotations

import bisect
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from sfu.protocol import SETUP_BOUNDS_S, Heartbeat, Setups, ShardId, ShardTables
from sfu.transport.ice_lite import StunDrop

if TYPE_CHECKING:
    from sfu.forwarding._native import Loop

DROP_REASONS: Final = (
    *(reason.value for reason in StunDrop),
    "dtls_unknown",  # DTLS for a transport that is gone
    "rtcp_unknown",  # RTCP likewise
    "rtcp_limited",  # RTCP beyond what one peer may have read, not looked into
    "rtcp_malformed",  # authenticated RTCP that does not parse
    "nack_limited",  # retransmissions asked for beyond what one consumer may have
    "ssrc_unmatched",  # a new SSRC that no section of its transport accounts for
    "send_ring_full",  # STUN or DTLS of ours that the forwarding thread had no room for
    "unreachable_address",  # STUN from an address that no answer can be sent to, which is one with port 0
    "control_unreachable",  # a message for control while no connection to it took any
    "control_refused",  # a connection that control or this shard did not let come about, for its keys
    "internal_error",  # an exception while handling one peer's event; the log has it
)
"""Named reasons that are counted by the signaling thread, besides those of the native loop (forwarding/README.md)."""


class _Setups:
    """:class:`~sfu.protocol.Setups` in the making."""

    def __init__(self) -> None:
        self.counts = [0] * (len(SETUP_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def note(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(SETUP_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Metrics:
    """Totals since the process started. ``lag_ms`` is the longest since the last heartbeat."""

    def __init__(self) -> None:
        self._drops: Counter[str] = Counter(dict.fromkeys(DROP_REASONS, 0))
        self.bad_messages = 0
        self.expired_commands = 0
        self.lag_ms = 0.0
        self._setups = {kind: _Setups() for kind in ("publisher", "consumer")}

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what was dropped for ``reason``, one of :data:`DROP_REASONS`."""
        if reason not in self._drops:
            raise KeyError(reason)
        self._drops[reason] += count

    def dropped(self, reason: str) -> int:
        return self._drops[reason]

    def note_lag(self, late_s: float) -> None:
        """A timer of the signaling thread ran ``late_s`` seconds after it was due."""
        self.lag_ms = max(self.lag_ms, 1000 * late_s)

    def note_setup(self, kind: str, seconds: float) -> None:
        """A connection of ``kind`` has come up ``seconds`` after it was offered."""
        self._setups[kind].note(seconds)

    def heartbeat(self, shard_id: ShardId, instance: str, tables: ShardTables, loop: Loop) -> Heartbeat:
        """Build the message and start the next lag measurement."""
        totals = loop.totals()
        lag_ms, self.lag_ms = self.lag_ms, 0.0
        return Heartbeat(
            shard_id=shard_id,
            instance=instance,
            tables=tables,
            packets_in=totals.packets_in,
            packets_out=totals.packets_out,
            bytes_in=totals.bytes_in,
            bytes_out=totals.bytes_out,
            retransmitted=totals.retransmitted,
            forwarding_cpu_ns=totals.cpu_ns,
            signaling_cpu_ns=time.thread_time_ns(),  # called by the signaling thread
            setups={kind: Setups(counts=tuple(setups.counts), sum_s=setups.sum_s) for kind, setups in self._setups.items()},
            latency=totals.latency_ns,
            latency_bounds_ns=loop.LATENCY_BOUNDS_NS,
            latency_sum_ns=totals.latency_sum_ns,
            rejected_commands=totals.rejected_commands,
            drops={**loop.drops(), **self._drops},
            lag_ms=lag_ms,
            bad_messages=self.bad_messages,
            expired_commands=self.expired_commands,
        )
