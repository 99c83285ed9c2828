"""``--check-config``: the configuration that a shard would have, option by option, and where each value comes from."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from sfu.config import ENVIRONMENT_PREFIX, SECTION, ShardConfig

_MASK: Final = "***"


def lines(config: ShardConfig, flags: Mapping[str, Any], file: Path | None, environment: Mapping[str, str] | None = None) -> list[str]:
    """One line of TOML for each option, its source behind it. The arguments are those with which ``config`` was loaded."""
    sources = _sources(flags, file, os.environ if environment is None else environment)
    return [f"{key} = {_toml(getattr(config, key))}  # {sources.get(key, 'default')}" for key in ShardConfig.model_fields]


def _sources(flags: Mapping[str, Any], file: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    text = file.read_text(encoding="utf-8") if file is not None else ""
    numbers = _lines_of_keys(text)
    in_file = {key: f"{file}:{numbers[key]}" if key in numbers else str(file) for key in tomllib.loads(text).get(SECTION, {})}
    variables = {name[len(ENVIRONMENT_PREFIX) :].lower(): name for name in environment if name.upper().startswith(ENVIRONMENT_PREFIX)}
    return {**in_file, **variables, **{key: f"--{key.replace('_', '-')}" for key in flags}}


def _toml(value: Any) -> str:
    """A value as TOML writes it, secrets masked (an empty one is shown as empty: nothing is set)."""
    if isinstance(value, SecretStr):
        return json.dumps(_MASK if value.get_secret_value() else "")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)  # text, numbers, true and false are written alike in JSON and TOML


def _lines_of_keys(text: str) -> dict[str, int]:
    """The line of each key that stands below ``[shard]`` as ``key = ...``, from 1. tomllib does not tell it."""
    found: dict[str, int] = {}
    inside = False
    so_far = text.splitlines()
    for index, line in enumerate(so_far):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
        key = re.match(r"\s*([A-Za-z0-9_-]+)\s*=", line)
        if (not header and not key) or not _is_toml("\n".join(so_far[:index])):
            continue  # the latter: amid a text or list of several lines
        if header:
            inside = header[1].strip() == SECTION
        elif key and inside:
            found[key[1]] = index + 1
    return found


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
