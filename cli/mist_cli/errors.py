"""How a command ends when it does not succeed. Exit codes: 1 refused or failed, 2 asked wrongly, 3 the server is away."""

from __future__ import annotations

from typing import Any

import click


class Stop(click.ClickException):
    """The command ends here, with words for people."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"mist: {self.format_message()}", err=True)


class Usage(Stop):
    """Asked in a way that cannot be done."""

    exit_code = 2


class Away(Stop):
    """Nobody answers there."""

    exit_code = 3


class Refused(Stop):
    """The API's no: its words, its fields, its request id."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status, self.body = status, body
        self.code = str(body.get("code") or status)
        self.about = ""  # what it is about, before its words
        self.more: list[str] = []  # lines after them
        super().__init__(self._words())

    def format_message(self) -> str:
        return "\n".join([f"{self.about} {self.message}".strip(), *self.more])

    def _words(self) -> str:
        lines = [in_options(str(self.body.get("detail") or f"The server answered {self.status}."))]
        fields = self.body.get("fields")
        lines += [f"  {name}: {text}" for name, text in _leaves(fields, "")] if isinstance(fields, dict) else []
        if words := self.body.get("words"):
            lines.append(f"  The cloud said: {words}")
        told = f"request id {self.body['request_id']}" if self.body.get("request_id") else ""
        lines.append(f"  ({', '.join(part for part in (self.code, told) if part)})")
        return "\n".join(lines)


def in_options(detail: str) -> str:
    """What the API says to send, as it is typed here."""
    return detail.replace("send `ask` with what for", 'add --ask "what for"')


def _leaves(value: Any, path: str) -> list[tuple[str, str]]:
    """[(field, what is wrong with it)], however deep."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, f"{path}.{name}" if path else str(name))]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner, path)]
    return [(path, str(value))]
