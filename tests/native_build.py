"""Builds the native packet path once more in other ways, and C programs around it: what tests and benchmarks need beside the product.

Results go to ``build/<purpose>/`` and are made again when a source, a header or this file is newer.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
FORWARDING = ROOT / "sfu" / "forwarding"
NATIVE = ROOT / "tests" / "sfu" / "forwarding" / "native"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
BASE = ["-std=gnu11", "-D_GNU_SOURCE", "-pthread", f"-I{FORWARDING}", *WARNINGS]
SHARED = ["-shared", "-fPIC", "-fvisibility=hidden"]
SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
DEBUG = ["-UNDEBUG", "-DANTIPHON_DEBUG", "-g", "-O1"]


def forwarding_sources(*, without: Iterable[str] = ()) -> list[Path]:
    """The C files that pyproject.toml builds the extension of, but for those named."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (module,) = (m for m in settings["tool"]["setuptools"]["ext-modules"] if m["name"] == "sfu.forwarding._native")
    return [ROOT / name for name in module["sources"] if name.endswith(".c") and Path(name).name not in set(without)]


def compiler(name: str | None = None) -> str:
    """The C compiler Python was built with, or the one named. A missing one fails the test."""
    wanted = name or shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    found = shutil.which(wanted)
    if found is None:
        pytest.fail(f"{wanted} is not installed; `make setup` and `make fuzz` name the packages")
    return found


def _is_current(target: Path, sources: Iterable[Path]) -> bool:
    if not target.exists():
        return False
    built = target.stat().st_mtime
    return all(built > source.stat().st_mtime for source in [*sources, *FORWARDING.glob("*.h"), Path(__file__)])


def build(target: Path, sources: Sequence[Path], flags: Sequence[str], *, cc: str | None = None) -> Path:
    """Compile and link ``sources`` into ``target`` unless it is current. Raises CalledProcessError where the compiler refuses."""
    if not _is_current(target, sources):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside it and then into its place: two test runs may build at once.
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            subprocess.run([compiler(cc), *BASE, *flags, "-o", str(made), *map(str, sources), "-ldl"], check=True)
            made.replace(target)
    return target


def build_extension(purpose: str, sources: Sequence[Path], flags: Sequence[str]) -> Path:
    """``_native`` as build/<purpose>/_native*.so, of the binding and ``sources``."""
    target = BUILD / purpose / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    binding = FORWARDING / "_native.pyx"
    if not _is_current(target, [binding, binding.with_suffix(".pxd"), *sources]):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:  # of this run alone, as in build
            generated = Path(scratch) / "_native.c"
            subprocess.run([sys.executable, "-m", "cython", "-3", str(binding), "-o", str(generated)], check=True)
            build(target, [generated, *sources], [*SHARED, *flags, f"-I{sysconfig.get_path('include')}"])
    return target


def debug_extension() -> Path:
    """The product's own sources with assertions and the nonce audit."""
    return build_extension("debug", [*forwarding_sources(without={"nonce_audit.c"}), FORWARDING / "nonce_audit.c"], DEBUG)


def load(path: Path, name: str) -> ModuleType:
    """Import an extension module by its path, as ``name``."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
