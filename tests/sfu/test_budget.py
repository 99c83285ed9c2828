from __future__ import annotations

from sfu.budget import TokenBucket


class TestTake:
    def test_burst_is_granted_once_and_refills_with_time(self) -> None:
        bucket = TokenBucket(rate_per_s=10, burst=5)
        assert [bucket.take(4, 0.0), bucket.take(4, 0.0), bucket.take(4, 0.0)] == [4, 1, 0]
        assert bucket.take(100, 0.25) == 2
        assert bucket.take(100, 1000.0) == 5

    def test_time_that_stands_still_grants_nothing(self) -> None:
        bucket = TokenBucket(rate_per_s=10, burst=1)
        assert [bucket.take(1, 3.0) for _ in range(3)] == [1, 0, 0]


class TestSpend:
    def test_all_or_nothing(self) -> None:
        bucket = TokenBucket(rate_per_s=1, burst=5)
        assert [bucket.spend(3, 0.0), bucket.spend(3, 0.0), bucket.spend(2, 0.0), bucket.spend(1, 0.0)] == [True, False, True, False]
        assert bucket.spend(1, 1.0)

    def test_scale_raises_rate_and_burst(self) -> None:
        bucket = TokenBucket(rate_per_s=1, burst=2)
        assert [bucket.spend(2, 0.0, scale=3), bucket.spend(1, 0.0, scale=3)] == [True, False]
        assert [bucket.spend(6, 2.0, scale=3), bucket.spend(1, 2.0, scale=3)] == [True, False]
