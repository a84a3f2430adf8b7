"""Completion for bash, zsh and fish: words from the cached catalogue, names from the server when it answers at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from mist_cli.errors import Stop

ENOUGH = 50
AT_ONCE_S = 2.0
WHERE = {
    "bash": "echo 'eval \"$(mist completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(mist completion zsh)\"' >> ~/.zshrc",
    "fish": "mist completion fish > ~/.config/fish/completions/mist.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(WHERE)))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, verbs and names.

    \b
    bash:  echo 'eval "$(mist completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(mist completion zsh)"' >> ~/.zshrc
    fish:  mist completion fish > ~/.config/fish/completions/mist.fish
    """
    from click.shell_completion import get_completion_class

    from mist_cli.main import root

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, "mist", "_MIST_COMPLETE").source())


def names_of(noun: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """A completer of the names of a noun. A server that is slow or away completes nothing and says nothing."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from mist_cli import contexts
        from mist_cli.client import Client
        from mist_cli.show import plain

        state = ctx.find_root().ensure_object(dict)
        try:
            client = Client(contexts.chosen(state.get("context", "")), timeout_s=AT_ONCE_S)
            is_plain = re.fullmatch(r"[A-Za-z0-9][\w.-]*", incomplete) is not None
            if noun == "approvals":  # which have no name; those that can be answered
                rows, _ = next(client.pages(f"/{noun}", {"search": "state:asked"}, ENOUGH))
                return [
                    CompletionItem(row["id"], help=plain(f"{row['action']} {row['target_name']}"))
                    for row in rows
                    if row["id"].startswith(incomplete)
                ]
            asked = {"only": "name", **({"search": f"name:{incomplete}*"} if is_plain else {})}
            rows, _ = next(client.pages(f"/{noun}", asked, ENOUGH))
        except Stop:
            return []
        return sorted({str(row["name"]) for row in rows if str(row.get("name", "")).startswith(incomplete)})

    return complete
