"""The clouds we can speak to: a file each, found here by name.

Packages outside join by the entry point group `mist.providers`, each naming a module or a Provider class.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from core.errors import NotFound

from .base import Provider, _providers, register

__all__ = ["Provider", "all_providers", "provider", "register"]

log = logging.getLogger(__name__)


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        if module.name not in ("base", "facts") and not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    for entry in entry_points(group="mist.providers"):
        try:
            found = entry.load()
        except Exception:  # an outside package must not stop the product
            log.exception("provider %s of %s cannot be loaded", entry.name, entry.dist)
            continue
        if isinstance(found, type) and issubclass(found, Provider):
            register(found)


def all_providers() -> dict[str, type[Provider]]:
    """Every provider by its own name, in alphabetical order."""
    _load()
    return {name: cls for name, cls in sorted(_providers.items()) if cls.name == name}


def provider(name: str) -> type[Provider]:
    """The provider of that name or alias.  Raises: NotFound, naming those there are."""
    _load()
    try:
        return _providers[name]
    except KeyError:
        raise NotFound(f"There is no provider “{name[:50]}”. There are: {', '.join(all_providers())}.", code="provider_not_found") from None
