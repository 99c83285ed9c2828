"""Which package may import which (architecture.md, Layout)."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import control

PACKAGE = Path(control.__file__).parent


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_control_imports_of_sfu_only_the_protocol() -> None:
    for file in PACKAGE.glob("*.py"):
        for name in imported(file):
            if name.split(".")[0] in ("sfu", "loadtest", "tests"):
                assert name == "sfu.protocol" or name.startswith("sfu.protocol."), f"{file.name} imports {name}"


def test_sfu_imports_nothing_of_control() -> None:
    for file in (PACKAGE.parent / "sfu").rglob("*.py"):
        assert not [name for name in imported(file) if name.split(".")[0] in ("control", "loadtest")], file


def test_the_logic_does_no_input_or_output() -> None:
    forbidden = {"asyncio", "socket", "zmq", "starlette", "uvicorn", "time", "os", "threading"}
    for name in ("messages", "rooms", "placement", "effects", "sessions", "signaling", "media", "limits"):
        used = {module.split(".")[0] for module in imported(PACKAGE / f"{name}.py")}
        assert not used & forbidden, name


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == control.__version__
