"""Who acts, through what, under which request id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7


def new_request_id() -> str:
    """32 lower-case hex digits, time-ordered."""
    return uuid7().hex


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One who acts or looks. A missing user is nobody: only `Actor.system()` is the system.

    `via`: console, api, cli, schedule:<id>, rule:<id>, poll:<cloud id>, system. `org_id` None: no organization, so nothing of any.
    `read_only`: the token's scope. `is_admin`: administers the installation (not: may see other organizations' things).
    `su_by`: the admin who acts as this user. `ask`: it asks for approval in place of acting, and says what for.
    `cache`: what guards looked up for this actor; lives as long as the actor: one request or job.
    """

    org_id: UUID | None
    user_id: UUID | None = None
    email: str = ""
    via: str = "api"
    request_id: str = field(default_factory=new_request_id)
    address: str = ""
    token_id: UUID | None = None
    read_only: bool = False
    is_admin: bool = False
    is_system: bool = False
    su_by: UUID | None = None
    ask: str | None = None
    cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def system(cls, org_id: UUID | None = None, via: str = "system") -> Actor:
        """The installation itself: polls, sweeps, first start. Guards let it pass; events say so."""
        return cls(org_id=org_id, via=via, is_system=True)

    @property
    def is_nobody(self) -> bool:
        return self.user_id is None and not self.is_system
