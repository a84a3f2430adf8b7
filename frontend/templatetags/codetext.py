"""Commands, calls, JSON and HCL in the colours of code: names of options and keys, texts, and what is called."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()
_TOKEN = re.compile(
    r"""(?P<said>^\#[^\n]*)"""  # a comment: nothing in it is anything
    r"""|(?P<b>"(?:[^"\\\n]|\\.)*"(?=\s*:)|(?<!\S)--?[a-zA-Z][\w-]*|^\ +[\w-]+(?=\ +=\ ))"""  # a key of JSON, an option, an argument
    r"""|(?P<i>'(?:[^'\\]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""  # a text
    r"""|(?P<u>\A(?:mist|curl)\b|^import\b|\bhttpx\.\w+"""  # what is called
    r"""|^(?:terraform|provider|resource|data|variable|locals)(?=\ ["{]))""",  # or what a block is
    re.MULTILINE,
)


@register.filter
def coloured(text: str) -> SafeString:
    """The same letters, escaped, some of them in <b>, <i> or <u>."""
    return mark_safe("".join(_parts(text)))  # noqa: S308


def _parts(text: str) -> Iterator[str]:
    at = 0
    for found in _TOKEN.finditer(text):
        kind, words = found.lastgroup, escape(found[0])
        yield escape(text[at : found.start()]) + (words if kind == "said" else f"<{kind}>{words}</{kind}>")
        at = found.end()
    yield escape(text[at:])
