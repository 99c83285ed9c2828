"""TLS for HTTP and WebSocket: one certificate and its key, taken anew from their files when those change.

Owns the :class:`ssl.SSLContext` that uvicorn listens with. New connections get what is loaded at the moment; those that are open keep
what they have. A pair that cannot be used never replaces one that can.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from control.binding import StartError

log = structlog.get_logger("antiphon.tls")

RESULTS: Final = ("loaded", "refused")


class Tls:
    """``reloads``: changes of the files, by what became of them (:data:`RESULTS`); ``expires_unix_s``: of the certificate in use."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises :class:`StartError` where the pair cannot be used."""
        self.context = new_context()
        self.reloads: Counter[str] = Counter()
        self.expires_unix_s = 0.0
        self._files = (certificate, key)
        self._seen = self._stamp()
        try:
            self._load()
        except (OSError, ValueError) as error:
            raise StartError(f"TLS: {self._why(error)}; tls_certificate and tls_key name the files") from None

    def refresh(self) -> None:
        """Take the files anew if they have changed since the last look. Costs one stat of each: to be called about once a second."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._load()
        except (OSError, ValueError) as error:
            # Files that are replaced one after the other do not fit for a moment: the next look sees the second one.
            self.reloads["refused"] += 1
            log.error("certificate not replaced, the one in use stays", problem=self._why(error))
        else:
            self.reloads["loaded"] += 1
            log.info("certificate replaced", certificate=str(self._files[0]))

    def _load(self) -> None:
        """Raises OSError (ssl.SSLError is one) or ValueError, and then nothing has changed."""
        certificate, key = (file.read_bytes() for file in self._files)
        expires = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
        with _as_file(certificate + b"\n" + key) as pair:  # what is tried is what is used, whatever happens to the files meanwhile
            for context in (new_context(), self.context):
                context.load_cert_chain(pair, password=_no_password)
        self.expires_unix_s = expires.timestamp()

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        stamps: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                status = file.stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(stamps)

    def _why(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLError):
            reason = (error.reason or "no usable PEM").replace("_", " ").lower()
            return f"{self._files[1]} is not the key of {self._files[0]} or is encrypted ({reason})"
        if isinstance(error, OSError):
            return f"{error.filename} cannot be read: {error.strerror}"
        return f"{self._files[0]} holds no certificate in PEM form"


def new_context() -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with Python's choice of ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """OpenSSL would ask at the terminal, and the server wait for an answer."""
    return ""


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A name under which OpenSSL can read what never touches a disk."""
    descriptor = os.memfd_create("antiphon-tls")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
