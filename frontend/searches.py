"""Searches too long for an address: they are kept, and the address has a short id instead, ?qid=… in place of ?q=…

One that nobody opened for KEPT_DAYS is dropped.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta

from django.http import HttpRequest, QueryDict
from django.utils import timezone

from accounts.models import LongSearch, Organization
from core.errors import NotFound
from core.search.grammar import MAX_LENGTH
from core.ticks import every

LONGEST = 1500  # characters that stand in an address
KEPT_DAYS = 180


def settled(request: HttpRequest, org: Organization) -> str:
    """Where the search asked for has its short id, if it needs one; "": here. One that is named by its id is in `request.GET["q"]` then.

    Raises: NotFound: there is no such search here.
    """
    if request.method not in ("GET", "HEAD"):
        return ""
    params = request.GET.copy()
    if "q" in params:
        params.pop("qid", None)
        if not LONGEST < len(params["q"]) <= MAX_LENGTH:
            return ""
        params["qid"] = _kept(org, params["q"])
        return f"{request.path}?{shortened(params).urlencode()}"
    if "qid" in params:
        found = LongSearch.objects.filter(org=org, pk=params["qid"]).first()
        if found is None:
            raise NotFound
        _touch(found)
        params["q"] = found.text
        request.GET = params
    return ""


def shortened(params: QueryDict) -> QueryDict:
    """These parameters as an address writes them: the id alone, where the search has one."""
    if "qid" in params:
        params.pop("q", None)
    return params


def _kept(org: Organization, text: str) -> str:
    digest = hashlib.sha256(f"{org.pk.hex} {text}".encode()).digest()
    short = base64.b32encode(digest).decode().lower()[:12]
    found, is_new = LongSearch.objects.get_or_create(pk=short, defaults={"org": org, "text": text})
    if not is_new:
        _touch(found)
    return short


def _touch(search: LongSearch) -> None:
    """It was opened, which is written once a day."""
    now = timezone.now()
    LongSearch.objects.filter(pk=search.pk, opened_at__lt=now - timedelta(days=1)).update(opened_at=now)


@every(86_400)
def forget_old(now: datetime | None = None) -> int:
    """Drop the searches nobody opened for KEPT_DAYS.  Returns: how many."""
    return LongSearch.objects.filter(opened_at__lt=(now or timezone.now()) - timedelta(days=KEPT_DAYS)).delete()[0]
