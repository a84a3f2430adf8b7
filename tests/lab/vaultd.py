"""A far side that speaks the API of Vault's and OpenBao's key-value engine, version 2, as their public pages describe it.

    with vaultd() as far: ...       # http://127.0.0.1:<far.port>

Answers are in the shapes of https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 and /auth/approle. `far.asked` holds
what came in, `far.mood` makes it misbehave.
"""

from __future__ import annotations

import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NOW = "2026-11-29T10:11:12.123456789Z"


@dataclass
class Version:
    """One version at a path."""

    data: dict[str, Any] | None
    deletion_time: str = ""
    destroyed: bool = False

    def facts(self, number: int) -> dict[str, Any]:
        return {
            "created_time": NOW,
            "custom_metadata": None,
            "deletion_time": self.deletion_time,
            "destroyed": self.destroyed,
            "version": number,
        }


@dataclass
class Far:
    """The server's state. `mount` is of version 2; `old` is a key-value engine of version 1."""

    port: int = 0
    root: str = "s.root-token"
    role_id: str = "role-1"
    secret_id: str = "secret-id-1"
    mount: str = "secret"
    namespace: str = ""
    mood: str = ""  # sealed, denied, silent, redirect, nonsense, trickle
    kept: dict[str, list[Version]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def put(self, path: str, **data: Any) -> None:
        """As somebody would from elsewhere."""
        self.kept.setdefault(path, []).append(Version(data))

    def delete_newest(self, path: str) -> None:
        self.kept[path][-1].deletion_time = NOW


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    far: Far

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _answer(self, status: int, body: Any = None, **headers: str) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _data(self, data: Any) -> None:
        envelope = {"request_id": secrets.token_hex(8), "lease_id": "", "renewable": False, "lease_duration": 0}
        self._answer(200, {**envelope, "data": data, "wrap_info": None, "warnings": None, "auth": None})

    def _errors(self, status: int, *words: str) -> None:
        self._answer(status, {"errors": list(words)})

    def _serve(self) -> None:
        far, parts = self.far, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        far.asked.append((self.command, self.path))
        if far.mood == "silent":
            time.sleep(30)
            return
        if far.mood == "trickle":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(60):
                try:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                except OSError:
                    return
                time.sleep(0.5)
            return
        if far.mood == "sealed":
            return self._errors(503, "Vault is sealed")
        if far.mood == "redirect":
            return self._answer(307, None, Location="http://169.254.169.254/latest/meta-data")
        if far.mood == "nonsense":
            return self._answer(200, ["what"])
        path = unquote(parts.path)
        if path == "/v1/auth/approle/login":
            if (body.get("role_id"), body.get("secret_id")) != (far.role_id, far.secret_id):
                return self._errors(400, "invalid role or secret ID")
            token = f"hvs.{secrets.token_hex(12)}"
            far.tokens.add(token)
            signed_in = {"client_token": token, "policies": ["default"], "lease_duration": 1200, "renewable": True}
            return self._answer(200, {"auth": signed_in, "data": None})
        token = self.headers.get("X-Vault-Token", "")
        if (token != far.root and token not in far.tokens) or self.headers.get("X-Vault-Namespace", "") != far.namespace:
            return self._errors(403, "permission denied")
        if path == "/v1/auth/token/lookup-self":
            return self._data({"id": token, "display_name": "mist", "policies": ["default"]})
        if path == "/v1/auth/token/revoke-self":
            far.tokens.discard(token)
            return self._answer(204)
        if far.mood == "denied":
            return self._errors(403, "1 error occurred:\n\t* permission denied\n\n")
        if path.startswith("/v1/sys/internal/ui/mounts/"):
            mount = path.removeprefix("/v1/sys/internal/ui/mounts/")
            if mount not in (far.mount, "old"):
                return self._errors(403, "preflight capability check returned 403")
            return self._data({"type": "kv", "path": f"{mount}/", "options": {"version": "2" if mount == far.mount else "1"}})
        for what in ("data", "metadata"):
            start = f"/v1/{far.mount}/{what}/"
            if path.startswith(start):
                number = int(parse_qs(parts.query).get("version", ["0"])[0])
                return getattr(self, f"_{self.command.lower()}_{what}")(path.removeprefix(start), number, body)
        return self._errors(404)

    def _get_data(self, path: str, number: int, body: Any) -> None:
        versions = self.far.kept.get(path, [])
        number = number or len(versions)
        if not 1 <= number <= len(versions):
            return self._errors(404)
        found = versions[number - 1]
        if found.deletion_time or found.destroyed:
            return self._answer(404, {"data": {"data": None, "metadata": found.facts(number)}})
        return self._data({"data": found.data, "metadata": found.facts(number)})

    def _post_data(self, path: str, number: int, body: Any) -> None:
        versions = self.far.kept.setdefault(path, [])
        cas = body.get("options", {}).get("cas")
        if cas is not None and cas != len(versions):
            return self._errors(400, "check-and-set parameter did not match the current version")
        versions.append(Version(body["data"]))
        return self._data(versions[-1].facts(len(versions)))

    def _get_metadata(self, path: str, number: int, body: Any) -> None:
        versions = self.far.kept.get(path)
        if not versions:
            return self._errors(404)
        shown = ("created_time", "deletion_time", "destroyed")
        facts = {str(n): {k: v for k, v in one.facts(n).items() if k in shown} for n, one in enumerate(versions, 1)}
        return self._data({"cas_required": False, "created_time": NOW, "current_version": len(versions), "versions": facts})

    def _delete_metadata(self, path: str, number: int, body: Any) -> None:
        self.far.kept.pop(path, None)
        return self._answer(204)


@contextmanager
def vaultd(tls: ssl.SSLContext | None = None) -> Iterator[Far]:
    """A server of our own, gone at the end."""
    far = Far()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"far": far}))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    far.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield far
    finally:
        server.shutdown()
        server.server_close()
