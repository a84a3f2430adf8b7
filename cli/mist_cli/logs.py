"""What jobs and runs say: `mist logs`, and the lines of a run with their host before them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Any

import click

from mist_cli.commands.said import client_of
from mist_cli.errors import Refused
from mist_cli.show import plain

COLOURS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")


@click.command()
@click.argument("which", metavar="JOB|RUN")
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on until its end; the exit code is not 0 when it failed.")
@click.option("--no-prefix", is_flag=True, help="Output alone, without hosts before the lines.")
@click.pass_context
def logs(ctx: click.Context, which: str, follows: bool, no_prefix: bool) -> None:
    """Show what a job or run has said; -f goes on with what it says."""
    from mist_cli import jobs

    client = client_of(ctx)
    try:
        run = client.get(f"/runs/{which}")  # a run's id is its job's
    except Refused as refusal:
        if refusal.status != 404:
            raise
        run = None
    if run is not None:
        state = stream(client, run["id"], follows=follows, prefix=not no_prefix)
        if follows and state != "succeeded":
            raise click.exceptions.Exit(1)
        return
    job = client.get(f"/jobs/{which}")
    if follows:
        job = jobs.follow(client, job["id"])
    else:
        for step in job.get("logs", []):
            click.echo(f"{step['at'][:19].replace('T', ' ')}  {plain(step['name'])}  {plain(step.get('detail') or '')}".rstrip())
    click.echo(f"{jobs.name_of(job)}: {job['state']}")
    if job["state"] == jobs.ASKED:
        jobs.tell_asked(job)
        return
    jobs.tell_failures([job])
    if follows and not jobs.is_good(job):
        raise click.exceptions.Exit(1)


def stream(client: Any, run_id: str, *, follows: bool = True, prefix: bool = True) -> str:
    """Print a run's output, to its end or (`follows` not) as far as it is.  Returns: its state.

    A stream that was cut is asked for again from where it was.  Raises: Away, once the server has been away for PATIENT_S.
    """
    from mist_cli.errors import Away
    from mist_cli.jobs import MOST_S, PATIENT_S

    after, away_since, shown = 0, 0.0, dict[str, int]()
    writer = Lines(prefix=prefix)
    try:
        while True:
            error: Away | None = None
            try:
                for line in client.lines(f"/runs/{run_id}/stream", after=after, follow=None if follows else "false"):
                    said = json.loads(line)
                    if "end" in said:
                        return str(said["end"])
                    away_since, after = 0.0, said["after"]
                    which = said.get("host_id", "")  # an older server's says neither this nor where it starts
                    if not which or said["start"] >= shown.get(which, 0):  # else it was shown before the cut
                        shown[which] = said.get("start", 0) + 1
                        writer.write(said["host"], said["stream"], said["text"])
            except Away as caught:
                error = caught
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > PATIENT_S:
                raise error or Away(f"The stream of run {run_id} breaks off again and again.")
            time.sleep(MOST_S / 2)
    finally:
        writer.end()


class Lines:
    """Output of many hosts as whole lines, each behind its host; on a terminal in a colour of its own, and nothing that it would obey."""

    def __init__(self, *, prefix: bool) -> None:
        self.prefix = prefix
        self._open: dict[tuple[str, str], str] = {}
        self._is_terminal = sys.stdout.isatty()

    def write(self, host: str, stream_name: str, text: str) -> None:
        text = self._open.pop((host, stream_name), "") + text
        *whole, rest = text.split("\n")
        self._put(host, stream_name, whole)
        if rest:
            self._open[host, stream_name] = rest

    def end(self) -> None:
        """What was not ended by a newline."""
        for (host, stream_name), text in self._open.items():
            self._put(host, stream_name, [text])
        self._open.clear()
        sys.stdout.flush()

    def _put(self, host: str, stream_name: str, lines: Iterable[str]) -> None:
        if not self.prefix:
            out = sys.stderr if stream_name == "stderr" else sys.stdout
            out.write("".join(f"{self._clean(line)}\n" for line in lines))
            out.flush()
            return
        name = plain(host)
        head = click.style(name, fg=COLOURS[sum(map(ord, name)) % len(COLOURS)]) if self._is_terminal else name
        mark = "!" if stream_name == "stderr" else "|"
        sys.stdout.write("".join(f"{head} {mark} {self._clean(line)}\n" for line in lines))
        sys.stdout.flush()

    def _clean(self, line: str) -> str:
        line = line.removesuffix("\r")
        return "\t".join(plain(part) for part in line.split("\t")) if self._is_terminal else line
