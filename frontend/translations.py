"""Texts in other languages, without the gettext programs: which are marked, which a .po lacks, and .po → .mo. By Babel.

manage.py translations compile     the .mo that Django reads; a step of the build (bootstrap.py), never committed
manage.py translations update      marked texts that a .po lacks are added to it, empty; those nobody marks any more leave it
manage.py translations missing     what is marked and not translated, with where it stands
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from babel.messages import pofile
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from django.apps import apps
from django.conf import settings
from django.utils.translation.template import templatize

from frontend import providers

KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}


@dataclass(frozen=True, kw_only=True)
class Text:
    """One marked text. `plural`: its form for several; "": it has none."""

    single: str
    plural: str = ""

    @property
    def key(self) -> str | tuple[str, str]:
        """As Babel's catalogs name it."""
        return (self.single, self.plural) if self.plural else self.single


def _files() -> Iterator[Path]:
    """Ours that may mark texts."""
    for config in apps.get_app_configs():
        folder = Path(config.path)
        if folder.parent == settings.BASE_DIR:
            yield from sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".html", ".txt"))


def marked() -> dict[Text, list[str]]:
    """Every marked text of ours, with the files it stands in."""
    found: dict[Text, list[str]] = {}
    for path in _files():
        place = path.relative_to(settings.BASE_DIR).as_posix()
        if path.suffix != ".py" and "templates" not in path.parts:
            continue
        source = path.read_text()
        text = source if path.suffix == ".py" else templatize(source, origin=place)
        for _line, message, _comments, _context in extract("python", io.BytesIO(text.encode()), KEYWORDS):  # type: ignore[arg-type]
            single, *rest = (message,) if isinstance(message, str) else message
            if single:
                found.setdefault(Text(single=single, plural=rest[0] if rest else ""), []).append(place)
    for said, place in providers.texts():
        found.setdefault(Text(single=said), []).append(place)
    return found


def catalogs() -> Iterator[Path]:
    """The .po files."""
    for folder in settings.LOCALE_PATHS:
        yield from sorted(Path(folder).glob("*/LC_MESSAGES/django.po"))


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return pofile.read_po(file, locale=path.parts[-3])


def untranslated(path: Path, texts: dict[Text, list[str]] | None = None) -> dict[Text, list[str]]:
    """What is marked and this .po has no words for."""
    catalog = read(path)
    return {text: places for text, places in (texts or marked()).items() if not _has(catalog, text)}


def _has(catalog: Catalog, text: Text) -> bool:
    message = catalog.get(text.key)
    if message is None or message.fuzzy or bool(text.plural) != isinstance(message.id, tuple | list):
        return False
    return all(message.string) if isinstance(message.string, tuple | list) else bool(message.string)


def update(path: Path) -> tuple[int, int]:
    """Bring a .po to what is marked now.  Returns: (added, dropped)."""
    catalog, texts = read(path), marked()
    added = [text for text in texts if catalog.get(text.key) is None]
    for text in added:
        catalog.add(text.key, string=("", "") if text.plural else "")
    keys = {text.single for text in texts}
    dropped = [message.id for message in list(catalog) if message.id and _single(message.id) not in keys]
    for key in dropped:
        catalog.delete(key)
    write(path, catalog)
    return len(added), len(dropped)


def write(path: Path, catalog: Catalog) -> None:
    """Sorted, without places and dates, so that only what changed differs. The head stays as it is."""
    head, _sep, _body = path.read_text().partition("\n\n")
    body = io.BytesIO()
    pofile.write_po(body, catalog, width=0, sort_output=True, no_location=True, omit_header=True)
    path.write_text(f"{head}\n\n{body.getvalue().decode().strip()}\n")


def empty(path: Path) -> int:
    """How many texts of a .po have no words yet."""
    return sum(not (all(one.string) if isinstance(one.string, tuple | list) else one.string) for one in read(path) if one.id)


def _single(key: str | tuple[str, ...] | list[str]) -> str:
    return key if isinstance(key, str) else key[0]


def _whole(catalog: Catalog) -> Catalog:
    """Without plurals that lack a form: each would be shown as nothing."""
    for key in [message.id for message in catalog if isinstance(message.string, tuple | list) and not all(message.string)]:
        catalog.delete(key)
    return catalog


def compile_all() -> list[Path]:
    """Write the .mo beside each .po that is newer.  Returns: those written."""
    written = []
    for path in catalogs():
        compiled = path.with_suffix(".mo")
        if compiled.exists() and compiled.stat().st_mtime >= path.stat().st_mtime:
            continue
        fresh = compiled.with_suffix(f".{os.getpid()}.mo")  # others may be at it
        with fresh.open("wb") as file:
            write_mo(file, _whole(read(path)))
        fresh.replace(compiled)  # whole or not at all: somebody may be reading it
        written.append(compiled)
    return written
