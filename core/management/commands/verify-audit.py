"""`manage.py verify-audit`: is the audit log what was sealed? Names each row that is not, and exits 1."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware

from core import chain


class Command(BaseCommand):
    help = "Read the audit log's chains again and say which events were changed, removed, inserted or reordered."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--org", help="slug or id of one organization; `installation` for the installation's own chain (default: all)")
        parser.add_argument("--since", help="only what was sealed from this ISO time on")
        parser.add_argument(
            "--heads", type=Path, help="a file kept elsewhere: each chain must still hold the end noted there; then notes the ends of now"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        since = parse_datetime(options["since"]) if options["since"] else None
        if options["since"] and since is None:
            raise CommandError("--since is an ISO 8601 time, as 2026-11-22T10:00:00Z.")
        if since is not None and is_naive(since):
            since = make_aware(since)
        noted = json.loads(options["heads"].read_text()) if options["heads"] and options["heads"].exists() else {}
        wrong, heads = 0, dict(noted)
        names = dict(apps.get_model("accounts", "Organization").objects.values_list("pk", "slug"))
        for org_id in self._chains(options["org"], names):
            name = "installation" if org_id is None else names.get(org_id, org_id.hex)
            began = time.monotonic()
            report = chain.verify(org_id, since=since)
            wrong += len(report.findings)
            for finding in report.findings:
                self.stdout.write(f"{name}: {finding.what}: {finding.detail}")
            key = org_id.hex if org_id else "installation"
            if key in noted and not chain.holds(org_id, noted[key]["sequence"], bytes.fromhex(noted[key]["hash"])):
                wrong += 1
                self.stdout.write(f"{name}: removed: the chain no longer holds the end noted before (sequence {noted[key]['sequence']}).")
            if report.sequence:
                heads[key] = {"sequence": report.sequence, "hash": report.hash.hex()}
            seconds = time.monotonic() - began
            state = "as sealed" if not report.findings else f"{len(report.findings)} findings"
            extra = f", {report.dropped} dropped by retention" if report.dropped else ""
            self.stdout.write(
                f"{name}: {report.events} events {state}{extra}, {report.unsealed} not sealed yet; "
                f"ends at {report.sequence} {report.hash.hex()[:16]} ({seconds:.1f} s)"
            )
        if wrong:
            raise CommandError(
                "The audit log is not what was sealed. Keep a copy of the database as it is, then look at the rows named above."
            )
        if options["heads"]:
            options["heads"].write_text(json.dumps(heads, indent=1) + "\n")

    def _chains(self, asked: str | None, names: dict[UUID, str]) -> list[UUID | None]:
        if asked is None:
            return chain.chains()
        if asked == "installation":
            return [None]
        for pk, slug in names.items():
            if asked in (slug, pk.hex, str(pk)):
                return [pk]
        try:
            return [UUID(asked)]  # an organization that is gone: its chain stays
        except ValueError:
            raise CommandError(f"There is no organization {asked!r}.") from None
