"""``antiphon check-config``: the configuration that would be in force, option by option, and where each value comes from.

What it prints is itself a configuration file (but for secrets). The section ``[shard]`` is printed by a shard, which alone knows its
options: ``python -m sfu --check-config`` with the flags that control would give to local shard 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from control import admin_token
from control.auth import gate_of
from control.binding import StartError, shard_addresses, shard_command, shard_endpoint, udp_ports
from control.config import ConfigError, ControlConfig, load_with_sources, shard_count
from control.files import read_files
from control.webhooks import Hook

MASK = "***"


def run(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None) -> int:
    """Print the configuration, or to stderr what is wrong with it; returns the exit status."""
    problems: list[str] = []
    try:
        config, sources = load_with_sources(flags, environ, file)
        admin_token.configured(config)
        gate_of(config)
        Hook.of(config)
        shard = _shard_section(config, environ, file)
    except ConfigError as error:
        problems = [f"antiphon: {problem}" for problem in error.problems]
        shard = _ask_shard(_any_shard(file))
    except StartError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 2
    if problems or shard.returncode:
        print("\n".join([*problems, *shard.stderr.splitlines()]), file=sys.stderr)
        return 2
    print("\n".join(["[control]", *section(config, sources), "", "[shard]", *_about_shards(config), shard.stdout.rstrip()]))
    return 0


def section(config: ControlConfig, sources: Mapping[str, str]) -> list[str]:
    """One line of TOML for each option, its source behind it."""
    return [f"{key} = {toml(getattr(config, key))}  # {sources[key]}" for key in type(config).model_fields]


def toml(value: Any) -> str:
    """A value as TOML writes it, secrets masked (an empty one is shown as empty: nothing is set)."""
    if isinstance(value, SecretStr):
        return json.dumps(MASK if value.get_secret_value() else "")
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)  # text, numbers, true and false are written alike in JSON and TOML


def _shard_section(config: ControlConfig, environ: Mapping[str, str], file: Path | None) -> subprocess.CompletedProcess[str]:
    read_files(config, None)
    udp_ports(config)
    if not shard_count(config):
        return _ask_shard(_any_shard(file))
    addresses = shard_addresses(config, environ, file)
    return _ask_shard(shard_command(config, file, addresses, shard_endpoint(config, config.port), 0))


def _any_shard(file: Path | None) -> list[str]:
    return [sys.executable, "-m", "sfu", *(["--config", str(file)] if file is not None else [])]


def _ask_shard(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, "--check-config"], capture_output=True, text=True)


def _about_shards(config: ControlConfig) -> list[str]:
    count = shard_count(config)
    if not count:
        return ["# no local shards; this is for those that are started with the same file and environment"]
    return [f"# local shard 0 of {count}; what comes from flags is decided by [control]"]
