"""What jobs and runs say: `mist logs`, and the lines of a run with their host before them."""

from __future__ import annotations

import json
import sys
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
    jobs.tell_failures([job])
    if follows and not jobs.is_good(job):
        raise click.exceptions.Exit(1)


def stream(client: Any, run_id: str, *, follows: bool = True, prefix: bool = True) -> str:
    """Print a run's output, to its end or (`follows` not) as far as it is.  Returns: its state.

    A stream that was cut is asked for again from where it was.
    """
    from mist_cli.errors import Away

    after, cuts, state = 0, 0, "running"
    writer = Lines(prefix=prefix)
    while True:
        try:
            for line in client.lines(f"/runs/{run_id}/stream", after=after, follow=None if follows else "false"):
                said = json.loads(line)
                if "end" in said:
                    writer.end()
                    return str(said["end"])
                writer.write(said["host"], said["stream"], said["text"])
                after, cuts = said["after"], 0
            cuts += 1
        except Away:
            cuts += 1
            if cuts > 3:
                raise
        if cuts > 3:
            writer.end()
            return state


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
