"""The errors of a shard, told apart by whose fault they are.

AntiphonError
├── PeerError      one participant's fault; closes or refuses what that participant asked for, nothing else
└── ShardError     the shard cannot go on as it is; control moves its rooms
"""

from __future__ import annotations


class AntiphonError(Exception):
    """Base of all errors that Antiphon raises on purpose."""


class PeerError(AntiphonError):
    """A participant sent or asked for something that cannot be done.

    ``code``: one of the documented, stable, snake_case codes of control/SIGNALING.md; ``message``: a sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ShardError(AntiphonError):
    """The shard itself is broken (no socket, no crypto, a full ring that does not drain)."""
