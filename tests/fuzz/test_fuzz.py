"""The fuzz targets over their kept corpus, and a few seconds beyond it. `make fuzz` gives them minutes."""

from __future__ import annotations

import pytest

from tests.fuzz import targets
from tests.fuzz.seeds import CORPUS, SEEDS

SECONDS = 3
CORPUS_LIMIT_BYTES = 200_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", targets.TARGETS)
def test_kept_corpus_and_new_inputs_hold_the_invariant(name: str) -> None:
    outcome = targets.fuzz(name, SECONDS)
    assert outcome.returncode == 0, outcome.stdout


def test_corpus_is_small_and_has_all_seeds() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < CORPUS_LIMIT_BYTES
    for name, seeds in SEEDS.items():
        assert {path.name: path.read_bytes() for path in (CORPUS / name).glob("seed-*")} == {
            f"seed-{seed}": data for seed, data in seeds.items()
        }
