"""HTTPS and wss: certificates that change, that do not fit, and that the server makes itself."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import re
import socket
import ssl
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from control import dev_certificate
from control.binding import StartError
from control.config import ConfigError, load
from control.tls import Tls
from tests.server import ROOT, RunningServer

NOW = datetime.datetime.now(datetime.UTC)
NAMES = ["localhost", "127.0.0.1"]
WAIT_S = 30.0


def make_pair(folder: Path) -> tuple[Path, Path]:
    folder.mkdir()
    return dev_certificate.kept(folder, NAMES, NOW)


def replace(pair: tuple[Path, Path], by: tuple[Path, Path]) -> None:
    """As a certificate tool does it: each file is replaced at once."""
    for old, new in zip(pair, by, strict=True):
        scratch = old.with_name("new")
        scratch.write_bytes(new.read_bytes())
        scratch.replace(old)


def trusting(*certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for certificate in certificates:
        context.load_verify_locations(certificate)
    return context


async def served_certificate(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.transport.abort()
    assert isinstance(certificate, bytes)
    return certificate


def der(file: Path) -> bytes:
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(serialization.Encoding.DER)


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


class Served:
    """A server on HTTPS. ``pair``: the files that it reads; ``other``: a pair that it could have."""

    def __init__(self, server: RunningServer, pair: tuple[Path, Path], other: tuple[Path, Path]) -> None:
        self.server, self.pair, self.other = server, pair, other
        self.port = int(server.url.rsplit(":", 1)[1])

    async def serves(self, certificate: bytes) -> bool:
        return await served_certificate(self.port) == certificate

    async def says(self, text: str, times: int = 1) -> bool:
        return self.server.output.count(text) >= times

    async def get(self, path: str, context: ssl.SSLContext) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname="localhost")
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.transport.abort()
        return answer

    def connect(self, context: ssl.SSLContext) -> Any:
        return websockets.connect(f"wss://localhost:{self.port}/ws", ssl=context, proxy=None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tls")
    pair, other = make_pair(folder / "used"), make_pair(folder / "other")
    arguments = ["--tls-certificate", str(pair[0]), "--tls-key", str(pair[1])]
    with RunningServer(shards=0, args=arguments) as server:
        assert server.url.startswith("https://127.0.0.1:")
        yield Served(server, pair, other)


async def register(client: Any, name: str) -> None:
    await client.send(json.dumps({"type": "register", "username": name}))
    async with asyncio.timeout(WAIT_S):
        assert json.loads(await client.recv())["type"] == "registered"


async def ping(client: Any) -> None:
    await client.send("ping")
    async with asyncio.timeout(WAIT_S):
        assert await client.recv() == "pong"


class TestServer:
    async def test_page_and_signaling_are_encrypted(self, served: Served) -> None:
        context = trusting(served.pair[0])
        assert b"<html" in await served.get("/", context)
        assert b" 200 OK" in await served.get("/healthz", context)
        assert b" 503 " in await served.get("/readyz", context)  # it has no shard
        async with served.connect(context) as client:
            await register(client, "Ann")

    async def test_a_new_certificate_is_served_without_a_restart_and_open_sockets_stay(self, served: Served) -> None:
        new = der(served.other[0])
        async with served.connect(trusting(served.pair[0])) as client:
            await register(client, "Ann")
            replace(served.pair, served.other)
            await until(lambda: served.serves(new))
            await ping(client)
        async with served.connect(trusting(served.other[0])) as client:
            await register(client, "Bo")
        metrics = (await served.get("/metrics", trusting(served.other[0]))).decode()
        assert 'antiphon_tls_reloads_total{result="loaded"} ' in metrics
        (expiry,) = re.findall(r"^antiphon_tls_certificate_expiry_timestamp_seconds (\S+)$", metrics, re.MULTILINE)
        assert float(expiry) == int((NOW + dev_certificate.LIFETIME).timestamp())

    @pytest.mark.parametrize("broken", ["certificate", "key", "gone"])
    async def test_a_broken_pair_is_logged_and_the_old_one_stays(self, served: Served, broken: str) -> None:
        file = served.pair[1 if broken == "key" else 0]
        kept, good = await served_certificate(served.port), file.read_bytes()
        said = served.server.output.count("certificate not replaced")
        if broken == "gone":
            file.unlink()
        else:
            file.write_bytes(b"-----BEGIN NONSENSE-----\n")
        await until(lambda: served.says("certificate not replaced", said + 1))
        assert await served.serves(kept)
        file.write_bytes(good)
        loaded = served.server.output.count("certificate replaced")
        await until(lambda: served.says("certificate replaced", loaded))

    async def test_what_is_no_tls_costs_its_sender_the_connection_and_no_traceback(self, served: Served) -> None:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(100), b"\xff" * 70_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(said)
            async with asyncio.timeout(WAIT_S):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.transport.abort()
        assert await served_certificate(served.port)
        assert "Traceback" not in served.server.output


class TestFiles:
    def test_a_pair_that_does_not_fit_stops_the_start(self, tmp_path: Path) -> None:
        first, second = make_pair(tmp_path / "a"), make_pair(tmp_path / "b")
        with pytest.raises(StartError, match="is not the key of"):
            Tls(first[0], second[1])

    def test_a_file_that_is_missing_or_no_pem_stops_the_start(self, tmp_path: Path) -> None:
        certificate, key = make_pair(tmp_path / "a")
        with pytest.raises(StartError, match="cannot be read: No such file"):
            Tls(certificate, tmp_path / "none")
        with pytest.raises(StartError, match="holds no certificate"):
            Tls(key, key)

    def test_an_encrypted_key_is_told_and_no_password_asked_for(self, tmp_path: Path) -> None:
        certificate, key = make_pair(tmp_path / "a")
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(b"x")
        key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
        with pytest.raises(StartError, match="is encrypted"):
            Tls(certificate, key)

    def test_the_same_broken_files_are_told_once(self, tmp_path: Path) -> None:
        certificate, key = make_pair(tmp_path / "a")
        tls = Tls(certificate, key)
        key.write_text("no key")
        with structlog.testing.capture_logs() as logs:
            tls.refresh()
            tls.refresh()
        assert len(logs) == 1
        assert tls.reloads == {"refused": 1}

    @pytest.mark.parametrize(
        "flags", [{"tls_key": "x"}, {"tls_certificate": "x"}, {"dev_tls": "1", "tls_certificate": "x", "tls_key": "y"}]
    )
    def test_options_that_make_no_sense_together_are_refused(self, flags: dict[str, str]) -> None:
        with pytest.raises(ConfigError):
            load(flags, {}, None)


class TestSelfSigned:
    def kept(self, folder: Path, *names: str, days: float = 0) -> bytes:
        certificate, key = dev_certificate.kept(folder, names, NOW + datetime.timedelta(days=days))
        assert [stat.S_IMODE(file.stat().st_mode) for file in (certificate, key)] == [0o600, 0o600]
        Tls(certificate, key)
        return certificate.read_bytes()

    def test_is_kept_until_it_must_change(self, tmp_path: Path) -> None:
        first = self.kept(tmp_path, "localhost", "192.0.2.1")
        assert self.kept(tmp_path, "192.0.2.1", "localhost") == first
        assert self.kept(tmp_path, "localhost", days=300) == first
        second = self.kept(tmp_path, "localhost", "192.0.2.2")
        assert second != first
        assert self.kept(tmp_path, "192.0.2.2", days=340) != second

    def test_is_made_again_where_its_files_are_broken(self, tmp_path: Path) -> None:
        first = self.kept(tmp_path, "localhost")
        (tmp_path / "dev-tls.crt").write_text("nonsense")
        second = self.kept(tmp_path, "localhost")
        (tmp_path / "dev-tls.key").unlink()
        assert len({first, second, self.kept(tmp_path, "localhost")}) == 3

    def test_is_for_every_name_and_address_of_the_machine(self) -> None:
        names = dev_certificate.machine_names("0.0.0.0", "192.0.2.9")
        assert {"localhost", "127.0.0.1", "::1", socket.gethostname(), "192.0.2.9"} <= set(names)
        assert "0.0.0.0" not in names

    async def test_dev_tls_serves_it(self, tmp_path: Path) -> None:
        environment = {**os.environ, "ANTIPHON_CONTROL_RUNTIME_DIR": str(tmp_path / "run")}
        async with RunningServer(shards=0, args=["--dev-tls"], environment=environment) as server:
            assert "self-signed" in server.output
            served = Served(server, (tmp_path / "run" / "dev-tls.crt", tmp_path), (tmp_path, tmp_path))
            context = trusting(served.pair[0])
            assert b"<html" in await served.get("/", context)
            async with served.connect(context) as client:
                await register(client, "Ann")
            # Commands on this host trust it too.
            command = [sys.executable, "-m", "control", "shards", "--url", server.url]
            asked = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=PIPE, stderr=PIPE)
            assert (await asyncio.wait_for(asked.communicate(), WAIT_S))[1] == b""
            assert asked.returncode == 0
