from __future__ import annotations

import pytest

from sfu.errors import PeerError
from sfu.indices import RESTING, Indices


def test_numbers_are_small_and_each_in_use_once() -> None:
    indices = Indices(3, "things")
    assert [indices.take() for _ in range(3)] == [0, 1, 2]
    assert len(indices) == 3


def test_full_pool_is_the_peers_problem() -> None:
    indices = Indices(1, "things")
    indices.take()
    with pytest.raises(PeerError, match="1 things") as refused:
        indices.take()
    assert refused.value.code == "shard_full"


def test_longest_rested_number_is_used_again_first() -> None:
    indices = Indices(3, "things")
    for _ in range(3):
        indices.take()
    indices.give_back(1)
    indices.give_back(0)
    assert [indices.take(), indices.take()] == [1, 0]


def test_numbers_never_used_stay_so_while_few_are_in_use() -> None:
    indices = Indices(100 * RESTING, "things")
    seen = set()
    for _ in range(50 * RESTING):
        index = indices.take()
        seen.add(index)
        indices.give_back(index)
    assert len(seen) == RESTING + 1


def test_returned_number_rests_while_others_come_and_go() -> None:
    indices = Indices(100 * RESTING, "things")
    indices.give_back(indices.take())
    for _ in range(RESTING):
        index = indices.take()
        assert index != 0
        indices.give_back(index)
    assert indices.take() == 0


def test_giving_back_twice_is_an_error() -> None:
    indices = Indices(3, "things")
    indices.give_back(indices.take())
    with pytest.raises(KeyError):
        indices.give_back(0)
