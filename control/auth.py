"""Token mode: JSON Web Tokens (RFC 7519) that say who somebody is and what it may do, checked and made.

The claims::

    sub     identity of the person, 1 to 256 characters
    room    id of the room that the token is for, or "*": any, and making rooms
    grants  list of "join", "publish", "subscribe", "admin"
    exp     when it ends, seconds since 1970 (nbf, from when on it is good, may be there too)
    name    username (may be missing: then the client chooses one)

Which algorithm is used follows from the configuration alone, never from the token: HS256 where there is a secret, EdDSA (Ed25519)
where there is a key. "admin" with room "*" opens the admin API as the admin token does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.types import Options

from control.admin_token import AdminToken, admin_token, read_secret
from control.binding import StartError
from control.config import ControlConfig, is_loopback
from control.grants import ANY_ROOM, Gate, Grant, Grants, OpenGate, Unauthorized

MIN_SECRET_BYTES: Final = 32
"""RFC 7518 3.2: a key of the hash's size at least."""
LEEWAY_S: Final = 10.0
"""How far the clock of whoever makes tokens may be off."""
MAX_TOKEN_CHARS: Final = 8192
MAX_IDENTITY_CHARS: Final = 256


LATEST_UNIX_S: Final = 2**36
"""Times beyond this (in the year 4147) are a mistake, or not even a number."""
READ: Final[Options] = {"require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
"""Times are checked by :meth:`TokenGate.admit`, against its own clock."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a token as it is read; other claims are ignored."""

    sub: str
    room: str
    grants: tuple[Grant, ...]
    exp: float
    nbf: float = 0.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """``check``: secret or public key; ``sign``: secret or private key, None where this server makes no tokens."""

    algorithm: Literal["HS256", "EdDSA"]
    check: str | Ed25519PublicKey
    sign: str | Ed25519PrivateKey | None


@dataclass(frozen=True, slots=True)
class Access:
    """All that decides who may do what in this process. ``keys``: None in open mode."""

    admin: AdminToken
    gate: Gate
    keys: Keys | None

    def may_administer(self, token: str) -> bool:
        return self.admin.matches(token) or (isinstance(self.gate, TokenGate) and self.gate.may_administer(token))


@contextlib.contextmanager
def access(config: ControlConfig, port: int) -> Iterator[Access]:
    """What is in force while control runs on HTTP port ``port``. Raises :class:`StartError`."""
    gate, keys = gate_of(config), load_keys(config)
    with admin_token(config, port) as token:
        yield Access(token, gate, keys)


class TokenGate:
    """Token mode. ``unix``: the wall clock."""

    def __init__(self, keys: Keys, unix: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._unix = unix

    def admit(self, token: str | None) -> Grants:
        if not token:
            raise Unauthorized("This server lets in who has a token: register with one.")
        claims = self._read(token)
        now = self._unix()
        if not (0 <= claims.exp <= LATEST_UNIX_S and 0 <= claims.nbf <= LATEST_UNIX_S):  # so written, NaN fails as well
            raise Unauthorized("The token's times (exp, nbf) are not seconds since 1970.")
        if now >= claims.exp + LEEWAY_S:
            raise Unauthorized("The token has expired.")
        if now < claims.nbf - LEEWAY_S:
            raise Unauthorized("The token is not good yet.")
        if not 1 <= len(claims.sub) <= MAX_IDENTITY_CHARS:
            raise Unauthorized(f"The token's identity (sub) must have 1 to {MAX_IDENTITY_CHARS} characters.")
        if not claims.room:
            raise Unauthorized("The token is for no room.")
        expires = claims.exp + LEEWAY_S
        return Grants(identity=claims.sub, name=claims.name, room=claims.room, grants=claims.grants, expires_unix_s=expires)

    def refusal(self, grants: Grants, request: str, room_id: str | None) -> str | None:
        return grants.refusal(request, room_id, self._unix())

    def may_administer(self, token: str) -> bool:
        """Whether a token opens the admin API."""
        try:
            grants = self.admit(token)
        except Unauthorized:
            return False
        return "admin" in grants.grants and grants.room == ANY_ROOM

    def _read(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthorized("The token is too long.")
        try:
            body = jwt.decode(token, self._keys.check, algorithms=[self._keys.algorithm], options=READ)
            return msgspec.convert(body, Claims)
        except jwt.InvalidSignatureError:
            raise Unauthorized("The token's signature is not that of this server's key.") from None
        except jwt.InvalidAlgorithmError:
            raise Unauthorized(f"The token is not signed with {self._keys.algorithm}.") from None
        except jwt.MissingRequiredClaimError:
            raise Unauthorized("The token says nothing of when it ends (exp).") from None
        except jwt.InvalidAudienceError:
            raise Unauthorized("The token is meant for somebody else (aud).") from None
        except msgspec.ValidationError as error:
            raise Unauthorized(f"The token's claims do not fit: {str(error)[:200]}.") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Unauthorized("The token cannot be read.") from None


def make_token(keys: Keys, grants: Grants, ttl_s: float, unix_s: float) -> str:
    """A token for ``grants`` that ends ``ttl_s`` seconds after ``unix_s``. Raises :class:`StartError` if there is no key to sign with."""
    if keys.sign is None:
        raise StartError("there is no key to sign tokens with: set access_private_key_file or a secret")
    if not 1 <= len(grants.identity) <= MAX_IDENTITY_CHARS:
        raise StartError(f"the identity must have 1 to {MAX_IDENTITY_CHARS} characters")
    claims: dict[str, Any] = {"sub": grants.identity, "room": grants.room, "grants": list(grants.grants)}
    claims |= {"iat": int(unix_s), "exp": int(unix_s + ttl_s)}
    if grants.name:
        claims["name"] = grants.name
    return jwt.encode(claims, keys.sign, algorithm=keys.algorithm)


def load_keys(config: ControlConfig) -> Keys | None:
    """The keys of token mode; None in open mode. Raises :class:`StartError`."""
    secret = config.access_secret.get_secret_value()
    given = [bool(secret), bool(config.access_secret_file), bool(config.access_public_key_file or config.access_private_key_file)]
    if sum(given) > 1:
        raise StartError("set one of access_secret, access_secret_file and access_public_key_file (or access_private_key_file)")
    if given[1]:
        secret = read_secret(Path(config.access_secret_file), "access_secret_file")
    if given[0] or given[1]:
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise StartError(f"the secret of access tokens must have {MIN_SECRET_BYTES} bytes at least")
        return Keys("HS256", secret, secret)
    return _ed25519(config) if given[2] else None


def gate_of(config: ControlConfig) -> Gate:
    """Open or token mode. Raises :class:`StartError`, also for a server that is open to a network without being told so."""
    keys = load_keys(config)
    if keys is not None:
        if config.open:
            raise StartError("open = true and a key for access tokens contradict each other: set one of them")
        return TokenGate(keys)
    if not is_loopback(config.host) and not config.open:
        raise StartError(
            f"on {config.host} anyone on the network could make and join rooms: allow it with --open, or require tokens with "
            "access_secret_file or access_public_key_file, or listen on localhost"
        )
    return OpenGate()


def _ed25519(config: ControlConfig) -> Keys:
    private, public = None, None
    if config.access_private_key_file:
        private = _pem(config.access_private_key_file, "access_private_key_file", lambda pem: load_pem_private_key(pem, None), public=False)
        if not isinstance(private, Ed25519PrivateKey):
            raise StartError("access_private_key_file: not an Ed25519 key")
        public = private.public_key()
    if config.access_public_key_file:
        given = _pem(config.access_public_key_file, "access_public_key_file", load_pem_public_key, public=True)
        if not isinstance(given, Ed25519PublicKey):
            raise StartError("access_public_key_file: not an Ed25519 key")
        if public is not None and public.public_bytes_raw() != given.public_bytes_raw():
            raise StartError("access_public_key_file does not belong to access_private_key_file")
        public = given
    assert public is not None
    return Keys("EdDSA", public, private)


def _pem(path: str, option: str, load: Callable[[bytes], Any], *, public: bool) -> Any:
    text = read_secret(Path(path), option, public=public)
    try:
        return load(text.encode())
    except (ValueError, TypeError):  # TypeError: it is encrypted
        raise StartError(f"{option}: {path} holds no key that can be read; expected PEM without a password") from None
