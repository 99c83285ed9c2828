"""What the signaling tests say and read."""

from __future__ import annotations

from typing import Any

from control import messages as m
from control.effects import Unanswered
from sfu import protocol as p

TIMEOUT = Unanswered("no answer in time")
LINE = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"


def codes(messages: list[m.ServerMessage]) -> list[tuple[str, str | None]]:
    return [(message.code, message.request) for message in messages if isinstance(message, m.Error)]


def types(messages: list[m.ServerMessage]) -> list[str]:
    return [m.message_type(message) for message in messages]


def beat(shard: str, *, instance: str = "x", consumers: int = 0, **fields: Any) -> p.Heartbeat:
    """A heartbeat of a shard, zero but for what is given."""
    tables = dict.fromkeys(p.ShardTables.__struct_fields__, 0) | {"consumers": consumers}
    totals: dict[str, Any] = {"packets_in": 0, "packets_out": 0, "bytes_in": 0, "bytes_out": 0, "drops": {}}
    totals |= {"lag_ms": 0.0, "bad_messages": 0, "expired_commands": 0}
    return p.Heartbeat(shard_id=p.ShardId(shard), instance=instance, tables=p.ShardTables(**tables), **(totals | fields))
