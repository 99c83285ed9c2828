"""The join benchmark runs against a real server and prints all that it should. Its figures need a quiet machine, which a test has not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FIGURES = ["shard_joins_per_cpu_s", "control_joins_per_cpu_s", "p50_ms", "p99_ms"]


@pytest.mark.timeout(120)
def test_join_benchmark_prints_one_object_with_all_figures() -> None:
    command = [sys.executable, str(Path(__file__).with_name("join.py")), "--json", "--joins", "20"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert all(result[figure] > 0 for figure in FIGURES), result
    assert result["p50_ms"] <= result["p99_ms"]
