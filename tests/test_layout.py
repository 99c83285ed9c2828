"""The rules of the architecture that a program can check: the top level, and who may import whom."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "antiphon.toml",
    "control",
    "loadtest",
    "pyproject.toml",
    "sfu",
    "tests",
    "web",
}


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no modules in {package}/"
    return found


def imports(path: Path) -> Iterator[str]:
    """Full dotted name of everything that ``path`` imports, anywhere in it: ``from sfu import protocol`` is ``sfu.protocol``."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", modules("control"), ids=lambda path: str(path.relative_to(ROOT)))
def test_control_knows_nothing_of_sfu_but_the_protocol(path: Path) -> None:
    assert [name for name in imports(path) if is_in(name, "sfu") and not is_in(name, "sfu.protocol")] == []


@pytest.mark.parametrize("path", modules("sfu"), ids=lambda path: str(path.relative_to(ROOT)))
def test_sfu_knows_neither_control_nor_loadtest(path: Path) -> None:
    assert [name for name in imports(path) if is_in(name, "control") or is_in(name, "loadtest")] == []


@pytest.mark.parametrize("path", modules("loadtest"), ids=lambda path: str(path.relative_to(ROOT)))
def test_loadtest_knows_a_server_only_from_outside(path: Path) -> None:
    assert [name for name in imports(path) if is_in(name, "control") or is_in(name, "sfu")] == []


def test_relative_and_lazy_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    module = tmp_path / "sfu" / "transport" / "x.py"
    module.parent.mkdir(parents=True)
    module.write_text("from . import dtls\nfrom .. import room\ndef f():\n    import control.rooms\n")
    assert set(imports(module)) == {"sfu.transport.dtls", "sfu.room", "control.rooms"}


def test_top_level_is_fixed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {name.split("/")[0] for name in tracked} <= TOP_LEVEL
