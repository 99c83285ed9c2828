"""What one socket, one address and all together may send."""

from __future__ import annotations

from control.limits import KeyedRate, SocketLimits


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


class TestBytes:
    def test_a_burst_of_bytes_passes_and_more_comes_back_with_time(self) -> None:
        bucket = SocketLimits(per_s=50, burst=100, errors_in_a_row=20, bytes_per_s=1000, byte_burst=4000)
        assert [bucket.allow(0.0, 1500) for _ in range(3)] == [True, True, False]
        assert bucket.allow(0.5, 1500)

    def test_a_flood_of_long_messages_ends_the_socket_though_they_are_few(self) -> None:
        bucket = SocketLimits(per_s=50, burst=100, errors_in_a_row=20, bytes_per_s=1000, byte_burst=4000)
        sent = 0
        while bucket.exceeded is None and sent < 100:
            bucket.allow(sent / 10, 2000)
            sent += 1
        assert sent < 40


class TestAddresses:
    def rate(self) -> KeyedRate:
        return KeyedRate(per_s=1, burst=3, total_per_s=10, total_burst=5)

    def test_one_address_cannot_take_everybodys_share(self) -> None:
        rate = self.rate()
        assert [rate.take("a", 0.0) for _ in range(5)] == [None, None, None, "key", "key"]
        assert [rate.take("b", 0.0) for _ in range(3)] == [None, None, "total"]

    def test_what_is_refused_for_all_costs_an_address_nothing(self) -> None:
        rate = self.rate()
        for key in "abcde":
            assert rate.take(key, 0.0) is None
        for _ in range(10):
            assert rate.take("f", 0.0) == "total"
        assert [rate.take("f", 1.0) for _ in range(3)] == [None] * 3

    def test_addresses_that_have_calmed_down_are_forgotten(self) -> None:
        rate = self.rate()
        rate.take("a", 0.0)
        rate.take("b", 2.5)
        rate.forget_idle(3.0)
        assert len(rate) == 1
        rate.forget_idle(4.0)
        assert len(rate) == 0
