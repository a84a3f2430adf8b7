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
    return written("post", " \\\n  ".join([f"mist {command}", *_options(options)]), path, body)


def written(method: str, spoken: str, path: str, body: Mapping[str, Any]) -> list[Call]:
    """One request as a command (`spoken`; "" where there is none), curl and Python. `path`: below /api/v2/, with its query."""
    url = f"{settings.MIST_PUBLIC_URL}/api/v2/{path}"
    made = [
        Call(name="curl", title="curl", text=_curl(method, url, body)),
        Call(name="python", title="Python", text=_python(method, url, body)),
    ]
    return [Call(name="cli", title=_("CLI"), text=spoken), *made] if spoken else made


def word(value: Any) -> str:
    """A value as one word of a shell: text as it is, the rest as JSON."""
    return shlex.quote(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _options(options: Mapping[str, Any]) -> Iterable[str]:
    for name, value in options.items():
        if isinstance(value, Mapping) and name == "tags":
            yield from (f"--tag {word(f'{key}={text}')}" for key, text in value.items())
        elif value not in (None, "", [], {}):
            yield f"--{name.replace('_', '-')} {word(value)}"


def _curl(method: str, url: str, body: Mapping[str, Any]) -> str:
    text = shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))
    sent = f" \\\n  -H 'Content-Type: application/json' \\\n  -d {text}" if body else ""
    asked = "" if method == "get" else f"-X {method.upper()} "
    return f'curl {asked}{shlex.quote(url)} \\\n  -H "Authorization: Bearer $MIST_TOKEN"{sent}'


def _python(method: str, url: str, body: Mapping[str, Any]) -> str:
    text = pprint.pformat(dict(body), sort_dicts=False, width=60).replace("\n", "\n         ")
    asked = f'httpx.request(\n    "{method.upper()}",' if body and method in ("get", "delete") else f"httpx.{method}("  # those take no body
    lines = [
        "import os\n\nimport httpx\n",
        f"answer = {asked}",
        f"    {url!r},",
        '    headers={"Authorization": f"Bearer {os.environ[\'MIST_TOKEN\']}"},',
        *([f"    json={text},"] if body else []),
        ')\nprint(answer.raise_for_status().json()["data"])',
    ]
    return "\n".join(lines)
