"""Figures for Prometheus. What one process knows (requests, sockets, its pool) it counts; what all share is asked of the database.

An app adds its own with `@gauge`: a function that is asked at each scrape, in whatever web process answers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from django.db import connection
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST

REQUESTS = Counter("mist_requests", "HTTP requests answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram("mist_request_seconds", "Time to answer", ["route"], buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30))
SOCKETS = Gauge("mist_sockets", "Open WebSockets of this process", ["kind"])

Rows = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    name: str
    help: str
    labels: tuple[str, ...]
    ask: Callable[[], Rows]


_asked: dict[str, _Asked] = {}


def gauge(name: str, help: str, *labels: str) -> Callable[[Callable[[], Rows]], Callable[[], Rows]]:
    """Decorator: a function that yields (label values, value) whenever the figures are read."""

    def add(ask: Callable[[], Rows]) -> Callable[[], Rows]:
        _asked[name] = _Asked(name=name, help=help, labels=labels, ask=ask)
        return ask

    return add


class _Collector:
    def collect(self) -> Iterator[Metric]:
        for asked in _asked.values():
            family = GaugeMetricFamily(asked.name, asked.help, labels=asked.labels)
            for values, value in asked.ask():
                family.add_metric(values, value)
            yield family

    def describe(self) -> list[Metric]:
        return []


REGISTRY.register(_Collector())


def text() -> bytes:
    """All figures, in Prometheus' text format."""
    return generate_latest()


@gauge("mist_database_pool", "psycopg's pool in this process", "what")
def pool_stats() -> Rows:
    pool = connection.pool if connection.settings_dict["OPTIONS"].get("pool") else None  # type: ignore[attr-defined]
    stats: Mapping[str, float] = pool.get_stats() if pool is not None else {}
    return [((name,), value) for name, value in stats.items()]
