"""In which language and time zone somebody looks: their own choice, else their organization's, else the browser's, else English and UTC.

The API speaks English and UTC always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from accounts.actions.fields import zones
from accounts.models import Organization, User

ENGLISH = "en"


def languages() -> dict[str, str]:
    """{code: its name in itself}."""
    return dict(settings.LANGUAGES)


def language_of(request: HttpRequest, org: Organization | None = None) -> str:
    """The code of a language that there is."""
    own = _chosen(request, "language")
    if own in languages():
        return own
    if org is not None and org.language in languages():
        return org.language
    return translation.get_language_from_request(request)


def zone_of(request: HttpRequest, org: Organization | None = None) -> str:
    """The name of the zone chosen; "": none was, the browser's own holds."""
    own = _chosen(request, "time_zone")
    if own in zones():
        return own
    return org.time_zone if org is not None and org.time_zone in zones() and org.time_zone != "UTC" else ""


def _chosen(request: HttpRequest, name: str) -> str:
    user = getattr(request, "user", None)
    return str(user.settings.get(name) or "") if user is not None and user.is_authenticated else ""


@contextmanager
def as_seen_by(user: User, org: Organization, page: str = "") -> Iterator[None]:
    """The same for what a socket is sent. `page`: the language of the page that opened it, which is the browser's where nobody chose."""
    wanted = [user.settings.get("language"), org.language, page, ENGLISH]
    language = next(str(one) for one in wanted if one in languages())
    zone = next((one for one in (user.settings.get("time_zone"), org.time_zone) if one in zones()), "UTC")
    with translation.override(language), timezone.override(ZoneInfo(zone)):
        yield


def at_home_in(request: HttpRequest, org: Organization) -> None:
    """From here on this request is answered as in that organization."""
    translation.activate(language_of(request, org))
    zone = zone_of(request, org)
    request.time_zone = zone  # type: ignore[attr-defined]
    timezone.activate(ZoneInfo(zone or "UTC"))


class ViewerMiddleware:
    """Sets the language and the zone of pages, and takes them away again."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(("/api/", "/static/")):
            with translation.override(ENGLISH):
                return self.get_response(request)
        zone = zone_of(request)
        request.time_zone = zone  # type: ignore[attr-defined]
        with translation.override(language_of(request)), timezone.override(ZoneInfo(zone or "UTC")):
            response = self.get_response(request)
            response.headers.setdefault("Content-Language", translation.get_language())
        patch_vary_headers(response, ["Accept-Language"])
        return response
