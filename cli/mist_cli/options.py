"""From a field of the contract to an option of a command, and back to a body."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from mist_cli.errors import Usage

MOST_BYTES = 64 << 20
_TYPES: dict[str, Any] = {"integer": int, "number": float}


def parameter(field: dict[str, Any], *, taken: set[str]) -> click.Option:
    """The option of a field. Of a secret one the value is never on the command line, where others see it: a file, or standard input."""
    name = f"--{field['name'].replace('_', '-').lower()}"
    if name in taken:
        name = f"--set-{name[2:]}"
    about = str(field.get("about", "")).split("\n")[0]
    key = f"field_{field['name']}"
    if field["type"] == "boolean":
        return click.Option([f"{name}/--no-{name[2:]}", key], default=None, help=about)
    if field.get("secret"):
        return click.Option([name, key], metavar="@FILE|-", help=f"{about} A file, or - for standard input.".strip())
    if field["type"] == "list":
        return click.Option([name, key], multiple=True, help=f"{about} May be said again.".strip())
    if field["type"] == "map":
        return click.Option([name, key], multiple=True, metavar="KEY=VALUE", help=f"{about} May be said again.".strip())
    if field.get("choices"):
        return click.Option([name, key], type=click.Choice(field["choices"]), help=about)
    metavar = "JSON" if field["type"] == "json" else "TEXT|@FILE|-" if field.get("file") else None
    return click.Option([name, key], type=_TYPES.get(field["type"], str), metavar=metavar, help=about)


def body(fields: list[dict[str, Any]], given: dict[str, Any], data: str = "") -> dict[str, Any]:
    """The body of a request: `--data` first, then what the options say.  Raises: Usage."""
    found: dict[str, Any] = {}
    if data:
        found = parsed(from_file(data) if data[:1] == "@" or data == "-" else data, "--data")
        if not isinstance(found, dict):
            raise Usage("--data takes a JSON object.")
    for field in fields:
        value = given.get(f"field_{field['name']}")
        if value is None or value == ():
            continue
        found[field["name"]] = _value(field, value)
    return found


def _value(field: dict[str, Any], value: Any) -> Any:
    name = field["name"].replace("_", "-")
    if field.get("secret"):
        if not (value == "-" or value.startswith("@")):
            raise Usage(f"--{name} is a secret, and others can read command lines. Give it as @FILE, or - for standard input.")
        text = _asked(name) if value == "-" and sys.stdin.isatty() else from_file(value)
        return parsed(text, f"--{name}") if field["type"] == "json" else text.removesuffix("\n") if "\n" not in text.rstrip("\n") else text
    if field.get("file") and (value == "-" or value.startswith("@")):
        return from_file(value)
    if field["type"] == "list":
        return list(value)
    if field["type"] == "map":
        if wrong := [one for one in value if "=" not in one]:
            raise Usage(f"--{name} takes KEY=VALUE, not “{wrong[0]}”.")
        return dict(one.split("=", 1) for one in value)
    if field["type"] == "json" and isinstance(value, str) and value[:1] in ("{", "[", '"', "@", "-"):
        return parsed(from_file(value) if value[:1] == "@" or value == "-" else value, f"--{name}")
    return value


def _asked(name: str) -> str:
    text: str = click.prompt(name, hide_input=True, err=True)
    return text


def from_file(value: str) -> str:
    """The text of `@file`, or of standard input for `-`.  Raises: Usage."""
    try:
        if value == "-":
            return sys.stdin.read(MOST_BYTES)
        path = Path(value.removeprefix("@")).expanduser()
        if path.stat().st_size > MOST_BYTES:
            raise Usage(f"{path} is larger than {MOST_BYTES >> 20} MiB.")
        return path.read_text()
    except OSError as error:
        raise Usage(f"Cannot read {value.removeprefix('@')}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Usage(f"{value.removeprefix('@')} is not text in UTF-8.") from error


def parsed(text: str, name: str) -> Any:
    """Raises: Usage, without the text: it may hold a secret."""
    try:
        return json.loads(text)
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Usage(f"{name} takes JSON, and this is none{where}.") from None
