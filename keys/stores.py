"""Where the values of secrets are kept: our own vault, or a store outside. One interface for both.

A store keeps versions, numbered from 1; a write names the version it follows, so that nobody overwrites what he has not seen.
The store outside is dialled, which is `clouds`' business: it registers itself here (clouds/vault_kv.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from core import vault
from core.actor import Actor
from core.errors import Conflict, NotFound
from keys.models import Secret, SecretStore, SecretVersion

MOST_VERSIONS = 20  # kept of a secret in our own vault; the oldest goes


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What one version holds. `values` are JSON: a store outside may hold more than text. `number` 0: there is none yet."""

    number: int
    values: Mapping[str, Any] = field(repr=False)
    is_gone: bool = False  # deleted in the store; its number is not

    @property
    def texts(self) -> dict[str, str]:
        """The values as scripts and people read them."""
        return {key: text(value) for key, value in self.values.items()}


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version without its values. `keys` None: only the store knows."""

    number: int
    created_at: datetime | None
    keys: list[str] | None = None
    created_by: str = ""
    is_gone: bool = False


def text(value: Any) -> str:
    """A value as text, in UTF-8 without half characters."""
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return whole.encode("utf-8", "replace").decode()


class Store:
    """Where values are. `is_remote`: asking takes the network, never inside a transaction."""

    is_remote: ClassVar[bool] = False

    def read(self, secret: Secret, number: int | None = None) -> Contents:
        """That version, or the newest.  Raises: NotFound for one that never was; Failed."""
        raise NotImplementedError

    def write(self, secret: Secret, values: Mapping[str, Any], *, after: int, actor: Actor) -> int:
        """One more version after number `after` (0: the first).  Returns: its number.  Raises: Conflict when there is another since."""
        raise NotImplementedError

    def versions(self, secret: Secret) -> list[Version]:
        """Newest first.  Raises: Failed."""
        raise NotImplementedError

    def destroy(self, secret: Secret) -> None:
        """All its versions, for good.  Raises: Failed."""
        raise NotImplementedError

    def check(self) -> None:
        """Is it there, does it let us in, is it what we take it for?  Raises: Invalid, Failed."""


class Own(Store):
    """Our own vault: an entry a version. `write` and `destroy` belong inside the transaction of their record."""

    def read(self, secret: Secret, number: int | None = None) -> Contents:
        found = SecretVersion.objects.filter(secret=secret, number=number or secret.latest).first()
        if found is None:
            raise NotFound(f"There is no version {number or secret.latest} of {secret} any more.", code="no_version")
        return Contents(number=found.number, values=vault.read(found.vault_id))

    def write(self, secret: Secret, values: Mapping[str, Any], *, after: int, actor: Actor) -> int:
        if secret.latest != after:
            raise moved(secret)
        SecretVersion.objects.create(
            secret=secret,
            number=after + 1,
            keys=sorted(values),
            vault=vault.put(secret.org_id, "secret", values),
            created_by_id=actor.user_id,
        )
        self._drop(secret.versions.filter(number__lte=after + 1 - MOST_VERSIONS))
        return after + 1

    def versions(self, secret: Secret) -> list[Version]:
        rows = secret.versions.select_related("created_by").order_by("-number")
        return [
            Version(
                number=row.number,
                created_at=row.created_at,
                keys=row.keys,
                created_by=row.created_by.full_name if row.created_by else "",
            )
            for row in rows
        ]

    def destroy(self, secret: Secret) -> None:
        self._drop(secret.versions.all())

    def _drop(self, rows: Any) -> None:
        entries = list(rows.values_list("vault_id", flat=True))
        rows.delete()
        for entry in entries:
            vault.delete(entry)


def moved(secret: Secret) -> Conflict:
    return Conflict(f"{secret} was changed by somebody else meanwhile. Look at it, then try again.", code="version_moved")


Opener = Callable[[SecretStore, Mapping[str, str] | None], Store]
_openers: list[Opener] = []


def opens_remote(function: Opener) -> Opener:
    """How a store outside is spoken to: set once by clouds/vault_kv.py."""
    _openers[:] = [function]
    return function


def remote(row: SecretStore, credentials: Mapping[str, str] | None = None) -> Store:
    """The store that a row describes. `credentials`: those to be tried, in place of the ones in our vault."""
    return _openers[0](row, credentials)


def of(secret: Secret) -> Store:
    """Where this secret's values are."""
    return remote(secret.store) if secret.store is not None else Own()
