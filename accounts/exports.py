"""Files of lists: written a piece at a time where nobody chooses the name, kept for a day, then swept."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from accounts.models import Export
from core import events
from core.actor import Actor
from core.errors import Conflict, Failed, NotFound
from core.models import Job
from core.ticks import every

log = logging.getLogger(__name__)

KEPT = timedelta(hours=24)
PART = ".part"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def path_of(export_id: UUID) -> Path:
    """Where a file is once it is whole; web, worker and scheduler share the folder."""
    return Path(settings.MIST_EXPORTS) / export_id.hex


def room_for(org_id: UUID) -> int:
    """Bytes an organization may still keep."""
    kept = Export.objects.filter(org_id=org_id).aggregate(kept=Sum("size_bytes"))["kept"] or 0
    return max(0, (settings.MIST_EXPORTS_MIB << 20) - int(kept))


def write(export_id: UUID, pieces: Iterable[bytes], most_bytes: int) -> int:
    """Write the file whole or not at all: whatever happens meanwhile leaves no part of it.

    Returns: its size in bytes.  Raises: Failed: no room, or the disk says no; and whatever `pieces` does.
    """
    whole = path_of(export_id)
    part = whole.with_suffix(PART)
    size, moved = 0, False
    try:
        whole.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            for piece in pieces:
                size += len(piece)
                if size > most_bytes:
                    kept = settings.MIST_EXPORTS_MIB
                    detail = f"Your organization keeps {kept:,} MiB of files at most. Narrow the search, or delete files you have fetched."
                    raise Failed(detail, code="no_room")
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.rename(whole)
        moved = True
    except OSError as error:
        log.error("the file of export %s cannot be written: %s", export_id, error.strerror)
        if error.errno in FULL:
            detail = "The disk of the server is full: the file was not made. Tell who runs this installation, then try again."
            raise Failed(detail, code="disk_full") from error
        why = (error.strerror or type(error).__name__).lower()
        raise Failed(f"The server could not write the file: {why}. Tell who runs this installation.", code="not_written") from error
    finally:
        if not moved:
            with suppress(OSError):  # it may never have been made
                part.unlink()
    return size


def file_for(actor: Actor, export: Export) -> Path:
    """The file, for the one who asked for it.  Raises: NotFound: for everybody else, and once it is swept; Conflict: not made yet."""
    if actor.user_id is None or export.owner_id != actor.user_id or export.org_id != actor.org_id:
        raise NotFound
    if export.expires_at is None:
        raise Conflict("The file is not made yet. Follow its job, then fetch it.", code="not_ready")
    path = path_of(export.pk)
    if not export.is_kept or not path.exists():
        raise NotFound
    return path


@every(30)
def sweep() -> int:
    """Remove files that were kept long enough, and what jobs that ended badly left behind.  Returns: how many files."""
    _expire()
    at_work = Job.objects.filter(target_kind="export", state__in=Job.OPEN, target_id__isnull=False).values("target_id")
    Export.objects.filter(expires_at=None).exclude(pk__in=at_work).delete()
    folder, gone = Path(settings.MIST_EXPORTS), 0
    found = {path: path.stem for path in folder.iterdir()} if folder.is_dir() else {}
    known = {pk.hex: expires for pk, expires in Export.objects.values_list("pk", "expires_at")}
    for path, name in found.items():
        if name in known and (known[name] is None or path.suffix != PART):
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.error("%s cannot be removed: %s", path.name, error.strerror)
            continue
        gone += 1
    return gone


def _expire() -> None:
    for row in Export.objects.filter(expires_at__lte=timezone.now())[:1000]:
        detail = {"rows": row.rows, "size_bytes": row.size_bytes}
        events.record("export.expired.observed", Actor.system(row.org_id, via="retention"), target=row, detail=detail)
        row.delete()
