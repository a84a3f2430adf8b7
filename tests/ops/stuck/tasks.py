"""Tasks that misbehave."""

from __future__ import annotations

import time
from pathlib import Path

from celery import shared_task


@shared_task(ignore_result=True, time_limit=1)
def hang(seconds: float) -> None:
    """Wait in the kernel far past the limit: no exception reaches a thread that sleeps."""
    time.sleep(seconds)


@shared_task(ignore_result=True)
def note(file: str, words: str, after_s: float = 0) -> None:
    """Append a line to a file."""
    time.sleep(after_s)
    with Path(file).open("a") as handle:
        handle.write(f"{words}\n")
