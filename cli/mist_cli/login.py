"""Signing in and out, and contexts. A token is read from a prompt or standard input, never from the command line."""

from __future__ import annotations

import socket
import sys
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import click

from mist_cli import show
from mist_cli.contexts import LOCAL, Context, Contexts, chosen, clean_url
from mist_cli.errors import Refused, Stop, Usage


@click.command()
@click.argument("url", required=False, default="")
@click.option("--name", default="", help="What to call the context; otherwise as the organization is called.")
@click.option("--email", default="", help="Who you are; otherwise asked for.")
@click.option("--org", default="", help="The organization, where you are in several: id or name.")
@click.option("--token", "with_token", is_flag=True, help="With a token there is, read from standard input or asked for.")
@click.option("--read-only", is_flag=True, help="Make a token that may look and not act.")
@click.option("--days", type=click.IntRange(1), default=None, help="For how long the token is good.")
@click.pass_context
def login(ctx: click.Context, url: str, name: str, email: str, org: str, with_token: bool, read_only: bool, days: int | None) -> None:
    """Sign in to the server at URL and keep it as a context.

    With e-mail, password and, where set up, the code of the authenticator: a token is made and kept, the password is not. Scripts set
    MIST_URL and MIST_TOKEN, or: mist login URL --token < file
    """
    url = clean_url(url or _known_url(ctx.obj["context"]) or click.prompt("Server", default=LOCAL, err=True))
    if url.startswith("http://") and urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        click.echo(f"mist: {url} is not encrypted: whoever is on the way reads what is sent.", err=True)
    made: dict[str, Any] = {}
    if with_token:
        token = (click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()).strip()
        if not token:
            raise Usage("There is no token on standard input.")
        if org or read_only or days:
            raise Usage("A token has its organization, scope and end: leave --org, --read-only and --days away.")
    else:
        made = _new_token(url, email, org, read_only, days)
        token = made["token"]
    described = _client(url, token).get("/auth")
    org_of = next((one["name"] for one in described["orgs"] if one["id"] == described["org"]), "")
    contexts = Contexts.load()
    name = name or ctx.obj["context"] or _free_name(contexts, url, org_of)
    who = described["user"]["email"]
    contexts.known[name] = Context(name=name, url=url, token=token, email=who, org=org_of, token_id=made.get("id", ""))
    contexts.current = name
    contexts.save()
    click.echo(f"Signed in to {url} as {show.plain(who)}, organization {show.plain(org_of) or '–'}. Context: {name}")


def _known_url(name: str) -> str:
    """Of the context that is signed in to again."""
    contexts = Contexts.load()
    found = contexts.known.get(name or contexts.current)
    return found.url if found else ""


def _client(url: str, token: str) -> Any:
    from mist_cli.client import Client

    return Client(Context(name="login", url=url, token=token))


def _new_token(url: str, email: str, org: str, read_only: bool, days: int | None) -> dict[str, Any]:
    """A token made with e-mail and password. Without a terminal the password is the first line of standard input, the code the second."""
    is_asked = sys.stdin.isatty()
    if not email:
        if not is_asked:
            raise Usage("Say who you are: --email")
        email = click.prompt("E-mail", err=True)
    password = click.prompt("Password", hide_input=True, err=True) if is_asked else sys.stdin.readline().rstrip("\n")
    body: dict[str, Any] = {"email": email, "password": password, "name": f"mist on {socket.gethostname()}"[:100]}
    body |= {"org": org} if org else {}
    body |= {"scope": "read"} if read_only else {}
    body |= {"ttl": days * 86_400} if days else {}
    client = _client(url, "")
    try:
        found: dict[str, Any] = client.send("POST", "/auth/tokens", body)
        return found
    except Refused as refusal:
        if refusal.code != "otp_required":
            raise
    body["otp"] = (click.prompt("Code of your authenticator", err=True) if is_asked else sys.stdin.readline()).strip()
    if not body["otp"]:
        raise Usage("This account takes a code of its authenticator: give it as the second line.")
    found = client.send("POST", "/auth/tokens", body)
    return found


def _free_name(contexts: Contexts, url: str, org: str) -> str:
    """`acme`, or `acme-2` where that is another server's or person's place."""
    wanted = "".join(c if c.isalnum() else "-" for c in org.lower()).strip("-") or str(urlsplit(url).hostname)
    number, name = 1, wanted
    while name in contexts.known and (contexts.known[name].url, contexts.known[name].org) != (url, org):
        number += 1
        name = f"{wanted}-{number}"
    return name


@click.command()
@click.argument("name", required=False, default="")
@click.pass_context
def logout(ctx: click.Context, name: str) -> None:
    """Revoke the token of the context NAME (the current one) and forget it."""
    contexts = Contexts.load()
    found = contexts.get(name or ctx.obj["context"] or contexts.current)
    told = ""
    if found.token_id:
        try:
            _client(found.url, found.token).send("DELETE", f"/auth/tokens/{found.token_id}")
        except Refused as refusal:
            if refusal.status not in (401, 404):
                raise
        except Stop as error:
            told = f" Its token was not revoked: {error.format_message()}"
    else:
        told = " Its token was yours before and is still good: mist tokens delete revokes one."
    del contexts.known[found.name]
    if contexts.current == found.name:
        contexts.current = next(iter(sorted(contexts.known)), "")
    contexts.save()
    click.echo(f"Forgot {found.name}.{told}")


@click.group(invoke_without_command=True)
@click.pass_context
def context(ctx: click.Context) -> None:
    """Servers and organizations you are signed in to. Without a verb: list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_contexts)


def _facts(contexts: Contexts, one: Context) -> dict[str, Any]:
    facts = {key: value for key, value in asdict(one).items() if key not in ("token", "token_id")}
    return {"current": one.name == contexts.current, **facts}


@context.command("list")
@show.options
def list_contexts(output: str = "table", query: str = "") -> None:
    """List contexts."""
    contexts = Contexts.load()
    show.show(
        [_facts(contexts, one) for _, one in sorted(contexts.known.items())], output, query, ("current", "name", "url", "org", "email")
    )
    if not contexts.known:
        click.echo(f"There is none yet: mist login {LOCAL}", err=True)


@context.command("show")
@show.options
@click.pass_context
def show_context(ctx: click.Context, output: str, query: str) -> None:
    """The context commands work in now, environment included."""
    found = chosen(ctx.find_root().obj["context"])
    show.show({key: value for key, value in asdict(found).items() if key not in ("token", "token_id")}, output, query)


def _names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    try:
        return [name for name in Contexts.load().known if name.startswith(incomplete)]
    except Stop:
        return []


@context.command("use")
@click.argument("name", shell_complete=_names)
def use(name: str) -> None:
    """Work in the context NAME from now on."""
    contexts = Contexts.load()
    contexts.get(name)
    contexts.current = name
    contexts.save()
    click.echo(f"Now in {name}.")


@context.command("remove")
@click.argument("name", shell_complete=_names)
def remove(name: str) -> None:
    """Forget the context NAME. Its token stays good: mist logout revokes it too."""
    contexts = Contexts.load()
    contexts.get(name)
    del contexts.known[name]
    contexts.current = "" if contexts.current == name else contexts.current
    contexts.save()
    click.echo(f"Forgot {name}.")
