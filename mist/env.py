"""The environment, read once: `settings.py` asks here, nothing else does."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SOCKET_PATH_MAX = 107  # bytes of sockaddr_un.sun_path, without the closing zero


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def path(name: str, default: Path) -> Path:
    value = os.environ.get(name, "").strip()
    return Path(value).expanduser().resolve() if value else default


def flag(name: str, default: bool) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise SystemExit(f"{name} is {value!r}: write 1 or 0.")


def integer(name: str, default: int) -> int:
    value = os.environ.get(name, "").strip()
    try:
        return int(value) if value else default
    except ValueError:
        raise SystemExit(f"{name} is {value!r}: write a whole number.") from None


def url(name: str, default: str = "") -> str:
    """An http(s) address without a closing slash, or the default."""
    value = text(name, default).rstrip("/")
    if value:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
            raise SystemExit(f"{name} is {value!r}: write http(s)://host[:port], with no path.")
    return value


def database(name: str, socket_dir: Path) -> dict[str, Any]:
    """Django's DATABASES entry for a postgresql:// URL; without one, the embedded server behind `socket_dir`."""
    value = text(name)
    if not value:
        return {"ENGINE": "django.db.backends.postgresql", "NAME": "mist", "USER": "mist", "HOST": str(socket_dir), "OPTIONS": {}}
    parts = urlsplit(value)
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        # Never echoed: it holds a password.
        raise SystemExit(f"{name} cannot be read: write postgresql://user:password@host:5432/name[?sslmode=require].")
    host = parts.netloc.rpartition("@")[2]  # %2Fvar%2Frun%2Fpostgresql is a folder with a socket; `hostname` writes it small
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(host.partition(":")[0]) if "%" in host else parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),
    }


def email(name: str, folder: Path) -> dict[str, Any]:
    """Django's EMAIL_* settings: smtp(s)://user:password@host:port, smtp with `?tls=1` for STARTTLS; by default files in `folder`."""
    value = text(name)
    if not value:
        return {"EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend", "EMAIL_FILE_PATH": str(folder)}
    parts = urlsplit(value)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise SystemExit(f"{name} cannot be read: write smtp://user:password@host:587?tls=1 or smtps://user:password@host:465.")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": dict(parse_qsl(parts.query)).get("tls") == "1",
        "EMAIL_TIMEOUT": 20,
    }


def key_file(file: Path) -> list[str]:
    """The keys of a file, one a line, newest first. A missing file is made (0600) with one new random key of 32 bytes, base64.

    Base64 as Fernet wants it. Two processes may come here at the same time on a first start: the one that links first wins.
    """
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp makes it 0600
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(base64.urlsafe_b64encode(os.urandom(32)) + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
    keys = [line.strip() for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    if not keys:
        raise SystemExit(f"{file} holds no key. Restore it from a backup; delete it only when nothing was encrypted with it.")
    return keys


def socket_dir(home: Path) -> Path:
    """Where the unix sockets of an installation are: `<home>/run`, or a short folder of our own when that path is too long to bind.

    A function of `home` alone, so that every later process finds them.
    """
    folder = home / "run"
    if len(os.fsencode(folder / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_MAX:
        return folder
    return Path(tempfile.gettempdir()) / f"mist-{os.getuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
