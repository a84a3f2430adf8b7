"""`manage.py purge`: drop old events, or what the log holds of one person."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date

from core import events, personal, retention
from core.actor import Actor


class Command(BaseCommand):
    help = "Drop old events (what is left still verifies), or make what the audit log holds of a person unreadable."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--events-before", help="a date, as 2026-01-01: sealed events older than that go, in whole batches")
        parser.add_argument("--person", help="an e-mail address: e-mail and network addresses in that person's events can be read no more")

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["events_before"] or options["person"]):
            raise CommandError("Say what: --events-before DATE or --person EMAIL.")
        if options["events_before"]:
            try:
                day = parse_date(options["events_before"])
            except ValueError:
                day = None
            if day is None:
                raise CommandError("--events-before is a date, as 2026-01-01.")
            dropped = retention.drop_events(retention.start_of(day))
            months = f", with them {', '.join(dropped.months)}" if dropped.months else ""
            self.stdout.write(f"{dropped.events} events in {dropped.checkpoints} batches were dropped{months}.")
        if options["person"]:
            user = apps.get_model("accounts", "User").objects.filter(email__iexact=options["person"]).first()
            keys = personal.erase(user.pk if user else None, options["person"])
            if not keys:
                raise CommandError("The log holds nothing of that person.")
            detail = {"user": user.pk if user else None, "keys": keys}
            events.record("person.purge.succeeded", Actor.system(), target_kind="person", detail=detail)
            self.stdout.write(
                f"{keys} keys were dropped: the log holds nothing readable of that person (within {personal.REMEMBERED_S} s everywhere)."
            )
