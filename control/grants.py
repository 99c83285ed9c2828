"""Who may do what: a pure rule over the grants that somebody has, and the protocol of whoever gives them out. Sans-IO.

A person's grants are settled by ``register``: everything in open mode, what the token says in token mode (control/auth.py). They go
with the session, through every resume, and are asked at each message that needs one.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec

Grant = Literal["join", "publish", "subscribe", "admin"]
GRANTS: Final[tuple[Grant, ...]] = ("join", "publish", "subscribe", "admin")
EVERYDAY: Final[tuple[Grant, ...]] = ("join", "publish", "subscribe")
"""What somebody needs to talk and to hear."""
ANY_ROOM: Final = "*"

NEEDS: Final[dict[str, Grant]] = {
    "create_room": "join",
    "join_room": "join",
    "create_publisher": "publish",
    "create_consumer": "subscribe",
    "subscribe": "subscribe",
}
"""The grant that a message needs, by its type; others need none."""


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What one person may do.

    ``identity``: who it is to the operator; several sessions may have the same one (two tabs), each with a ``user_id`` of its own.
    ``name``: the username that it goes by, empty where it may choose one; ``room``: the only room that it may enter, or "*";
    ``expires_unix_s``: wall clock, after which it enters no room any more (it stays in the one where it is); None for never.
    """

    identity: str = ""
    name: str = ""
    room: str = ANY_ROOM
    grants: tuple[Grant, ...] = EVERYDAY
    expires_unix_s: float | None = None

    def refusal(self, request: str, room_id: str | None, unix_s: float) -> str | None:
        """Why a message of type ``request`` is not allowed, in a sentence; None if it is. ``room_id``: that it wants to enter."""
        need = NEEDS.get(request)
        if need is None:
            return None
        if need not in self.grants:
            return f"The token does not grant {need}."
        if need != "join":
            return None
        if self.expires_unix_s is not None and unix_s >= self.expires_unix_s:
            return "The token has expired."
        if self.room not in (ANY_ROOM, room_id):
            return "The token is for another room." if room_id is not None else "The token is for one room and makes none."
        return None


class Unauthorized(Exception):
    """Somebody is not let in; the text is a sentence for people and says why."""


class Gate(Protocol):
    """Who is let in, and what is allowed to whom."""

    def admit(self, token: str | None) -> Grants:
        """The grants of who registers with ``token``. Raises :class:`Unauthorized`."""

    def refusal(self, grants: Grants, request: str, room_id: str | None) -> str | None:
        """:meth:`Grants.refusal` now."""


class OpenGate:
    """Open mode: anyone may enter, make rooms, speak and hear. A token is not looked at."""

    def admit(self, token: str | None) -> Grants:
        return Grants()

    def refusal(self, grants: Grants, request: str, room_id: str | None) -> str | None:
        return None
