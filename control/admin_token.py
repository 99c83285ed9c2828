"""The admin token: where it comes from, where a command on the same host finds it, and the check of what a request sends.

An operator sets it (``admin_token``, ``admin_token_file``). Otherwise every start of control draws one and writes it to a file that
only this user can read, in the runtime folder, so that ``antiphon rooms`` and its kin work on the same host without any setting.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from control.binding import StartError, runtime_dir
from control.config import ControlConfig

log = structlog.get_logger("antiphon.admin")

MIN_CHARS: Final = 16
"""A shorter token could be guessed over the network."""
MAX_FILE_BYTES: Final = 4096


class AdminToken:
    """Knows only the token's digest, so that it stands in no traceback. Compares in constant time. ``file``: of one that was drawn."""

    def __init__(self, token: str, file: Path | None = None) -> None:
        self.file = file
        self._digest = hashlib.sha256(token.encode()).digest()

    def matches(self, given: str) -> bool:
        return hmac.compare_digest(self._digest, hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest())


def bearer(authorization: str | None) -> str | None:
    """The token of an ``Authorization`` header; None if it has none (RFC 6750 2.1; the scheme's case does not matter)."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def token_file(folder: Path, host: str, port: int) -> Path:
    """Where a control without a token of the operator's leaves its own."""
    return folder / f"admin-{host}-{port}.token"


def configured(config: ControlConfig) -> str | None:
    """The operator's token. Raises :class:`StartError` if it cannot be used; the text does not hold it."""
    if not config.admin_token_file:
        return config.admin_token.get_secret_value() or None
    if config.admin_token.get_secret_value():
        raise StartError("admin_token and admin_token_file are both set; set one of them")
    token = read_secret(Path(config.admin_token_file), "admin_token_file")
    if len(token) < MIN_CHARS:
        raise StartError(f"the admin token in {config.admin_token_file} is too short: {MIN_CHARS} characters at least")
    return token


def read_secret(path: Path, option: str, *, public: bool = False) -> str:
    """The text of a small file without space around it. Raises :class:`StartError`. ``public``: it is no secret after all."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
            others = os.fstat(file.fileno()).st_mode & 0o077
        text = content.decode()
    except OSError as error:
        raise StartError(f"{option}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartError(f"{option}: {path} is not text") from None
    if len(content) > MAX_FILE_BYTES:
        raise StartError(f"{option}: {path} is longer than {MAX_FILE_BYTES} bytes")
    if others and not public:
        log.warning("a secret file can be read by other users", option=option, file=str(path))
    return text.strip()


@contextlib.contextmanager
def admin_token(config: ControlConfig, port: int) -> Iterator[AdminToken]:
    """The token in force while control runs; a drawn one is in its file meanwhile. Raises :class:`StartError`."""
    token = configured(config)
    if token is not None:
        yield AdminToken(token)
        return
    token = secrets.token_urlsafe(32)
    path = token_file(runtime_dir(config), config.host, port)
    new = path.with_suffix(".new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token + "\n")
        new.replace(path)
    except OSError as error:
        raise StartError(f"cannot write the admin token to {path}: {error.strerror}; choose another runtime_dir") from None
    try:
        yield AdminToken(token, path)
    finally:
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii").strip() == token:  # else it is of a control that came after
                path.unlink()
