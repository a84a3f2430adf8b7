"""What commands share: the client, how an answer is shown, and what a name means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mist_cli import contexts, show
from mist_cli.errors import Refused, Stop, Usage
from mist_cli.options import parameter

if TYPE_CHECKING:
    from mist_cli.client import Client

Json = dict[str, Any]


def client_of(ctx: click.Context) -> Client:
    """The client of the context this command works in.  Raises: Usage."""
    from mist_cli.client import Client

    state = ctx.find_root().obj
    if "client" not in state:
        state["client"] = Client(contexts.chosen(state["context"]))
    client: Client = state["client"]
    return client


def about(command: Json) -> str:
    return str(command["about"])


def common(*own: click.Parameter) -> list[click.Parameter]:
    shown = [
        click.Option(["-o", "--output"], type=click.Choice(show.FORMATS), default="table", show_default=True, help="How to show it."),
        click.Option(["-q", "--query"], default="", metavar="JMESPATH", help="Show this part of the answer alone."),
        click.Option(["-c", "--context", "context_name"], default="", metavar="NAME", help="The context to work in."),
    ]
    return [*own, *shown]


def queries(command: Json, taken: Sequence[str] = ()) -> list[click.Parameter]:
    return [parameter(field, taken={f"--{name}" for name in ("output", "query", "context", *taken)}) for field in command["query"]]


def what_for(ask: str | None) -> None:
    """Raises: Usage, where --ask says nothing."""
    if ask is not None and not ask.strip():
        raise Usage("--ask takes what for, in words: whoever approves it reads them.")


def asked_of(command: Json, given: Json) -> Json:
    values: Json = {field["name"]: given.get(f"field_{field['name']}") for field in command["query"]}
    what_for(values.get("ask"))
    return {
        name: ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else value
        for name, value in values.items()
    }


def in_context(ctx: click.Context, given: Json) -> Client:
    if given.get("context_name"):
        ctx.find_root().obj |= {"context": given["context_name"]}
        ctx.find_root().obj.pop("client", None)
    return client_of(ctx)


def names_argument(noun: str, metavar: str, *, required: bool = True, many: bool = True) -> click.Argument:
    from mist_cli.completion import names_of

    return click.Argument(
        ["names"], nargs=-1 if many else 1, required=required, metavar=f"{metavar}{'...' if many else ''}", shell_complete=names_of(noun)
    )


def joined(words: Sequence[str]) -> str:
    """Words of a command line as one search."""
    return " ".join(words).strip()


def pointed(refusal: Refused, search: str) -> Stop:
    """A wrong search, with the character under which it went wrong."""
    at = refusal.body.get("position")
    if not isinstance(at, int) or not search:
        return refusal
    refusal.more += [f"  {search}", f"  {' ' * at}^"]
    return refusal


def find(client: Client, noun: str, name: str) -> Json:
    """`{"id", "name"}` of what a name or id means.  Raises: Refused, which says of an ambiguous one which they are."""
    from mist_cli.client import fill

    try:
        found = client.get(fill(f"/{'auth/' if noun == 'tokens' else ''}{noun}/{{one}}", name))
    except Refused as refusal:
        raise told(client, noun, refusal, name) from None
    more = {key: str(found[key]) for key in ("action", "ask") if key in found} if noun == "approvals" else {}
    return {"id": str(found.get("id", name)), "name": str(found.get("name") or found.get("target_name") or name), **more}


def told(client: Client, noun: str, refusal: Refused, name: str = "") -> Refused:
    """The refusal, with the name it is about, and of an ambiguous one the candidates."""
    if refusal.code == "not_found" and name:
        refusal.about = f"There is no “{name}” among the {noun.replace('-', ' ')} you may see."
    for one in refusal.body.get("ids", []) if refusal.code == "ambiguous_name" else []:
        try:
            row = client.get(f"/{noun}/{one}")
        except Refused:
            continue
        facts = " ".join(str(row[key]) for key in ("name", "cloud", "state", "location") if row.get(key))
        refusal.more.append(f"  {one}  {show.plain(facts)}")
    return refusal
