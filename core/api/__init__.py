"""The public REST API: one base for every kind (API.md)."""

from core.api.fields import HexField, RefField
from core.api.routes import routes
from core.api.viewset import ReadViewSet, ResourceViewSet

__all__ = ["HexField", "ReadViewSet", "RefField", "ResourceViewSet", "routes"]
