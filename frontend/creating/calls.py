"""The same create as a command, a curl and a few lines of Python: with this form's ids, without what is secret."""

from __future__ import annotations

import json
import pprint
import shlex
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from frontend.creating.asked import Asked

FLAGS = ("cloud", "location", "image", "size", "network", "subnet", "key", "user")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One way to write it. `name`: in ids; `title`: on the tab."""

    name: str
    title: str
    text: str


def body(asked: Asked) -> dict[str, Any]:
    """What the API is sent; what a field of the provider keeps secret, and the text of cloud-init, stand as three dots."""
    sent = asked.params()
    if asked.quantity > 1:
        sent["quantity"] = asked.quantity
    secret = {spec.name for spec in asked.cls.create_fields if spec.secret}
    if "extra" in sent:
        sent["extra"] = {key: "…" if key in secret else value for key, value in sent["extra"].items()}
    if sent.get("cloudinit"):
        sent["cloudinit"] = "…"
    return sent


def calls(asked: Asked) -> list[Call]:
    """CLI, curl, Python."""
    sent = body(asked)
    return [
        Call(name="cli", title=_("CLI"), text=_cli(sent)),
        Call(name="curl", title="curl", text=_curl(sent)),
        Call(name="python", title="Python", text=_python(sent)),
    ]


def _cli(sent: dict[str, Any]) -> str:
    parts = [f"mist machines create {shlex.quote(sent['name'] or 'NAME')}"]
    if "quantity" in sent:
        parts.append(f"--quantity {sent['quantity']}")
    parts += [f"--{name} {_word(sent[name])}" for name in FLAGS if name in sent]
    parts += [f"--security-groups {shlex.quote(json.dumps(sent['security_groups']))}"] if sent.get("security_groups") else []
    parts += [f"--volumes {shlex.quote(json.dumps(sent['volumes'], ensure_ascii=False))}"] if sent.get("volumes") else []
    parts += ["--cloudinit @cloud-init.yml"] if "cloudinit" in sent else []
    parts += [f"--expiration {shlex.quote(json.dumps(sent['expiration']))}"] if "expiration" in sent else []
    parts += [f"--tags {shlex.quote(json.dumps(sent['tags'], ensure_ascii=False))}"] if sent.get("tags") else []
    parts += [f"--extra {shlex.quote(json.dumps(sent['extra'], ensure_ascii=False))}"] if sent.get("extra") else []
    return " \\\n  ".join(parts)


def _word(value: Any) -> str:
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))


def _curl(sent: dict[str, Any]) -> str:
    text = json.dumps(sent, indent=2, ensure_ascii=False)
    return (
        f"curl -X POST {settings.MIST_PUBLIC_URL}/api/v2/machines \\\n"
        '  -H "Authorization: Bearer $MIST_TOKEN" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(text)}"
    )


def _python(sent: dict[str, Any]) -> str:
    text = pprint.pformat(sent, sort_dicts=False, width=60).replace("\n", "\n    ")
    return (
        "import os\n\nimport httpx\n\n"
        "answer = httpx.post(\n"
        f"    {settings.MIST_PUBLIC_URL + '/api/v2/machines'!r},\n"
        '    headers={"Authorization": f"Bearer {os.environ[\'MIST_TOKEN\']}"},\n'
        f"    json={text},\n"
        ')\nprint(answer.raise_for_status().json()["data"])'
    )
