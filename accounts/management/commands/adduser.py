"""`manage.py adduser EMAIL [--admin] [--org NAME] [--password -]`."""

from __future__ import annotations

import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email

from accounts.people import add_user, check_new_password
from core.errors import MistError


class Command(BaseCommand):
    """Makes an account. Without --password a one-time password is generated and printed."""

    help = "Make an account; without --password a one-time password is generated and printed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--admin", action="store_true", help="administers the installation")
        parser.add_argument("--org", default="", help="name of the organization to join; made, and owned, if there is none")
        # Never the password itself: command lines are seen by everybody on the machine.
        parser.add_argument("--password", choices=["-"], help="read the password from standard input")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            validate_email(options["email"]) if not options["email"].endswith("@localhost") else None
            password = sys.stdin.readline().rstrip("\n") if options["password"] else None
            if password is not None:
                check_new_password(password, None)
            user, generated = add_user(options["email"], is_admin=options["admin"], org=options["org"], password=password)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except MistError as error:
            raise CommandError(" ".join([error.detail, *map(str, error.extra.get("fields", {}).values())])) from error
        self.stdout.write(f"{user.email} was made.")
        if generated:
            self.stdout.write(f"One-time password: {generated}")
