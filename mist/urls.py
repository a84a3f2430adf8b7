"""Every address of the web process: what operators ask, the API, the console."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [path("api/v2/", include("mist.api"))]
