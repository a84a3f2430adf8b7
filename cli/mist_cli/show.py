"""What is shown: tables for people, JSON, YAML and CSV for programs; JMESPath picks."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import click

from mist_cli.errors import Usage

FORMATS = ("table", "json", "yaml", "csv")
MOST_COLUMNS = 8
WIDEST = 48
# Of the fields a kind has, the first of these that say something are its columns; a field that is not here is asked for by --columns.
FIRST = (
    *(
        "name",
        "email",
        "key",
        "value",
        "title",
        "action",
        "target_name",
        "target",
        "type",
        "state",
        "outcome",
        "error_detail",
        "ask",
        "exit",
    ),
    *("provider", "cloud", "machine", "location", "size", "public_ips", "script", "version", "number", "total", "counts", "count"),
    *(
        "names",
        "last_line",
        "code",
        "actor",
        "algorithm",
        "scope",
        "default",
        "hint",
        "members_count",
        "tags",
        "login",
        "user",
        "answered_by",
        "owned_by",
        "how",
    ),
    *("command_count", "at", "created", "created_at", "opened", "expires", "finished", "description", "detail", "verb"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def plain(text: str) -> str:
    """Without what a terminal would obey: names come from clouds, and output from anywhere."""
    return _CONTROL.sub("�", text)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: -o and -q."""
    command = click.option("-q", "--query", default="", metavar="JMESPATH", help="Show this part of the answer alone.")(command)
    return click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to show it.")(command)


def show(data: Any, output: str = "table", query: str = "", columns: Sequence[str] = ()) -> None:
    """Print it.  Raises: Usage, for a query that cannot be read."""
    if query:
        data, columns = picked(data, query), ()  # the columns were of what was picked from
    if output == "json":
        _print(json.dumps(data, indent=2, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        _print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000).rstrip("\n"))
    elif output == "csv":
        _print(as_csv(data, columns))
    else:
        _print(as_table(data, columns))


def picked(data: Any, query: str) -> Any:
    """What a JMESPath finds.  Raises: Usage."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        return jmespath.search(query, data)
    except JMESPathError as error:
        raise Usage(f"The query cannot be read: {error}") from error


def _print(text: str) -> None:
    if text:
        click.echo(text)


def as_csv(data: Any, columns: Sequence[str] = ()) -> str:
    """Rows of all fields, or of `columns`. A cell that a spreadsheet would take for a formula is led by an apostrophe."""
    rows = _rows(data)
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        cells = [_text(value_of(row, name), empty="") for name in names]
        writer.writerow(
            [f"'{c}" if c[:1] in "=+-@\t\r" and c and not _is_number(value_of(row, n)) else c for c, n in zip(cells, names, strict=True)]
        )
    return buffer.getvalue().rstrip("\n")


def as_table(data: Any, columns: Sequence[str] = ()) -> str:
    """A list of objects as rows, one object as lines of name and value, a list of values as lines."""
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return _table(data, columns)
    if isinstance(data, dict):
        names = list(columns) or list(data)
        width = max((len(name) for name in names), default=0)
        return "\n".join(f"{name:<{width}}  {_block(value_of(data, name), width + 2)}" for name in names)
    if isinstance(data, list):
        return "\n".join(_text(value) for value in data)
    return "" if data is None else _text(data)


def _block(value: Any, indent: int) -> str:
    """A value beside its name: nested ones as JSON, below each other."""
    if isinstance(value, dict | list) and any(
        isinstance(inner, dict | list) for inner in (value.values() if isinstance(value, dict) else value)
    ):
        text = json.dumps(value, indent=2, ensure_ascii=False)
    elif isinstance(value, str):
        text = "\n".join(plain(line) for line in value.splitlines()) or "–"
    else:
        text = _text(value)
    return text.replace("\n", "\n" + " " * indent)


def _rows(data: Any) -> list[dict[str, Any]]:
    found = data if isinstance(data, list) else [data]
    return [row if isinstance(row, dict) else {"value": row} for row in found]


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """Those that say something."""
    told = [name for name in FIRST if any(row.get(name) not in (None, "", [], {}) for row in rows)][:MOST_COLUMNS]
    if "id" in rows[0]:
        told.append("id")
    return told or list(rows[0])[:MOST_COLUMNS]


def _table(rows: list[dict[str, Any]], columns: Sequence[str]) -> str:
    names = list(columns) or columns_of(rows)
    wide = bool(columns) or not sys.stdout.isatty()
    cells = [[cut(_text(value_of(row, name)), 10_000 if wide else WIDEST) for name in names] for row in rows]
    heads = [name.replace("_", " ").upper() for name in names]
    widths = [max(len(head), *(_width(row[at]) for row in cells)) for at, head in enumerate(heads)]
    if not wide:
        names_kept = _fitting(names, widths, shutil.get_terminal_size().columns)
        keep = [at for at, name in enumerate(names) if name in names_kept]
        heads, widths, cells = [heads[at] for at in keep], [widths[at] for at in keep], [[row[at] for at in keep] for row in cells]
    lines = ["  ".join(f"{head:<{width}}" for head, width in zip(heads, widths, strict=True)).rstrip()]
    for row in cells:
        lines.append("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _fitting(names: list[str], widths: list[int], room: int) -> list[str]:
    """The columns a terminal has room for: the first ones, and `id` where nothing else names a row."""
    kept, used = (["id"], widths[names.index("id")]) if "id" in names and names[0] not in ("name", "email") else ([], 0)
    for name, width in zip(names, widths, strict=True):
        if name not in kept and (used + width + 2 <= room or not kept):
            kept.append(name)
            used += width + 2
    return kept


def value_of(row: dict[str, Any], name: str) -> Any:
    """A field of a row; `tag:env` and `cost.monthly` look into one."""
    if name in row:
        return row[name]
    if name.startswith("tag:"):
        return (row.get("tags") or {}).get(name[4:])
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any, *, empty: str = "–") -> str:
    """A value in one line."""
    if value is None or value == "" or value == [] or value == {}:
        return empty
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{k}={_text(v, empty='')}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_text(v, empty="") for v in value)
    if isinstance(value, float):
        return f"{value:.10g}"
    text = plain(str(value))
    return text[:19].replace("T", " ") if _TIME.match(text) and empty else text


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _width(text: str) -> int:
    """Cells of a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
