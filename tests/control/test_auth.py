"""Tokens: what is let in, with which grants, and what is refused with which sentence. The clock is the test's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from control.auth import Keys, TokenGate, gate_of, load_keys, make_token
from control.binding import StartError
from control.config import ControlConfig
from control.grants import Grants, OpenGate, Unauthorized

NOW = 1_800_000_000.0
SECRET = "0123456789abcdef0123456789abcdef"
PRIVATE = ed25519.Ed25519PrivateKey.generate()
HS256 = Keys("HS256", SECRET, SECRET)
EDDSA = Keys("EdDSA", PRIVATE.public_key(), PRIVATE)
BOTH = pytest.mark.parametrize("keys", [HS256, EDDSA], ids=["HS256", "EdDSA"])


def gate(keys: Keys, now: float = NOW) -> TokenGate:
    return TokenGate(keys, lambda: now)


def signed(key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token with good claims but for those that are given; None takes one out."""
    body = {"sub": "ann", "room": "*", "grants": ["join"], "exp": NOW + 60} | claims
    return jwt.encode({name: value for name, value in body.items() if value is not None}, key, algorithm=algorithm)


def why(token: str | None, keys: Keys = HS256, now: float = NOW) -> str:
    with pytest.raises(Unauthorized) as caught:
        gate(keys, now).admit(token)
    return str(caught.value)


class TestTokens:
    @BOTH
    def test_one_that_is_made_here_is_let_in_with_what_it_says(self, keys: Keys) -> None:
        made = make_token(keys, Grants(identity="ann", name="Ann", room="r1", grants=("join", "publish")), 60, NOW)
        grants = gate(keys).admit(made)
        assert (grants.identity, grants.name, grants.room, grants.grants) == ("ann", "Ann", "r1", ("join", "publish"))

    @BOTH
    def test_an_expired_one_says_so_once_the_clocks_leeway_is_over(self, keys: Keys) -> None:
        made = make_token(keys, Grants(identity="ann"), 60, NOW)
        gate(keys, NOW + 65).admit(made)
        assert why(made, keys, NOW + 75) == "The token has expired."

    def test_one_of_later_is_not_good_yet(self) -> None:
        assert why(signed(nbf=NOW + 30)) == "The token is not good yet."

    def test_a_missing_one(self) -> None:
        assert why(None) == why("") == "This server lets in who has a token: register with one."

    def test_a_wrong_signature(self) -> None:
        assert why(signed("another secret that is long enough")) == "The token's signature is not that of this server's key."
        other = ed25519.Ed25519PrivateKey.generate()
        assert "signature" in why(signed(other, "EdDSA"), EDDSA)

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    def test_another_algorithm_is_refused_though_the_key_is_right(self, algorithm: str) -> None:
        assert why(signed(SECRET * 2, algorithm)) == "The token is not signed with HS256."

    def test_the_public_key_is_no_secret_to_sign_with(self) -> None:
        raw = PRIVATE.public_key().public_bytes_raw()
        assert why(signed(raw, "HS256"), EDDSA) == "The token is not signed with EdDSA."

    @pytest.mark.parametrize("name", ["none", "None", "NONE"])
    def test_no_signature_is_no_token(self, name: str) -> None:
        def part(value: dict[str, Any]) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

        body = part({"sub": "ann", "room": "*", "grants": ["join", "admin"], "exp": NOW + 60})
        assert why(f"{part({'alg': name, 'typ': 'JWT'})}.{body}.") == "The token is not signed with HS256."

    @pytest.mark.parametrize(
        ("claims", "word"),
        [
            ({"exp": None}, "exp"),
            ({"exp": "tomorrow"}, "exp"),
            ({"exp": True}, "exp"),
            ({"sub": None}, "sub"),
            ({"sub": ""}, "sub"),
            ({"sub": "x" * 257}, "sub"),
            ({"room": None}, "room"),
            ({"room": ["*"]}, "room"),
            ({"room": ""}, "room"),
            ({"grants": None}, "grants"),
            ({"grants": "join"}, "grants"),
            ({"grants": ["join", "fly"]}, "grants"),
            ({"name": 7}, "name"),
            ({"aud": "another service"}, "aud"),
        ],
    )
    def test_claims_that_do_not_fit_are_named(self, claims: dict[str, Any], word: str) -> None:
        assert word in why(signed(**claims))

    @pytest.mark.parametrize("token", ["x", "a.b.c", "..", "\ud800", "é.é.é", "x" * 9000, "eyJhbGciOiJIUzI1NiJ9.W10.x", "[" * 5000])
    def test_what_is_no_token_is_refused(self, token: str) -> None:
        assert why(token)

    def test_infinite_times_are_no_way_in_for_ever(self) -> None:
        assert why(signed(exp=float("inf")))
        assert why(signed(exp=float("nan")))

    @BOTH
    def test_only_a_token_for_all_rooms_that_grants_admin_administers(self, keys: Keys) -> None:
        def may(**fields: Any) -> bool:
            return gate(keys).may_administer(make_token(keys, Grants(identity="ann", **fields), 60, NOW))

        assert may(grants=("admin",))
        assert not may(grants=("join", "publish", "subscribe"))
        assert not may(grants=("admin",), room="r1")
        assert not gate(keys).may_administer("x")

    def test_without_a_key_to_sign_with_there_is_no_token(self) -> None:
        with pytest.raises(StartError, match="sign"):
            make_token(Keys("EdDSA", PRIVATE.public_key(), None), Grants(identity="ann"), 60, NOW)


class TestGrants:
    @pytest.mark.parametrize(
        ("grants", "request_type", "room", "refused"),
        [
            (("join",), "create_room", None, None),
            (("join",), "join_room", "r1", None),
            (("publish", "subscribe"), "join_room", "r1", "join"),
            (("publish", "subscribe"), "create_room", None, "join"),
            (("join", "subscribe"), "create_publisher", None, "publish"),
            (("join", "publish"), "create_consumer", None, "subscribe"),
            (("join", "publish"), "subscribe", None, "subscribe"),
            ((), "leave_room", None, None),
            ((), "set_muted", None, None),
        ],
    )
    def test_a_message_needs_its_grant(self, grants: Any, request_type: str, room: str | None, refused: str | None) -> None:
        reason = Grants(grants=grants).refusal(request_type, room, NOW)
        assert reason == (f"The token does not grant {refused}." if refused else None)

    def test_a_token_for_one_room_enters_that_and_makes_none(self) -> None:
        grants = Grants(room="r1")
        assert grants.refusal("join_room", "r1", NOW) is None
        assert grants.refusal("join_room", "r2", NOW) == "The token is for another room."
        assert grants.refusal("create_room", None, NOW) == "The token is for one room and makes none."

    def test_an_expired_token_opens_no_further_room_and_ends_nothing(self) -> None:
        grants = Grants(expires_unix_s=NOW)
        assert grants.refusal("join_room", "r1", NOW) == "The token has expired."
        assert grants.refusal("create_publisher", None, NOW) is None


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, bytes], str]:
    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    return write


Write = Callable[[str, bytes], str]


class TestKeys:
    def test_without_any_key_the_server_is_open_on_loopback(self) -> None:
        assert load_keys(ControlConfig()) is None
        assert isinstance(gate_of(ControlConfig()), OpenGate)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
    def test_elsewhere_it_must_be_said(self, host: str) -> None:
        with pytest.raises(StartError, match=r"--open.*access_secret_file"):
            gate_of(ControlConfig(host=host))
        assert isinstance(gate_of(ControlConfig(host=host, open=True)), OpenGate)
        assert isinstance(gate_of(ControlConfig(host=host, access_secret=SecretStr(SECRET))), TokenGate)

    def test_open_and_tokens_contradict_each_other(self) -> None:
        with pytest.raises(StartError, match="contradict"):
            gate_of(ControlConfig(open=True, access_secret=SecretStr(SECRET)))

    def test_a_secret_comes_from_the_configuration_or_a_file(self, file: Write) -> None:
        assert load_keys(ControlConfig(access_secret=SecretStr(SECRET))) == HS256
        assert load_keys(ControlConfig(access_secret_file=file("secret", SECRET.encode() + b"\n"))) == HS256

    def test_a_short_secret_is_refused_and_not_shown(self) -> None:
        with pytest.raises(StartError, match="32 bytes") as caught:
            load_keys(ControlConfig(access_secret=SecretStr("short-secret")))
        assert "short-secret" not in str(caught.value)

    def test_a_pair_of_keys(self, file: Write) -> None:
        private = file("private.pem", pem(PRIVATE))
        public = file("public.pem", PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        only_public = load_keys(ControlConfig(access_public_key_file=public))
        assert only_public is not None
        assert only_public.sign is None
        for config in (
            ControlConfig(access_private_key_file=private),
            ControlConfig(access_private_key_file=private, access_public_key_file=public),
        ):
            keys = load_keys(config)
            assert keys is not None
            made = make_token(keys, Grants(identity="ann"), 60, NOW)
            assert gate(only_public).admit(made).identity == "ann"

    @pytest.mark.parametrize(
        "content", [b"", b"nonsense", pem(ec.generate_private_key(ec.SECP256R1()))], ids=["empty", "nonsense", "P-256"]
    )
    def test_what_is_no_key_stops_the_start(self, file: Write, content: bytes) -> None:
        for option in ("access_private_key_file", "access_public_key_file"):
            with pytest.raises(StartError, match=option):
                load_keys(ControlConfig(**{option: file("key", content)}))  # type: ignore[arg-type]

    def test_keys_of_different_pairs_stop_the_start(self, file: Write) -> None:
        other = ed25519.Ed25519PrivateKey.generate().public_key()
        public = file("public.pem", other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        with pytest.raises(StartError, match="does not belong"):
            load_keys(ControlConfig(access_private_key_file=file("private.pem", pem(PRIVATE)), access_public_key_file=public))

    def test_a_secret_and_a_key_stop_the_start(self, file: Write) -> None:
        with pytest.raises(StartError, match="one of"):
            load_keys(ControlConfig(access_secret=SecretStr(SECRET), access_private_key_file=file("private.pem", pem(PRIVATE))))
