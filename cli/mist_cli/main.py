"""`mist`: which command, and what every command has in common. What a command needs is imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any, NoReturn

import click

from mist_cli import __version__
from mist_cli.errors import Stop, Usage

# Ours: {name: (module, object)}. The rest, nouns and verbs, is the server's word.
OWN = {
    "completion": ("mist_cli.completion", "completion"),
    "context": ("mist_cli.login", "context"),
    "login": ("mist_cli.login", "login"),
    "logout": ("mist_cli.login", "logout"),
    "logs": ("mist_cli.logs", "logs"),
    "run": ("mist_cli.runs", "run"),
    "ssh": ("mist_cli.terminal", "ssh"),
}
ABOUT = """See, operate and automate machines anywhere.

    mist login https://mist.example.org        sign in once
    mist machines state:running tag:env=prod   a list, by a search
    mist machines stop web-1 db-1              a verb, by names
    mist stop tag:env=dev                      a verb of machines, by a search
    mist ssh web-1                             a terminal
    mist run tag:env=prod -- uptime            a command on many, live
"""


class Root(click.Group):
    """Our own commands, then every noun of the server, then the verbs of machines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        commands = _commands(ctx, quietly=True)
        return sorted({*OWN, *(commands.names() if commands else ())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in OWN:
            module, name = OWN[cmd_name]
            found: click.Command = getattr(importlib.import_module(module), name)
            return found
        commands = _commands(ctx, quietly=ctx.resilient_parsing)
        return commands.get(cmd_name) if commands else None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # before click makes a 1 of it, which is what failed
            raise click.exceptions.Exit(_unread()) from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            raise Usage(f"There is no command “{args[0]}”.{f' Did you mean {near[0]}?' if near else ''} All there are: mist --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = _commands(ctx, quietly=True)
        nouns, verbs = (commands.nouns(), commands.verbs()) if commands else ([], [])
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.get_command(ctx, name).get_short_help_str(70)) for name in sorted(OWN)])  # type: ignore[union-attr]
        for title, names in (("Nouns (mist NOUN --help tells its verbs)", nouns), ("Verbs of machines, on a search", verbs)):
            with formatter.section(title):
                formatter.write_text(" ".join(names) or "The server tells them: sign in first.")


def _commands(ctx: click.Context, *, quietly: bool) -> Any:
    """What the server's catalogue gives. `quietly`: from what is known already, or nothing, instead of an error."""
    module = importlib.import_module("mist_cli.commands")
    try:
        return module.of(ctx, asks=not quietly)
    except Stop:
        if quietly:
            return None
        raise


@click.group(
    cls=Root, help=ABOUT.replace("\n\n", "\n\n\b\n", 1), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--context", "-c", "context_name", default="", metavar="NAME", help="The context to work in (mist context).")
@click.version_option(__version__, prog_name="mist", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context, context_name: str) -> None:
    ctx.obj = {"context": context_name}


def main() -> NoReturn:
    """The console script. What is interrupted says so by 130, and a reader that went away is no error."""
    try:
        code = root.main(prog_name="mist", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        click.echo("", err=True)
        code = 130
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        code = _unread()
    sys.exit(code if isinstance(code, int) else 0)


def _unread() -> int:
    """Whoever read our output has gone away. What is left of it is not complained of at the end.  Returns: the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 141
