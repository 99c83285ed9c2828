"""Small integers for the native tables, handed out and taken back."""

from __future__ import annotations

from collections import deque

from sfu.errors import PeerError

RESTING = 256
"""So many returned numbers rest before one is used again, so that none means something new while something of before is on its way."""


class Indices:
    """The numbers 0..``maximum``-1, each in use at most once at a time.

    Of those returned, the one returned longest ago is given out first, once ``RESTING`` others rest. A number that was never used
    comes only where too few rest: its place in a native table is memory not touched yet, so what a table takes follows the most that
    was there at a time, not all who ever came. ``what`` names the things counted, for the error.
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
        if self._returned and (len(self._returned) > RESTING or self._fresh == self._maximum):
            index = self._returned.popleft()
        elif self._fresh < self._maximum:
            index = self._fresh
            self._fresh += 1
        else:
            raise PeerError("shard_full", f"This server has no room for another of its {self._maximum} {self._what}.")
        self._used.add(index)
        return index

    def give_back(self, index: int) -> None:
        """``index`` is free again. Raises KeyError if it was not in use."""
        self._used.remove(index)
        self._returned.append(index)
