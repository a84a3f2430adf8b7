"""The product's settings as they are, with the tests' misbehaving tasks beside."""

from mist.settings import *  # noqa: F403
from mist.settings import INSTALLED_APPS, STORAGES

INSTALLED_APPS += ["tests.ops.stuck"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # nothing is collected here
