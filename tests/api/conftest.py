"""Two organizations that must not know of each other."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

from tests.api.world import World, make_world


@pytest.fixture
def here(db: None) -> World:
    return make_world("here")


@pytest.fixture
def there(db: None) -> World:
    return make_world("there")


@pytest.fixture(scope="session")
def spec() -> Any:
    """The OpenAPI document."""
    return SchemaGenerator().get_schema(request=None, public=True)
