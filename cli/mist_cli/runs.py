"""`mist run`: a script of the library, a file or a command on many machines, live."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mist_cli import show
from mist_cli.commands.said import client_of, find, joined, pointed, what_for
from mist_cli.errors import Away, Refused, Usage

if TYPE_CHECKING:
    from mist_cli.client import Client

SHOWN = 20  # groups of a summary
UNKNOWN_EXIT = 1


class WithCommand(click.Command):
    """What stands behind `--` is a command for the hosts, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["command"] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)


@click.command(cls=WithCommand)
@click.argument("words", nargs=-1, metavar="SEARCH... [-- COMMAND...]")
@click.option("-m", "--machine", "machines", multiple=True, help="On this one, by name or id. May be said again.")
@click.option("-s", "--script", default="", help="A script of the library.")
@click.option("-f", "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A script that is here.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the script.")
@click.option("-a", "--args", "arguments", default="", help="Further words of its command line.")
@click.option(
    "-e", "--env", "env", multiple=True, metavar="NAME=VALUE", help="A variable; NAME=secret:REFERENCE is one of the secrets kept there."
)
@click.option("--su", is_flag=True, help="As root, by sudo without a password.")
@click.option("--concurrency", type=click.IntRange(1), default=None, help="Hosts at a time.")
@click.option("--wave", default="", help="So many hosts (10), such a part (20%), or a location or cloud at a time.")
@click.option("--stop-after", type=click.IntRange(1), default=None, help="Failures; then no further host begins.")
@click.option("--timeout", type=click.IntRange(1), default=None, help="Seconds, a host.")
@click.option("--version", "version", type=click.IntRange(1), default=None, help="Of the script, in place of the newest.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Show what it says, to its end.")
@click.option("--dry-run", is_flag=True, help="Have the hosts parse it and run nothing.")
@click.option("--ask", default=None, metavar="WHAT-FOR", help="Where it needs approval: it waits for somebody else to approve it.")
@click.option("--no-prefix", is_flag=True, help="Output alone, without hosts before the lines.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@show.options
@click.pass_context
def run(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    machines: tuple[str, ...],
    script: str,
    path: Path | None,
    output: str,
    query: str,
    **how: Any,
) -> None:
    """Run something on the machines that a SEARCH finds, and show what they say as they say it.

    \b
    mist run tag:env=prod -- uptime -p
    mist run -m web-1 -m db-1 --script backup --param target=/srv
    mist run state:running --file ./check.sh --su

    A command is kept in the library under what it says, so that its run can be looked at and run again. The exit code is that of the
    one host, or 1 when any of several failed.
    """
    client = client_of(ctx)
    what_for(how["ask"])
    command: list[str] = ctx.meta.get("command", [])
    search = joined(words)
    if bool(search) == bool(machines):
        raise Usage("Say where: a search, or --machine." if not search else "Say where by a search or by --machine, not both.")
    if [bool(script), path is not None, bool(command)].count(True) != 1:
        raise Usage("Say what: --script, --file, or a command behind --.")
    where: dict[str, Any] = {"search": search} if search else {"machines": [find(client, "machines", name)["id"] for name in machines]}
    if search:
        _ask(client, search, yes=how["yes"])
    from mist_cli import jobs

    which = find(client, "scripts", script)["id"] if script else kept(client, _text(path, command), _title(path, command))
    try:
        answer = client.send("POST", f"/scripts/{which}/actions/run", {**where, **_how(how)}, ask=how["ask"])
    except Refused as refusal:
        raise pointed(refusal, search) from None
    if answer["state"] == jobs.ASKED:
        jobs.tell_asked(answer)
        show.show({"run": answer["jobId"]}, output, query)
        return
    code = follow(client, answer["jobId"], wait=how["wait"], output=output, query=query, prefix=not how["no_prefix"])
    raise click.exceptions.Exit(code)


def _ask(client: Client, search: str, *, yes: bool) -> None:
    """A search on a terminal is asked about; in a script it is what was written."""
    import sys

    if yes or not sys.stdin.isatty():
        return
    try:
        rows, meta = next(client.pages("/machines", {"search": search, "only": "name"}, 5))
    except Refused as refusal:
        raise pointed(refusal, search) from None
    names = ", ".join(show.plain(row["name"]) for row in rows)
    more = f" and {meta['total'] - len(rows):,} more" if meta["total"] > len(rows) else ""
    if rows:
        click.confirm(f"Run on {names}{more}?", abort=True, err=True, default=True)


def _text(path: Path | None, command: list[str]) -> str:
    if path is not None:
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Usage(f"Cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text in UTF-8'}.") from error
    words = command[0] if len(command) == 1 else shlex.join(command)
    return f"#!/bin/sh\n{words}\n"


def _title(path: Path | None, command: list[str]) -> str:
    return path.name if path is not None else " ".join(command)


def kept(client: Client, text: str, title: str) -> str:
    """The id of a script that says this, made where there is none: its name is of what it says, so that the same one is used again."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    name = f"{show.plain(title)[:60].strip()} ({digest})"
    try:
        return str(find(client, "scripts", name)["id"])
    except Refused as refusal:
        if refusal.status != 404:
            raise
    body = {"name": name, "script": text, "location_type": "inline", "exec_type": "executable", "description": "Run from the command line."}
    made = client.send("POST", "/scripts", body)
    return str(made["id"])


def _how(how: dict[str, Any]) -> dict[str, Any]:
    """The fields of a run that were given."""
    found = {name: how[name] for name in ("concurrency", "wave", "stop_after", "timeout", "version") if how[name]}
    found |= {"su": True} if how["su"] else {}
    found |= {"dry": True} if how["dry_run"] else {}
    if how["params"] and how["arguments"]:
        raise Usage("Either --param or --args: a script has parameters or words.")
    if how["params"]:
        found["params"] = _pairs(how["params"], "--param")
    if how["arguments"]:
        found["params"] = how["arguments"]
    if how["env"]:
        pairs = _pairs(how["env"], "--env")
        found["env"] = {name: {"secret": value[7:]} if value.startswith("secret:") else value for name, value in pairs.items()}
    return found


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    if wrong := [one for one in given if "=" not in one]:
        raise Usage(f"{option} takes NAME=VALUE, not “{wrong[0]}”.")
    return dict(one.split("=", 1) for one in given)


def follow(client: Client, run_id: str, *, wait: bool, output: str, query: str, prefix: bool) -> int:
    """Show a run to its end.  Returns: the exit code."""
    from mist_cli.logs import stream

    if not wait:
        show.show({"run": run_id}, output, query)
        return 0
    if output == "table" and not query:
        try:
            stream(client, run_id, prefix=prefix)
        except (KeyboardInterrupt, BrokenPipeError, Away) as cut:
            click.echo(f"\nThe run goes on. Follow it: mist logs -f {run_id}   Stop it: mist runs cancel {run_id}", err=True)
            if not isinstance(cut, KeyboardInterrupt):
                raise
            return 130
        row = client.get(f"/runs/{run_id}")
        _summary(client, row)
    else:
        from mist_cli import jobs

        jobs.follow(client, run_id, quiet=True)
        row = client.get(f"/runs/{run_id}")
        show.show(hosts_of(client, run_id), output, query)
    if row["total"] == 1:
        one = hosts_of(client, run_id)[0]
        return (
            int(one["exit"]) % 256
            if one["exit"] is not None and one["state"] in ("succeeded", "failed")
            else int(one["state"] != "succeeded")
        )
    return 0 if row["state"] == "succeeded" else UNKNOWN_EXIT


def hosts_of(client: Client, run_id: str) -> list[dict[str, Any]]:
    """The hosts of a run, and of each how it ended."""
    found: list[dict[str, Any]] = []
    while True:
        some = client.get(f"/runs/{run_id}/hosts", start=len(found), limit=10_000)
        found += some
        if len(some) < 10_000:
            return found


def _summary(client: Client, row: dict[str, Any]) -> None:
    """On standard error, by groups of hosts that ended alike and said the same."""
    if row["total"] == 1:
        host = hosts_of(client, row["id"])[0]
        if host["state"] != "succeeded" and host["detail"]:
            click.echo(f"mist: {show.plain(host['name'])}: {show.plain(host['detail'])}", err=True)
        return
    for group in client.get(f"/runs/{row['id']}/groups")[:SHOWN]:
        names = ", ".join(show.plain(name) for name in group["names"]) + (" …" if group["count"] > len(group["names"]) else "")
        told = f"exit {group['exit']}" if group["exit"] is not None else group["code"]
        last = f": {show.cut(show.plain(group['last_line']), 60)}" if group["last_line"] else ""
        click.echo(f"{group['count']:>6} {group['state']} ({told}) {names}{last}", err=True)
    click.echo(
        f"{show.plain(row['name'])}: {row['state']}{'. ' + show.plain(row['note']) if row['note'] else ''} (run {row['id']})", err=True
    )
