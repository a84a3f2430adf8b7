"""What tests of files share."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts import exports as files
from accounts.models import Export
from core.actions import perform
from core.models import Job
from frontend import listing as pages
from machines.models import Machine
from tests.frontend.conftest import Place, run_jobs
from tests.streamed import content_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.MIST_EXPORTS = tmp_path / "exports"
    return tmp_path / "exports"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is long is long at five rows already."""
    monkeypatch.setattr(pages, "DIRECT", 5)


def asked(place: Place, **params: Any) -> Job:
    return perform(place.actor, Export, "create", {"kind": "machine", **params})


def made(place: Place, **params: Any) -> Export:
    job = asked(place, **params)
    run_jobs()
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    return Export.objects.get(pk=job.target_id)


def text_of(export: Export) -> str:
    return files.path_of(export.pk).read_bytes().decode()


def rows_of(export: Export) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(export))))


def many(count: int) -> None:
    """So many machines more, called many-00000 and on."""
    one = Machine.objects.order_by("name")[0]
    columns = {f.attname: getattr(one, f.attname) for f in Machine._meta.concrete_fields if not f.generated}
    rows = [Machine(**{**columns, "id": Machine().pk, "name": f"many-{n:05}", "external_id": f"many-{n}"}) for n in range(count)]
    Machine.objects.bulk_create(rows)


def read(client: Client, url: str) -> str:
    response: Any = client.get(url)
    assert response.status_code == 200, response.content[:300]
    return content_of(response).decode()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
