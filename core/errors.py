"""Every error that crosses a border of this project.

MistError
├── Asked                   202  nothing happened yet: it waits for approval, as `job`
├── Refused                 nothing happened; a 4xx with {"code", "detail"}
│   ├── BadRequest          400  it could not be read
│   │   └── BadSearch       400  a search, with the column where it went wrong
│   ├── Unauthenticated     401  nobody, or a credential that does not hold
│   ├── Denied              403  seen, but not allowed
│   │   └── ApprovalNeeded  403  not without somebody else's yes: ask for it
│   ├── NotFound            404  not there, or not to be seen
│   ├── Conflict            409  its state, or somebody else's job, forbids it now
│   │   └── Already         409  what was asked for is so: a bulk skips this one
│   ├── Invalid             422  readable, but it cannot be done; `fields` says where
│   └── TooMany             429  come back after `retry_after_s`
└── Failed                  it was tried; the job says so
    └── ProviderError       a cloud's fault or word, translated at the edge of its provider
        ├── AuthFailed      credentials refused or expired: hourly from now on
        │   └── NotPermitted  they are good, but may not do this; `detail` says what to allow
        ├── Unavailable     no answer, or one that makes no sense: the only one that is retried
        │   └── RateLimited asked too often; `retry_after_s` when the cloud said so
        ├── Gone            the thing is not there any more
        ├── NotSupported    this cloud, or this machine on it, cannot do that
        ├── Rejected        the cloud understood and said no (quota, capacity, bad value)
        └── HostKeyChanged  the host is not the one we know: blocked until somebody trusts it again
            └── HostKeyUnknown  never met; somebody has to trust it first
"""

from __future__ import annotations

from typing import Any


class MistError(Exception):
    """The root. `code` is for programs and stable; `detail` is one sentence that says what to do."""

    status = 500
    code = "error"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = extra  # further keys of the answer: fields, position, ids …


class Refused(MistError):
    """Nothing happened."""

    status = 400
    code = "refused"


class BadRequest(Refused):
    code = "bad_request"


class BadSearch(BadRequest):
    """`position` is the 0-based column of the character that is wrong."""

    code = "bad_search"

    def __init__(self, detail: str, *, position: int, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, position=position, **extra)
        self.position = position


class Unauthenticated(Refused):
    status = 401
    code = "unauthenticated"


class Denied(Refused):
    """`reason` is what `explain` answers: the guard and statement that decided."""

    status = 403
    code = "denied"

    def __init__(self, detail: str, *, reason: str = "", code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, **extra)
        self.reason = reason


class ApprovalNeeded(Denied):
    """Allowed, but not without somebody else's yes. Asked for with `ask`, it waits for that. `whys`: a sentence each; `instead`: what
    to do where it cannot wait.
    """

    code = "approval_required"

    def __init__(self, whys: list[str], *, verb: str, target: str, instead: str = "") -> None:
        self.whys, self.instead, why = whys, instead, " ".join(whys)
        how = instead or "Ask for approval: send `ask` with what for."
        super().__init__(f"{why} {how}", reason=why, verb=verb, target=target)


class NotFound(Refused):
    status = 404
    code = "not_found"

    def __init__(self, detail: str = "Not found.", *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, **extra)


class Conflict(Refused):
    status = 409
    code = "conflict"


class Already(Conflict):
    """What was asked for is so already. In a bulk this target is skipped, not failed."""

    code = "already"


class Invalid(Refused):
    """`fields`: {field: ["what is wrong with it", …]}."""

    status = 422
    code = "invalid"

    def __init__(
        self, detail: str = "Some fields are wrong.", *, fields: dict[str, Any] | None = None, code: str | None = None, **extra: Any
    ) -> None:
        super().__init__(detail, code=code, fields=fields or {}, **extra)
        self.fields = fields or {}


class TooMany(Refused):
    status = 429
    code = "too_many_requests"

    def __init__(self, detail: str, *, retry_after_s: float, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, **extra)
        self.retry_after_s = retry_after_s


class Asked(MistError):
    """It was asked for and is done once somebody approves it. `job` is what waits."""

    status = 202
    code = "asked"

    def __init__(self, job: Any) -> None:
        super().__init__(f"{job} waits for approval.")
        self.job = job


class Failed(MistError):
    """It was tried and did not work out."""

    status = 502
    code = "failed"


class ProviderError(Failed):
    """`words`: what the cloud itself said, shortened, without secrets."""

    code = "cloud_failed"

    def __init__(self, detail: str, *, words: str = "", code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, **({"words": words[:500]} if words else {}), **extra)
        self.words = words[:500]


class AuthFailed(ProviderError):
    status = 422
    code = "cloud_auth_failed"


class NotPermitted(AuthFailed):
    code = "cloud_not_permitted"


class Unavailable(ProviderError):
    status = 503
    code = "cloud_unavailable"


class RateLimited(Unavailable):
    code = "cloud_rate_limited"

    def __init__(self, detail: str, *, retry_after_s: float | None = None, words: str = "") -> None:
        super().__init__(detail, words=words)
        self.retry_after_s = retry_after_s


class Gone(ProviderError):
    code = "cloud_gone"


class NotSupported(ProviderError):
    status = 422
    code = "not_supported"


class Rejected(ProviderError):
    status = 422
    code = "cloud_rejected"


class HostKeyChanged(ProviderError):
    """`host`, `port`, `offered` (an OpenSSH public key line) say who showed what."""

    status = 409
    code = "host_key_changed"

    def __init__(self, detail: str, *, host: str, port: int, offered: str, code: str | None = None) -> None:
        super().__init__(detail, code=code, host=host, port=port, offered=offered)
        self.host, self.port, self.offered = host, port, offered


class HostKeyUnknown(HostKeyChanged):
    code = "host_key_unknown"
