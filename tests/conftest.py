"""What all tests share: helpers of one folder are importable from another as ``tests.server`` and the like."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests may not run side by side (`make test`): those of one file, which share a server, and all that drive browsers, which
    would take each other's processor and with it the sound whose loss they measure."""
    for item in items:
        in_browser = item.path.is_relative_to(ROOT / "tests" / "browser")
        item.add_marker(pytest.mark.xdist_group("browser" if in_browser else str(item.path)))
