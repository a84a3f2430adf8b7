"""Secrets kept in a HashiCorp Vault or an OpenBao, in its key-value engine of version 2.

One connection, one deadline, only to addresses our rules allow, no redirects. A login by AppRole lasts for one call and is
revoked after it. Nothing of a value is in an error: of what the store says only its own `errors` are quoted.
Source: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2, https://openbao.org/api-docs/secret/kv/kv-v2/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from django.utils.dateparse import parse_datetime

from clouds import addresses
from clouds.providers._http import Answer, Http, tls_context
from clouds.providers.base import Context, Deadline
from core import vault
from core.actor import Actor
from core.errors import AuthFailed, Invalid, MistError, NotFound, Rejected, Unavailable
from keys.models import Secret, SecretStore
from keys.stores import Contents, Store, Version, moved, opens_remote

DEADLINE_S = 10.0


@opens_remote
def open_store(row: SecretStore, credentials: Mapping[str, str] | None = None) -> Store:
    """The store behind a row."""
    return VaultKv(row, credentials)


class VaultKv(Store):
    """The engine at `row.mount`. `credentials`: {"token"} or {"secret_id"}; None: those in our vault."""

    is_remote = True

    def __init__(self, row: SecretStore, credentials: Mapping[str, str] | None) -> None:
        self.row, self._given = row, credentials

    def read(self, secret: Secret, number: int | None = None) -> Contents:
        with self._session() as session:
            answer = session.call("GET", self._place("data", secret.path), {"version": str(number)} if number else None)
            body = session.told(answer, (200, 404))
            if answer.status == 404 and not body.get("data"):
                if number:
                    raise NotFound(f"There is no version {number} of {secret} in {self.row}.", code="no_version")
                return Contents(number=0, values={})
            return _contents(body, self.row)

    def write(self, secret: Secret, values: Mapping[str, Any], *, after: int, actor: Actor) -> int:
        with self._session() as session:
            sent = {"options": {"cas": after}, "data": dict(values)}
            answer = session.call("POST", self._place("data", secret.path), None, sent)
            if answer.status == 400 and any("check-and-set" in word for word in session.errors(answer)):
                raise moved(secret)
            number = (session.told(answer, (200,)).get("data") or {}).get("version")
            if not isinstance(number, int):
                raise Unavailable(f"{self.row} answers what makes no sense. Is its engine at {self.row.mount} of version 2?")
            return number

    def versions(self, secret: Secret) -> list[Version]:
        with self._session() as session:
            answer = session.call("GET", self._place("metadata", secret.path))
            found = (session.told(answer, (200, 404)).get("data") or {}).get("versions") or {}
            rows = [(int(number), facts) for number, facts in found.items() if number.isdigit() and isinstance(facts, Mapping)]
            return [
                Version(number=number, created_at=_time(facts.get("created_time")), is_gone=_is_gone(facts))
                for number, facts in sorted(rows, key=lambda row: -row[0])
            ]

    def destroy(self, secret: Secret) -> None:
        with self._session() as session:
            session.told(session.call("DELETE", self._place("metadata", secret.path)), (200, 204, 404))

    def check(self) -> None:
        with self._session() as session:
            session.told(session.call("GET", "/v1/auth/token/lookup-self"), (200,))
            answer = session.call("GET", f"/v1/sys/internal/ui/mounts/{_quoted(self.row.mount)}")
            facts = session.told(answer, (200, 403, 404)).get("data") or {}
            options = facts.get("options") or {}
            if answer.status == 403:
                detail = f"These credentials see no engine at {self.row.mount}. Is it there, and does their policy allow it?"
                raise Invalid(fields={"mount": [detail]}, code="no_mount")
            if answer.status == 200 and (facts.get("type") != "kv" or str(options.get("version")) != "2"):
                raise Invalid(fields={"mount": [f"At {self.row.mount} is no key-value engine of version 2."]}, code="no_mount")

    def _place(self, what: str, path: str) -> str:
        return f"/v1/{_quoted(self.row.mount)}/{what}/{_quoted(path)}"

    @contextmanager
    def _session(self) -> Iterator[_Session]:
        session = _Session(self.row)
        try:
            with _in_words(self.row):
                given = self._given if self._given is not None else vault.read(self.row.vault_id)
                session.log_in(given)
                yield session
        finally:
            session.close()


class _Session:
    """Signed in, for one call or two."""

    def __init__(self, row: SecretStore) -> None:
        self.row = row
        parts = urlsplit(row.address)
        self._parts, self._tls = parts, None
        if parts.scheme == "https":
            with _in_words(row):
                self._tls = tls_context(ca=row.ca)
        context = Context(deadline=Deadline(DEADLINE_S), resolve=lambda host, port: addresses.resolve(host, port, loopback=row.loopback))
        headers = {"X-Vault-Request": "true"} | ({"X-Vault-Namespace": row.namespace} if row.namespace else {})
        self._context, self._headers = context, headers
        self._http = self._open(headers)
        self._is_login = False

    def _open(self, headers: Mapping[str, str]) -> Http:
        port = self._parts.port or (443 if self._parts.scheme == "https" else 80)
        return Http(self._context, api="secrets", host=self._parts.hostname or "", port=port, tls=self._tls, headers=headers)

    def log_in(self, given: Mapping[str, str]) -> None:
        token = given.get("token", "")
        if "secret_id" in given:
            answer = self.call("POST", "/v1/auth/approle/login", None, {"role_id": self.row.role_id, "secret_id": given["secret_id"]})
            if answer.status == 400:
                raise AuthFailed(f"{self.row} refuses role id or secret id. Enter new ones.", code="store_auth_failed")
            token = str((self.told(answer, (200,)).get("auth") or {}).get("client_token") or "")
            self._is_login = True
        if not token.isprintable() or not token:
            raise AuthFailed(f"{self.row} gives no token.", code="store_auth_failed")
        self._http.close()
        self._http = self._open({**self._headers, "X-Vault-Token": token})

    def close(self) -> None:
        """A token of ours is taken back, where there is time; else it runs out by itself."""
        try:
            if self._is_login:
                self.call("POST", "/v1/auth/token/revoke-self")
        except MistError:
            pass
        finally:
            self._http.close()

    def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        return self._http.call(method, path, query, body)

    def told(self, answer: Answer, fine: tuple[int, ...]) -> dict[str, Any]:
        """The body of an answer.  Raises: AuthFailed, Unavailable, Rejected."""
        if answer.status in fine:
            body = _json(answer)
            if not isinstance(body, dict):
                raise Unavailable(f"{self.row} answers what makes no sense. Is it the right address?")
            return body
        words = "; ".join(self.errors(answer))
        if answer.status in (401, 403):
            detail = f"{self.row} does not let us do that. Check its credentials and their policy."
            raise AuthFailed(detail, code="store_auth_failed", words=words)
        if 300 <= answer.status < 400:
            detail = f"{self.row} leads to another address. Enter the address of the active node."
            raise Rejected(detail, code="store_redirects", words=answer.headers.get("location", "")[:200])
        if answer.status in (429, 472, 473) or answer.status >= 500:
            raise Unavailable(f"{self.row} cannot answer now. It may be sealed, or on standby.", code="store_unavailable", words=words)
        raise Rejected(f"{self.row} refuses that.", code="store_rejected", words=words)

    def errors(self, answer: Answer) -> list[str]:
        """What it says is wrong."""
        body = _json(answer)
        said = body.get("errors") if isinstance(body, dict) else None
        return [str(word)[:300] for word in said if isinstance(word, str)][:3] if isinstance(said, list) else []


@contextmanager
def _in_words(row: SecretStore) -> Iterator[None]:
    """What the network says, in words about a store and not a cloud."""
    try:
        yield
    except Unavailable as error:
        if error.code == "store_unavailable":
            raise
        detail = f"{row} did not answer in time." if error.code == "cloud_timeout" else f"{row}: {error.detail}"
        raise Unavailable(detail, code="store_unavailable", words=error.words) from error
    except AuthFailed as error:
        raise AuthFailed(error.detail, code="store_auth_failed", words=error.words) from error


def _contents(body: Mapping[str, Any], row: SecretStore) -> Contents:
    data = body.get("data")
    facts = data.get("metadata") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(facts, Mapping) or not isinstance(facts.get("version"), int):
        raise Unavailable(f"{row} answers what makes no sense. Is its engine at {row.mount} of version 2?", code="store_unavailable")
    values = data.get("data")
    return Contents(
        number=facts["version"], values=dict(values) if isinstance(values, Mapping) else {}, is_gone=not isinstance(values, Mapping)
    )


def _json(answer: Answer) -> Any:
    """The body; None for what is no JSON."""
    try:
        return json.loads(answer.body) if answer.body.strip() else {}
    except (ValueError, RecursionError):
        return None


def _is_gone(facts: Mapping[str, Any]) -> bool:
    return bool(facts.get("destroyed") or facts.get("deletion_time"))


def _time(text: Any) -> datetime | None:
    try:
        return parse_datetime(str(text or ""))
    except ValueError:
        return None


def _quoted(path: str) -> str:
    return "/".join(quote(part, safe="") for part in path.split("/"))
