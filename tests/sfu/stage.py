"""A shard without sockets to peers and without a clock: people come, publish and answer by a word of the test, in virtual time."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any

from sfu import protocol as p
from sfu.addresses import open_sockets
from sfu.config import load
from sfu.connection import Connection
from sfu.forwarding._native import Loop
from sfu.metrics import Metrics
from sfu.shard import Shard

ROOM = p.RoomId("room")
_ANSWERED = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_PRINT = ":".join(["0F"] * 32)


def answer_to(offer: str, *, ufrag: str = "peer", refused: tuple[str, ...] = (), fingerprint: str = _PRINT) -> str:
    """What a browser would answer. ``refused``: mids that are answered inactive."""
    head, *sections = re.split(r"(?=^m=)", offer, flags=re.MULTILINE)
    group = next(line for line in head.splitlines() if line.startswith("a=group:BUNDLE"))
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", group]
    for section in sections:
        mid = re.search(r"^a=mid:(\S+)", section, re.MULTILINE)
        direction = re.search(r"^a=(sendonly|recvonly|inactive)", section, re.MULTILINE)
        assert mid is not None
        assert direction is not None
        answered = "inactive" if mid[1] in refused else _ANSWERED[direction[1]]
        lines += ["m=audio 9 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 0.0.0.0", f"a=mid:{mid[1]}", f"a={answered}", "a=rtcp-mux"]
        lines += ["a=rtpmap:111 opus/48000/2", "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid"]
        lines += [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{ufrag * 6}", f"a=fingerprint:sha-256 {fingerprint}", "a=setup:active"]
    return "\r\n".join(lines) + "\r\n"


class Stage:
    """``now``: virtual seconds; ``told``: what control was told, in order."""

    def __init__(self, **options: Any) -> None:
        # Nobody makes a DTLS handshake here, so that none must be missed.
        config = load({"udp_port": 0, "handshake_timeout_s": 600, **options}, environment={})
        sockets = open_sockets(("127.0.0.1",), 0, 0)
        port = sockets[0].getsockname()[1]
        self.loop = Loop([opened.detach() for opened in sockets], max_transports=1024, max_tracks=256, max_consumers=4096)
        self.told: list[p.ShardMessage] = []
        self.shard = Shard(config, self.loop, ("127.0.0.1",), port, self.told.append, Metrics())
        self.now = 0.0

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shard.close_rooms("closed", self.now)
        rejected = self.loop.totals().rejected_commands
        self.loop.close()
        assert rejected == 0
        assert self.shard.metrics.dropped("internal_error") == 0

    # ------------------------------------------------------------------------------------------ what control says

    def ask(self, command: Any, user: str, **fields: Any) -> p.Reply | p.Failed:
        return self.shard.execute(
            command(request_id=p.RequestId(1), deadline_unix_ms=0, room_id=ROOM, user_id=p.UserId(user), **fields), self.now
        )

    def do(self, command: Any, user: str, **fields: Any) -> Any:
        """The result of a command that must succeed."""
        reply = self.ask(command, user, **fields)
        assert isinstance(reply, p.Reply), reply
        return reply.result

    def refused(self, command: Any, user: str, **fields: Any) -> str:
        """The code of a command that must fail."""
        reply = self.ask(command, user, **fields)
        assert isinstance(reply, p.Failed), reply
        return reply.code

    def join(self, *users: str) -> None:
        for user in users:
            self.do(p.JoinRoom, user, username=user)

    def publish(self, *users: str) -> None:
        """Each comes in, and its track is up at once."""
        for user in users:
            self.join(user)
            offer = self.do(p.CreatePublisher, user)
            self.do(p.AnswerPublisher, user, sdp=answer_to(offer.sdp))
            publisher = self.person(user).publisher
            self.connect(publisher.connection)

    def leave(self, *users: str) -> None:
        for user in users:
            self.do(p.LeaveRoom, user)

    def subscribe(self, user: str) -> p.SubscriptionOffer:
        """Somebody comes in and subscribes; the first offer, answered, and the connection is up."""
        self.join(user)
        self.do(p.Subscribe, user)
        offer = self.answer(user)
        self.connect(self.connection(user))
        return offer

    def answer(self, user: str, **how: Any) -> p.SubscriptionOffer:
        """Answer the last offer of ``user``."""
        offer = self.offers(user)[-1]
        self.do(p.AnswerSubscription, user, revision=offer.revision, sdp=answer_to(offer.sdp, **how))
        return offer

    # ------------------------------------------------------------------------------------------ time and looking inside

    def wait(self, seconds: float) -> None:
        """Let time go by, with every timer in it."""
        end = self.now + seconds
        while (deadline := self.shard.run_timers(self.now)) is not None and deadline <= end:
            self.now = max(self.now, deadline)
        self.now = end
        self.shard.run_timers(self.now)

    @staticmethod
    def connect(connection: Connection) -> None:
        """DTLS is done."""
        connection.up = True
        connection.owner.connection_up(connection, 0.0)

    def person(self, user: str) -> Any:
        return self.shard.rooms[ROOM].participants[p.UserId(user)]

    def connection(self, user: str) -> Connection:
        connection: Connection = self.person(user).subscription.connection
        return connection

    def offers(self, user: str) -> list[p.SubscriptionOffer]:
        return [event for event in self.told if isinstance(event, p.SubscriptionOffer) and event.user_id == user]

    def closed(self, user: str) -> list[str]:
        """Why subscriptions of ``user`` have ended by themselves."""
        return [event.reason for event in self.told if isinstance(event, p.SubscriptionClosed) and event.user_id == user]

    def heard(self, user: str) -> list[str]:
        """Whose packets flow to ``user`` on its subscription."""
        return sorted(one.publisher_id for one in self.connection(user).consumers.values() if one.flowing)


def heard_in(offer: p.SubscriptionOffer) -> list[str]:
    """Who is in which section of an offer, "-" for nobody, by the mapping; the SDP must say the same."""
    sections = re.split(r"(?=^m=)", offer.sdp, flags=re.MULTILINE)[1:]
    by_mid = {track.mid: track for track in offer.tracks}
    for number, section in enumerate(sections):
        assert f"\r\na=mid:{number}\r\n" in section
        track = by_mid.get(str(number))
        assert (f"\r\na=msid:{track.user_id} {track.track_id}\r\n" if track else "\r\na=inactive\r\n") in section
    return [str(by_mid[str(number)].user_id) if str(number) in by_mid else "-" for number in range(len(sections))]
