"""Every address of the console. The organization is the first part; a name in a path is decoration, the id before it counts."""

from __future__ import annotations

from allauth.account.views import login, logout
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from frontend.views import (
    bulk,
    clouds,
    create,
    dashboard,
    drafts,
    entry,
    export,
    jobs,
    keys,
    log,
    machine,
    machines,
    sessions,
    settings,
    shells,
    teams,
)

org: list[URLPattern | URLResolver] = [
    path("", dashboard.DashboardView.as_view()),
    path("machines", machines.MachinesView.as_view()),
    path("machines.csv", export.MachinesCsvView.as_view()),
    path("machines/views", machines.SaveViewView.as_view()),
    path("machines/new", create.CreateMachineView.as_view()),
    path("machines/new/<slug:part>", create.CreatePartView.as_view()),
    path("machines/bulk", bulk.BulkBarView.as_view()),
    path("machines/bulk/<slug:verb>", bulk.BulkActView.as_view()),
    path("machines/<str:identity>/do/<slug:verb>", machine.MachineActView.as_view()),
    path("machines/<str:identity>/menu", machine.MachineMenuView.as_view()),
    path("machines/<str:identity>/log", machine.MachineEventsView.as_view()),
    path("machines/<str:identity>/volumes", machine.MachineVolumesView.as_view()),
    path("machines/<str:identity>/networks", machine.MachineNetworksView.as_view()),
    path("machines/<str:identity>/snapshots", machine.MachineSnapshotsView.as_view()),
    path("machines/<str:identity>/keys", machine.MachineKeysView.as_view()),
    path("machines/<str:identity>/shell", shells.OpenShellView.as_view()),
    path("machines/<str:identity>", machine.MachineView.as_view()),
    path("shells", shells.ShellsView.as_view()),
    path("shells/snippets", shells.SnippetsView.as_view()),
    path("shells/<str:identity>/join", shells.TicketView.as_view(), {"verb": "join"}),
    path("shells/<str:identity>/watch", shells.TicketView.as_view(), {"verb": "watch"}),
    path("sessions", sessions.SessionsView.as_view()),
    path("sessions/<str:identity>/cast", sessions.CastView.as_view()),
    path("sessions/<str:identity>/output", sessions.OutputView.as_view()),
    path("sessions/<str:identity>/do/<slug:verb>", sessions.SessionDoView.as_view()),
    path("sessions/<str:identity>", sessions.SessionView.as_view()),
    path("clouds", clouds.CloudsView.as_view()),
    path("clouds/new", clouds.AddCloudView.as_view()),
    path("clouds/new/<slug:provider>", clouds.AddCloudView.as_view()),
    path("clouds/<str:identity>/do/<slug:verb>", clouds.CloudActView.as_view()),
    path("clouds/<str:identity>", clouds.CloudView.as_view()),
    path("keys", keys.KeysView.as_view()),
    path("keys/new", keys.NewKeyView.as_view()),
    path("keys/hosts", keys.HostKeysView.as_view()),
    path("keys/<str:identity>", keys.KeyView.as_view()),
    path("teams", teams.TeamsView.as_view()),
    path("teams/<str:identity>", teams.TeamView.as_view()),
    path("settings/profile", settings.ProfileView.as_view()),
    path("settings/password", settings.PasswordView.as_view()),
    path("settings/sessions", settings.SessionsView.as_view()),
    path("settings/tokens", settings.TokensView.as_view()),
    path("settings/organization", settings.OrganizationView.as_view()),
    path("drafts/<str:form>", drafts.DraftView.as_view()),
    path("jobs", jobs.JobsView.as_view()),
    path("jobs/<str:identity>", jobs.JobView.as_view()),
    path("jobs/<str:identity>/<slug:what>", jobs.JobDoView.as_view()),
    path("log", log.LogView.as_view()),
    path("log.csv", export.LogFileView.as_view(), {"form": "csv"}),
    path("log.jsonl", export.LogFileView.as_view(), {"form": "jsonl"}),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", entry.home),
    path("first-run", entry.first_run),
    path("account/", include("allauth.urls")),
    path("sign-in", login, name="account_login"),  # after the include: of two with a name, the last is the address that is written
    path("sign-out", logout, name="account_logout"),
    path("o/<slug:slug>", RedirectView.as_view(url="/o/%(slug)s/")),
    path("o/<slug:slug>/", include(org)),
]
