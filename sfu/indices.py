"""Small integers for the native tables, handed out and taken back."""

from __future__ import annotations

from collections import deque

from sfu.errors import PeerError


class Indices:
    """The numbers 0..``maximum``-1, each in use at most once at a time.

    The one returned longest ago is given out first, so that a number rests as long as possible before it means something
    new. ``what`` names the things counted, for the error.
    """

    def __init__(self, maximum: int, what: str) -> None:
        self._maximum = maximum
        self._what = what
        self._fresh = 0
        self._returned: deque[int] = deque()
        self._used: set[int] = set()

    def __len__(self) -> int:
        """How many are in use."""
        return len(self._used)

    def take(self) -> int:
        """A free number. Raises :class:`PeerError` ("shard_full") when there is none."""
        if self._fresh < self._maximum:
            index = self._fresh
            self._fresh += 1
        elif self._returned:
            index = self._returned.popleft()
        else:
            raise PeerError("shard_full", f"This server has no room for another of its {self._maximum} {self._what}.")
        self._used.add(index)
        return index

    def give_back(self, index: int) -> None:
        """``index`` is free again. Raises KeyError if it was not in use."""
        self._used.remove(index)
        self._returned.append(index)
