"""The key that does something, as the viewer chose it: beside what it does, and in its tooltip."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from frontend import keyboard

register = template.Library()


def _chosen(context: template.Context, key: str) -> str:
    moved: dict[str, str] = context.get("key_of") or {}
    return moved.get(key, key).upper()


@register.simple_tag(takes_context=True)
def kbd(context: template.Context, key: str) -> SafeString | str:
    """`key` as shipped. Nothing where it does nothing."""
    chosen = _chosen(context, key.lower())
    return format_html("<kbd>{}</kbd>", chosen) if chosen else ""


@register.simple_tag(takes_context=True)
def hint(context: template.Context, key: str, then: str = "") -> str:
    """The same in a text: “ (L)”, “ (G M)”."""
    chosen = _chosen(context, key)
    return f" ({' '.join(part for part in (chosen, then.upper()) if part)})" if chosen else ""


@register.filter
def does(key: str) -> str:
    """What a key as shipped does, in words."""
    return str(keyboard.DOES.get(key, key))
