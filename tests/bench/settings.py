"""The product's settings, for benchmarks that call it in their own process: no collected static files, the test client's host."""

from mist.settings import *  # noqa: F403
from mist.settings import ALLOWED_HOSTS, STORAGES

STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
ALLOWED_HOSTS = [*ALLOWED_HOSTS, "testserver"]
