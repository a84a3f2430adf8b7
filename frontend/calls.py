"""The same act as a command, a curl and a few lines of Python: with the page's own ids, without what is secret."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _


@dataclass(frozen=True, kw_only=True)
class Call:
    """One way to write it. `name`: in ids; `title`: on the tab."""

    name: str
    title: str
    text: str


def calls(command: str, options: Mapping[str, Any], path: str, body: Mapping[str, Any]) -> list[Call]:
    """CLI, curl, Python of one POST. `command`: the words after `mist`; `options`: {name: value} behind them; `path`: below /api/v2/."""
    url = f"{settings.MIST_PUBLIC_URL}/api/v2/{path}"
    return [
        Call(name="cli", title=_("CLI"), text=" \\\n  ".join([f"mist {command}", *_options(options)])),
        Call(name="curl", title="curl", text=_curl(url, body)),
        Call(name="python", title="Python", text=_python(url, body)),
    ]


def word(value: Any) -> str:
    """A value as one word of a shell: text as it is, the rest as JSON."""
    return shlex.quote(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _options(options: Mapping[str, Any]) -> Iterable[str]:
    for name, value in options.items():
        if isinstance(value, Mapping) and name == "tags":
            yield from (f"--tag {word(f'{key}={text}')}" for key, text in value.items())
        elif value not in (None, "", [], {}):
            yield f"--{name.replace('_', '-')} {word(value)}"


def _curl(url: str, body: Mapping[str, Any]) -> str:
    text = shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))
    sent = f" \\\n  -H 'Content-Type: application/json' \\\n  -d {text}" if body else ""
    return f'curl -X POST {shlex.quote(url)} \\\n  -H "Authorization: Bearer $MIST_TOKEN"{sent}'


def _python(url: str, body: Mapping[str, Any]) -> str:
    text = pprint.pformat(dict(body), sort_dicts=False, width=60).replace("\n", "\n         ")
    return (
        "import os\n\nimport httpx\n\n"
        "answer = httpx.post(\n"
        f"    {url!r},\n"
        '    headers={"Authorization": f"Bearer {os.environ[\'MIST_TOKEN\']}"},\n'
        f"    json={text},\n"
        ')\nprint(answer.raise_for_status().json()["data"])'
    )
