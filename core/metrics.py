"""What a process counts of its own doings, for Prometheus. What all processes share is asked of the database: mist/metrics.py."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("mist_requests", "HTTP requests answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram("mist_request_seconds", "Time to answer", ["route"], buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30))
SOCKETS = Gauge("mist_sockets", "Open WebSockets of this process")
