#!/usr/bin/env python3
"""Django's command line for this project."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import OperationalError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mist.settings")
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        if not settings.EMBEDDED_POSTGRES or (settings.SOCKET_DIR / ".s.PGSQL.5432").exists():
            raise
        sys.exit(f"Mist is not running in {settings.MIST_HOME}: start it with `make run`, then again. ({error.__class__.__name__})")


if __name__ == "__main__":
    main()
