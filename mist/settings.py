"""All settings. The environment is read here, once; the README lists the variables with these defaults."""

from __future__ import annotations

from pathlib import Path

from mist import env

BASE_DIR = Path(__file__).resolve().parent.parent
MIST_HOME = env.path("MIST_HOME", BASE_DIR / "var")  # all data
DEBUG = env.flag("MIST_DEBUG", False)
SECRET_KEY = "replaced-below"

INSTALLED_APPS = [
    "daphne",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "guardian",
    "django_celery_beat",
    "core",
    "accounts",
    "keys",
    "clouds",
    "networks",
    "machines",
    "volumes",
    "frontend",
]
AUTH_USER_MODEL = "accounts.User"
USE_TZ = True
