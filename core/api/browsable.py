"""The API for people: DRF's pages, with nothing inline that a content security policy would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BrowsableAPIRenderer


class Browsable(BrowsableAPIRenderer):
    """Bodies are sent raw, as JSON; the pages read nothing but what the answer holds."""

    def get_context(self, data: Any, accepted_media_type: str | None, renderer_context: Mapping[str, Any]) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        return context | {"code_style": ""}

    def render_form_for_serializer(self, serializer: Any) -> str:
        return ""
