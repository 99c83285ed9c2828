"""Builds what only benchmarks need, into build/bench: the loop without crypto and rewriting, and bulk traffic in C."""

from __future__ import annotations

import ctypes
from types import ModuleType

from tests import native_build

NATIVE = native_build.ROOT / "tests" / "bench" / "native"
OPTIMISED = ["-O2"]


def floor_module() -> ModuleType:
    """``_native`` once more, with tests/bench/native/floor.c in the place of srtp.c and rewrite.c."""
    sources = [*native_build.forwarding_sources(without={"srtp.c", "rewrite.c"}), NATIVE / "floor.c"]
    return native_build.load(native_build.build_extension("bench", sources, OPTIMISED), "antiphon_floor._native")


def traffic_library() -> ctypes.CDLL:
    """tests/bench/native/traffic.c, its functions typed. ctypes releases the GIL while they run."""
    target = native_build.build(native_build.BUILD / "bench" / "traffic.so", [NATIVE / "traffic.c"], ["-shared", "-fPIC", *OPTIMISED])
    library = ctypes.CDLL(target)
    library.send_packets.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_int]
    library.send_packets.restype = ctypes.c_long
    library.count_packets.argtypes = [ctypes.POINTER(ctypes.c_int), ctypes.c_int]
    library.count_packets.restype = ctypes.c_long
    return library
