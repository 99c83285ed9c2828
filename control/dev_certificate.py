"""``--dev-tls``: a self-signed certificate for this machine, so that browsers across a LAN give the page a microphone.

It is kept, because a browser asks about every certificate that it has not seen: a new one is made only when the old one does not
hold for much longer or lacks one of the machine's names or addresses.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog
from aioice.ice import get_host_addresses
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

log = structlog.get_logger("antiphon.tls")

CERTIFICATE: Final = "dev-tls.crt"
KEY: Final = "dev-tls.key"
LIFETIME: Final = datetime.timedelta(days=365)
RENEWED_BEFORE: Final = datetime.timedelta(days=30)
MAX_COMMON_NAME: Final = 64
"""RFC 5280 A.1, ub-common-name; a host's name may be longer. Browsers read only the alternative names."""


def machine_names(*more: str) -> list[str]:
    """Every name and address at which a browser may know this machine; ``more``: those that the operator has named."""
    host = socket.gethostname()
    names = ["localhost", "127.0.0.1", "::1", host, *([] if "." in host else [f"{host}.local"])]
    named = [name for name in more if name not in ("0.0.0.0", "::")]
    return list(dict.fromkeys([*names, *get_host_addresses(use_ipv4=True, use_ipv6=True), *named]))


def kept(folder: Path, names: Iterable[str], now: datetime.datetime) -> tuple[Path, Path]:
    """Files of a certificate for ``names`` and of its key in ``folder`` (private to this user), made if need be. Raises OSError."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    wanted = {_general_name(name) for name in names}
    if not (key.exists() and _is_good(certificate, wanted, now)):
        _make(certificate, key, wanted, now)
        log.info("self-signed certificate made: browsers ask once whether to trust it", certificate=str(certificate))
    return certificate, key


def _is_good(file: Path, wanted: set[x509.GeneralName], now: datetime.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        covered = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    return wanted <= covered and certificate.not_valid_after_utc - now > RENEWED_BEFORE


def _make(certificate: Path, key: Path, names: set[x509.GeneralName], now: datetime.datetime) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Antiphon on {socket.gethostname()}"[:MAX_COMMON_NAME])])
    builder = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # for machines whose clocks are behind
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(sorted(names, key=repr)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    signed = builder.sign(private, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    _write(key, private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM))


def _write(file: Path, content: bytes) -> None:
    """All of it or nothing, readable by this user alone from its first byte."""
    scratch = file.with_name(f"{file.name}.{os.getpid()}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(content)
    scratch.replace(file)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)
