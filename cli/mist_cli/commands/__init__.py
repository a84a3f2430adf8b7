"""Commands made from the catalogue: a noun is a group, an operation a command with an option a field."""

from __future__ import annotations

import difflib

import click

from mist_cli import catalogue, contexts
from mist_cli.commands.acting import acts, verb
from mist_cli.commands.reading import lists, reads
from mist_cli.commands.said import Json, client_of
from mist_cli.errors import Usage

MACHINES = "machines"


def of(ctx: click.Context, *, asks: bool) -> Commands:
    """The commands of the chosen server: as cached, or asked for where `asks`.  Raises: Stop."""
    state = ctx.find_root().ensure_object(dict)
    state.setdefault("context", ctx.find_root().params.get("context_name", ""))
    if "commands" not in state:
        url = contexts.chosen(state["context"]).url
        known = catalogue.cached(url)
        if known is None and not asks:
            raise Usage("The server was not asked yet.")
        if known is None or (asks and catalogue.is_old(url)):
            known = catalogue.load(client_of(ctx))
        state["commands"] = Commands(ctx, known)
    found: Commands = state["commands"]
    return found


class Commands:
    """Those of one catalogue. A word that is not in it has it asked for once more: the server may have learnt it."""

    def __init__(self, ctx: click.Context, known: Json) -> None:
        self.ctx, self.known, self.is_fresh = ctx, known, False

    def nouns(self) -> list[str]:
        return sorted(self.known["nouns"])

    def verbs(self) -> list[str]:
        """Verbs of machines that may be said first: those that can be done to many."""
        machines = self.known["nouns"].get(MACHINES, {"commands": {}})["commands"]
        return sorted(name for name, command in machines.items() if command.get("bulk") and name not in ("edit",))

    def names(self) -> list[str]:
        return [*self.nouns(), *self.verbs()]

    def refresh(self) -> bool:
        """Ask the server, once.  Returns: is there something new?"""
        if self.is_fresh or self.ctx.resilient_parsing:
            return False
        before, self.is_fresh = self.known, True
        self.known = catalogue.load(client_of(self.ctx), fresh=True)
        return self.known != before

    def get(self, name: str) -> click.Command | None:
        if name in self.known["nouns"]:
            return Noun(self, name)
        if name in self.verbs():
            return verb(
                MACHINES, self.known["nouns"][MACHINES]["kind"], name, self.known["nouns"][MACHINES]["commands"][name], by_search=True
            )
        return self.get(name) if self.refresh() else None


class Noun(click.Group):
    """`mist machines …`: a verb of it, or else a search."""

    def __init__(self, commands: Commands, name: str) -> None:
        self.all, self.noun = commands, name
        kind = self.facts["kind"].replace("_", " ")
        super().__init__(
            name, help=f"What you may see of {name.replace('-', ' ')}, and what can be done to a {kind}.\n\nWithout a verb: list them."
        )

    @property
    def facts(self) -> Json:
        found: Json = self.all.known["nouns"][self.noun]
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.facts["commands"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = self.facts["commands"].get(cmd_name)
        if command is None:
            return None
        return made(self.noun, self.facts["kind"], cmd_name, command)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is no verb is what to list; what looks like one is not taken for a search."""
        if not args and ctx.resilient_parsing:  # what is completed behind it is a verb
            return super().parse_args(ctx, args)
        first = args[0] if args else ""
        if first not in ("-h", "--help") and self.get_command(ctx, first) is None:
            near = difflib.get_close_matches(first, self.list_commands(ctx), 1, 0.75)
            if first and ":" not in first and (near or len(args) > 1) and not ctx.resilient_parsing and self.all.refresh():
                return self.parse_args(ctx, args)
            if near and len(args) > 1 and not first.startswith("-"):
                raise Usage(f"There is no verb “{first}” of {self.noun}. Did you mean {near[0]}?")
            if "list" not in self.facts["commands"]:
                raise Usage(f"{self.noun} cannot be listed. There is: {', '.join(self.list_commands(ctx))}.")
            args = ["list", *args]
        return super().parse_args(ctx, args)


def made(noun: str, kind: str, name: str, command: Json) -> click.Command:
    """The command of one operation."""
    if noun in ("machines", "sessions") and name in ("ssh", "join", "watch"):
        from mist_cli import terminal

        return terminal.ssh if noun == "machines" else terminal.of_session(name)
    if command.get("lists"):
        return lists(noun, command)
    if command["method"] == "GET":
        return reads(noun, name, command)
    if len(command["takes"]) == 1:
        return verb(noun, kind, name, command)
    return acts(noun, name, command)
