"""What one socket may send."""

from __future__ import annotations

from control.limits import SocketLimits


def limits() -> SocketLimits:
    return SocketLimits(per_s=50, burst=100, errors_in_a_row=20)


class TestRate:
    def test_a_burst_passes_and_what_goes_beyond_does_not(self) -> None:
        bucket = limits()
        assert [bucket.allow(0.0) for _ in range(101)] == [True] * 100 + [False]

    def test_tokens_come_back_with_time(self) -> None:
        bucket = limits()
        for _ in range(100):
            bucket.allow(0.0)
        assert bucket.allow(0.02)
        assert not bucket.allow(0.02)

    def test_a_steady_client_at_the_rate_is_never_refused(self) -> None:
        bucket = limits()
        assert all(bucket.allow(i / 50) for i in range(1000))
        assert bucket.exceeded is None

    def test_a_flood_ends_the_socket_although_some_of_it_passes(self) -> None:
        bucket = limits()
        sent = 0
        while bucket.exceeded is None:
            if bucket.allow(sent / 500):
                bucket.answered([])
            sent += 1
        assert sent < 150
        assert bucket.exceeded == "too many messages"

    def test_a_client_that_calms_down_is_forgiven(self) -> None:
        bucket = limits()
        for _ in range(119):
            bucket.allow(0.0)
        assert bucket.exceeded is None
        for _ in range(119):
            bucket.allow(10.0)
        assert bucket.exceeded is None


class TestErrors:
    def test_twenty_in_a_row_end_the_socket(self) -> None:
        bucket = limits()
        for _ in range(19):
            bucket.answered(["invalid_message"])
        assert bucket.exceeded is None
        bucket.answered(["room_not_found"])
        assert bucket.exceeded == "too many errors in a row"

    def test_a_good_message_starts_the_row_anew(self) -> None:
        bucket = limits()
        for _ in range(5):
            for _ in range(19):
                bucket.answered(["unknown_type"])
            bucket.answered([])
        assert bucket.exceeded is None

    def test_what_correct_clients_meet_does_not_count(self) -> None:
        bucket = limits()
        for _ in range(100):
            bucket.answered(["shard_unavailable"])
        assert bucket.exceeded is None
