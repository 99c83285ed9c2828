"""``antiphon keygen``: CURVE keys for control and for shards on other hosts, and what to do with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import zmq.auth

CONTROL = "control"


def run(folder: Path, names: Sequence[str]) -> None:
    """Write one pair for each of ``names`` into ``folder``. Raises :class:`click.ClickException` and then has written nothing."""
    taken = [file for name in names for file in _files(folder, name) if file.exists()]
    if taken:
        raise click.ClickException(f"{taken[0]} exists already; keys are never overwritten")
    os.umask(0o077)  # from their first byte on nobody else can read them
    try:
        folder.mkdir(parents=True, exist_ok=True)
        public = {name: _make(folder, name) for name in names}
    except OSError as error:
        raise click.ClickException(f"cannot write to {folder}: {error.strerror}") from None
    click.echo(_advice(folder.resolve(), public))


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.key", folder / f"{name}.key_secret"


def _make(folder: Path, name: str) -> str:
    zmq.auth.create_certificates(folder, name)
    return zmq.auth.load_certificate(folder / f"{name}.key")[0].decode()


def _advice(folder: Path, public: dict[str, str]) -> str:
    shards = [name for name in public if name != CONTROL]
    known = public.get(CONTROL, "<the public key of control>")
    lines = [f"Wrote to {folder}, readable by you alone: {', '.join(f'{name}.key_secret' for name in public)}", ""]
    lines += ["Where control runs, in antiphon.toml:", "", "[control]"]
    if CONTROL in public:
        lines += ['shard_endpoint = "tcp://0.0.0.0:8081"', f'shard_key_file = "{folder / CONTROL}.key_secret"']
    keys = ", ".join(f'"{public[name]}"' for name in shards)
    lines.append(f"shard_public_keys = [{keys}]" + ("" if CONTROL in public else "  # and those that are there already"))
    for name in shards:
        lines += ["", f"Where {name} runs, beside a copy of {name}.key_secret (antiphon shard --config antiphon.toml):", "", "[shard]"]
        lines += ['control = "tcp://HOST:8081"  # the host of control', f'key_file = "{name}.key_secret"']
        lines.append(f'control_public_key = "{known}"')
    return "\n".join(lines)
