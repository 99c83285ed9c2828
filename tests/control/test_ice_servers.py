"""What clients are told of STUN and TURN servers."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from control import messages as m
from control.binding import StartError
from control.config import ConfigError, ControlConfig, load
from control.effects import Send, Session
from control.files import read_files
from control.ice_servers import IceServers
from control.sessions import Limits
from control.signaling import Signaling
from sfu.protocol import UserId

STUN, TURN, TURNS = "stun:stun.example.org:3478", "turn:turn.example.org:3478?transport=udp", "turns:turn.example.org:443?transport=tcp"
USER = UserId("ann")


class TestCredentials:
    def test_follow_the_convention_of_coturn(self) -> None:
        (server,) = IceServers([TURN, TURNS], "shared", 600).given_to(USER, 1_700_000_000.9)
        assert server.urls == [TURN, TURNS]
        assert server.username == "1700000600:ann"
        digest = hmac.new(b"shared", b"1700000600:ann", hashlib.sha1).digest()
        assert server.credential == base64.b64encode(digest).decode()

    def test_of_a_known_answer(self) -> None:
        # printf '1700000600:ann' | openssl dgst -sha1 -hmac shared -binary | base64
        (server,) = IceServers([TURN], "shared", 600).given_to(USER, 1_700_000_000)
        assert server.credential == "sREc1EBfIDsWtj0dbqAnB/LFIGo="

    def test_are_of_one_user_and_one_time(self) -> None:
        servers = IceServers([TURN], "shared", 600)
        given = {servers.given_to(user, at)[0].credential for user in (USER, UserId("bo")) for at in (0.0, 1.0)}
        assert len(given) == 4

    def test_stun_servers_have_none(self) -> None:
        first, second = IceServers([TURN, STUN], "shared", 600).given_to(USER, 0)
        assert first == m.IceServer(urls=[STUN])
        assert second.urls == [TURN]
        assert (
            m.encode(m.Registered(user_id=USER, protocol=[1], ice_servers=[first], resume_token="t")).find(f'[{{"urls":["{STUN}"]}}]') > 0
        )


def test_each_client_is_told_when_it_registers() -> None:
    servers = IceServers([TURN], "shared", 60)
    signaling = Signaling(Limits(), None, lambda user_id: servers.given_to(user_id, 1000.0))
    (effect,) = signaling.receive(Session(), m.Register(username="Ann"), 0.0)
    assert isinstance(effect, Send)
    assert isinstance(effect.message, m.Registered)
    assert effect.message.ice_servers[0].username == f"1060:{effect.message.user_id}"


class TestConfiguration:
    @pytest.mark.parametrize("url", [STUN, TURN, TURNS, "stuns:x", "turn:[2001:db8::1]:3478", "turn:192.0.2.1"])
    def test_addresses_of_servers_are_taken(self, url: str) -> None:
        assert load({"ice_servers": url, "turn_secret": "x"}, {}, None).ice_servers == [url]

    @pytest.mark.parametrize("url", ["stun.example.org", "http://x", "turn:", "turn:a b", "turn:x?transport=sctp", "stun:x?transport=udp"])
    def test_others_are_not(self, url: str) -> None:
        with pytest.raises(ConfigError, match="expected stun:HOST:PORT"):
            load({"ice_servers": url, "turn_secret": "x"}, {}, None)

    def test_turn_without_a_secret_is_refused_as_browsers_would(self) -> None:
        with pytest.raises(ConfigError, match="needs turn_secret"):
            load({"ice_servers": TURN}, {}, None)

    def test_two_secrets_are_one_too_many(self) -> None:
        with pytest.raises(ConfigError, match="expected one of them"):
            load({"turn_secret": "x", "turn_secret_file": "y"}, {}, None)

    def test_the_secret_may_come_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text("shared\n")
        config = load({"ice_servers": TURN, "turn_secret_file": str(file), "turn_ttl_s": "600"}, {}, None)
        assert read_files(config, None).ice_servers.given_to(USER, 5) == IceServers([TURN], "shared", 600).given_to(USER, 5)

    @pytest.mark.parametrize(("content", "told"), [(None, "No such file"), (b"", "is empty"), (b"\xff", "not text")])
    def test_a_file_without_one_stops_the_start(self, tmp_path: Path, content: bytes | None, told: str) -> None:
        file = tmp_path / "secret"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(StartError, match=told):
            read_files(ControlConfig(turn_secret_file=str(file)), None)
