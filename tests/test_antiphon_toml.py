"""antiphon.toml is the default configuration: every option is in it, described in the words of its definition, with its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

import control.config
import sfu.config

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "antiphon.toml").read_text(encoding="utf-8")
MODELS: dict[str, type[BaseModel]] = {"control": control.config.ControlConfig, "shard": sfu.config.ShardConfig}


def uncommented() -> str:
    """The file with every option switched on: ``#key = value`` without its ``#``."""
    return re.sub(r"^#(\w+ = )", r"\1", TEXT, flags=re.MULTILINE)


def description_of(section: str, key: str) -> str:
    """The comment above an option, on one line."""
    body = TEXT.split(f"\n[{section}]\n")[1].split("\n[")[0]
    found = re.search(rf"((?:^# .*\n)+)#{key} = ", body, re.MULTILINE)
    assert found, f"{key} has no comment above it"
    return " ".join(line.removeprefix("# ") for line in found[1].splitlines())


def plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("section", MODELS)
def test_every_option_is_there_with_its_default_and_no_other(section: str) -> None:
    options = tomllib.loads(uncommented())[section]
    assert options == {name: plain(field.get_default()) for name, field in MODELS[section].model_fields.items()}


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, model in MODELS.items() for key in model.model_fields])
def test_option_is_described_as_where_it_is_defined(section: str, key: str) -> None:
    defined = MODELS[section].model_fields[key].description
    assert defined
    assert description_of(section, key).rstrip(".").lower() == defined.rstrip(".").lower()


def test_file_as_it_stands_changes_nothing() -> None:
    assert tomllib.loads(TEXT) == {section: {} for section in MODELS}


def test_both_processes_read_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "antiphon.toml"
    file.write_text(uncommented(), encoding="utf-8")
    assert control.config.load({}, {}, file) == control.config.ControlConfig()
    assert sfu.config.load({}, file, {}) == sfu.config.ShardConfig()
