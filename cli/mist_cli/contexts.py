"""Contexts: which server, as whom, in which organization. One file, for its owner's eyes alone.

Source: https://specifications.freedesktop.org/basedir-spec/latest/ for where it lies.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from mist_cli.errors import Usage

LOCAL = "http://localhost:8000"


def folder(variable: str, default: str) -> Path:
    """Ours, below what an XDG variable says. A relative one is ignored, as the standard asks."""
    there = os.environ.get(variable, "")
    return (Path(there) if there.startswith("/") else Path.home() / default) / "mist"


@dataclass(frozen=True, kw_only=True)
class Context:
    """`token_id` names the token without being it."""

    name: str
    url: str
    token: str = field(repr=False)
    email: str = ""
    org: str = ""
    token_id: str = ""


@dataclass
class Contexts:
    """What the file holds."""

    current: str = ""
    known: dict[str, Context] = field(default_factory=dict)

    @staticmethod
    def file() -> Path:
        return folder("XDG_CONFIG_HOME", ".config") / "contexts.json"

    @classmethod
    def load(cls) -> Contexts:
        """Raises: Usage, when the file cannot be read or others may read it."""
        path = cls.file()
        try:
            mode = path.stat().st_mode & 0o777
            text = path.read_text()
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise Usage(f"Cannot read {path}: {error.strerror}.") from error
        if mode & 0o077:
            raise Usage(f"{path} holds tokens and others may read it (mode {mode:04o}). Run: chmod 600 {path}")
        try:
            data = json.loads(text)
            known = {name: Context(name=name, **facts) for name, facts in data["contexts"].items()}
            return cls(current=str(data.get("current", "")), known=known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Usage(f"{path} is not what mist wrote. Move it away and sign in again: mist login") from error

    def save(self) -> None:
        """Wholly or not at all, readable by its owner alone from the first byte on."""
        path = self.file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = {name: {k: v for k, v in asdict(one).items() if k != "name"} for name, one in sorted(self.known.items())}
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=".contexts-")  # mode 0600
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"current": self.current, "contexts": facts}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, path)
        except BaseException:
            Path(made).unlink(missing_ok=True)
            raise

    def get(self, name: str) -> Context:
        """Raises: Usage."""
        if name not in self.known:
            there = f"There are: {', '.join(sorted(self.known))}." if self.known else "There is none yet: mist login"
            raise Usage(f"There is no context “{name}”. {there}")
        return self.known[name]


def chosen(name: str = "") -> Context:
    """The context a command works in: as named, else MIST_CONTEXT, else the current one; MIST_URL and MIST_TOKEN win.

    A token of the file is never sent to another server than its own.
    Raises: Usage.
    """
    url, token = os.environ.get("MIST_URL", "").rstrip("/"), os.environ.get("MIST_TOKEN", "").strip()
    name = name or os.environ.get("MIST_CONTEXT", "")
    if url and token and not name:
        return Context(name="environment", url=clean_url(url), token=token)
    contexts = Contexts.load()
    wanted = name or contexts.current
    found = contexts.get(wanted) if wanted else None
    if found is None:
        if token or url:
            missing = "MIST_TOKEN" if url else "MIST_URL"
            raise Usage(
                f"{'MIST_URL' if url else 'MIST_TOKEN'} is set and {missing} is not, and there is no context. Set both, or: mist login"
            )
        raise Usage(f"You are not signed in. Run: mist login {LOCAL}")
    if url and clean_url(url) != found.url and not token:
        raise Usage(f"MIST_URL is {url}, the context “{found.name}” is of {found.url}. Set MIST_TOKEN too, or unset MIST_URL.")
    return replace(found, url=clean_url(url) if url else found.url, token=token or found.token)


def clean_url(text: str) -> str:
    """`https://host[:port][/below]`, without what the API adds.  Raises: Usage."""
    text = text.strip().rstrip("/")
    if "://" not in text:
        text = f"http://{text}" if text.partition(":")[0] in ("localhost", "127.0.0.1", "[::1]") else f"https://{text}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Usage(f"“{text}” is no address of a server. It looks like https://mist.example.org")
    if parts.username or parts.password:
        raise Usage("Leave name and password out of the address: mist login asks for them.")
    return text.removesuffix("/api/v2").rstrip("/")
