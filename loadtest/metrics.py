"""The server's own word: what its ``/metrics`` say of its shards, read once a second while a run goes on."""

from __future__ import annotations

import math
import ssl
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from loadtest.report import ServerFigures, ShardFigures

TIMEOUT_S: Final = 2.0
MAX_BYTES: Final = 16 << 20
PREFIX: Final = "antiphon_shard_"
CPU: Final = PREFIX + "forwarding_cpu_seconds_total"


def metrics_url(url: str) -> str:
    """Where the metrics of a target are: beside its ``/ws``, over HTTP."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    path = parts.path.rstrip("/").removesuffix("/ws")
    return urlunsplit((scheme, parts.netloc, path + "/metrics", "", ""))


@dataclass
class Reading:
    """One look at ``/metrics``. ``values``: by name and then by shard; ``drops``: by shard and reason; ``buckets``: by shard, upper bound
    in
    seconds to how many took no longer."""

    at: float
    version: str = ""
    values: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    drops: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    buckets: dict[str, dict[float, float]] = field(default_factory=lambda: defaultdict(dict))


def read(text: str, at: float) -> Reading:
    """Raises :class:`ValueError` where the text is not in Prometheus's format."""
    reading = Reading(at)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            shard = sample.labels.get("shard", "")
            if sample.name == "antiphon_build_info":
                reading.version = sample.labels.get("version", "")
            elif sample.name == PREFIX + "drops_total":
                reading.drops[shard][sample.labels["reason"]] = sample.value
            elif sample.name == PREFIX + "forwarding_latency_seconds_bucket":
                reading.buckets[shard][float(sample.labels["le"])] = sample.value
            elif sample.name.startswith(PREFIX):
                name = sample.name + ("." + sample.labels["direction"] if "direction" in sample.labels else "")
                reading.values[name][shard] = sample.value
    return reading


class ServerWatch:
    """Reads one target's metrics. :meth:`look` never raises: what cannot be read is said in the report."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None, token: str = "", at_url: str = "") -> None:
        self.url = url
        self._at_url = at_url or metrics_url(url)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=tls if tls is not None else True, headers=headers)
        self.note = "it was not asked"
        self.first: Reading | None = None
        """When people began to talk: see :meth:`begin`."""
        self.last: Reading | None = None
        self._lag: dict[str, float] = {}

    async def look(self, now: float) -> Mapping[str, float]:
        """Read them, and return the cores that each shard's forwarding thread has used since the last time."""
        try:
            answer = await self._http.get(self._at_url)
            answer.raise_for_status()
            reading = read(answer.text[:MAX_BYTES], now)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
            self.note = f"{self._at_url} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            return {}
        self.note = ""
        before, self.last = self.last, reading
        for shard, lag_s in reading.values.get(PREFIX + "lag_seconds", {}).items():
            self._lag[shard] = max(self._lag.get(shard, 0.0), lag_s)
        if before is None or reading.at <= before.at:
            return {}
        return {shard: rate(before, reading, CPU, shard) for shard in reading.values.get(CPU, {})}

    def begin(self) -> None:
        """The figures count from the last look on."""
        self.first = self.last
        self._lag.clear()

    def figures(self) -> ServerFigures:
        """What it was like since :meth:`begin`."""
        first, last = self.first, self.last
        if first is None or last is None or last.at <= first.at:
            return ServerFigures(url=self.url, reachable=False, note=self.note or "there was no time to read its metrics twice")
        shards = sorted(last.values.get(PREFIX + "packets_total.in", {}))
        return ServerFigures(
            url=self.url, reachable=True, note=self.note, version=last.version, shards=tuple(self._shard(first, last, s) for s in shards)
        )

    def _shard(self, first: Reading, last: Reading, shard: str) -> ShardFigures:
        known = shard in last.values.get(CPU, {})
        buckets = {bound: increase(first.buckets[shard].get(bound, 0), count) for bound, count in last.buckets[shard].items()}
        drops = {reason: int(increase(first.drops[shard].get(reason, 0), count)) for reason, count in last.drops[shard].items()}
        again = PREFIX + "retransmitted_total"
        lag_s = self._lag.get(shard)
        return ShardFigures(
            shard=shard,
            packets_in_per_s=rate(first, last, PREFIX + "packets_total.in", shard),
            packets_out_per_s=rate(first, last, PREFIX + "packets_total.out", shard),
            forwarding_cpu=rate(first, last, CPU, shard) if known else None,
            latency_p50_ms=bucket_percentile_ms(buckets, 50),
            latency_p99_ms=bucket_percentile_ms(buckets, 99),
            lag_max_ms=None if lag_s is None else 1000 * lag_s,
            retransmitted=int(increase(first.values[again].get(shard, 0), last.values[again].get(shard, 0))),
            drops={reason: count for reason, count in sorted(drops.items()) if count},
        )

    async def close(self) -> None:
        await self._http.aclose()


def increase(before: float, after: float) -> float:
    """Of a counter, which starts at 0 again with its process."""
    return after - before if after >= before else after


def rate(first: Reading, last: Reading, name: str, shard: str) -> float:
    """Per second."""
    return increase(first.values[name].get(shard, 0), last.values[name].get(shard, 0)) / (last.at - first.at)


def bucket_percentile_ms(buckets: Mapping[float, float], percent: float) -> float | None:
    """Of a cumulative histogram in seconds, taken to lie evenly within a bucket; None of nothing."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    if total <= 0:
        return None
    rank, low, below = total * percent / 100, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if math.isinf(bound):
                return 1000 * low
            return 1000 * (low + (bound - low) * (rank - below) / max(1e-9, buckets[bound] - below))
        low, below = bound, buckets[bound]
    return 1000 * low
