"""Commands that read: a list, one object, some of it, or a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mist_cli import show
from mist_cli.commands.said import Json, about, asked_of, common, in_context, joined, pointed, queries, told
from mist_cli.errors import Refused, Usage

if TYPE_CHECKING:
    from mist_cli.client import Client

LISTED = 100  # rows of a list when nothing is said


def lists(noun: str, command: Json) -> click.Command:
    """`mist machines [SEARCH…]`."""
    path_takes = command["takes"]
    own: list[click.Parameter] = [click.Argument([f"path_{name}"], metavar=name.upper()) for name in path_takes]
    own += [
        click.Argument(["words"], nargs=-1, metavar="[SEARCH]..."),
        click.Option(["--sort"], default="", metavar="FIELD", help="Sort by it; -FIELD the other way."),
        click.Option(["--limit"], type=click.IntRange(1), default=LISTED, show_default=True, help="Rows."),
        click.Option(["--all", "everything"], is_flag=True, help="All rows, however many."),
        click.Option(["--columns"], default="", metavar="A,B,…", help="Which fields; tag:KEY is the value of a tag."),
        *queries(command, ("sort", "limit", "all", "columns")),
    ]

    @click.pass_context
    def run(
        ctx: click.Context,
        /,
        words: tuple[str, ...],
        sort: str,
        limit: int,
        everything: bool,
        columns: str,
        output: str,
        query: str,
        **given: Any,
    ) -> None:
        client = in_context(ctx, given)
        wanted = [name.strip() for name in columns.split(",") if name.strip()]
        asked: Json = {**asked_of(command, given), "search": joined(words), "sort": sort}
        if words and not command["search"]:
            raise Usage(f"{noun} cannot be searched.")
        if wanted and command["only"]:
            asked["only"] = ",".join(dict.fromkeys("tags" if name.startswith("tag:") else name.partition(".")[0] for name in wanted))
        from mist_cli.client import fill

        path = fill(command["path"], *(given[f"path_{name}"] for name in path_takes))
        rows: list[Json] = []
        meta: Json = {}
        try:
            for page, meta in client.pages(path, asked, None if everything else limit, by_cursor=command["cursor"]):  # noqa: B007
                rows += page
        except Refused as refusal:
            raise pointed(refusal, asked["search"]) from None
        total = meta.get("total", len(rows))
        show.show(rows, output, query, wanted)
        if len(rows) < total and (meta.get("next") or not command["cursor"]) and output == "table":
            roughly = "about " if meta.get("total_is_estimate") else ""
            click.echo(f"{len(rows)} of {roughly}{total:,}. All: --all", err=True)
        elif not rows and output == "table" and not query:
            click.echo(
                f"No {noun.replace('-', ' ')} match." if words else f"There are no {noun.replace('-', ' ')} that you may see.", err=True
            )

    return click.Command("list", callback=run, params=common(*own), help=about(command))


def reads(noun: str, name: str, command: Json) -> click.Command:
    """`mist machines show web-1`: one object, some of it, or a file."""
    own: list[click.Parameter] = [_path_argument(noun, which, at) for at, which in enumerate(command["takes"])]
    if command.get("only"):
        own.append(click.Option(["--columns"], default="", metavar="A,B,…", help="Which fields."))
    own += queries(command, ("columns",))

    @click.pass_context
    def run(ctx: click.Context, /, output: str, query: str, columns: str = "", **given: Any) -> None:
        from mist_cli.client import fill

        client = in_context(ctx, given)
        path = fill(command["path"], *(given[f"path_{which}"] for which in command["takes"]))
        asked = asked_of(command, given)
        if command.get("media"):
            _raw(client, path, asked)
            return
        wanted = [one.strip() for one in columns.split(",") if one.strip()]
        only = {"only": ",".join(dict.fromkeys(one.partition(".")[0] for one in wanted))} if wanted else {}
        try:
            data = client.get(path, **asked, **only)
        except Refused as refusal:
            raise told(client, noun, refusal) from None
        show.show(data, output, query, wanted)

    return click.Command(name, callback=run, params=common(*own), help=about(command))


def _path_argument(noun: str, which: str, at: int) -> click.Argument:
    from mist_cli.completion import names_of

    return click.Argument([f"path_{which}"], metavar=which.upper(), shell_complete=names_of(noun) if at == 0 else None)


def _raw(client: Client, path: str, asked: Json) -> None:
    """A file, as it is, to standard output."""
    answer = client.ask("GET", path, query={k: v for k, v in asked.items() if v not in (None, "")}, headers={"Accept": "*/*"})
    sys.stdout.buffer.write(answer.content)
