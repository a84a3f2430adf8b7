"""Files that are not finished: cancelled, a lost worker, a full disk, no room; and how much is held while one is made."""

from __future__ import annotations

import resource
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts import exports as files
from accounts.models import Export
from core import actions, exports, jobs, listing
from core.errors import Failed
from core.jobs import give_up_lost
from core.models import Job
from machines.models import Machine
from tests.frontend.conftest import Place, run_jobs
from tests.frontend.exports.conftest import asked, left, many, rows_of

pytestmark = pytest.mark.django_db


# --- what goes wrong --------------------------------------------------------------------------------------------------


def stopped_after(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Small pages, and something that happens after the first."""
    once = iter([act])
    plain = exports.Source.pages

    def paged(self: exports.Source, *args: Any) -> Iterator[list[exports.Row]]:
        for page in plain(self, *args):
            yield page[: len(page) // 2]
            next(once, lambda: None)()
            yield page[len(page) // 2 :]

    monkeypatch.setattr(exports.Source, "pages", paged)


def test_a_cancelled_one_leaves_nothing(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(place)
    seen: list[list[str]] = []

    def cancel() -> None:
        seen.append(left(folder))
        Job.objects.filter(pk=job.pk).update(cancel_requested=True)

    stopped_after(monkeypatch, cancel)
    run_jobs()
    job.refresh_from_db()
    assert seen == [[f"{job.target_id.hex}.part"]]  # type: ignore[union-attr]
    assert job.state == "cancelled"
    assert left(folder) == []
    assert (job.done, job.total) == (15, Machine.objects.count()) or job.done
    files.sweep()
    assert not Export.objects.exists()


def test_one_cancelled_before_it_began_is_gone(place: Place) -> None:
    job = asked(place)
    jobs.cancel(place.actor, job)
    assert not Export.objects.exists()


def test_a_worker_that_died_leaves_no_part(place: Place, folder: Path) -> None:
    job = asked(place)
    claimed = actions.claim(job.pk, "died")
    assert claimed is not None
    folder.mkdir()
    (folder / f"{job.target_id.hex}.part").write_text("id,na")  # type: ignore[union-attr]
    files.sweep()
    assert len(left(folder)) == 1, "it may be at work"
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(minutes=5))
    assert give_up_lost() == 1
    assert files.sweep() == 1
    assert left(folder) == []
    assert not Export.objects.exists()


def test_a_full_disk_fails_the_job_in_clear_words(place: Place, folder: Path) -> None:
    job = asked(place)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # the kernel takes no more
        claimed = actions.claim(job.pk, "test")
        assert claimed is not None
        actions.run(claimed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, was)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "disk_full")
    assert "disk of the server is full" in job.error_detail
    assert left(folder) == []
    assert job.retries.count() == 0
    again = jobs.retry(place.actor, job)
    run_jobs()
    assert Export.objects.get(pk=again.target_id).is_kept


def test_where_nothing_can_be_written(place: Place, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.MIST_EXPORTS = tmp_path / "file" / "exports"
    job = asked(place)
    run_jobs()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "not_written")


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path, place: Place) -> None:
    job = asked(place)
    folder.mkdir()
    (folder / f"{job.target_id.hex}.part").symlink_to(tmp_path / "elsewhere")  # type: ignore[union-attr]
    run_jobs()
    assert not (tmp_path / "elsewhere").exists()


# --- how far, and how much at a time ----------------------------------------------------------------------------------


def test_the_job_says_how_far_it_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(place)
    shown: list[str] = []
    stopped_after(monkeypatch, lambda: shown.append(""))
    plain = actions.Call.progress

    def told(self: actions.Call, done: int, total: int) -> None:
        plain(self, done, total)
        shown.append(place.admin.get(f"{place.base}/jobs/{job.pk.hex}").content.decode())

    monkeypatch.setattr(actions.Call, "progress", told)
    run_jobs()
    count = Machine.objects.count()
    assert any(f"{count // 2} of {count} done" in page for page in shown)


def test_a_page_is_held_and_no_more_however_many_rows(place: Place, folder: Path) -> None:
    """A hundred thousand rows: what is held stays what one page takes."""
    made_rows = 100_000
    held = [0]

    class Many(exports.Source):
        def pages(self, actor: Any, query: listing.Query, columns: Any) -> Iterator[list[exports.Row]]:
            for start in range(0, made_rows, listing.MOST):
                yield [{"name": f"machine-{start + n}", "tags": {"a": "b" * 50}} for n in range(listing.MOST)]
                held[0] = max(held[0], tracemalloc.get_traced_memory()[0])

    source = Many(model=Machine, cells={"name": str, "tags": str}, rows=Machine.objects.all)
    tracemalloc.start()
    try:
        pieces = source.file("csv", place.actor, listing.Query(), ["name", "tags"])
        size = files.write(place.org.pk, pieces, 1 << 30)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 5_000_000
    assert peak < 3_000_000, peak


def test_a_large_fleet_is_read_in_pages(place: Place, django_assert_max_num_queries: Any) -> None:
    many(6000)
    assert place.admin.get(f"{place.base}/machines.csv?q=name:many-")["Content-Type"].startswith("text/html"), "6,000 are too many at once"
    job = asked(place, search="name:many-", sort="-name")
    claimed = actions.claim(job.pk, "test")
    assert claimed is not None
    with django_assert_max_num_queries(60):
        actions.run(claimed)
    found = rows_of(Export.objects.get(pk=job.target_id))
    assert [row["name"] for row in found] == [f"many-{n:05}" for n in reversed(range(6000))]


def test_what_is_written_meanwhile_by_somebody_who_was_given_up(place: Place, folder: Path) -> None:
    job = asked(place)
    Export.objects.all().delete()
    with pytest.raises(Failed):
        files.write(job.target_id, iter([b"x" * 10]), 5)  # type: ignore[arg-type]
    assert left(folder) == []
