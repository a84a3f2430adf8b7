"""Host entries: what the credentials say of each, and a reader for a pasted list of them."""

from __future__ import annotations

import csv
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import Invalid, Rejected

MAX_HOSTS = 5000

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?", re.IGNORECASE)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._\\@+-]{0,63}\$?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One host. `key` "" means that nobody logs in."""

    external_id: str
    host: str
    name: str
    user: str = "root"
    port: int = 22
    key: str = ""
    os: str = "unix"
    rdp_port: int = 3389


def read_entries(rows: Any) -> list[Entry]:
    """The entries of the credential field `hosts`.  Raises: Rejected, naming the row that is wrong (1-based)."""
    if not isinstance(rows, list | tuple) or not rows:
        raise Rejected("Give at least one host.")
    if len(rows) > MAX_HOSTS:
        raise Rejected(f"At most {MAX_HOSTS} hosts fit in one cloud.")
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise Rejected(f"Host {number}: not an object.")
        try:
            host, port = _host(str(row.get("host") or "")), _port(row.get("port") or 22)
            entry = Entry(
                external_id=str(row.get("id") or _identity(host, port)),
                host=host,
                name=str(row.get("name") or host),
                user=_user(str(row.get("user") or "root")),
                port=port,
                key=str(row.get("key") or ""),
                os=str(row.get("os") or "unix"),
                rdp_port=_port(row.get("rdp_port") or 3389),
            )
        except ValueError as error:
            raise Rejected(f"Host {number}: {error}") from error
        if entry.external_id in entries:
            raise Rejected(f"Host {number}: {entry.external_id} is there twice.")
        entries[entry.external_id] = entry
    return list(entries.values())


def parse_hosts(text: str) -> list[dict[str, Any]]:
    """A pasted list as rows of the field `hosts`: {host, port, user, name}, in order.

    A line is `[user@]host[:port] [name]`, with IPv6 in brackets when a port follows, or CSV: `name,host,port,user`, in the
    order of a header where the first line is one (its columns: name, host, port, user, key, os, rdp_port). What follows
    a # is a comment.
    Raises: Invalid; `fields["hosts"]` has a sentence for each line that is wrong.
    """
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    seen: dict[str, int] = {}
    columns = ["name", "host", "port", "user"]
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not line:
            continue
        try:
            if "," in line:
                cells = [cell.strip() for cell in next(csv.reader([line]))]
                if not rows and (header := _header(cells)):
                    columns = header
                    continue
                row = _from_cells(columns, cells)
            else:
                row = _from_words(line)
            identity = _identity(row["host"], row["port"])
            if identity in seen:
                raise ValueError(f"{identity} is there already, on line {seen[identity]}")
            seen[identity] = number
            rows.append(row)
        except (ValueError, csv.Error) as error:
            wrong.append(f"Line {number}: {error}.")
        if len(wrong) >= 50 or len(rows) > MAX_HOSTS:
            break
    if len(rows) > MAX_HOSTS:
        wrong.append(f"At most {MAX_HOSTS} hosts fit in one cloud.")
    if not rows and not wrong:
        wrong.append("There is no host in it.")
    if wrong:
        raise Invalid("Some lines are no hosts.", fields={"hosts": wrong})
    return rows


_COLUMNS = {
    "name": "name", "host": "host", "hostname": "host", "ip": "host", "address": "host", "port": "port", "user": "user",
    "username": "user", "key": "key", "os": "os", "rdp_port": "rdp_port",
}  # fmt: skip


def _header(cells: list[str]) -> list[str] | None:
    names = [_COLUMNS.get(cell.lower(), "") for cell in cells]
    return names if "host" in names and all(names) and len(set(names)) == len(names) else None


def _from_cells(columns: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) > len(columns):
        raise ValueError(f"{len(cells)} columns, where {', '.join(columns)} are expected")
    values = {column: cell for column, cell in zip(columns, cells, strict=False) if cell}
    host = _host(values.pop("host", ""))
    row: dict[str, Any] = {
        "host": host,
        "port": _port(values.pop("port", 22)),
        "user": _user(values.pop("user", "root")),
        "name": values.pop("name", host),
    }
    if "rdp_port" in values:
        values["rdp_port"] = _port(values["rdp_port"])  # type: ignore[assignment]
    return row | values


def _from_words(line: str) -> dict[str, Any]:
    target, _, name = line.partition(" ") if " " in line else line.partition("\t")
    user, at, where = target.removeprefix("ssh://").rstrip("/").rpartition("@")
    port: str | int = 22
    if where.startswith("["):
        where, bracket, after = where[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise ValueError(f"“{target[:80]}” has a bracket that does not close before the port")
        port = after[1:] if after else 22
        if ":" not in where:
            raise ValueError(f"“{where[:80]}” in brackets is no IPv6 address")
    elif where.count(":") == 1:
        where, _, port = where.partition(":")
    host = _host(where)
    return {"host": host, "port": _port(port), "user": _user(user) if at else "root", "name": name.strip() or host}


def _identity(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host(text: str) -> str:
    text = text.strip().lower()
    if not text:
        raise ValueError("the host is missing")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if not _NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
            raise ValueError(f"“{text[:80]}” is neither an address nor a host name") from None
    return text


def _port(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,5}", str(value).strip()) or not 1 <= int(value) <= 65535:
        raise ValueError(f"“{str(value)[:20]}” is no port (1 to 65535)")
    return int(value)


def _user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise ValueError(f"“{text[:40]}” is no user name")
    return text
