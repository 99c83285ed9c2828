"""Builds what only benchmarks need, into build/bench: the loop without crypto and rewriting, and bulk traffic in C."""

from __future__ import annotations

import ctypes
import importlib.util
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench"
FORWARDING = ROOT / "sfu" / "forwarding"
FLAGS = ["-std=gnu11", "-O2", "-D_GNU_SOURCE", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]


def _newer(target: Path, sources: list[Path]) -> bool:
    return target.exists() and all(target.stat().st_mtime > source.stat().st_mtime for source in sources)


def _compile(target: Path, sources: list[Path], flags: list[str]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    subprocess.run([compiler, *flags, "-o", str(target), *map(str, sources)], check=True)


def floor_module() -> ModuleType:
    """``_native`` once more, with tests/bench/native/floor.c in the place of srtp.c and rewrite.c."""
    target = OUT / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    binding = FORWARDING / "_native.pyx"
    sources = [path for path in FORWARDING.glob("*.c") if path.name not in {"srtp.c", "rewrite.c", "_native.c"}]
    sources.append(ROOT / "tests" / "bench" / "native" / "floor.c")
    if not _newer(target, [binding, *sources, *FORWARDING.glob("*.h")]):
        generated = OUT / "_native.c"
        OUT.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "cython", "-3", str(binding), "-o", str(generated)], check=True)
        _compile(target, [generated, *sources], [*FLAGS, f"-I{FORWARDING}", f"-I{sysconfig.get_path('include')}"])
    spec = importlib.util.spec_from_file_location("antiphon_floor._native", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def traffic_library() -> ctypes.CDLL:
    """tests/bench/native/traffic.c, its functions typed. ctypes releases the GIL while they run."""
    target, source = OUT / "traffic.so", ROOT / "tests" / "bench" / "native" / "traffic.c"
    if not _newer(target, [source]):
        _compile(target, [source], [flag for flag in FLAGS if flag != "-fvisibility=hidden"])
    library = ctypes.CDLL(str(target))
    library.send_packets.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_long]
    library.send_packets.restype = ctypes.c_long
    library.count_packets.argtypes = [ctypes.POINTER(ctypes.c_int), ctypes.c_int]
    library.count_packets.restype = ctypes.c_long
    return library
