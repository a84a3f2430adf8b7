"""The project's settings, for tests: a home of its own, servers that need not survive a power cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# One home a test process (pytest-xdist's workers inherit the first line's folder); tests/conftest.py removes it.
if "MIST_TESTS_HOME" not in os.environ:
    os.environ["MIST_TESTS_HOME"] = tempfile.mkdtemp(prefix="mist-tests-")
for _name in [name for name in os.environ if name.startswith("MIST_") and name != "MIST_TESTS_HOME"]:
    del os.environ[_name]  # a developer's own settings are not the tests'
os.environ["MIST_HOME"] = str(Path(os.environ["MIST_TESTS_HOME"]) / os.environ.get("PYTEST_XDIST_WORKER", "main"))

from mist.settings import *  # noqa: E402, F403
from mist.settings import CACHES, DATABASES  # noqa: E402

DATABASES["default"]["OPTIONS"].pop("pool")  # tests roll back on one connection
DATABASES["default"]["TEST"] = {"TEMPLATE": "mist"}  # migrated already: tests/migrated.py
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES["default"] = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": Path(os.environ["MIST_HOME"]) / "files"}},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STYLEGUIDE = True
MIST_SHELL_DRAIN_S = 0
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
