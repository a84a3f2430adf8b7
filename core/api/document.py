"""The OpenAPI document. Making it takes seconds, so it is made once a start, beside everything, before anybody asks.

It is kept as a file that names this start of Mist, whose processes are forks of one that has read the code: no document of other
code is taken.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator
from rest_framework.utils.encoders import JSONEncoder

log = logging.getLogger(__name__)

START = uuid4().hex
OLD_S = 86_400  # of another start that may go on beside us


def kept() -> Path:
    """The file, whether or not it is there yet."""
    return settings.MIST_HOME / "cache" / f"openapi-{START}.json"


@cache
def document() -> Mapping[str, Any]:
    """The document: as it was made ahead, else made now."""
    try:
        found = json.loads(kept().read_bytes())
    except (OSError, ValueError):
        found = json.loads(_made())
    return found  # type: ignore[no-any-return]


def make_ahead() -> None:
    """What a process of its own does once the others run. Where it cannot be written, the first who asks waits."""
    os.nice(10)
    path = kept()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob("openapi-*.json"):
            if other.stat().st_mtime < time.time() - OLD_S:
                other.unlink(missing_ok=True)
        half = path.with_suffix(".half")
        half.write_text(_made())
        half.replace(path)
    except OSError as error:
        log.warning("the API's document was not made ahead: %s", error)


def _made() -> str:
    found = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return json.dumps(found, cls=JSONEncoder)
