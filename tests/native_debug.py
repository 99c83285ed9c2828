"""A pytest plugin, ``-p tests.native_debug``: every test of that run uses the debug build of the forwarding loop.

It has to be there before anything imports sfu, which is why it is a plugin and no fixture.
"""

from __future__ import annotations

import sys

import sfu.forwarding
from tests import native_build

extension = native_build.debug_extension()
sys.modules["sfu.forwarding._native"] = sfu.forwarding._native = native_build.load(extension, "sfu.forwarding._native")


def pytest_report_header() -> str:
    return f"native: {extension.relative_to(native_build.ROOT)}"
