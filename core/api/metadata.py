"""What OPTIONS answers: what the address is for. Nothing of any row: who may not see one learns nothing here."""

from __future__ import annotations

from typing import Any

from rest_framework.metadata import BaseMetadata
from rest_framework.request import Request


class Metadata(BaseMetadata):
    """`{"data": {name, description, renders, parses}}`; the methods are in `Allow`."""

    def determine_metadata(self, request: Request, view: Any) -> dict[str, Any]:
        return {
            "data": {
                "name": view.get_view_name(),
                "description": view.get_view_description(),
                "renders": [renderer.media_type for renderer in view.renderer_classes],
                "parses": [parser.media_type for parser in view.parser_classes],
            }
        }
