"""Every address of the web process: what operators ask, the API, the console."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView

from accounts.urls import pages
from core.api.errors import no_such_address
from mist import health

handler500 = "frontend.views.entry.broken"
urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics_page),
    path("api/v2", RedirectView.as_view(url="/api/v2/")),
    path("api/v2/", include("mist.api")),
    re_path(r"^api(?:/.*)?$", no_such_address),
    *pages,
    path("", include("frontend.urls")),
]
