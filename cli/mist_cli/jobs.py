"""Jobs, followed to their end."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from mist_cli.client import Client
from mist_cli.errors import Away, in_options
from mist_cli.show import plain

ACTIVE = {"waiting", "queued", "running"}
ASKED = "asked"  # for somebody else to approve it
FIRST_S, MOST_S = 0.15, 2.0
PATIENT_S = 60.0  # a server that is away for so long while we wait is away


def follow(client: Client, job_id: str, *, quiet: bool = False) -> dict[str, Any]:
    """Wait for a job; what it says and its steps are shown as they come, on standard error. Its answer at the end.

    An interrupted wait ends the wait alone: the job goes on, and we say so.
    """
    try:
        return _follow(client, job_id, quiet=quiet)
    except KeyboardInterrupt:
        click.echo(f"\nThe job goes on. Follow it: mist logs -f {job_id}   Stop it: mist jobs cancel {job_id}", err=True)
        raise click.exceptions.Exit(130) from None


def _follow(client: Client, job_id: str, *, quiet: bool) -> dict[str, Any]:
    seen, pause, is_told, away_since = 0, FIRST_S, False, 0.0
    while True:
        try:
            job: dict[str, Any] = client.get(f"/jobs/{job_id}")
            away_since = 0.0
        except Away:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > PATIENT_S:
                raise
            time.sleep(MOST_S)
            continue
        if not quiet:
            for step in job.get("logs", [])[seen:]:
                detail = f" – {plain(step['detail'])}" if step.get("detail") else ""
                click.echo(f"{name_of(job)}: {plain(step['name'])}{detail}", err=True)
            seen = max(seen, len(job.get("logs", [])))
            if job["state"] == "waiting" and not is_told:
                is_told = True
                when = str(job.get("not_before"))[:19]
                click.echo(f"{name_of(job)}: starts at {when} UTC. To take it back: mist jobs undo {job_id}", err=True)
        if job["state"] not in ACTIVE:
            return job
        _note(job)
        time.sleep(pause)
        pause = min(MOST_S, pause * 1.3)


def tell_asked(job: dict[str, Any], name: str = "") -> None:
    """That it waits for approval, and how it is withdrawn. `job`: the answer to an act, or a job."""
    which = job.get("jobId") or job["id"]
    said = name_of({"action": job["action"], "target_name": name or job.get("target_name")})
    click.echo(f"{said}: waits for somebody else to approve it, as job {which}. To withdraw it: mist jobs cancel {which}", err=True)


def _note(job: dict[str, Any]) -> None:
    """One line that is written over, on a terminal, for a bulk."""
    children = job.get("children")
    if children and sys.stderr.isatty():
        click.echo(f"\r\x1b[K{name_of(job)}: {counted(children)} of {job.get('total')}\r", err=True, nl=False)


def counted(by_state: dict[str, int]) -> str:
    """`9 succeeded, 1 failed`."""
    return ", ".join(f"{number} {state}" for state, number in sorted(by_state.items(), key=lambda pair: -pair[1])) or "nothing yet"


def name_of(job: dict[str, Any]) -> str:
    """`stop web-1`."""
    return plain(f"{str(job['action']).partition('.')[2].replace('_', '-')} {job.get('target_name') or ''}".strip())


def row_of(job: dict[str, Any]) -> dict[str, Any]:
    """A job as a line of what came of an act."""
    return {
        name: job.get(name)
        for name in ("target_name", "action", "state", "error_detail", "error_code", "result", "id", "target_id", "request_id")
    }


def results(client: Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    """A job, or of a bulk each of its children."""
    if not job.get("total"):
        return [job]
    return [row for rows, _ in client.pages("/jobs", {"search": f"parent:{job['id']}"}, None) for row in rows] or [job]


def is_good(job: dict[str, Any]) -> bool:
    return bool(job["state"] == "succeeded") and not job.get("error_code")


def tell_failures(jobs: list[dict[str, Any]]) -> None:
    """Why each that did not succeed, or not wholly, did not."""
    for job in jobs:
        if not is_good(job) and job["state"] not in (*ACTIVE, ASKED):
            why = plain(in_options(job.get("error_detail") or "")) or {"undone": "it was taken back.", "cancelled": "it was stopped."}.get(
                job["state"], ""
            )
            told = ", ".join(part for part in (job.get("error_code"), f"job {job['id']}", f"request id {job.get('request_id')}") if part)
            click.echo(f"mist: {name_of(job)} {job['state']}: {why} ({told})", err=True)
