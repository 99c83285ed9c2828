"""Sessions that outlive their socket: who may come back, until when, and what is told to whoever does. Sans-IO.

Owns the resume tokens, of which only digests are kept, and the sessions that wait for a socket. A session is

    attached ── socket lost ──▶ waiting ── register with its token ──▶ attached ── ...
        │                          └────── grace over ──────▶ left
        └── register with its token on another socket ──▶ attached there; the former socket is closed

A client that resumes gets a new token. The one that it used stays good until a newer one is used: the answer that carried the new one
may be lost with yet another socket.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import msgspec

from control import messages as m
from control.effects import Attach, Effect, Send, Session
from control.rooms import Participant, Room

TOKEN_BYTES: Final = 32
"""Random bytes of a token: nobody guesses 256 bits."""
TOKENS_KEPT: Final = 2
"""The one that was used last, and the one that was given for it."""


class Resumes:
    """Tokens and waiting sessions. ``grace_s``: how long a session waits; ``most``: how many may wait at a time.

    ``resumed``, ``expired``, ``crowded_out``: how often a session was resumed, waited in vain, was not kept because too many wait.
    """

    def __init__(self, grace_s: float, most: int) -> None:
        self.resumed = 0
        self.expired = 0
        self.crowded_out = 0
        self._grace_s = grace_s
        self._most = most
        self._by_digest: dict[bytes, Session] = {}
        self._waiting: dict[Session, float] = {}  # since when, the longest first

    @property
    def waiting(self) -> int:
        """Sessions without a socket."""
        return len(self._waiting)

    def waiting_since(self, session: Session) -> float | None:
        """When it lost its socket; None if it is not waited for."""
        return self._waiting.get(session)

    def find(self, token: str | None) -> Session | None:
        """Whose token this is; None if nobody's."""
        return self._by_digest.get(_digest(token)) if token else None

    def issue(self, session: Session, used: str | None = None) -> str:
        """A new token for ``session``. All of its others end, but for the one that was ``used`` just now."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        kept = [_digest(token)] if used is None else [_digest(used), _digest(token)]
        self.adopt(session, kept)
        return token

    def adopt(self, session: Session, digests: list[bytes]) -> None:
        """Take tokens with these digests for ``session``, and no others."""
        for digest in session.tokens:
            self._by_digest.pop(digest, None)
        session.tokens = tuple(digests[-TOKENS_KEPT:])
        self._by_digest |= dict.fromkeys(session.tokens, session)

    def forget(self, session: Session) -> None:
        """It has left for good: its tokens are worth nothing any more."""
        self.adopt(session, [])
        self._waiting.pop(session, None)

    def wait(self, session: Session, now: float, *, always: bool = False) -> bool:
        """Keep a session that has lost its socket. False if too many wait already, unless it is kept ``always``."""
        self._waiting.pop(session, None)
        if len(self._waiting) >= self._most and not always:
            self.crowded_out += 1
            return False
        self._waiting[session] = now
        return True

    def take_back(self, session: Session) -> None:
        """It has a socket again."""
        self._waiting.pop(session, None)
        self.resumed += 1

    def overdue(self, now: float) -> list[Session]:
        """Those that have waited for the whole grace."""
        found = []
        for session, since in self._waiting.items():
            if now - since < self._grace_s:
                break
            found.append(session)
        self.expired += len(found)
        return found


def resumed(session: Session, newcomer: Session, registered: m.Registered, room: Room | None) -> list[Effect]:
    """What a client is told that has come back, from ``newcomer``'s socket: all that it may have missed, as if it had joined anew."""
    effects: list[Effect] = [Attach(session, newcomer), Send((session,), registered)]
    if room is not None and session.participant is not None:
        effects += [Send((session,), message) for message in room_state(session.participant, room, resumed=True)]
    return effects


def room_state(participant: Participant, room: Room, *, resumed: bool) -> list[m.ServerMessage]:
    """Everything that a client must know of the room it is in."""
    people = room.participants.values()
    others = [who for who in people if who is not participant]
    return [
        m.RoomJoined(
            room_id=room.room_id,
            participants=[m.Person(user_id=who.user_id, username=who.username) for who in people],
            resumed=_held(participant) if resumed else msgspec.UNSET,
        ),
        *(m.NewPublisher(user_id=who.user_id, username=who.username) for who in others if who.track_id),
        *(m.UserMuted(user_id=who.user_id, muted=True) for who in others if who.muted),
    ]


def _held(participant: Participant) -> m.Held:
    return m.Held(
        publishing=participant.track_id is not None,
        muted=participant.muted,
        consumers=[m.Heard(consumer_id=consumer, publisher_user_id=heard) for consumer, heard in participant.consumers.items()],
        subscribed=participant.has_subscription,
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
