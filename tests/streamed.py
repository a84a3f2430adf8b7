"""Reading what an answer streams."""

from __future__ import annotations

import asyncio
from typing import Any


def content_of(answer: Any) -> bytes:
    """All of a streamed answer, in this thread, whose transaction it reads: where a browser was before, its event loop steps aside."""
    loop = asyncio._get_running_loop()  # type: ignore[attr-defined]
    asyncio._set_running_loop(None)  # type: ignore[attr-defined]
    try:
        return b"".join(answer)
    finally:
        asyncio._set_running_loop(loop)  # type: ignore[attr-defined]
