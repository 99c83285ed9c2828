"""What the signaling tests say and read."""

from __future__ import annotations

from control import messages as m
from control.effects import Unanswered

TIMEOUT = Unanswered("no answer in time")
LINE = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"


def codes(messages: list[m.ServerMessage]) -> list[tuple[str, str | None]]:
    return [(message.code, message.request) for message in messages if isinstance(message, m.Error)]


def types(messages: list[m.ServerMessage]) -> list[str]:
    return [m.message_type(message) for message in messages]
