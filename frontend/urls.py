"""Every address of the console. The organization is the first part; a name in a path is decoration, the id before it counts."""

from __future__ import annotations

from allauth.account.views import login, logout
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from frontend.views import bulk, clouds, dashboard, entry, jobs, log, machines

org: list[URLPattern | URLResolver] = [
    path("", dashboard.DashboardView.as_view()),
    path("machines", machines.MachinesView.as_view()),
    path("machines/bulk", bulk.BulkBarView.as_view()),
    path("machines/bulk/<slug:verb>", bulk.BulkActView.as_view()),
    path("machines/<str:identity>/do/<slug:verb>", machines.MachineActView.as_view()),
    path("machines/<str:identity>/menu", machines.MachineMenuView.as_view()),
    path("machines/<str:identity>/log", machines.MachineEventsView.as_view()),
    path("machines/<str:identity>/snapshots", machines.MachineSnapshotsView.as_view()),
    path("machines/<str:identity>/keys", machines.MachineKeysView.as_view()),
    path("machines/<str:identity>", machines.MachineView.as_view()),
    path("clouds", clouds.CloudsView.as_view()),
    path("clouds/new", clouds.AddCloudView.as_view()),
    path("clouds/new/<slug:provider>", clouds.AddCloudView.as_view()),
    path("clouds/<str:identity>/do/<slug:verb>", clouds.CloudActView.as_view()),
    path("clouds/<str:identity>", clouds.CloudView.as_view()),
    path("jobs", jobs.JobsView.as_view()),
    path("jobs/<str:identity>", jobs.JobView.as_view()),
    path("jobs/<str:identity>/<slug:what>", jobs.JobDoView.as_view()),
    path("log", log.LogView.as_view()),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", entry.home),
    path("account/", include("allauth.urls")),
    path("sign-in", login, name="account_login"),  # after the include: of two with a name, the last is the address that is written
    path("sign-out", logout, name="account_logout"),
    path("o/<slug:slug>", RedirectView.as_view(url="/o/%(slug)s/")),
    path("o/<slug:slug>/", include(org)),
]
