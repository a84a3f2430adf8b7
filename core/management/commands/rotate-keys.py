"""`manage.py rotate-keys`: another vault key, and every secret sealed with it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core import vault
from core.errors import Failed


class Command(BaseCommand):
    help = "Add a new key to MIST_VAULT_KEYS_FILE and seal every secret with it. May run while Mist runs, and again after it was stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-new-key", action="store_true", help="seal with the file's first key (one you put there, or a run that was stopped)"
        )
        parser.add_argument("--drop-old", action="store_true", help="then take the other keys out of the file, once nothing needs them")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if not options["no_new_key"]:
                vault.add_key()
                self.stdout.write("A new key is first in the file.")
            self.stdout.write(f"{vault.rotate()} secrets were sealed with it.")
            if options["drop_old"]:
                self.stdout.write(
                    f"{vault.drop_old()} old keys were dropped. Backups made before need them: keep those keys with those backups."
                )
            else:
                self.stdout.write(f"The file holds {len(vault.keys())} keys; --drop-old takes the old ones out.")
        except Failed as error:
            raise CommandError(error.detail) from error
        except OSError as error:
            raise CommandError(f"The key file could not be written ({error}). It is as it was, and every secret can be read.") from error
