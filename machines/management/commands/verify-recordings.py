"""`manage.py verify-recordings`: are the recordings of shells what was sealed? Names each piece that is not, and exits 1."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from machines.models import Session
from machines.shell.verify import findings


class Command(BaseCommand):
    help = "Hold the recordings of shells against the events of their pieces; verify-audit says whether those are what was sealed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--session", help="the id of one session (default: all)")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Session.objects.order_by("created_at")
        if options["session"]:
            try:
                rows = rows.filter(pk=UUID(options["session"]))
            except ValueError:
                raise CommandError("--session is an id: 32 hex digits.") from None
            if not rows.exists():
                raise CommandError("There is no such session.")
        checked = wrong = 0
        for session in rows.iterator(chunk_size=200):
            checked += 1
            for what, detail in findings(session):
                wrong += 1
                self.stdout.write(f"{session.pk.hex} {session.name}: {what}: {detail}")
        self.stdout.write(f"{checked} recordings, {wrong} findings")
        if wrong:
            raise CommandError("Some recordings are not what was sealed. Keep them as they are, then look at the pieces named above.")
