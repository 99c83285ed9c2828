"""The admin endpoints: what runs where, and what an operator may do about it. The bounds of a request are control/api.py's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec

from control import __version__
from control.admin_token import bearer
from control.api import ApiError, Asked, Endpoint, Guard
from control.auth import Access, make_token
from control.dispatch import Dispatcher
from control.effects import Outcome, Refused, Unanswered
from control.grants import EVERYDAY, GRANTS, Grant, Grants
from control.openapi import document
from control.operator import REMOVED
from control.path import PathReport
from control.placement import Choice
from control.processes import LocalShards
from control.rooms import Participant, Room
from control.sessions import UNSENT
from control.shards import ShardLink, Shards
from control.why import Paths
from sfu.protocol import MeasureRoom, RoomFigures, RoomId, ShardId, TrackId, UserId

MEASURE_S: Final = 0.5
"""Between the two looks of which rates are made."""


class ShardInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One shard. ``state``: up (takes rooms), asked (what it holds), resetting, lost, or starting (local, not heard of yet).
    ``draining``: it is being emptied and gets no rooms."""

    shard_id: ShardId
    state: Literal["up", "asked", "resetting", "lost", "starting"]
    local: bool
    draining: bool = False
    host: str = ""
    pid: int = 0
    udp_port: int = 0
    version: str = ""
    rooms: int = 0
    participants: int = 0
    consumers: int = 0
    packets_in: int = 0
    packets_out: int = 0
    lag_ms: float = 0.0


class ShardList(msgspec.Struct, frozen=True, kw_only=True):
    shards: list[ShardInfo]


class MediaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What comes in from one person. ``packets``, ``lost``: since its track began; ``bitrate_bps``, ``packets_per_s``: of the last half
    second; ``level_dbov``: of the last packet, 0 is the loudest, -127 silence (RFC 6464)."""

    packets: int
    lost: int
    jitter_ms: float
    level_dbov: int
    bitrate_bps: float
    packets_per_s: float


class ParticipantInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``track_id``: of its track, null while nobody can hear it; ``consumers``: how many people it hears.
    ``media``: null where nothing comes in, in lists, and where the media server does not answer."""

    user_id: UserId
    username: str
    muted: bool
    track_id: TrackId | None
    consumers: int
    media: MediaInfo | None = None


class RoomInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``shard_id``: null while the room is empty or waits for a shard."""

    room_id: RoomId
    shard_id: ShardId | None
    participants: list[ParticipantInfo]


class RoomList(msgspec.Struct, frozen=True, kw_only=True):
    rooms: list[RoomInfo]


class DrainWish(msgspec.Struct, frozen=True, kw_only=True):
    """``deadline_s``: after so many seconds no room is left on the shard."""

    deadline_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 60.0


class MuteWish(msgspec.Struct, frozen=True, kw_only=True):
    muted: bool


class AnnouncementWish(msgspec.Struct, frozen=True, kw_only=True):
    """``room_id``: to the people of this room; null: to everybody on the server."""

    message: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    room_id: RoomId | None = None


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """``people``: how many clients were told."""

    people: int


class TokenWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a token shall say; ``ttl_s``: how long it is good, seconds."""

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    room: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] = "*"
    name: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    grants: Annotated[tuple[Grant, ...], msgspec.Meta(max_length=len(GRANTS))] = EVERYDAY
    ttl_s: Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)] = 3600.0


class TokenMade(msgspec.Struct, frozen=True, kw_only=True):
    token: str


class Admin:
    """The endpoints over the live objects of control; :meth:`endpoints` is all of them."""

    def __init__(self, dispatcher: Dispatcher, shards: Shards, local: LocalShards, access: Access) -> None:
        self._dispatcher = dispatcher
        self._rooms = dispatcher.signaling.rooms
        self._shards = shards
        self._local = local
        self._access = access

    def endpoints(self) -> list[Endpoint]:
        table = [
            Endpoint("GET", "/api/shards", "list_shards", "Every shard with its load", self.list_shards, ShardList),
            Endpoint("GET", "/api/placement", "placement", "Which shard the next room would get, and why", self.placement, Choice),
            Endpoint("GET", "/api/rooms", "list_rooms", "Every room with its participants", self.list_rooms, RoomList),
            Endpoint(
                "GET",
                "/api/rooms/{room_id}",
                "show_room",
                "One room, with what comes in from its people",
                self.show_room,
                RoomInfo,
                errors=("room_not_found",),
            ),
            *self._shard_actions(),
            *self._room_actions(),
            Endpoint(
                "GET",
                "/api/rooms/{room_id}/path",
                "show_path",
                "Every hop between one who speaks and one who is to hear it, and the first that fails",
                Paths(self._dispatcher, self._shards).show,
                PathReport,
                errors=("room_not_found", "participant_not_found"),
                query={"from": "who speaks, a user id or a username", "to": "who is to hear it, likewise"},
            ),
            Endpoint(
                "POST",
                "/api/tokens",
                "make_token",
                "Make an access token",
                self.make_token,
                TokenMade,
                body=TokenWish,
                errors=("no_signing_key",),
                created=True,
            ),
        ]
        described: dict[str, Any] = {}

        async def openapi(asked: Asked) -> dict[str, Any]:
            return described

        table.append(Endpoint("GET", "/api/openapi.json", "openapi", "This document", openapi, dict[str, Any]))
        described.update(document(table, __version__))
        return table

    def _shard_actions(self) -> list[Endpoint]:
        path, missing = "/api/shards/{shard_id}/drain", ("shard_not_found",)
        return [
            Endpoint("POST", path, "drain_shard", "Move all rooms away", self.drain, ShardInfo, DrainWish, missing),
            Endpoint("DELETE", path, "undrain_shard", "Let it take rooms again", self.undrain, ShardInfo, errors=missing),
        ]

    def _room_actions(self) -> list[Endpoint]:
        room, person = "/api/rooms/{room_id}", "/api/rooms/{room_id}/participants/{user_id}"
        missing = ("room_not_found", "participant_not_found")
        full, silent, told = ("too_many_rooms",), (*missing, "shard_unavailable"), "Tell people something"
        return [
            Endpoint("POST", "/api/rooms", "create_room", "Make an empty room", self.create_room, RoomInfo, errors=full, created=True),
            Endpoint("DELETE", room, "close_room", "End a room", self.close_room, errors=missing[:1]),
            Endpoint("DELETE", person, "remove_participant", "Take somebody out of a room", self.remove, errors=missing),
            Endpoint("PUT", person + "/mute", "mute_participant", "Mute somebody or take it back", self.mute, None, MuteWish, silent),
            Endpoint("POST", "/api/announcements", "announce", told, self.announce, Announced, AnnouncementWish, missing[:1]),
        ]

    async def drain(self, asked: Asked) -> ShardInfo:
        shard = self._shard(asked)
        dispatcher = self._dispatcher
        dispatcher.apply(dispatcher.operator.drain(shard, asked.body.deadline_s, dispatcher.now()))
        return self._shard_info(shard, shard in self._local.shard_ids)

    async def undrain(self, asked: Asked) -> ShardInfo:
        shard = self._shard(asked)
        self._dispatcher.operator.undrain(shard)
        return self._shard_info(shard, shard in self._local.shard_ids)

    async def create_room(self, asked: Asked) -> RoomInfo:
        room = self._dispatcher.operator.create_room(self._dispatcher.now())
        if room is None:
            raise ApiError("too_many_rooms")
        return _room_info(room)

    async def close_room(self, asked: Asked) -> None:
        self._dispatcher.apply(self._dispatcher.operator.close_room(self.room(asked), self._dispatcher.now()))

    async def remove(self, asked: Asked) -> None:
        participant = self._participant(asked)
        self._dispatcher.apply(self._dispatcher.operator.remove(participant, REMOVED, self._dispatcher.now()))

    async def mute(self, asked: Asked) -> None:
        settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        effects = self._dispatcher.operator.mute(self._participant(asked), asked.body.muted, settled.set_result)
        self._dispatcher.apply(effects)
        outcome = await asyncio.shield(settled)
        if isinstance(outcome, Refused):
            raise ApiError("participant_not_found" if outcome.code == "not_in_room" else "shard_unavailable", outcome.message)
        if isinstance(outcome, Unanswered):
            raise ApiError("shard_unavailable", f"The room's media server does not answer: {outcome.reason}.")

    async def announce(self, asked: Asked) -> Announced:
        wish, room = asked.body, None
        if wish.room_id is not None:
            room = self._rooms.get(wish.room_id)
            if room is None:
                raise ApiError("room_not_found")
        people, effects = self._dispatcher.operator.announce(wish.message, room)
        self._dispatcher.apply(effects)
        return Announced(people=people)

    def _shard(self, asked: Asked) -> ShardId:
        """The shard that the address names. Raises :class:`ApiError`."""
        shard = ShardId(asked.path["shard_id"])
        if shard not in self._shards.links and shard not in self._local.shard_ids:
            raise ApiError("shard_not_found")
        return shard

    def _participant(self, asked: Asked) -> Participant:
        """The person that the address names. Raises :class:`ApiError`."""
        participant = self.room(asked).participants.get(UserId(asked.path["user_id"]))
        if participant is None:
            raise ApiError("participant_not_found")
        return participant

    async def list_shards(self, asked: Asked) -> ShardList:
        local = set(self._local.shard_ids)
        return ShardList(shards=[self._shard_info(shard, shard in local) for shard in sorted({*local, *self._shards.links})])

    async def placement(self, asked: Asked) -> Choice:
        return self._dispatcher.signaling.fleet.choose(self._dispatcher.now())

    async def list_rooms(self, asked: Asked) -> RoomList:
        return RoomList(rooms=[_room_info(room) for room in self._rooms])

    async def show_room(self, asked: Asked) -> RoomInfo:
        room = self.room(asked)
        return _room_info(room, await self._media(room))

    async def _media(self, room: Room) -> dict[TrackId, MediaInfo]:
        """What comes in, by track: two looks at the counters make rates."""
        if room.shard is None or not any(person.track_id for person in room.participants.values()):
            return {}
        measure = MeasureRoom(**UNSENT, room_id=room.room_id)
        first = await self._dispatcher.ask(room.shard, measure)
        if not isinstance(first, RoomFigures):
            return {}
        await asyncio.sleep(MEASURE_S)
        second = await self._dispatcher.ask(room.shard, measure) if room.shard is not None else first
        if not isinstance(second, RoomFigures) or second.at_ms <= first.at_ms:
            return {}
        return _media_infos(first, second)

    async def make_token(self, asked: Asked) -> TokenMade:
        wish, keys = asked.body, self._access.keys
        assert isinstance(wish, TokenWish)
        if keys is None or keys.sign is None:
            raise ApiError("no_signing_key")
        grants = Grants(identity=wish.identity, name=wish.name, room=wish.room, grants=wish.grants)
        return TokenMade(token=make_token(keys, grants, wish.ttl_s, time.time()))

    def room(self, asked: Asked) -> Room:
        """The room that the address names. Raises :class:`ApiError`."""
        room = self._rooms.get(RoomId(asked.path["room_id"]))
        if room is None:
            raise ApiError("room_not_found")
        return room

    def _shard_info(self, shard: ShardId, local: bool) -> ShardInfo:
        link: ShardLink | None = self._shards.links.get(shard)
        draining = shard in self._dispatcher.signaling.fleet.draining
        if link is None:
            return ShardInfo(shard_id=shard, state="starting", local=local, draining=draining)
        load, beat = self._rooms.load(shard), link.heartbeat
        return ShardInfo(
            shard_id=shard,
            state=link.state,
            local=local,
            draining=draining,
            host=link.hello.host,
            pid=link.hello.pid,
            udp_port=link.hello.udp_port,
            version=link.hello.version,
            rooms=load.rooms,
            participants=load.people,
            consumers=beat.tables.consumers if beat is not None else 0,
            packets_in=beat.packets_in if beat is not None else 0,
            packets_out=beat.packets_out if beat is not None else 0,
            lag_ms=beat.lag_ms if beat is not None else 0.0,
        )


def _media_infos(first: RoomFigures, second: RoomFigures) -> dict[TrackId, MediaInfo]:
    before = {track.track_id: track for track in first.tracks}
    seconds = (second.at_ms - first.at_ms) / 1000
    infos = {}
    for track in second.tracks:
        earlier = before.get(track.track_id)
        packets, volume = (earlier.packets, earlier.payload_bytes) if earlier is not None else (0, 0)
        infos[track.track_id] = MediaInfo(
            packets=track.packets,
            lost=track.lost,
            jitter_ms=track.jitter_ms,
            level_dbov=track.level_dbov,
            bitrate_bps=8 * (track.payload_bytes - volume) / seconds,
            packets_per_s=(track.packets - packets) / seconds,
        )
    return infos


def _room_info(room: Room, media: Mapping[TrackId, MediaInfo] = MappingProxyType({})) -> RoomInfo:
    people = [_participant_info(participant, media) for participant in room.participants.values()]
    return RoomInfo(room_id=room.room_id, shard_id=room.shard, participants=people)


def _participant_info(participant: Participant, media: Mapping[TrackId, MediaInfo]) -> ParticipantInfo:
    return ParticipantInfo(
        user_id=participant.user_id,
        username=participant.username,
        muted=participant.muted,
        track_id=participant.track_id,
        consumers=len(participant.consumers) + len(participant.subscribed),
        media=media.get(participant.track_id) if participant.track_id is not None else None,
    )


def guard(access: Access) -> Guard:
    """Lets through who sends the admin token, or an access token that grants as much."""

    def check(authorization: str | None) -> str | None:
        given = bearer(authorization)
        if given is None:
            return "The admin token is missing: send it as the header 'Authorization: Bearer TOKEN'."
        return None if access.may_administer(given) else "This is not the admin token of this server."

    return check
