"""Who is in which room, what each publishes and consumes, and on which shard: a registry without I/O and without a clock.

Owns :class:`Room` and :class:`Participant`. It must not know sockets, messages or shards' addresses. A room is

    unplaced ── first join ──▶ placed on a shard ── last leave ──▶ unplaced and idle ── grace over ──▶ gone

and the registry keeps the count of rooms and people per shard, so that placement costs no scan.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sfu.protocol import ConsumerId, RoomId, ShardId, TrackId, UserId


@dataclass(slots=True, eq=False)
class Participant:
    """One signaling session in a room.

    ``has_publisher``: a client-to-server connection was offered; ``track_id``: its track is up and can be consumed;
    ``consumers``: the person heard by each consumer of this participant; ``subscribed``: likewise on its subscriber connection, as last
    offered; ``has_subscription``: it has asked for that.
    """

    user_id: UserId
    username: str
    room_id: RoomId
    has_publisher: bool = False
    track_id: TrackId | None = None
    muted: bool = False
    consumers: dict[ConsumerId, UserId] = field(default_factory=dict)
    has_subscription: bool = False
    subscribed: dict[ConsumerId, UserId] = field(default_factory=dict)

    def forget_media(self) -> None:
        """Its shard is gone, and with it every connection."""
        self.has_publisher = False
        self.track_id = None
        self.consumers.clear()
        self.has_subscription = False
        self.subscribed = {}


@dataclass(slots=True, eq=False)
class Room:
    """``joining``: joins that the shard has not answered yet; they count as people. ``idle_since``: seconds, None while in use.

    ``owners``: who has made it, under each name that limits count. ``closed``: ended by the operator, nobody comes in any more.
    """

    room_id: RoomId
    shard: ShardId | None = None
    participants: dict[UserId, Participant] = field(default_factory=dict)
    joining: int = 0
    idle_since: float | None = None
    owners: tuple[str, ...] = ()
    closed: bool = False

    @property
    def people(self) -> int:
        return len(self.participants) + self.joining

    def drop_consumers_of(self, publisher: UserId) -> None:
        """The track of ``publisher`` is gone: nobody has a consumer of it any more."""
        for participant in self.participants.values():
            for consumer_id in [c for c, heard in participant.consumers.items() if heard == publisher]:
                del participant.consumers[consumer_id]


@dataclass(slots=True)
class ShardLoad:
    """What control itself knows of a shard's load; heartbeats lag behind it."""

    rooms: int = 0
    people: int = 0


class Rooms:
    """All rooms. Every change of who is where goes through its methods, which keep the loads true."""

    def __init__(self) -> None:
        self._rooms: dict[RoomId, Room] = {}
        self._loads: dict[ShardId, ShardLoad] = {}
        self._made: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms.values())

    def get(self, room_id: RoomId) -> Room | None:
        return self._rooms.get(room_id)

    def create(self, now: float, room_id: RoomId | None = None, *, owners: tuple[str, ...] = ()) -> Room:
        """A room, idle until somebody joins. ``room_id``: default is a new and unguessable one."""
        room = Room(room_id or RoomId(str(uuid.uuid4())), idle_since=now, owners=owners)
        self._rooms[room.room_id] = room
        self._made.update(owners)
        return room

    def made_by(self, owner: str) -> int:
        """How many of the rooms that there are ``owner`` has made."""
        return self._made[owner]

    def load(self, shard: ShardId) -> ShardLoad:
        return self._loads.setdefault(shard, ShardLoad())

    def on_shard(self, shard: ShardId) -> list[Room]:
        return [room for room in self._rooms.values() if room.shard == shard]

    @property
    def people(self) -> int:
        """Participants of all rooms."""
        return sum(len(room.participants) for room in self._rooms.values())

    def place(self, room: Room, shard: ShardId | None) -> None:
        """Put the room on a shard, or on none."""
        if room.shard is not None:
            load = self.load(room.shard)
            load.rooms -= 1
            load.people -= room.people
        room.shard = shard
        if shard is not None:
            load = self.load(shard)
            load.rooms += 1
            load.people += room.people

    def begin_join(self, room: Room) -> None:
        """Somebody is on the way in: from now on the room is not idle."""
        self._count(room, 1)
        room.joining += 1
        room.idle_since = None

    def end_join(self, room: Room, participant: Participant | None, now: float) -> None:
        """The join of :meth:`begin_join` brought ``participant``, or failed (None)."""
        room.joining -= 1
        if participant is None:
            self._count(room, -1)
            self._release(room, now)
        else:
            room.participants[participant.user_id] = participant

    def remove(self, participant: Participant, now: float) -> Room:
        """Take a participant out; its room is unplaced and idle if nobody is left. Raises KeyError if it is in no room."""
        room = self._rooms[participant.room_id]
        del room.participants[participant.user_id]
        self._count(room, -1)
        room.drop_consumers_of(participant.user_id)
        self._release(room, now)
        return room

    def delete(self, room: Room) -> None:
        """Forget an idle room. Raises ValueError if it is in use."""
        if room.people:
            raise ValueError("a room in use cannot be deleted")
        self.place(room, None)
        del self._rooms[room.room_id]
        for owner in room.owners:
            self._made[owner] -= 1
            if not self._made[owner]:
                del self._made[owner]

    def idle_longer_than(self, seconds: float, now: float) -> list[Room]:
        return [room for room in self._rooms.values() if room.idle_since is not None and now - room.idle_since >= seconds]

    def _count(self, room: Room, people: int) -> None:
        if room.shard is not None:
            self.load(room.shard).people += people

    def _release(self, room: Room, now: float) -> None:
        if not room.people:
            self.place(room, None)
            room.idle_since = now
