"""Token mode as clients meet it: the logic with a shard that the test plays, then a real control with sockets, pages and its commands."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import websockets

from control import messages as m
from control.auth import Keys, TokenGate, make_token
from control.effects import Session
from control.grants import Grant, Grants
from control.origins import is_allowed
from sfu.protocol import RoomId
from tests.control.conftest import World
from tests.control.said import codes, types
from tests.control.sites import ADMIN_TOKEN, hear, running, say

ROOT = Path(__file__).resolve().parents[2]
SECRET = "0123456789abcdef0123456789abcdef"
KEYS = Keys("HS256", SECRET, SECRET)


def token(*grants: Grant, ttl_s: float = 60, unix_s: float | None = None, **fields: Any) -> str:
    given: dict[str, Any] = {"identity": "ann", **fields, **({"grants": grants} if grants else {})}
    return make_token(KEYS, Grants(**given), ttl_s, time.time() if unix_s is None else unix_s)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guarded(clock: Clock) -> World:
    return World(gate=TokenGate(KEYS, clock))


class TestSignaling:
    def register(self, world: World, text: str | None, name: str = "Ann") -> tuple[Session, list[m.ServerMessage]]:
        session = Session()
        return session, world.say(session, m.Register(username=name, token=text))

    def enter(self, world: World, clock: Clock, *grants: Grant, **fields: Any) -> Session:
        session, answers = self.register(world, token(*grants, unix_s=clock.now, **fields))
        assert types(answers) == ["registered"]
        return session

    def test_nobody_registers_without_a_good_token_and_may_try_again(self, guarded: World, clock: Clock) -> None:
        session = Session()
        for text in (None, "x", token(unix_s=clock.now - 3600)):
            answers = guarded.say(session, m.Register(username="Ann", token=text))
            assert codes(answers) == [("unauthorized", "register")]
        assert types(guarded.say(session, m.Register(username="Ann", token=token(unix_s=clock.now)))) == ["registered"]

    def test_the_name_of_the_token_goes_before_the_clients(self, guarded: World, clock: Clock) -> None:
        session, _ = self.register(guarded, token(name="Dr. Ann", unix_s=clock.now), "Somebody")
        assert session.username == "Dr. Ann"

    def test_two_sockets_of_one_identity_are_two_participants(self, guarded: World, clock: Clock) -> None:
        one, two = self.enter(guarded, clock), self.enter(guarded, clock)
        assert one.grants.identity == two.grants.identity == "ann"
        assert one.user_id != two.user_id

    def test_a_token_for_one_room_opens_that_one_only(self, guarded: World, clock: Clock) -> None:
        room = self.enter(guarded, clock)
        guarded.say(room, m.CreateRoom())
        assert room.participant is not None
        guest = self.enter(guarded, clock, room=str(room.participant.room_id))
        assert codes(guarded.say(guest, m.CreateRoom())) == [("unauthorized", "create_room")]
        assert codes(guarded.say(guest, m.JoinRoom(room_id=RoomId("another")))) == [("unauthorized", "join_room")]
        assert types(guarded.say(guest, m.JoinRoom(room_id=room.participant.room_id)))[0] == "room_joined"

    def test_what_is_not_granted_is_refused_and_changes_nothing(self, guarded: World, clock: Clock) -> None:
        host = self.enter(guarded, clock)
        guarded.say(host, m.CreateRoom())
        guarded.publish(host)
        assert host.participant is not None
        assert host.user_id is not None
        listener = self.enter(guarded, clock, "join", "subscribe", room=str(host.participant.room_id))
        guarded.say(listener, m.JoinRoom(room_id=host.participant.room_id))
        sent = len(guarded.commands)
        assert codes(guarded.say(listener, m.CreatePublisher())) == [("unauthorized", "create_publisher")]
        assert len(guarded.commands) == sent
        assert types(guarded.say(listener, m.CreateConsumer(publisher_user_id=host.user_id)))[0] == "consumer_created"
        speaker = self.enter(guarded, clock, "join", "publish")
        guarded.say(speaker, m.JoinRoom(room_id=host.participant.room_id))
        assert codes(guarded.say(speaker, m.CreateConsumer(publisher_user_id=host.user_id))) == [("unauthorized", "create_consumer")]

    def test_a_token_that_ends_meanwhile_opens_no_other_room_but_ends_no_call(self, guarded: World, clock: Clock) -> None:
        session = self.enter(guarded, clock)
        guarded.say(session, m.CreateRoom())
        clock.now += 3600
        assert types(guarded.say(session, m.CreatePublisher()))[0] == "publisher_created"
        guarded.say(session, m.LeaveRoom())
        assert codes(guarded.say(session, m.CreateRoom())) == [("unauthorized", "create_room")]

    def test_who_comes_back_needs_no_token_and_may_do_no_more(self, guarded: World, clock: Clock) -> None:
        session, answers = self.register(guarded, token("join", unix_s=clock.now))
        (registered,) = answers
        assert isinstance(registered, m.Registered)
        guarded.run(guarded.signaling.lost(session, guarded.now))
        again = Session()
        guarded.say(again, m.Register(username="x", resume_token=registered.resume_token))
        guarded.say(session, m.CreateRoom())
        assert codes(guarded.say(session, m.CreatePublisher())) == [("unauthorized", "create_publisher")]

    def test_open_mode_looks_at_no_token(self, world: World) -> None:
        _, answers = self.register(world, "nonsense")
        assert types(answers) == ["registered"]


ORIGINS = [
    (None, "antiphon.example", [], True),
    ("https://antiphon.example", "antiphon.example", [], True),
    ("https://antiphon.example", "antiphon.example:443", [], True),
    ("http://localhost:8080", "localhost:8080", [], True),
    ("HTTP://LOCALHOST:8080", "localhost:8080", [], True),
    ("http://[::1]:8080", "[::1]:8080", [], True),
    ("https://evil.example", "antiphon.example", [], False),
    ("https://antiphon.example.evil.example", "antiphon.example", [], False),
    ("http://localhost:8081", "localhost:8080", [], False),
    ("http://localhost:8080", "127.0.0.1:8080", [], False),
    ("null", "antiphon.example", [], False),
    ("", "", [], False),
    ("https://app.example", "antiphon.example", ["https://app.example"], True),
    ("http://app.example", "antiphon.example", ["https://app.example"], False),
    ("https://evil.example", "antiphon.example", ["*"], True),
    ("file://antiphon.example", "antiphon.example", [], False),
]


@pytest.mark.parametrize(("origin", "host", "allowed", "expected"), ORIGINS)
def test_which_pages_may_connect(origin: str | None, host: str, allowed: list[str], expected: bool) -> None:
    assert is_allowed(origin, host, allowed) is expected


class TestServer:
    async def test_a_page_of_another_site_is_refused_before_the_socket_opens(self) -> None:
        async with running() as site:
            for origin in ("https://evil.example", "null"):
                with pytest.raises(websockets.InvalidStatus) as caught:
                    async with site.connect(additional_headers={"Origin": origin}):
                        pass
                assert caught.value.response.status_code == 403
            assert site.dispatcher.foreign == 2
            for origin in ("https://friend.example", f"http://127.0.0.1:{site.port}"):
                async with site.connect(additional_headers={"Origin": origin}) as client:
                    await say(client, type="ping")
                    await hear(client, "pong")

    async def test_tokens_made_over_the_admin_api_let_people_in(self) -> None:
        async with running(keys=KEYS) as site, site.admin() as api, site.connect() as client:
            wish = {"identity": "ann", "name": "Ann", "grants": ["join"], "ttl_s": 60}
            answer = await api.post("/api/tokens", json=wish)
            assert answer.status_code == 201
            await say(client, type="register", username="x")
            assert (await hear(client, "error"))["code"] == "unauthorized"
            await say(client, type="register", username="x", token=answer.json()["token"])
            await hear(client, "registered")
            await say(client, type="create_room")
            assert (await hear(client, "room_joined"))["participants"][0]["username"] == "Ann"
            await say(client, type="create_publisher")
            assert (await hear(client, "error"))["message"] == "The token does not grant publish."

    @pytest.mark.parametrize(
        "wish",
        [{}, {"identity": ""}, {"identity": "a", "grants": ["fly"]}, {"identity": "a", "ttl_s": 0}, {"identity": "a", "ttl_s": 1e9}, []],
    )
    async def test_impossible_wishes_are_refused(self, wish: Any) -> None:
        async with running(keys=KEYS) as site, site.admin() as api:
            answer = await api.post("/api/tokens", json=wish)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")

    async def test_a_server_without_a_key_makes_no_tokens(self) -> None:
        async with running() as site, site.admin() as api:
            answer = await api.post("/api/tokens", json={"identity": "ann"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_signing_key")

    async def test_a_token_that_grants_admin_opens_the_admin_api_and_no_other_does(self) -> None:
        async with running(keys=KEYS) as site:
            for text, status in ((token("admin"), 200), (token(), 401), (token("admin", room="r1"), 401), (ADMIN_TOKEN, 200)):
                async with site.admin(text) as api:
                    assert (await api.get("/api/rooms")).status_code == status


async def command(*arguments: str, **environ: str) -> tuple[int, str, str]:
    import os

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "control", *arguments, cwd=ROOT, env={**os.environ, **environ}, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


class TestTokenCommand:
    async def test_makes_a_token_that_the_server_takes(self) -> None:
        status, out, err = await command(
            *("token", "--identity", "ann", "--room", "r1", "--grant", "join", "--ttl", "2h"), ANTIPHON_CONTROL_ACCESS_SECRET=SECRET
        )
        assert (status, err) == (0, "")
        grants = TokenGate(KEYS).admit(out.strip())
        assert (grants.identity, grants.room, grants.grants) == ("ann", "r1", ("join",))
        assert grants.expires_unix_s is not None
        assert 7000 < grants.expires_unix_s - time.time() < 7300

    @pytest.mark.parametrize(
        ("arguments", "environ", "word"),
        [
            (("--identity", "ann"), {}, "no key"),
            (("--identity", "ann", "--ttl", "soon"), {"ANTIPHON_CONTROL_ACCESS_SECRET": SECRET}, "--ttl"),
            (("--identity", ""), {"ANTIPHON_CONTROL_ACCESS_SECRET": SECRET}, "identity"),
        ],
    )
    async def test_a_mistake_is_one_line(self, arguments: tuple[str, ...], environ: dict[str, str], word: str) -> None:
        status, out, err = await command("token", *arguments, **environ)
        assert (status, out) == (1, "")
        assert word in err
        assert err.count("\n") == 1
