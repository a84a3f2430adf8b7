"""Texts in other languages: compile, update, missing. See frontend/translations.py."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from frontend import translations


class Command(BaseCommand):
    """manage.py translations compile | update | missing"""

    help = "Compile the translations, bring them to what is marked now, or say what is missing."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["compile", "update", "missing"])

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        if what == "compile":
            for path in translations.compile_all():
                self.stdout.write(f"{path} written")
            return
        for path in translations.catalogs():
            if what == "update":
                added, dropped = translations.update(path)
                self.stdout.write(f"{path}: {added} added, {dropped} dropped")
                continue
            for text, places in translations.untranslated(path).items():
                self.stdout.write(f"{places[0]}: {text.single}")
