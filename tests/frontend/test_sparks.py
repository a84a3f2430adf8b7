"""Sparklines of the machines list: there once something measures, of those one may see, and never in the list's way."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from uuid import UUID

import pytest
from django.utils import timezone

from core.actor import Actor
from frontend import columns, fragments, sparks
from frontend.sparks import Series, drawn
from machines.models import Machine
from tests.frontend.conftest import Place

asked: list[set[UUID]] = []


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an app that measures would: every second machine has figures."""
    monkeypatch.setattr(columns.MACHINES, "known", columns.MACHINES.known)
    monkeypatch.setattr(columns.MACHINES, "default", columns.MACHINES.default)
    monkeypatch.setattr(sparks, "_readers", {})
    asked.clear()

    @sparks.series("cpu", "CPU", after="address")
    def _cpu(actor: Actor, ids: Collection[UUID]) -> Mapping[UUID, Series]:
        asked.append(set(ids))
        return {pk: Series(points=[10, 50, 98], text="98 %", top=100, is_critical=True) for pk in sorted(ids)[::2]}


def titles(body: str) -> list[str]:
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", body, re.DOTALL)]


def test_without_figures_there_is_no_such_column(place: Place) -> None:
    body = place.admin.get(f"{place.base}/machines").content.decode()
    assert "CPU" not in titles(body)
    assert "spk" not in body


def test_what_is_measured_is_a_column_of_the_list_its_menu_and_its_live_rows(place: Place, measured: None) -> None:
    body = place.admin.get(f"{place.base}/machines").content.decode()
    assert titles(body)[titles(body).index("Address") + 1] == "CPU"
    shown = {UUID(pk) for pk in re.findall(r'data-live="machine.row:([0-9a-f]{32})"', body)}
    assert asked == [shown]
    assert body.count('class="spk"') == (len(shown) + 1) // 2
    assert '<b class="num c-crit">98 %</b>' in body
    assert 'value="cpu" checked' in re.sub(r"\s+", " ", place.admin.get(f"{place.base}/machines").content.decode())
    viewer = fragments.Viewer(org=place.org, user=place.owner, actor=place.actor, how={"cols": "cpu,size"})
    rows = fragments.render(viewer, "machine.row", shown)
    assert sum("spk" in row for row in rows.values()) == (len(shown) + 1) // 2
    for other in ("cols=size", f"at={timezone.now().isoformat().replace('+', '%2B')}"):  # figures are of now
        assert "spk" not in place.admin.get(f"{place.base}/machines?{other}").content.decode()


def test_nobody_is_told_of_machines_they_may_not_see(place: Place, measured: None) -> None:
    place.nobody.get(f"{place.base}/machines")
    assert place.stranger.get(f"{place.base}/machines").status_code == 404
    assert [one for one in asked if one] == []


def test_a_list_is_there_where_its_figures_are_not(place: Place, monkeypatch: pytest.MonkeyPatch, measured: None) -> None:
    def away(actor: Actor, ids: Collection[UUID]) -> Mapping[UUID, Series]:
        raise ConnectionError("whatever measures is away")

    monkeypatch.setitem(sparks._readers, "cpu", away)
    answer = place.admin.get(f"{place.base}/machines")
    assert answer.status_code == 200
    assert Machine.objects.filter(name__in=re.findall(r'class="nm clip"[^>]*>([^<]+)', answer.content.decode())).exists()
    assert "spk" not in answer.content.decode()


def test_a_file_of_the_list_has_no_sparklines(place: Place, measured: None) -> None:
    assert "cpu" not in columns.MACHINES.filed("address,cpu,size")
    assert columns.MACHINES.filed("address,cpu,size")


def paths(one: Series) -> tuple[str, str]:
    area, line = re.findall(r' d="([^"]*)"', drawn(one))
    return area, line


def test_a_line_goes_from_the_ground_to_its_top_and_gaps_stay_gaps() -> None:
    assert paths(Series(points=[0, 100, 50], text="", top=100))[1] == "M0 165L290 15L580 90"
    assert paths(Series(points=[0, 7], text=""))[1] == "M0 165L580 15"
    area, line = paths(Series(points=[1, 1, None, 1, 1], text="", top=2))
    assert line == "M0 90L145 90M435 90L580 90"
    assert area == "M0 90L145 90V180H0zM435 90L580 90V180H435z"
    assert "<path" not in drawn(Series(points=[None, None], text=""))
    assert "<path" not in drawn(None)
    assert paths(Series(points=[-5, 900], text="", top=100))[1] == "M0 165L580 15"


def test_of_many_points_two_a_pixel_are_sent_and_no_peak_is_lost() -> None:
    points: list[float | None] = [10.0] * 5000
    points[3333], points[100] = 99.0, None
    line = paths(Series(points=points, text="", top=99))[1]
    assert len(re.findall(r"[ML]", line)) <= 2 * sparks.BUCKETS
    assert " 15" in line
    assert line.count("M") == 2


def test_what_it_says_is_text() -> None:
    assert "<script>" not in drawn(Series(points=[1], text="<script>alert(1)</script>"))
