"""What the sans-IO signaling logic asks for: values that :mod:`control.dispatch` carries out, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from control.grants import Grants
from control.limits import TokenBucket
from control.messages import ServerMessage
from control.rooms import Participant
from sfu.protocol import Command, Result, ShardId, UserId


@dataclass(slots=True, eq=False)
class Session:
    """One signaling client: what it registered as and where it is.

    It has no socket: the adapter knows which socket a session has at the moment, so that a session may outlive one.
    ``closed``: it has left for good; what is still answered for it is thrown away. ``new_rooms``: its share of ``create_room``.
    ``tokens``: digests of its resume tokens. ``grants``: what it may do, settled when it registered. ``address``: where it comes from,
    as limits count it.
    """

    user_id: UserId | None = None
    username: str = ""
    participant: Participant | None = None
    closed: bool = False
    new_rooms: TokenBucket = field(default_factory=TokenBucket)
    tokens: tuple[bytes, ...] = ()
    grants: Grants = field(default_factory=Grants)
    address: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The shard answered that it does not do this. ``code`` and ``message`` as in an ``error`` to a client."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer by the deadline, or the shard is not there. The command may have been carried out or not."""

    reason: str


Outcome = Result | Refused | Unanswered


@dataclass(frozen=True, slots=True)
class Send:
    """A message for each of ``to``; encoded once."""

    to: tuple[Session, ...]
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Call:
    """A command to a shard, and what follows from its outcome.

    ``then(outcome, now)`` is called exactly once, in the order in which the shard spoke (so an event that the shard sent after
    its answer is handled after it). ``command`` has no request id and no deadline yet.
    """

    shard: ShardId
    command: Command
    then: Callable[[Outcome, float], list[Effect]] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Tell:
    """A command that cleans up or repairs: sent in order with the others, with a deadline so long that a slow shard still
    carries it out, and whose answer changes nothing."""

    shard: ShardId
    command: Command


@dataclass(frozen=True, slots=True)
class Attach:
    """The socket of ``newcomer`` is the socket of ``session`` from now on, and ``newcomer`` has none. ``session`` had none."""

    session: Session
    newcomer: Session


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that the operator's other systems may want to know (control/happenings.py). Nobody waits for them."""

    kind: str
    fields: dict[str, str]


Effect = Send | Call | Tell | Attach | Happened
