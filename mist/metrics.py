"""Figures for Prometheus: what this process counted (`core.metrics`), and what all share, asked of the database at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from accounts.models import Export
from clouds.models import Poll
from core.models import Job, Worker

CONTENT_TYPE = CONTENT_TYPE_LATEST
RECENT = timedelta(hours=1)

Rows = Iterable[tuple[tuple[str, ...], float]]


def jobs() -> Rows:
    rows = Job.objects.filter(state__in=Job.OPEN).values_list("state").annotate(n=Count("pk"))
    found = dict.fromkeys(Job.OPEN, 0) | dict(rows.values_list("state", "n"))
    return [((str(state),), n) for state, n in found.items()]


def ended_jobs() -> Rows:
    since = UUID(int=int((timezone.now() - RECENT).timestamp() * 1000) << 80)  # ids are time-ordered, and the only index on time alone
    rows = Job.objects.filter(pk__gte=since).exclude(state__in=Job.OPEN).values("state").annotate(n=Count("pk"))
    return [((row["state"],), row["n"]) for row in rows]


def queue_ages() -> Rows:
    now = timezone.now()
    rows = Job.objects.filter(state=Job.State.QUEUED).values("queue").annotate(since=Min("queued_at"))
    return [((row["queue"],), (now - row["since"]).total_seconds()) for row in rows if row["since"]]


def polls() -> Rows:
    rows = Poll.objects.filter(cloud__enabled=True)
    grouped = rows.values("cloud_id").annotate(good=Count("pk", filter=Q(failures=0)), bad=Count("pk", filter=Q(failures__gt=0)))
    for row in grouped:
        yield (row["cloud_id"].hex, "ok"), row["good"]
        yield (row["cloud_id"].hex, "failing"), row["bad"]


def workers() -> Rows:
    rows = Worker.objects.filter(beat_at__gte=timezone.now() - timedelta(seconds=20)).values("queue").annotate(n=Count("pk"))
    return [((row["queue"],), row["n"]) for row in rows]


def pool() -> Rows:
    if not connection.settings_dict["OPTIONS"].get("pool"):
        return []
    return [((name,), value) for name, value in connection.pool.get_stats().items()]


def exports() -> Rows:
    kept = Export.objects.aggregate(kept=Sum("size_bytes"))["kept"] or 0
    return [((), kept)]


ASKED: list[tuple[str, str, tuple[str, ...], Callable[[], Rows]]] = [
    ("mist_jobs", "Jobs that are not over", ("state",), jobs),
    ("mist_jobs_ended_last_hour", "Jobs asked for in the last hour that are over", ("state",), ended_jobs),
    ("mist_queue_age_seconds", "How long the oldest queued job has waited", ("queue",), queue_ages),
    ("mist_polls", "Kinds listed, by cloud and by how the last listing went", ("cloud", "outcome"), polls),
    ("mist_workers", "Worker processes that live", ("queue",), workers),
    ("mist_export_bytes", "Bytes of files of lists that are kept", (), exports),
    ("mist_database_pool", "psycopg's pool in this process", ("what",), pool),
]


class _Shared(Collector):
    def collect(self) -> Iterator[Metric]:
        for name, words, labels, ask in ASKED:
            family = GaugeMetricFamily(name, words, labels=labels)
            for values, value in ask():
                family.add_metric(values, value)
            yield family

    def describe(self) -> list[Metric]:
        return []  # asked of the database at a scrape alone, not when registered


REGISTRY.register(_Shared())


def text() -> bytes:
    """All figures, in Prometheus' text format."""
    return generate_latest()
