"""Every address of the web process: what operators ask, the API, the console."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from accounts.urls import pages
from mist import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics_page),
    path("api/v2/", include("mist.api")),
    *pages,
    path("", include("frontend.urls")),
]
